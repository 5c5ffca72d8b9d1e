"""The clients that load a server: wrk, which waits for answers, and h2load at a fixed rate, which does not."""

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
    """What came of a load: requests and seconds in all, and the seconds within which half and 99 % were answered."""

    requests: int
    failed: int
    seconds: float
    middle: float
    most: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def write_requests(requests: Sequence[bytes], directory: Path) -> None:
    """Writes HTTP requests, as they go over the wire, where `wrk` reads them."""
    directory.mkdir()
    for number, request in enumerate(requests, 1):
        (directory / str(number)).write_bytes(request)


def wrk(url: str, requests: Path, connections: int, seconds: int) -> Load:
    """Each connection sends a request, waits for its answer and sends the next."""
    command = ["wrk", "--threads=1", f"--connections={connections}", f"--duration={seconds}s", "--timeout=30s"]
    output = _run([*command, f"--script={SCRIPT}", url, "--", str(requests)], "wrk")
    return Load(**json.loads(output.splitlines()[-1]))


def h2load(
    arguments: Sequence[str],
    clients: int,
    seconds: float,
    groups: int = 1,
    apart: float = 0,
    warm_up: float = 0,
) -> list[tuple[int, float]]:
    """Status and seconds of every request that groups of clients, begun so many seconds apart, have sent.

    What they send in the first `warm_up` seconds is left out. The status of a request that was not answered is -1.
    """
    with TemporaryDirectory() as directory:
        logs = [Path(directory) / str(group) for group in range(groups)]
        running = []
        for log in logs:
            command = [
                "h2load",
                "--h1",
                f"--clients={clients}",
                f"--duration={round((seconds + warm_up) * 1000)}ms",
                f"--log-file={log}",
            ]
            running.append(_start([*command, *arguments], "nghttp2-client"))
            time.sleep(apart)
        for process in running:
            _finish(process)
        answers = [answer for log in logs for answer in logged(log.read_text())]
    begun = min((begin for begin, _, _ in answers), default=0)
    return [(status, took) for begin, status, took in answers if begin >= begun + warm_up]


def logged(log: str) -> list[tuple[float, int, float]]:
    """When each request in a log of h2load was sent, in seconds; its status; the seconds until it was answered."""
    rows = (line.split("\t") for line in log.splitlines())
    return [(int(sent) / 1e6, int(status), int(took) / 1e6) for sent, status, took, *_ in rows]


def _run(command: Sequence[str], package: str) -> str:
    return _finish(_start(command, package))


def _start(command: Sequence[str], package: str) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - this file's own commands
    except FileNotFoundError as error:
        raise click.ClickException(f"expected {command[0]}; install it with `apt install {package}`") from error


def _finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate()
    if process.returncode:
        raise click.ClickException(f"expected {process.args!r} to run; it failed with {process.returncode}")
    return output
