import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.processes import free_port


@contextmanager
def answering(answer: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A server on a port that gives one answer, and the request that it got."""
    requests: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            requests.append(connection.recv(1024))
            if answer:
                connection.sendall(answer)
            else:
                connection.recv(1)  # until the client gives up

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1], requests
        thread.join()


def health(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli", "health", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=10)


@pytest.mark.parametrize(("prefix", "path"), [("", "/health/ready"), ("/digits", "/digits/health/ready")])
def test_a_ready_service_is_healthy(prefix: str, path: str) -> None:
    with answering(b"HTTP/1.1 200 OK\r\n\r\n") as (port, requests):
        result = health(PORT=str(port), SCRIPT_NAME=prefix, http_proxy="http://127.0.0.1:9")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert requests == [f"GET {path} HTTP/1.0\r\n\r\n".encode()]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "the service is not ready: HTTP/1.1 503 Service Unavailable"),
        (b"", "no answer from port {port}: timed out"),
    ],
)
def test_a_service_that_is_not_ready_is_unhealthy(answer: bytes, message: str) -> None:
    with answering(answer) as (port, _):
        result = health(PORT=str(port))
    assert (result.returncode, result.stderr) == (1, f"error: {message.format(port=port)}\n")


def test_no_service_is_unhealthy() -> None:
    port = free_port()
    result = health(PORT=str(port))
    message = f"error: no answer from port {port}: [Errno 111] Connection refused\n"
    assert (result.returncode, result.stderr) == (1, message)
    assert health(PORT="none").returncode == 1
