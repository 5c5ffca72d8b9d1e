"""The command `digits`: what it lists, what each subcommand imports, and how it fails."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli import commands
from cli.commands import COMMANDS, digits
from digits import __version__
from digits.settings import ModelSettings
from tests.helpers.paths import EXAMPLES, ROOT
from tests.helpers.processes import free_port

HEAVY = {"click", "flask", "gunicorn", "msgspec", "numpy", "onnxruntime", "PIL", "torch", "urllib3"}
FORMULA = "INPUT 28x28x1 -> FC 10"


def test_help_lists_every_command_with_a_line() -> None:
    output = CliRunner().invoke(digits, ["--help"]).output
    for name, (_, line) in COMMANDS.items():
        assert f"  {name:<10}{line}\n" in output


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_describes_itself(name: str) -> None:
    command = digits.get_command(click.Context(digits), name)
    assert command
    assert command.name == name
    result = CliRunner().invoke(digits, [name, "--help"], prog_name="digits")
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: digits {name} ")
    assert "Exit codes: 0" in result.output
    # Longer lines than the terminal's would be wrapped, and examples could not be copied.
    assert max(map(len, result.output.splitlines())) <= 80


def test_version() -> None:
    assert __version__ in CliRunner().invoke(digits, ["--version"]).output


@pytest.mark.parametrize("arguments", ["dance", "predict", "score --output x.csv", "train --epochs 0"])
def test_usage_errors_exit_with_2(arguments: str) -> None:
    result = CliRunner().invoke(digits, arguments)
    assert result.exit_code == 2
    assert "Error: " in result.output


@pytest.mark.parametrize(
    ("arguments", "imported"),
    [
        ("--help", {"click"}),
        ("health", set()),
        ("settings", {"click", "msgspec"}),
        ("predict --help", {"click", "msgspec"}),
        ("serve --help", {"click"}),
        (f"describe '{FORMULA}'", {"click"}),
        ("train --help", {"click"}),
        (f"predict {EXAMPLES / '7.png'}", {"click", "msgspec", "numpy", "onnxruntime", "PIL"}),
    ],
)
def test_imports_only_what_it_needs(arguments: str, imported: set[str]) -> None:
    code = (
        "import json, shlex, sys; from cli.__main__ import main\n"
        "sys.argv = ['digits', *shlex.split(sys.argv[1])]\n"
        "try: main()\n"
        "except SystemExit: print(json.dumps([name for name in sys.modules if '.' not in name]))"
    )
    command = [sys.executable, "-c", code, arguments]
    environment = {"PORT": str(free_port())}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert set(json.loads(result.stdout.splitlines()[-1])) & HEAVY == imported


@pytest.mark.parametrize(
    ("arguments", "package", "message"),
    [
        (["predict", "image.png"], "onnxruntime", "onnxruntime is missing; pip install '.[cpu]'"),
        (["score", "examples", "--output", "-"], "onnxruntime", "onnxruntime is missing; pip install '.[cpu]'"),
        (["export", "--run", "."], "torch", "torch is missing; pip install '.[training]'"),
        (["describe", FORMULA], "training", "this installation does not include training"),
    ],
)
def test_a_package_that_is_not_installed_is_named(arguments: list[str], package: str, message: str) -> None:
    code = "import sys; sys.modules[sys.argv.pop(1)] = None; from cli.__main__ import main; main()"
    command = [sys.executable, "-c", code, package, *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_other_missing_modules_are_bugs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(commands.COMMANDS, "settings", ("cli.nowhere:settings", ""))
    result = CliRunner().invoke(digits, ["settings"])
    assert isinstance(result.exception, ModuleNotFoundError)


@pytest.mark.parametrize(
    ("module", "usage"),
    [
        ("scoring", "digits score [OPTIONS] PATH..."),
        ("training", "digits [OPTIONS] COMMAND"),
        ("cli", "digits [OPTIONS]"),
    ],
)
def test_packages_that_run_show_the_names_of_the_tool(module: str, usage: str) -> None:
    command = [sys.executable, "-m", module, "--help"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.startswith(f"Usage: {usage}")


def test_finetune_is_training_from_a_model_on_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Path, Path]] = []
    monkeypatch.setattr("training.commands._fine_tune", lambda *call: calls.append(call))
    model = ModelSettings().model_path
    result = CliRunner().invoke(digits, ["finetune", str(model), "--data", str(tmp_path)])
    assert result.exit_code == 0
    assert calls == [(model, tmp_path)]
