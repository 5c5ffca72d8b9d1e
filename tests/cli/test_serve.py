"""`digits serve` and plain `gunicorn`, which run the service alike."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.images import example
from tests.helpers.paths import ROOT
from tests.helpers.processes import environment, free_port
from tests.helpers.service import request, wait_until_ready

SERVE = [sys.executable, "-m", "cli", "serve"]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder with modules named as the service's packages."""
    for name in ("service", "digits", "scoring"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise AssertionError('imported')")
    return tmp_path


@pytest.fixture
def port(elsewhere: Path) -> Iterator[int]:
    port = free_port()
    code = "import sys; from cli.__main__ import main; sys.path.remove(''); sys.argv[0] = 'digits'; main()"
    variables = environment(PYTHONPATH=str(ROOT), PORT=str(port), DIGITS_WORKERS="2", SCRIPT_NAME="/digits")
    command = [sys.executable, "-c", code, "serve", "--workers", "1"]
    with subprocess.Popen(command, cwd=elsewhere, env=variables, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until_ready(port, "/digits")
            yield port
        finally:
            process.terminate()
            assert process.wait(timeout=30) == 0


def test_serves_from_any_folder_and_passes_options_to_gunicorn(port: int) -> None:
    assert request(port, "POST", "/digits/predict", example(7))[2]["digit"] == 7
    variables = {"PORT": str(port), "SCRIPT_NAME": "/digits"}
    health = subprocess.run([sys.executable, "-m", "cli", "health"], cwd=ROOT, env=variables, check=False)
    assert health.returncode == 0


def configuration(command: list[str]) -> dict[str, str]:
    printed = subprocess.run(
        [*command, "--print-config"], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )
    settings = dict(re.findall(r"^(\w+) +=[ ]?(.*)$", printed.stdout, re.MULTILINE))
    return {name: re.sub(r" at 0x\w+", "", value) for name, value in settings.items() if name != "config"}


def test_gunicorn_in_a_checkout_has_the_same_configuration() -> None:
    served = configuration(SERVE)
    assert served == configuration([sys.executable, "-m", "gunicorn"])
    assert served["worker_class"] == "service.worker.Worker"
    hooks = ("on_starting", "when_ready", "on_reload", "on_exit", "pre_fork", "post_fork", "post_worker_init")
    assert {served[hook] for hook in hooks} == {f"<{hook}()>" for hook in hooks}


def test_an_invalid_setting_stops_the_start_with_one_sentence() -> None:
    variables = environment(DIGITS_WORKERS="many")
    result = subprocess.run(SERVE, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr == "error: DIGITS_WORKERS: expected a whole number, 0 to 1024; got 'many'\n"
