"""The service as it really runs: gunicorn with its configuration, asked over a socket."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from PIL import Image

from service.settings import Settings
from tests.helpers.broken_models import endless_model, failing_model
from tests.helpers.images import encode, example
from tests.helpers.paths import ROOT
from tests.helpers.processes import environment, free_port, wait_for, worker_processes
from tests.helpers.service import metric, receive, request, send_raw, serving, start, wait_until_ready


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    port = free_port()
    process = start(port, {"DIGITS_WORKERS": "2"})
    try:
        wait_until_ready(port)
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_answers(port: int) -> None:
    status, headers, body = request(port, "POST", "/predict", example(7))
    assert status == 200
    assert headers["Content-Type"] == "application/json"
    assert body["digit"] == 7


def test_many_at_once(port: int) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = pool.map(
            lambda digit: request(port, "POST", "/predict", example(digit))[2]["digit"], list(range(10)) * 10
        )
        assert list(answers) == list(range(10)) * 10


def test_keeps_connections_alive(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/predict", example(1))
    connection.getresponse().read()
    first = connection.sock
    connection.request("POST", "/predict", example(2))
    assert json.loads(connection.getresponse().read())["digit"] == 2
    assert connection.sock is first
    connection.close()


@pytest.mark.parametrize("size", [16 * 2**20 + 1, 64 * 2**20])
@pytest.mark.parametrize("headers", [{}, {"Content-Type": "multipart/form-data; boundary=x"}])
def test_too_large_a_body_gets_its_413_and_no_reset(size: int, headers: dict[str, str], port: int) -> None:
    # This client sends everything before it reads anything, as most do.
    status, _, body = request(port, "POST", "/predict", bytes(size), headers)
    assert status == 413
    assert body == {"error": f"expected a body of at most 16777216 bytes; got {size}"}


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "multipart/form-data; boundary=x"}])
def test_too_large_a_body_of_unknown_length(headers: dict[str, str], port: int) -> None:
    chunks = (bytes(2**20) for _ in range(20))
    status, _, body = request(
        port, "POST", "/predict", chunks, headers | {"Transfer-Encoding": "chunked"}, chunked=True
    )
    assert status == 413
    assert body == {"error": "expected a body of at most 16777216 bytes; got more"}


@pytest.mark.parametrize(("method", "path", "status"), [("POST", "/nowhere", 404), ("PUT", "/predict", 405)])
def test_refused_request_with_a_large_body_gets_its_answer(method: str, path: str, status: int, port: int) -> None:
    assert request(port, method, path, bytes(10 * 2**20))[0] == status


def test_silent_clients_are_given_up(port: int) -> None:
    """More of them than there are threads, and the service answers all the same, a little later."""
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc"
    with ExitStack() as stack:
        for _ in range(12):
            stack.enter_context(socket.create_connection(("127.0.0.1", port))).sendall(head)
        assert request(port, "POST", "/predict", example(6))[2]["digit"] == 6


def test_chunked_body(port: int) -> None:
    data = example(9)
    chunks = iter([data[:1000], data[1000:]])
    body = request(port, "POST", "/predict", chunks, {"Transfer-Encoding": "chunked"}, chunked=True)[2]
    assert body["digit"] == 9


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET /" + b"x" * 10000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 10000 + b"\r\n\r\n", 431),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", 400),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nConnection: close\r\n\r\nshort", 400),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nZZ\r\n", 400),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nab", 400),
        (
            b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            b"1\r\na\r\n0\r\nbad trailer\r\n\r\n",
            400,
        ),
        (
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            b"Content-Length: 100\r\nConnection: close\r\n\r\n--b\r\n",
            400,
        ),
    ],
)
def test_broken_requests_get_json_too(data: bytes, status: int, port: int) -> None:
    head, _, body = send_raw(port, data).partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert re.search(rb"\r\nContent-Type: application/json(\r\n|$)", head)
    assert set(json.loads(body)) == {"error"}
    assert b"NONSENSE" not in body
    assert request(port, "POST", "/predict", example(3))[2]["digit"] == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"DIGITS_MODEL": "/nowhere/model.onnx"},
            "error: /nowhere/model.onnx: expected an ONNX model; got: No such file or directory.",
        ),
        (
            {"DIGITS_MODEL": "README.md"},
            "error: README.md: expected an ONNX model; got a file that ONNX Runtime cannot load.",
        ),
        ({"DIGITS_PROVIDER": "cuda"}, "error: DIGITS_PROVIDER: expected CUDA; this ONNX Runtime is built without it"),
        ({"DIGITS_PORT": "80"}, "error: DIGITS_PORT: no such setting"),
        ({"DIGITS_WORKERS": "many"}, "error: DIGITS_WORKERS: expected a whole number, 0 to 1024; got 'many'"),
        ({"DIGITS_QUEUE": "9" * 5000}, "error: DIGITS_QUEUE: expected a whole number, 0 to 512; got '999"),
        ({"HOST": "http://localhost"}, "error: HOST: expected an IP address or a host name; got 'http://localhost'"),
        ({"DIGITS_MODEL": "x" * 5000}, "error: xxx"),
    ],
)
def test_unusable_settings_stop_the_start_with_one_sentence(settings: dict[str, str], message: str) -> None:
    process = start(free_port(), settings)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert [line.startswith(message) for line in output.splitlines() if line.startswith("error")] == [True]
    assert "Traceback" not in output


def test_a_start_that_is_killed_for_its_memory_says_so(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(endless_model())
    process = start(free_port(), {"DIGITS_MODEL": str(tmp_path / "model.onnx")})
    wait_for(lambda: len(worker_processes(process)) == 1)
    os.kill(worker_processes(process)[0], signal.SIGKILL)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "error: expected to load the model; was killed: is there enough memory?\n" in output


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_a_start_that_is_ended_leaves_nothing_behind(told: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(endless_model())
    process = start(free_port(), {"DIGITS_MODEL": str(tmp_path / "model.onnx")})
    wait_for(lambda: len(worker_processes(process)) == 1)
    [child] = worker_processes(process)
    process.send_signal(told)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in output
    wait_for(lambda: not Path(f"/proc/{child}").exists())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preload"], "error: expected no --preload: an ONNX Runtime session does not survive the fork"),
        # Gunicorn takes this for gthread, since there are several threads.
        (["-k", "sync"], "error: expected no other worker class than the service's own; got gthread"),
        (["-k", "gthread"], "error: expected no other worker class than the service's own; got gthread"),
    ],
)
def test_ways_to_run_it_that_cannot_work_stop_the_start_with_one_sentence(options: list[str], message: str) -> None:
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


def test_start_prints_a_command_that_works_and_stop_is_clean() -> None:
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


def versions_served(port: int) -> object:
    """By a worker that is not about to stop."""
    return request(port, "GET", "/health/ready", headers={"Connection": "close"})[2].get("versions")


def test_reload_serves_the_versions_there_are_now_without_one_failed_request(tmp_path: Path) -> None:
    shutil.copytree(Settings().model_path.parent, tmp_path / "1")
    port = free_port()
    # One worker, so that once the new one answers none is still loading.
    process = start(port, {"DIGITS_MODEL": str(tmp_path), "DIGITS_WORKERS": "1"}, stdout=subprocess.DEVNULL)
    stopped = threading.Event()

    def ask() -> list[tuple[int, object]]:
        answers = []
        while not stopped.is_set():
            status, _, body = request(port, "POST", "/predict", example(7))
            answers.append((status, body.get("digit")))
        return answers

    try:
        wait_until_ready(port)
        assert versions_served(port) == ["1"]
        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask) for _ in range(4)]
            try:
                shutil.copytree(tmp_path / "1", tmp_path / "2")
                (tmp_path / "3").mkdir()
                (tmp_path / "3" / "model.onnx").write_bytes(b"broken")
                process.send_signal(signal.SIGHUP)
                wait_for(lambda: versions_served(port) == ["2", "1"])
                # Nothing that can be served: what was served is served on.
                for version in ("1", "2"):
                    (tmp_path / version / "model.onnx").rename(tmp_path / version / "away.onnx")
                process.send_signal(signal.SIGHUP)
                time.sleep(3)
                assert versions_served(port) == ["2", "1"]
            finally:
                stopped.set()
            answers = [answer for one in asking for answer in one.result()]
        assert set(answers) == {(200, 7)}
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.mark.parametrize("content", [failing_model(), b"broken"], ids=["fails when run", "broken"])
def test_a_reload_that_is_refused_leaves_the_service_as_it_was(content: bytes, tmp_path: Path) -> None:
    shutil.copytree(Settings().model_path.parent, tmp_path / "1")
    port = free_port()
    with (tmp_path / "log").open("w+") as log:
        process = start(port, {"DIGITS_MODEL": str(tmp_path), "DIGITS_WORKERS": "2"}, stdout=log.fileno())
        try:
            wait_until_ready(port)
            wait_for(lambda: len(worker_processes(process)) == 2)
            before = worker_processes(process)
            for name in ("model.onnx", "explain.onnx"):
                (tmp_path / "1" / name).write_bytes(content)
            process.send_signal(signal.SIGHUP)
            wait_for(lambda: "what was served is served on" in (tmp_path / "log").read_text())
            assert worker_processes(process) == before
            # A worker that takes a dead one's place serves what was read at the start.
            for worker in before:
                os.kill(worker, signal.SIGKILL)
            wait_for(lambda: len(set(worker_processes(process)) - set(before)) == 2)
            for _ in range(10):
                assert request(port, "POST", "/predict", example(7))[2]["digit"] == 7
                assert request(port, "POST", "/explain", example(7))[0] == 200
            assert process.poll() is None
        finally:
            process.terminate()
            process.wait(timeout=30)


def test_a_version_whose_layers_cannot_be_shown_is_served_without_them(tmp_path: Path) -> None:
    shutil.copytree(Settings().model_path.parent, tmp_path / "1")
    (tmp_path / "1" / "explain.onnx").write_bytes(failing_model())
    with serving(DIGITS_MODEL=str(tmp_path)) as (port, _):
        assert request(port, "POST", "/predict", example(7))[2]["digit"] == 7
        assert request(port, "POST", "/explain", example(7))[0] == 404


def test_ctrl_c_prints_no_traceback() -> None:
    """As the terminal sends it: to the master and its workers at once, and some requests are on their way."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn"],
        cwd=ROOT,
        env=environment(PORT=str(port), DIGITS_WORKERS="2"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
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
    assert "cannot go on" not in output


def test_requests_that_never_reach_the_application_are_counted_and_logged(tmp_path: Path) -> None:
    port = free_port()
    with (tmp_path / "log").open("w") as log:
        process = start(
            port, {"DIGITS_WORKERS": "1", "DIGITS_LOG": "json", "DIGITS_DEADLINE": "1"}, stdout=log.fileno()
        )
        try:
            wait_until_ready(port)
            statuses = {"400": b"NONSENSE\r\n\r\n", "414": b"GET /" + b"x" * 10000 + b" HTTP/1.1\r\n\r\n"}
            statuses["431"] = b"GET / HTTP/1.1\r\nX: " + b"x" * 10000 + b"\r\n\r\n"
            statuses["501"] = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: x\r\n\r\n"
            for status, data in statuses.items():
                assert send_raw(port, data).split()[1].decode() == status
            with socket.create_connection(("127.0.0.1", port), timeout=30) as slow:
                slow.sendall(b"POST /predict HT")
                assert receive(slow).split()[1] == b"408"
            for status in (*statuses, "408"):
                assert metric(port, "digits_requests_total", route="unknown", status=status) == 1
        finally:
            process.terminate()
            process.wait(timeout=30)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    faults = {line["status"]: line["fault"] for line in lines if line.get("route") == "unknown"}
    assert set(faults) == {400, 408, 414, 431, 501}
    assert faults[400] == "InvalidRequestLine"
    assert all(line["client"] == "127.0.0.1" for line in lines if line.get("route") == "unknown")


def test_no_image_writes_into_the_log(tmp_path: Path) -> None:
    port = free_port()
    broken = bytearray(encode(Image.new("L", (64, 64), 255), "TIFF", compression="tiff_deflate"))
    broken[10:14] = b"\xff\xff\xff\xff"
    with (tmp_path / "log").open("w") as log:
        process = start(port, {"DIGITS_WORKERS": "1", "DIGITS_LOG": "json"}, stdout=log.fileno())
        try:
            wait_until_ready(port)
            assert request(port, "POST", "/predict", bytes(broken))[0] == 400
        finally:
            process.terminate()
            process.wait(timeout=30)
    assert [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_ipv6(host: str) -> None:
    port = free_port()
    process = start(port, {"DIGITS_WORKERS": "1", "HOST": host})
    assert process.stdout is not None
    assert any(f"Listening at: http://[::1]:{port}" in line for line in process.stdout)
    process.terminate()
    process.communicate(timeout=30)


def test_a_path_outside_of_the_prefix_is_unknown() -> None:
    port = free_port()
    process = start(port, {"DIGITS_WORKERS": "1", "SCRIPT_NAME": "/digits"}, stdout=subprocess.DEVNULL)
    try:
        wait_until_ready(port, "/digits")
        assert request(port, "POST", "/digits/predict", example(7))[2]["digit"] == 7
        for path in ("/predict", "/", "/Digits/predict"):
            assert request(port, "POST", path, example(7))[::2] == (404, {"error": f"no such path: {path}"})
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_nothing_is_written_into_the_home_and_nobody_is_told(tmp_path: Path) -> None:
    code = "from service.app import create_app; create_app()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(HOME=str(tmp_path)), check=True)
    assert not list(tmp_path.iterdir())


def test_configuration_starts_nothing_by_itself() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "gunicorn", "--check-config"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_totals_are_right_over_killed_and_recycled_workers() -> None:
    port = free_port()
    process = start(port, {"DIGITS_WORKERS": "2"}, stdout=subprocess.DEVNULL)

    def counted() -> float:
        with suppress(KeyError):  # nothing has been counted yet
            return metric(port, "digits_requests_total", route="/predict", status="200")
        return 0

    try:
        wait_until_ready(port)
        for _ in range(20):
            request(port, "POST", "/predict", example(3), {"Connection": "close"})
        wait_for(lambda: counted() == 20)  # a killed worker takes with it what it counted last
        killed = set(worker_processes(process))
        for worker in killed:
            os.kill(worker, signal.SIGKILL)
        wait_for(lambda: not killed & set(worker_processes(process)))
        wait_until_ready(port)
        assert counted() == 20
        for _ in range(20):
            request(port, "POST", "/predict", example(3), {"Connection": "close"})
        before = set(worker_processes(process))
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: not before & set(worker_processes(process)))
        wait_until_ready(port)
        request(port, "POST", "/predict", example(3))
        wait_for(lambda: counted() == 41)
        assert metric(port, "digits_images_in_flight") == 0
        highest = Settings().model_path.parent.name
        assert metric(port, "digits_model_info", version=highest, default="true", provider="cpu") == 1
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_the_log_is_json_where_it_is_asked_for() -> None:
    port = free_port()
    process = start(port, {"DIGITS_WORKERS": "1", "DIGITS_LOG": "json"})
    try:
        wait_until_ready(port)
        status, headers, _ = request(port, "POST", "/predict", example(3))
        assert status == 200
    finally:
        process.terminate()
        output, _ = process.communicate(timeout=30)
    lines = [json.loads(line) for line in output.splitlines()]
    assert all({"time", "level", "message", "process"} <= set(line) for line in lines)
    [line] = [line for line in lines if line.get("route") == "/predict"]
    assert line["request_id"] == headers["X-Request-ID"]
    assert line["client"] == "127.0.0.1"


def test_clients_that_send_nothing_or_slowly_hold_nobody_up_and_get_408() -> None:
    port = free_port()
    process = start(port, {"DIGITS_WORKERS": "1", "DIGITS_DEADLINE": "2"}, stdout=subprocess.DEVNULL)
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    try:
        wait_until_ready(port)
        with ExitStack() as stack:
            for _ in range(200):  # which have connected, and say nothing
                stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            slow = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30)) for _ in range(20)]
            for number in range(8):
                for one, data in zip(slow, [head[:20], head + b"x"] * 10, strict=True):
                    with suppress(OSError):  # it has been given up
                        one.sendall(data if number == 0 else b"x")
                begun = time.monotonic()
                assert request(port, "POST", "/predict", example(6))[2]["digit"] == 6
                assert time.monotonic() - begun < 1
                time.sleep(0.5)
            assert {one.recv(65536).split(b" ")[1] for one in slow} == {b"408"}
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_a_service_that_stops_is_not_ready_and_answers_what_it_has_taken_on() -> None:
    def ask(connection: http.client.HTTPConnection) -> tuple[int, bool]:
        connection.request("GET", "/health/ready")
        response = connection.getresponse()
        return response.status, json.loads(response.read())["ready"]

    port = free_port()
    process = start(port, {"DIGITS_WORKERS": "1"}, stdout=subprocess.DEVNULL)
    try:
        wait_until_ready(port)
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
    finally:
        process.terminate()
        assert process.wait(timeout=30) == 0


def test_an_answer_comes_in_one_piece(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert json.loads(body) == {"live": True}


def test_a_request_that_takes_long_holds_no_other_up() -> None:
    with serving(DIGITS_DEADLINE="30") as (port, _), socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        time.sleep(0.2)
        begun = time.monotonic()
        for _ in range(20):
            assert request(port, "GET", "/health/live")[0] == 200
        assert time.monotonic() - begun < 10  # and not 30, the deadline of the slow one
