"""Requests to the service under gunicorn, over a socket."""

import http.client
import json
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from service.request_body import DRAIN_SECONDS, SILENCE_SECONDS
from tests.helpers.images import example
from tests.helpers.processes import free_port, wait_for
from tests.helpers.service import request, serving, start

# States in /proc/net/tcp.
ESTABLISHED, LISTENING = "01", "0A"
# A body that is refused in `full_port`.
REFUSED_BYTES = 4 * 2**20


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


def test_requests_in_pieces_of_any_size_in_one_connection(port: int) -> None:
    digits = list(range(10))
    stream = b"".join(predict_request(example(digit)) for digit in digits)
    for size in (100, 4000, 8192, 10_000, len(stream)):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for start in range(0, len(stream), size):
                connection.sendall(stream[start : start + size])
            received = b""
            while received.count(b'"digit"') < len(digits) and (piece := connection.recv(65536)):
                received += piece
        assert [int(one) for one in re.findall(rb'"digit":(\d)', received)] == digits


def predict_request(image: bytes) -> bytes:
    return post_head(len(image)) + image


def test_client_that_does_not_read_loses_its_connection() -> None:
    with serving() as (port, _), socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 500)
        deadline = time.monotonic() + 10 * SILENCE_SECONDS
        while connections(port, ESTABLISHED):
            assert time.monotonic() < deadline
            assert request(port, "POST", "/predict", example(6))[2]["digit"] == 6
            time.sleep(0.2)


def connections(port: int, state: str) -> int:
    """How many sockets on a port are in a state."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == state for row in rows)


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


@pytest.fixture
def full_port() -> Iterator[int]:
    """A service whose memory for bodies is taken by a client that is still sending."""
    sent, done = 31 * 2**20, threading.Event()

    def keep_sending() -> None:
        while not done.wait(0.5):
            holder.sendall(b"x")

    with serving(DIGITS_BODY_MEGABYTES="33") as (port, _), socket.create_connection(("127.0.0.1", port)) as holder:
        holder.sendall(post_head(sent + 1000) + b"\xff\xd8\xff" + bytes(sent))
        sending = threading.Thread(target=keep_sending)
        sending.start()
        wait_for(lambda: request(port, "POST", "/predict", bytes(REFUSED_BYTES))[0] == 503)  # all of it is read
        yield port
        done.set()
        sending.join()


def post_head(length: int) -> bytes:
    return b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % length


def test_refused_body_is_dropped_and_its_connection_kept(full_port: int) -> None:
    with socket.create_connection(("127.0.0.1", full_port), timeout=30) as client:
        for _ in range(3):
            client.sendall(post_head(REFUSED_BYTES) + bytes(1000))
            refusal = client.recv(65536)
            assert refusal.startswith(b"HTTP/1.1 503 ")
            assert b"the request bodies in memory have reached their limit" in refusal
            client.sendall(bytes(REFUSED_BYTES - 1000) + predict_request(example(7)))
            assert b'"digit":7' in client.recv(65536)


def test_refused_body_that_never_comes_blocks_nobody(full_port: int) -> None:
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", full_port))) for _ in range(50)]
        for one in silent:
            one.sendall(post_head(REFUSED_BYTES) + bytes(1000))
        assert all(one.recv(65536).startswith(b"HTTP/1.1 503 ") for one in silent)
        assert request(full_port, "POST", "/predict", example(6))[2]["digit"] == 6
        deadline = time.monotonic() + 3 * DRAIN_SECONDS
        while connections(full_port, ESTABLISHED) > 1:  # the one that fills the memory
            assert time.monotonic() < deadline
            assert request(full_port, "GET", "/health/live")[0] == 200
            time.sleep(0.5)


def test_response_is_sent_in_one_segment(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert json.loads(body) == {"live": True}


def test_tls() -> None:
    """With the options of gunicorn that docs/deployment.md names; the key and its certificate are made for this."""
    secret, port = Path(__file__).with_name("localhost.pem"), free_port()
    process = start(port, {"GUNICORN_CMD_ARGS": f"--certfile={secret} --keyfile={secret}"}, subprocess.DEVNULL)
    trusting = ssl.create_default_context(cafile=str(secret))
    try:
        wait_for(lambda: connections(port, LISTENING) > 0)
        for image in (example(7), large_image(), example(7)):
            connection = http.client.HTTPSConnection("localhost", port, timeout=30, context=trusting)
            connection.request("POST", "/predict", image)
            assert json.loads(connection.getresponse().read())["digit"] == 7
            connection.request("GET", "/openapi.json")
            assert json.loads(connection.getresponse().read())["openapi"]
            connection.close()
    finally:
        process.terminate()
        process.wait(timeout=60)


def large_image() -> bytes:
    """The same 7 in a file of over 100 kB."""
    file = BytesIO()
    Image.open(BytesIO(example(7))).convert("RGB").resize((600, 600)).save(file, "BMP")
    return file.getvalue()
