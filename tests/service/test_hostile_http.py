"""Malformed, oversized and slow HTTP requests, over a socket to a real gunicorn."""

import json
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.helpers.images import example
from tests.helpers.processes import resident_megabytes, worker_processes
from tests.helpers.service import receive, request, serving

DEADLINE = 2
IMAGE = example(7)


@pytest.fixture(scope="module")
def process() -> Iterator[tuple[int, subprocess.Popen[str]]]:
    with serving(DIGITS_DEADLINE=str(DEADLINE)) as service:
        yield service


def exchange(port: int, data: bytes, end: bool = True) -> list[tuple[int, bytes]]:
    """Status and body of each response until the service closes the connection; `end` half-closes this side first."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        with suppress(OSError):  # the service may respond before it has read everything
            connection.sendall(data)
            if end:
                connection.shutdown(socket.SHUT_WR)
        answer = b""
        with suppress(ConnectionResetError):
            answer = receive(connection)
    answers = []
    while answer:
        head, _, rest = answer.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        size = int(length[1]) if length else 0
        status = int(head.split()[1])
        assert status < 400 or b"\r\nContent-Type: application/json" in head
        answers.append((status, rest[:size]))
        answer = rest[size:]
    return answers


POST = b"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
GET = b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
WHOLE = b"Content-Length: %d\r\n\r\n" % len(IMAGE) + IMAGE
FIVE = b"Content-Length: 5\r\n\r\nhello"
FORM = b"Content-Type: multipart/form-data; boundary=b\r\n"
PART = b'--b\r\nContent-Disposition: form-data; name="image"; filename="7.png"\r\n\r\n' + IMAGE + b"\r\n"
ILL_FORMED, CUT_SHORT, NO_IMAGE = "a well-formed HTTP request", "broken or cut short", "got 5 bytes of an unknown"

# Name: the bytes sent, the statuses of the responses and a part of the last error.
REQUESTS: dict[str, tuple[bytes, list[int], str]] = {
    "two lengths": (POST + b"Content-Length: 6\r\n" + FIVE, [400], ILL_FORMED),
    "the same length twice": (POST + b"Content-Length: 5\r\n" + FIVE, [400], ILL_FORMED),
    "list of lengths": (POST + b"Content-Length: 5, 5\r\n\r\nhello", [400], ILL_FORMED),
    "signed length": (POST + b"Content-Length: +5\r\n\r\nhello", [400], ILL_FORMED),
    "negative length": (POST + b"Content-Length: -5\r\n\r\nhello", [400], ILL_FORMED),
    "empty length": (POST + b"Content-Length:\r\n\r\nhello", [400], ILL_FORMED),
    "length in Arabic digits": (POST + "Content-Length: ٥\r\n\r\nhello".encode(), [400], ILL_FORMED),
    "length of 99 digits": (
        POST + b"Content-Length: " + b"9" * 99 + b"\r\n\r\nhello",
        [413],
        "of at most 16777216 bytes",
    ),
    "length of 5000 digits": (POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nhello", [400], ILL_FORMED),
    "length too large by one": (POST + b"Content-Length: 6\r\n\r\nhello", [400], CUT_SHORT),
    "length too small": (POST.replace(b"close", b"keep-alive") + FIVE + b"GARBAGE\r\n\r\n", [400, 400], ILL_FORMED),
    "no length": (POST + b"\r\nhello", [400], "got no bytes"),
    "length and chunks": (POST + b"Transfer-Encoding: chunked\r\n" + FIVE, [400], ILL_FORMED),
    "chunked twice": (POST + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n", [400], ILL_FORMED),
    # 501 by RFC 9112, section 6.1.
    "unknown coding": (POST + b"Transfer-Encoding: x\r\n\r\n", [501], "no Transfer-Encoding other than chunked"),
    "chunks in HTTP/1.0": (b"POST /predict HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [400], ILL_FORMED),
    "space before a colon": (POST + b"Content-Length : 5\r\n\r\nhello", [400], ILL_FORMED),
    "negative chunk": (CHUNKED + b"-1\r\na\r\n0\r\n\r\n", [400], CUT_SHORT),
    "chunk size without digits": (CHUNKED + b"ZZ\r\n", [400], CUT_SHORT),
    "malformed trailer": (CHUNKED + b"1\r\na\r\n0\r\nbad trailer\r\n\r\n", [400], CUT_SHORT),
    "chunk size in 0x": (CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n", [400], CUT_SHORT),
    "chunk without size": (CHUNKED + b"\r\nhello\r\n0\r\n\r\n", [400], CUT_SHORT),
    "chunk of 16 digits": (CHUNKED + b"f" * 16 + b"\r\nhello", [400], CUT_SHORT),
    "chunk of 100,000 digits": (CHUNKED + b"f" * 100_000 + b"\r\nhello", [400], CUT_SHORT),
    "chunk without end": (CHUNKED + b"5\r\nhelloXX0\r\n\r\n", [400], CUT_SHORT),
    "chunk cut short": (CHUNKED + b"5\r\nhel", [400], CUT_SHORT),
    "chunk extension": (CHUNKED + b"5;" + b"a" * 10**6 + b"\r\nhello\r\n0\r\n\r\n", [400], CUT_SHORT),
    "trailers": (CHUNKED + b"5\r\nhello\r\n0\r\n" + b"A: b\r\n" * 200_000 + b"\r\n", [400], CUT_SHORT),
    "chunks of a byte": (CHUNKED + b"1\r\na\r\n" * 20_000 + b"0\r\n\r\n", [400], "20000 bytes of an unknown format"),
    "1000 headers": (POST + b"".join(b"A%d: b\r\n" % number for number in range(1000)) + b"\r\n", [431], ILL_FORMED),
    "headers without end": (POST + b"A: b\r\n" * 200_000, [431], ILL_FORMED),
    "header without end": (POST + b"A: " + b"b" * 10**6, [431], ILL_FORMED),
    "NUL in a header": (POST + b"A: \0\r\n\r\n", [400], ILL_FORMED),
    "NUL in a name": (POST + b"A\0: b\r\n\r\n", [400], ILL_FORMED),
    "carriage return in a header": (POST + b"A: a\rb\r\n\r\n", [400], ILL_FORMED),
    "folded header": (POST + b"A: a\r\n b\r\n\r\n", [400], ILL_FORMED),
    "header without a name": (POST + b": b\r\n\r\n", [400], ILL_FORMED),
    "two hosts": (POST + b"Host: y\r\n" + FIVE, [400], ILL_FORMED),
    "invalid host": (b"POST /predict HTTP/1.1\r\nHost: <x>\r\nConnection: close\r\n" + FIVE, [400], NO_IMAGE),
    "not HTTP": (b"NONSENSE\r\n\r\n", [400], ILL_FORMED),
    "header without a colon": (b"GET / HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n", [400], ILL_FORMED),
    "HTTP/9.9": (b"GET / HTTP/9.9\r\n\r\n", [400], ILL_FORMED),
    "HTTP/0.9": (b"GET /\r\n\r\n", [400], ILL_FORMED),
    "HTTP/1.0": (b"POST /predict HTTP/1.0\r\n" + WHOLE, [200], ""),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400], ILL_FORMED),
    "absolute address": (POST.replace(b"/predict", b"http://x/predict") + WHOLE, [200], ""),
    "address on another host": (b"GET http://other.example/a" + GET, [404], "no such path: /a"),
    "tunnel": (b"CONNECT x:80" + GET, [404], "no such path"),
    "NUL in a path": (b"GET /\0" + GET, [400], ILL_FORMED),
    "escaped NUL in a path": (b"GET /page/%00" + GET, [404], "no such path"),
    "path traversal": (b"GET /page/..%2f..%2f..%2fetc/passwd" + GET, [404], "no such path"),
    "path that is not UTF-8": (b"GET /v2/models/%ff%00%0a" + GET, [404], "expected a model that is served"),
    "path without end": (b"GET /" + b"a" * 10**6, [414], ILL_FORMED),
    "version that is not UTF-8": (POST.replace(b"/predict", b"/predict?version=%ff%00") + FIVE, [404], ""),
    "method in lower case": (POST.replace(b"POST", b"post") + FIVE, [400], ILL_FORMED),
    "TLS": (bytes.fromhex("1603010200010001fc0303") + b"\r\n" * 9, [400], ILL_FORMED),
    "only NULs": (bytes(10_000), [414], ILL_FORMED),
    "ranges": (b"GET /page/style.css" + GET[:-2] + b"Range: bytes=9-1\r\n\r\n", [416], "expected"),
    "expect 100": (POST + b"Expect: 100-continue\r\n" + WHOLE, [100, 200], ""),
    "expect 100, oversized": (
        POST + b"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n",
        [100, 413],
        "at most 16777216 bytes",
    ),
    "unknown expectation": (POST + b"Expect: miracles\r\n" + FIVE, [417], ILL_FORMED),
    "pipelined": (b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n" * 100 + b"GET /" + GET, [200] * 101, ""),
    "broken gzip": (POST + b"Content-Encoding: gzip\r\n" + FIVE, [400], "in gzip's or zlib's format"),
    "form cut short": (POST + FORM + b"Content-Length: 100\r\n\r\n--b\r\n", [400], ""),
    "batch cut short": (
        POST.replace(b"/predict", b"/predict/batch")
        + FORM
        + b"Content-Length: %d\r\n\r\n" % (3 * len(PART))
        + PART * 2,
        [400],
        CUT_SHORT,
    ),
    "invalid content type": (POST + b'Content-Type: \xff/;;="\r\n' + FIVE, [400], NO_IMAGE),
    # No request to respond to: the connection is closed.
    "nothing": (b"", [], ""),
    "half a line": (b"POST /pre", [], ""),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_requests(name: str, process: tuple[int, subprocess.Popen[str]]) -> None:
    port, _ = process
    data, statuses, message = REQUESTS[name]
    started = time.monotonic()
    answers = exchange(port, data)
    assert time.monotonic() - started < 10
    assert [status for status, _ in answers] == statuses
    if statuses and statuses[-1] >= 400:
        error = json.loads(answers[-1][1])
        assert set(error) == {"error"}
        assert message in error["error"]
        assert "NONSENSE" not in error["error"]
    assert request(port, "POST", "/predict", IMAGE)[2]["digit"] == 7


STALLS = {
    "slow line": b"POST /predict HT",
    "slow headers": POST + b"A: ",
    "slow body": POST + b"Content-Length: 1000\r\n\r\n",
    "slow chunks": CHUNKED,
    "slow form": POST + FORM + b"Content-Length: 1000\r\n\r\n--b\r\n",
}
BYTES = {"slow chunks": b"1\r\na\r\n"}


@pytest.mark.parametrize("name", STALLS)
def test_slow_requests_get_408(name: str, process: tuple[int, subprocess.Popen[str]]) -> None:
    port, _ = process
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(STALLS[name])
        started = time.monotonic()
        with suppress(OSError):  # the service has closed the connection
            while time.monotonic() - started < DEADLINE + 2:
                connection.sendall(BYTES.get(name, b"x"))
                time.sleep(0.1)
        assert request(port, "GET", "/health/live")[0] == 200
        answer = b""
        with suppress(ConnectionResetError):
            answer = receive(connection)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"expected a" in answer


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (CHUNKED, b"10000\r\n" + bytes(2**16) + b"\r\n"),
        (CHUNKED, b"1\r\na\r\n" * 10_000),
        (
            CHUNKED.replace(b"Host", FORM + b"Host"),
            b"5\r\n--b\r\n\r\n" * 10_000,
        ),
        (POST + b"Content-Encoding: gzip\r\nContent-Length: 99999999999\r\n\r\n", bytes(2**16)),
    ],
    ids=["chunks", "small chunks", "parts", "length"],
)
def test_endless_bodies(head: bytes, piece: bytes, process: tuple[int, subprocess.Popen[str]]) -> None:
    """They are rejected, memory stays within its limit, and health checks respond meanwhile."""
    port, master = process
    [worker] = worker_processes(master)
    before, answers = resident_megabytes(worker), []
    stop = threading.Event()

    def send() -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection, suppress(OSError):
            connection.sendall(head)
            while not stop.is_set():
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
            answers.append(receive(connection))

    sender = threading.Thread(target=send)
    started = time.monotonic()
    sender.start()
    try:
        while time.monotonic() - started < DEADLINE + 1:
            asked = time.monotonic()
            assert request(port, "GET", "/health/live")[0] == 200
            assert time.monotonic() - asked < 2
            assert resident_megabytes(worker) - before < 150
    finally:
        stop.set()
        sender.join(30)
    assert not sender.is_alive()
    # A client that still sends after the deadline is disconnected and may not see the response.
    assert not answers or answers[0][9:12] in (b"408", b"413", b"400")
    assert request(port, "POST", "/predict", IMAGE)[2]["digit"] == 7
