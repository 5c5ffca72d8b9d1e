"""The service under gunicorn, as deployed, and requests to it over a socket."""

import http.client
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO

from prometheus_client.parser import text_string_to_metric_families

from tests.helpers.paths import ROOT
from tests.helpers.processes import environment, free_port


def start(
    port: int, settings: dict[str, str] | None = None, stdout: int | IO[str] = subprocess.PIPE, session: bool = False
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "gunicorn"],
        cwd=ROOT,
        env=environment(PORT=str(port), **(settings or {})),
        stdout=stdout,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=session,
    )


@contextmanager
def serving(
    port: int | None = None, log: Path | None = None, **settings: str
) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """Port and master process of a service that is ready, with one worker by default and its output in `log`."""
    port = port or free_port()
    with log.open("w") if log else nullcontext(subprocess.DEVNULL) as output:
        process = start(port, {"DIGITS_WORKERS": "1"} | settings, output)
    try:
        wait_until_ready(port, settings.get("SCRIPT_NAME", ""))
        yield port, process
    finally:
        process.terminate()
        process.wait(timeout=60)


def request(
    port: int, method: str, path: str, body: object = None, headers: dict[str, str] | None = None, chunked: bool = False
) -> tuple[int, dict[str, str], dict[str, object]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, headers or {}, encode_chunked=chunked)  # type: ignore[arg-type]
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), json.loads(response.read())
    finally:
        connection.close()


def wait_until_ready(port: int, prefix: str = "") -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            assert request(port, "GET", f"{prefix}/health/ready")[0] == 200
            return
        except OSError:
            assert time.monotonic() < deadline, "not ready within a minute"
            time.sleep(0.1)


def send_raw(port: int, data: bytes) -> bytes:
    """Sends raw bytes and returns everything received until the service closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return receive(connection)


def receive(connection: socket.socket) -> bytes:
    """Everything received until the other side closes the connection."""
    answer = b""
    while chunk := connection.recv(65536):
        answer += chunk
    return answer


def metric(port: int, name: str, **labels: str) -> float:
    """A metric's value; 0 for a counter that has not been counted yet."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as response:
        return samples(response.read().decode()).get((name, tuple(sorted(labels.items()))), 0.0)


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Metric values by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
