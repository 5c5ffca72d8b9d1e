"""Load generators: wrk, which waits for responses (closed loop), and h2load at a fixed rate (open loop)."""

import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click

SCRIPT = Path(__file__).with_name("requests.lua")


@dataclass(frozen=True)
class Load:
    """The result of a load: requests and seconds in total, and latency percentiles in seconds."""

    requests: int
    failed: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def write_requests(requests: Sequence[bytes], directory: Path) -> None:
    """Writes raw HTTP requests where `wrk` reads them."""
    directory.mkdir()
    for number, request in enumerate(requests, 1):
        (directory / str(number)).write_bytes(request)


def wrk(url: str, requests: Path, connections: int, seconds: int) -> Load:
    """Each connection sends a request, waits for its response and sends the next."""
    command = ["wrk", "--threads=1", f"--connections={connections}", f"--duration={seconds}s", "--timeout=30s"]
    output = _finish(_start([*command, f"--script={SCRIPT}", url, "--", str(requests)], "wrk"))
    return Load(**json.loads(output.splitlines()[-1]))


def h2load(
    arguments: Sequence[str], clients: int, seconds: float, groups: int = 1, apart: float = 0, warm_up: float = 0
) -> list[tuple[int, float]]:
    """Status and seconds of every request sent by groups of clients, started `apart` seconds after one another.

    Requests of the first `warm_up` seconds are dropped. Unanswered requests have the status -1.
    """
    duration = round((seconds + warm_up) * 1000)
    with TemporaryDirectory() as directory:
        logs = [Path(directory) / str(group) for group in range(groups)]
        running = []
        for log in logs:
            command = ["h2load", "--h1", f"--clients={clients}", f"--duration={duration}ms", f"--log-file={log}"]
            running.append(_start([*command, *arguments], "nghttp2-client"))
            time.sleep(apart)
        for process in running:
            _finish(process)
        responses = [response for log in logs for response in parse_log(log.read_text())]
    first = min((sent for sent, _, _ in responses), default=0)
    return [(status, took) for sent, status, took in responses if sent >= first + warm_up]


def parse_log(log: str) -> list[tuple[float, int, float]]:
    """When each request in h2load's log was sent, its status, and the seconds until its response."""
    rows = (line.split("\t") for line in log.splitlines())
    return [(int(sent) / 1e6, int(status), int(took) / 1e6) for sent, status, took, *_ in rows]


def _start(command: Sequence[str], package: str) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - this file's own commands
    except FileNotFoundError as error:
        raise click.ClickException(f"{command[0]} is not installed; run `apt install {package}`") from error


def _finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate()
    if process.returncode:
        raise click.ClickException(f"{process.args!r} failed with exit code {process.returncode}")
    return output
