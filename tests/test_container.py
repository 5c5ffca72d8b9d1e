"""The container, really built and run. Needs a Docker engine."""

import csv
import io
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import EXAMPLES, ROOT, example
from tests.test_gunicorn import free_port, request, wait_until_ready

pytestmark = [pytest.mark.container, pytest.mark.xdist_group("container")]

IMAGE = "digits-test"


def docker(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=check, timeout=900)


@pytest.fixture(scope="module")
def image() -> str:
    if not shutil.which("docker") or docker("info", check=False).returncode != 0:
        pytest.skip("no Docker engine answers")
    # Engines without a bridge to the registries need flags of their own, such as --network host.
    flags = os.environ.get("DOCKER_BUILD_FLAGS", "").split()
    built = docker("build", *flags, "-t", IMAGE, str(ROOT), check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return IMAGE


@pytest.fixture(scope="module")
def container(image: str) -> Iterator[str]:
    """The service, locked down as far as a platform may lock it. Shares the host's network, so that any engine can."""
    port = free_port()
    identifier = docker(
        "run", "--detach", "--network", "host", "--env", f"PORT={port}", "--read-only", "--cap-drop", "ALL",
        "--security-opt", "no-new-privileges", "--memory", "512m", "--cpus", "1", image,
    ).stdout.strip()  # fmt: skip
    try:
        wait_until_ready(port)
        yield f"{identifier} {port}"
    finally:
        docker("rm", "--force", identifier)


def test_serves_locked_down(container: str) -> None:
    _, port = container.split()
    assert request(int(port), "POST", "/predict", example(7))[2]["digit"] == 7


def test_becomes_healthy(container: str) -> None:
    identifier, _ = container.split()
    deadline = time.monotonic() + 60
    while docker("inspect", "--format", "{{.State.Health.Status}}", identifier).stdout.strip() != "healthy":
        assert time.monotonic() < deadline, docker("inspect", identifier).stdout
        time.sleep(0.5)


def test_workers_follow_the_quota(container: str) -> None:
    identifier, _ = container.split()
    assert docker("logs", identifier).stdout.count("Booting worker") == 1


def test_is_not_root_and_carries_no_torch(image: str) -> None:
    assert docker("inspect", "--format", "{{.Config.User}}", image).stdout.strip() == "65532:65532"
    code = "import os; from importlib.util import find_spec; print(os.getuid(), find_spec('torch'), find_spec('onnx'))"
    result = docker("run", "--rm", "--entrypoint", "python", image, "-c", code)
    assert result.stdout.split() == ["65532", "None", "None"]


def test_scores_a_mounted_folder(image: str) -> None:
    result = docker(
        "run",
        "--rm",
        "--network",
        "none",
        "--volume",
        f"{EXAMPLES}:/images",
        image,
        "score",
        "/images",
        "--output",
        "-",
    )
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [(row["path"], row["digit"]) for row in rows] == [
        (f"/images/{digit}.png", str(digit)) for digit in range(10)
    ]


def test_stops_in_time_and_cleanly(image: str) -> None:
    identifier = docker("run", "--detach", "--network", "host", "--env", f"PORT={free_port()}", image).stdout.strip()
    try:
        deadline = time.monotonic() + 60
        while "Ready" not in docker("logs", identifier).stdout:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        docker("stop", identifier)
        assert docker("inspect", "--format", "{{.State.ExitCode}}", identifier).stdout.strip() == "0"
    finally:
        docker("rm", "--force", identifier)


def test_wrong_model_and_wrong_command_stop_the_start_with_a_sentence(image: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    arguments = ["run", "--rm", "--volume", f"{tmp_path}:/model", "--env", "DIGITS_MODEL=/model/model.onnx", image]
    for mode, message in [(0o700, "got: Permission denied."), (0o755, "got a file that ONNX Runtime cannot load.")]:
        tmp_path.chmod(mode)
        result = docker(*arguments, check=False)
        assert result.returncode != 0
        assert f"error: /model/model.onnx: expected an ONNX model; {message}" in result.stderr
        assert "Traceback" not in result.stderr
    result = docker("run", "--rm", image, "dance", check=False)
    assert result.returncode == 1
    assert "error: expected serve or score; got 'dance'" in result.stderr
