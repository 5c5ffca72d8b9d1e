"""What the README says: its settings, and every command in it, run word for word in a copy of the checkout."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from service.settings import Settings
from tests.helpers.paths import ROOT
from tests.helpers.processes import PORT_8000, environment, free_port
from tests.helpers.service import wait_until_ready

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
CURL = [command for command in COMMANDS if command.startswith("curl")]
PYTHON = [command for command in COMMANDS if command.startswith(".venv/bin/python")]
DOCKER = [command for command in COMMANDS if command.startswith("docker")]
TRAIN = ".venv/bin/python -m training train"


def test_settings_table_is_the_settings() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`(.*?)` )?\| (.*) \|$", README, re.MULTILINE)
    expected = [
        (field.metadata["variable"], "" if field.default is None else str(field.default), field.metadata["help"])
        for field in fields(Settings)
    ]
    assert rows == expected


def test_every_command_is_run_by_a_test() -> None:
    run_here = {*CURL, *PYTHON, *DOCKER, "make serve"}
    assert set(COMMANDS) - run_here == {"make test"}  # by which this one is run


def test_links_lead_somewhere() -> None:
    headings = {f"#{title.lower().replace(' ', '-')}" for title in re.findall(r"^#+ (.*)$", README, re.MULTILINE)}
    for target in re.findall(r"\]\((?!http)(.*?)\)", README):
        assert target in headings or (ROOT / target).exists()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with the same `.venv`."""
    copy = tmp_path_factory.mktemp("readme") / "digits"
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
    return subprocess.run(
        ["bash", "-c", command],
        cwd=checkout,
        env=environment(),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


@pytest.mark.parametrize("command", CURL)
def test_curl(command: str, checkout: Path, port: int) -> None:
    result = run(command.replace(":8000", f":{port}"), checkout)
    assert result.returncode == 0, result.stderr
    if "metrics" in command:
        assert "digits_requests_total" in result.stdout
        return
    # A binary answer has its tensors behind the JSON.
    answer, _ = json.JSONDecoder().raw_decode(result.stdout)
    asked = [int(digit) for digit in re.findall(r"examples/(\d)\.png", command)]
    if "predictions" in answer:
        assert [one["digit"] for one in answer["predictions"]] == asked
    elif "infer" in command:
        assert answer["model_name"] == "digits-image"
    elif asked:
        assert answer["digit"] == asked[0]
    elif "health" in command:
        assert answer["ready"] is True
    else:
        assert answer["name"] in command


def test_shown_answer_is_the_answer(checkout: Path, port: int) -> None:
    shown = json.loads(re.findall(r"```json\n(.*?)```", README, re.DOTALL)[0])
    got = json.loads(run(CURL[0].replace(":8000", f":{port}"), checkout).stdout)
    assert got.keys() == shown.keys()
    assert got["digit"] == shown["digit"]
    assert got["probabilities"] == pytest.approx(shown["probabilities"], abs=1e-4)


@pytest.fixture(scope="module")
def trained(checkout: Path) -> Path:
    """The README's training is started word for word and stopped, and goes on, cut short, with an epoch of one seed."""
    with subprocess.Popen(
        ["bash", "-c", f"exec {TRAIN}"],
        cwd=checkout,
        env=environment(OMP_NUM_THREADS="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            process.communicate(timeout=8)
            pytest.fail("training should take longer")
        except subprocess.TimeoutExpired:
            process.kill()
    short = "--formula 'INPUT 28x28x1 -> CONV 4x4x8 stride 4 -> RELU -> FC 10' --epochs 1 --seed 0"
    shutil.rmtree(checkout / "runs", ignore_errors=True)
    result = run(f"{TRAIN} {short}", checkout)
    assert result.returncode == 0, result.stderr
    return checkout


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize("command", [command for command in PYTHON if command != TRAIN])
def test_python(command: str, checkout: Path) -> None:
    result = run(command, checkout)
    assert result.returncode == 0, result.stderr


@pytest.mark.container
@pytest.mark.xdist_group("container")
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
    name = f"digits-readme-{os.getpid()}"
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
