"""README and docs: commands run word for word in a copy of the checkout; links, tables and shown output are true."""

import ast
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import onnx
import pytest

from service.metrics import Metrics
from service.settings import Settings
from tests.helpers.paths import ROOT
from tests.helpers.processes import PORT_8000, environment, free_port
from tests.helpers.service import wait_until_ready

FOLDERS = ("benchmarks", "docs", "examples", "models", "training")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
README = TEXTS["README.md"]

# A block of commands, with the block right after it, which is what its last command prints.
_BLOCKS = re.compile(r"^```sh\n(.*?)^```(?:\n\n```(json|text)\n(.*?)^```)?", re.MULTILINE | re.DOTALL)
BLOCKS = [(block[1].splitlines(), block[2], block[3]) for text in TEXTS.values() for block in _BLOCKS.finditer(text)]
COMMANDS = list(dict.fromkeys(command for commands, _, _ in BLOCKS for command in commands))
SHOWN = {commands[-1]: (language, output) for commands, language, output in BLOCKS if language}

MAKE = [command for command in COMMANDS if command.startswith("make")]
DOCKER = [command for command in COMMANDS if command.startswith("docker")]
ONLINE = [command for command in COMMANDS if "localhost:8000" in command]
OFFLINE = [command for command in COMMANDS if command not in {*MAKE, *DOCKER, *ONLINE}]
TRAIN = ".venv/bin/digits train"


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_settings_table_is_the_settings() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`(.*?)` )?\| (.*) \|$", README, re.MULTILINE)
    expected = [
        (field.metadata["variable"], "" if field.default is None else str(field.default), field.metadata["help"])
        for field in fields(Settings)
    ]
    assert rows == expected


def test_metrics_table_is_the_metrics() -> None:
    shown = re.findall(r"^\| `(digits_\w+)` \|", TEXTS["docs/operations.md"], re.MULTILINE)
    assert set(shown) == set(
        re.findall(r"^# TYPE (digits_\w+?)(?<!_created) ", Metrics().text().decode(), re.MULTILINE)
    )


def test_every_command_is_run_by_a_test() -> None:
    assert set(MAKE) == {"make serve", "make test"}  # the service under test, and what runs this test
    assert all(command.startswith(("curl ", ".venv/bin/")) for command in ONLINE + OFFLINE)


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    text = re.sub(r"^```.*?^```", "", TEXTS[name], flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\((?!https?:)(.*?)\)", text):
        linked, _, anchor = target.partition("#")
        path = page.parent / linked if linked else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


def anchors(page: Path) -> set[str]:
    """What GitHub calls a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("result", re.findall(r"^- \*\*.*?(?=^- |^$)", README, re.MULTILINE | re.DOTALL))
def test_results_are_the_linked_ones(result: str) -> None:
    [link] = re.findall(r"\]\((.*?)(?:#.*?)?\)", result)
    linked = (ROOT / link).read_text(encoding="utf-8")
    for figure in re.findall(r"\d[\d,.]*\d", result.partition("[")[0]):
        assert figure in linked


def test_benchmark_tables_are_the_results() -> None:
    tables = re.findall(r"^(?:\|.*\n)+", TEXTS["docs/benchmarks.md"].partition("## All commands")[0], re.MULTILINE)
    results = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks/results").glob("*.md"))
    assert len(tables) >= 8
    for table in tables:
        assert table in results + "\n"


def test_finders_table_is_its_network() -> None:
    table = r"^\| (CONV.*?|total) \| (.*?) \| (.*?) \| (.*?) \|"
    *rows, total = re.findall(table, TEXTS["docs/architecture.md"], re.MULTILINE)
    layers = list(finder_layers())
    assert rows == [(name, volume, f"{weights:,}", f"{cost:,}") for name, volume, weights, cost in layers]
    assert total[2] == f"{sum(weights for *_, weights, _ in layers):,}"
    assert total[3] == f"{sum(cost for *_, cost in layers):,}"


def finder_layers() -> Iterator[tuple[str, str, int, int]]:
    """The name, volume, parameters and multiply-adds of each convolution in the shipped finder."""
    model = onnx.load(Settings().model_path.with_name("finder.onnx"))
    for dimension, size in zip(model.graph.input[0].type.tensor_type.shape.dim, (1, 128, 128), strict=True):
        dimension.dim_value = size
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph.value_info
    volumes = {one.name: [size.dim_value for size in one.type.tensor_type.shape.dim] for one in inferred}
    shapes = {one.name: list(one.dims) for one in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Conv":
            filters, depth, side, _ = shapes[node.input[1]]
            biases = filters * (len(node.input) > 2)
            _, _, height, width = volumes[node.output[0]]
            window = {one.name: one.ints[0] if one.ints else one.i for one in node.attribute}
            extras = [f" {name} {window[f'{name}s']}" for name in ("stride", "dilation") if window[f"{name}s"] > 1]
            depthwise = " depthwise" * (window["group"] > 1)
            name = f"CONV {side}x{side}x{filters}{''.join(extras)}{depthwise}"
            weights = filters * depth * side**2
            yield name, f"{width}×{height}×{filters}", weights + biases, weights * height * width


def test_functions_in_the_architecture_exist() -> None:
    rows = re.findall(r"^\| (?:\[.*?\]\(\.\./(.*?)\) )?\| (`.*?`) \|", TEXTS["docs/architecture.md"], re.MULTILINE)
    assert len(rows) >= 30
    file = ""
    for named, functions in rows:
        file = named or file
        defined = set(definitions(ast.parse((ROOT / file).read_text(encoding="utf-8"))))
        assert set(re.findall(r"`(.*?)`", functions)) <= defined, file


def definitions(node: ast.AST, prefix: str = "") -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef):
            yield prefix + child.name
            yield from definitions(child, f"{prefix}{child.name}.")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with the same `.venv`."""
    copy = tmp_path_factory.mktemp("docs") / "digits"
    left_out = shutil.ignore_patterns(".git", ".venv*", "runs", "reports", "__pycache__", ".*_cache", "*.egg-info")
    shutil.copytree(ROOT, copy, ignore=left_out)
    (copy / ".venv").symlink_to(ROOT / ".venv")
    return copy


@pytest.fixture(scope="module")
def port(checkout: Path) -> Iterator[int]:
    """The service, started by `make serve`."""
    port = free_port()
    with subprocess.Popen(
        ["make", "serve"], cwd=checkout, env=environment(PORT=str(port)), stdout=subprocess.DEVNULL
    ) as process:
        try:
            wait_until_ready(port)
            yield port
        finally:
            process.terminate()


def run(command: str, checkout: Path) -> subprocess.CompletedProcess[str]:
    """Runs a command with the copy's code, in a terminal of 100 columns."""
    return subprocess.run(
        ["bash", "-c", command],
        cwd=checkout,
        env=environment(PYTHONPATH=str(checkout), COLUMNS="100"),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


@pytest.mark.xdist_group("docs")
@pytest.mark.parametrize("command", ONLINE)
def test_online(command: str, checkout: Path, port: int) -> None:
    result = run(command.replace(":8000", f":{port}"), checkout)
    assert result.returncode == 0, result.stderr
    if "metrics" in command:
        assert "digits_requests_total" in result.stdout
    elif command.startswith("curl"):
        check_response(command, result.stdout)


def check_response(command: str, text: str) -> None:
    response, _ = json.JSONDecoder().raw_decode(text)  # a binary response has its tensors behind the JSON
    sent = [int(digit) for digit in re.findall(r"examples/(\d)\.png", command)]
    if "predictions" in response:
        assert [one["digit"] for one in response["predictions"]] == sent
    elif "lines" in response:
        assert response["lines"] == ["80", "6383", "456", "382", "288"]
    elif "infer" in command:
        assert response["model_name"] == "digits-image"
    elif sent:
        assert response["digit"] == sent[0]
    elif "health" in command:
        assert response.get("live", response.get("ready")) is True
    else:
        assert response["name"] in command
    if command in SHOWN:
        shown = json.loads(SHOWN[command][1])
        assert response.keys() == shown.keys()
        assert response["probabilities"] == pytest.approx(shown["probabilities"], abs=1e-3)
        assert response.get("box") == pytest.approx(shown.get("box"), abs=8)


@pytest.fixture(scope="module")
def trained(checkout: Path) -> None:
    """The training command is started word for word and stopped; one short epoch on MNIST alone replaces the rest."""
    with subprocess.Popen(
        ["bash", "-c", f"exec {TRAIN}"],
        cwd=checkout,
        env=environment(PYTHONPATH=str(checkout), OMP_NUM_THREADS="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            output, _ = process.communicate(timeout=8)
            pytest.fail(f"training should take longer: {output!r}")
        except subprocess.TimeoutExpired:
            process.kill()
    short = "--quick --formula 'INPUT 28x28x1 -> CONV 4x4x8 stride 4 -> RELU -> FC 10' --epochs 1 --seed 0"
    shutil.rmtree(checkout / "runs", ignore_errors=True)
    result = run(f"{TRAIN} {short}", checkout)
    assert result.returncode == 0, result.stderr


@pytest.mark.xdist_group("docs")
@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize("command", [command for command in OFFLINE if command != TRAIN])
def test_offline(command: str, checkout: Path) -> None:
    result = run(command, checkout)
    assert result.returncode == 0, result.stderr
    if command in SHOWN:
        assert result.stdout.rstrip() == SHOWN[command][1].rstrip()


@pytest.mark.container
@pytest.mark.xdist_group("network")
@pytest.mark.parametrize("command", DOCKER)
def test_docker(command: str, checkout: Path) -> None:
    if run("docker info", checkout).returncode != 0:
        pytest.skip("no Docker engine answers")
    # Engines without a bridge to the registries need flags of their own, such as --network host.
    command = command.replace("docker build", f"docker build {os.environ.get('DOCKER_BUILD_FLAGS', '')}")
    if "-p" not in command:
        result = run(command, checkout)
        assert result.returncode == 0, result.stderr
        return
    name = f"digits-docs-{os.getpid()}"
    with PORT_8000:
        try:
            started = run(command.replace("docker run", f"docker run --detach --name {name}"), checkout)
            assert started.returncode == 0, started.stderr
            deadline = time.monotonic() + 60
            while "Ready" not in run(f"docker logs {name} 2>&1", checkout).stdout:
                assert time.monotonic() < deadline
                time.sleep(0.2)
        finally:
            run(f"docker rm --force {name}", checkout)
