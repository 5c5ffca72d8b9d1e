"""More requests than the service can carry, from clients that wait for nobody: `python -m benchmarks.overload`.

Starts the service here, finds how many photos of a megapixel a second it reads at full load, and then sends it three
times as many for a minute (open-loop: at a fixed rate, whatever comes back). Needs Debian's nghttp2-client.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
from PIL import Image

from benchmarks.clothes import enlarged, file_of
from training.mnist import load_training

PIXELS = 1000
# The clients of one h2load send at the same moments: so many of it, one after the other, spread the load over time.
GROUPS, CLIENTS_OF_A_GROUP = 8, 16
# Full load is measured before and after, for so many seconds, as the machine may be slower by then.
FULL_SECONDS = 10
EVERY_SECONDS = 0.2


@click.command()
@click.option("--seconds", default=60, show_default=True, help="How long the load lasts.")
@click.option("--times", default=3.0, show_default=True, help="How many times what the service can carry.")
@click.option("--port", default=8099, show_default=True, help="Port to serve on meanwhile.")
def main(seconds: int, times: float, port: int) -> None:
    """Print what is served, what is refused and how fast, how health answers, and what memory is taken."""
    with tempfile.TemporaryDirectory() as directory, _service(port) as process:
        photo = Path(directory) / "photo.jpg"
        photo.write_bytes(photo_of_a_digit())
        command = ["h2load", "--h1", f"--data={photo}", f"http://127.0.0.1:{port}/predict"]
        before = _full_rate(command, Path(directory))
        watch = _Watch(port, process.pid)
        rate = times * before / GROUPS / CLIENTS_OF_A_GROUP
        open_loop = [*command, f"--rps={rate}", f"--duration={seconds}"]
        load = _requests(open_loop, Path(directory), GROUPS, apart=1 / rate / GROUPS)
        health, memory = watch.stop()
        after = _full_rate(command, Path(directory))
    full = (before + after) / 2
    served = [latency for status, latency in load if status == 200]
    refused = [latency for status, latency in load if status == 503]
    click.echo(f"| photos of {PIXELS}×{PIXELS} pixels, {seconds} s at {times:g} times full load | |\n|---|---|")
    for name, value in {
        "full load, before and after": f"{before:.0f} and {after:.0f} requests/s",
        "sent": f"{len(load) / seconds:.0f} requests/s",
        "served": f"{len(served) / seconds:.0f} requests/s, {len(served) / seconds / full:.0%} of full load",
        "served within": _times(served),
        "refused with 503": f"{len(refused) / seconds:.0f} requests/s",
        "refused within": _times(refused),
        "other answers": str(dict(Counter(status for status, _ in load if status not in (200, 503))) or "none"),
        f"health, asked {len(health)} times, answers within": _times(health),
        "memory of all processes, first and last quarter": " and ".join(
            f"{statistics.median(part) / 2**20:.0f} MB"
            for part in (memory[: len(memory) // 4], memory[-(len(memory) // 4) :])
        ),
    }.items():
        click.echo(f"| {name} | {value} |")


def photo_of_a_digit() -> bytes:
    """A JPEG file: a digit on paper under light that falls off, with a camera's noise."""
    random = np.random.default_rng(0)
    ink = np.asarray(enlarged(load_training().images[0], PIXELS), np.float32) / 255
    light = np.linspace(230, 150, PIXELS, dtype=np.float32)
    seen = (light * (1 - 0.8 * ink))[..., None] + random.normal(0, 4, (PIXELS, PIXELS, 3))
    return file_of(Image.fromarray(np.clip(seen, 0, 255).astype(np.uint8)), "JPEG", quality=85)


@contextmanager
def _service(port: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn"], env=os.environ | {"PORT": str(port)}, stdout=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                _ask_health(port)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise click.ClickException("expected the service to be ready within a minute") from error
                time.sleep(0.2)
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)


def _full_rate(command: list[str], directory: Path) -> float:
    """Requests a second that are answered when a few clients wait for one another, so that none is refused."""
    answers = _requests([*command, f"--duration={FULL_SECONDS}"], directory)
    return sum(status == 200 for status, _ in answers) / FULL_SECONDS


def _requests(command: list[str], directory: Path, groups: int = 1, apart: float = 0) -> list[tuple[int, float]]:
    """Status and seconds of every request that groups of clients, begun so many seconds apart, have sent.

    The status of a request that was not answered is -1.
    """
    logs = [directory / f"{group}.log" for group in range(groups)]
    running = []
    for log in logs:
        log.unlink(missing_ok=True)
        try:
            running.append(
                subprocess.Popen(  # noqa: S603 - the command is this file's own
                    [*command, f"--clients={CLIENTS_OF_A_GROUP}", f"--log-file={log}"], stdout=subprocess.DEVNULL
                )
            )
        except FileNotFoundError as error:
            raise click.ClickException("expected h2load; install it with `apt install nghttp2-client`") from error
        time.sleep(apart)
    for process in running:
        if process.wait():
            raise click.ClickException(f"h2load failed with {process.returncode}")
    rows = (line.split("\t") for log in logs for line in log.read_text().splitlines())
    return [(int(status), int(microseconds) / 1e6) for _, status, microseconds in rows]


def _ask_health(port: int) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=30) as response:
        response.read()


class _Watch:
    """Asks for health and reads the memory of a process and its children, again and again."""

    def __init__(self, port: int, process: int) -> None:
        self._port, self._process = port, process
        self._health: list[float] = []
        self._memory: list[int] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(EVERY_SECONDS):
            begun = time.monotonic()
            _ask_health(self._port)
            self._health.append(time.monotonic() - begun)
            children = Path(f"/proc/{self._process}/task/{self._process}/children").read_text().split()
            self._memory.append(sum(_resident(process) for process in [str(self._process), *children]))

    def stop(self) -> tuple[list[float], list[int]]:
        """Seconds of every answer, and bytes at every look."""
        self._stopped.set()
        self._thread.join()
        return self._health, self._memory


def _resident(process: str) -> int:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _times(seconds: list[float]) -> str:
    if not seconds:
        return "none"
    middle, most, longest = np.percentile(seconds, [50, 99, 100]) * 1000
    return f"{middle:.0f} ms (half), {most:.0f} ms (99 %), {longest:.0f} ms (all)"


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.overload")
