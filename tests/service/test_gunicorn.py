"""Requests to the service under gunicorn, over a socket."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest

from tests.helpers.images import example
from tests.helpers.service import request, serving


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(DIGITS_WORKERS="2") as (port, _):
        yield port


def test_predict(port: int) -> None:
    status, headers, body = request(port, "POST", "/predict", example(7))
    assert status == 200
    assert headers["Content-Type"] == "application/json"
    assert body["digit"] == 7


def test_concurrent_requests(port: int) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = pool.map(
            lambda digit: request(port, "POST", "/predict", example(digit))[2]["digit"], list(range(10)) * 10
        )
        assert list(answers) == list(range(10)) * 10


def test_keep_alive(port: int) -> None:
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
def test_oversized_body_gets_413_without_reset(size: int, headers: dict[str, str], port: int) -> None:
    # Like most clients, this one sends the whole body before it reads the response.
    status, _, body = request(port, "POST", "/predict", bytes(size), headers)
    assert status == 413
    assert body == {"error": f"expected a body of at most 16777216 bytes; got {size}"}


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "multipart/form-data; boundary=x"}])
def test_oversized_chunked_body(headers: dict[str, str], port: int) -> None:
    chunks = (bytes(2**20) for _ in range(20))
    status, _, body = request(
        port, "POST", "/predict", chunks, headers | {"Transfer-Encoding": "chunked"}, chunked=True
    )
    assert status == 413
    assert body == {"error": "expected a body of at most 16777216 bytes; got more"}


@pytest.mark.parametrize(("method", "path", "status"), [("POST", "/nowhere", 404), ("PUT", "/predict", 405)])
def test_rejected_request_with_large_body_gets_response(method: str, path: str, status: int, port: int) -> None:
    assert request(port, method, path, bytes(10 * 2**20))[0] == status


def test_chunked_body(port: int) -> None:
    data = example(9)
    chunks = iter([data[:1000], data[1000:]])
    body = request(port, "POST", "/predict", chunks, {"Transfer-Encoding": "chunked"}, chunked=True)[2]
    assert body["digit"] == 9


def test_idle_and_slow_clients_get_408_and_block_nobody() -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    with serving(DIGITS_DEADLINE="2") as (port, _), ExitStack() as stack:
        for _ in range(200):  # connect and stay silent
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30)) for _ in range(20)]
        for number in range(8):
            for one, data in zip(slow, [head[:20], head + b"x"] * 10, strict=True):
                with suppress(OSError):  # the service has closed the connection
                    one.sendall(data if number == 0 else b"x")
            started = time.monotonic()
            assert request(port, "POST", "/predict", example(6))[2]["digit"] == 6
            assert time.monotonic() - started < 1
            time.sleep(0.5)
        assert {one.recv(65536).split(b" ")[1] for one in slow} == {b"408"}


def test_response_is_sent_in_one_segment(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert json.loads(body) == {"live": True}
