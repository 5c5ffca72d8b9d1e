"""Starting and stopping the service."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from service.settings import Settings
from tests.helpers.broken_models import endless_model, failing_model
from tests.helpers.images import example
from tests.helpers.paths import ROOT
from tests.helpers.processes import environment, free_port, wait_for, worker_processes
from tests.helpers.service import metric, receive, request, serving, start, wait_until_ready


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"DIGITS_MODEL": "/nowhere/model.onnx"},
            "error: /nowhere/model.onnx: expected an ONNX model; got: No such file or directory.",
        ),
        (
            {"DIGITS_MODEL": "README.md"},
            "error: finder.onnx: expected an ONNX model; got: No such file or directory.",
        ),
        ({"DIGITS_PROVIDER": "cuda"}, "error: DIGITS_PROVIDER: expected CUDA; this ONNX Runtime is built without it"),
        ({"DIGITS_PORT": "80"}, "error: DIGITS_PORT: no such setting"),
        ({"DIGITS_WORKERS": "many"}, "error: DIGITS_WORKERS: expected a whole number, 0 to 1024; got 'many'"),
        ({"DIGITS_QUEUE": "9" * 5000}, "error: DIGITS_QUEUE: expected a whole number, 0 to 512; got '999"),
        ({"HOST": "http://localhost"}, "error: HOST: expected an IP address or a host name; got 'http://localhost'"),
        ({"DIGITS_MODEL": "x" * 5000}, "error: xxx"),
    ],
)
def test_invalid_settings_stop_the_start_with_one_line(settings: dict[str, str], message: str) -> None:
    process = start(free_port(), settings)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert [line.startswith(message) for line in output.splitlines() if line.startswith("error")] == [True]
    assert "Traceback" not in output


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A version whose classifier never finishes."""
    shutil.copy(Settings().model_path.with_name("finder.onnx"), tmp_path)
    (tmp_path / "model.onnx").write_bytes(endless_model())
    return tmp_path


def test_out_of_memory_kill_during_start_is_reported(endless: Path) -> None:
    process = start(free_port(), {"DIGITS_MODEL": str(endless)})
    wait_for(lambda: len(worker_processes(process)) == 1)
    os.kill(worker_processes(process)[0], signal.SIGKILL)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "error: loading the model was killed: is there enough memory?\n" in output


@pytest.mark.parametrize("signal_sent", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_start_leaves_no_process(signal_sent: signal.Signals, endless: Path) -> None:
    process = start(free_port(), {"DIGITS_MODEL": str(endless)})
    wait_for(lambda: len(worker_processes(process)) == 1)
    [child] = worker_processes(process)
    process.send_signal(signal_sent)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in output
    wait_for(lambda: not Path(f"/proc/{child}").exists())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preload"], "error: expected no --preload: an ONNX Runtime session does not survive the fork"),
        # Gunicorn replaces sync by gthread because several threads are configured.
        (["-k", "sync"], "error: expected no other worker class than the service's own; got gthread"),
        (["-k", "gthread"], "error: expected no other worker class than the service's own; got gthread"),
    ],
)
def test_unsupported_gunicorn_options_stop_the_start_with_one_line(options: list[str], message: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "gunicorn", *options],
        cwd=ROOT,
        env=environment(PORT=str(free_port())),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.startswith(message)
    assert len(result.stderr.splitlines()) == 1


def test_start_prints_a_working_curl_command_and_sigterm_exits_with_0() -> None:
    port = free_port()
    process = start(port, {"DIGITS_WORKERS": "1"})
    assert process.stdout is not None
    assert any("Ready, with model digits version" in line and "on cpu" in line for line in process.stdout)
    command = next(line.strip() for line in process.stdout if "curl" in line)
    answer = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, check=True)
    assert json.loads(answer.stdout)["digit"] == 7
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_check_config() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "gunicorn", "--check-config"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_application_writes_nothing_to_the_home_directory(tmp_path: Path) -> None:
    code = "from service.app import create_app; create_app()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(HOME=str(tmp_path)), check=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_ipv6(host: str) -> None:
    port = free_port()
    process = start(port, {"DIGITS_WORKERS": "1", "HOST": host})
    assert process.stdout is not None
    assert any(f"Listening at: http://[::1]:{port}" in line for line in process.stdout)
    process.terminate()
    process.communicate(timeout=30)


def test_path_prefix() -> None:
    with serving(SCRIPT_NAME="/digits") as (port, _):
        assert request(port, "POST", "/digits/predict", example(7))[2]["digit"] == 7
        for path in ("/predict", "/", "/Digits/predict"):
            assert request(port, "POST", path, example(7))[::2] == (404, {"error": f"no such path: {path}"})


def test_version_with_broken_activations_still_predicts(tmp_path: Path) -> None:
    shutil.copytree(Settings().model_path.parent, tmp_path / "1")
    (tmp_path / "1" / "explain.onnx").write_bytes(failing_model())
    with serving(DIGITS_MODEL=str(tmp_path)) as (port, _):
        assert request(port, "POST", "/predict", example(7))[2]["digit"] == 7
        assert request(port, "POST", "/explain", example(7))[0] == 404


def test_ctrl_c_prints_no_traceback() -> None:
    """As a terminal sends it: to the master and its workers at once, while requests are in progress."""
    port = free_port()
    process = start(port, {"DIGITS_WORKERS": "2"}, session=True)
    wait_until_ready(port)
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(socket.create_connection(("127.0.0.1", port))).sendall(head)
        wait_for(lambda: metric(port, "digits_requests_total", route="/health/ready", status="200") >= 1)
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in output
    assert "The worker has failed" not in output


def test_stopping_service_is_not_ready_and_finishes_its_requests() -> None:
    def ask(connection: http.client.HTTPConnection) -> tuple[int, bool]:
        connection.request("GET", "/health/ready")
        response = connection.getresponse()
        return response.status, json.loads(response.read())["ready"]

    with serving() as (port, process):
        [worker] = worker_processes(process)
        kept = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        assert ask(kept) == (200, True)
        data = example(7)
        with socket.create_connection(("127.0.0.1", port), timeout=30) as uploading:
            head = b"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(data)
            uploading.sendall(head + data[:100])
            time.sleep(0.5)
            os.kill(worker, signal.SIGTERM)
            wait_for(lambda: ask(kept) == (503, False))
            uploading.sendall(data[100:])
            assert b'"digit":7' in receive(uploading)
    assert process.returncode == 0
