"""Three times the load that the service can carry: `python -m benchmarks.performance.overload`.

Starts the service here, finds how many photos of a megapixel a second it reads at full load, and then sends it three
times as many for a minute (open-loop: at a fixed rate, whatever comes back). Needs Debian's nghttp2-client.
"""

import statistics
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from benchmarks.performance.drivers import h2load
from benchmarks.performance.photos import PIXELS, photo_of_a_digit
from benchmarks.performance.processes import resident, tree
from benchmarks.performance.servers import OURS, running, url

# The clients of one h2load send at the same moments: so many of it, one after the other, spread the load over time.
GROUPS, CLIENTS_OF_A_GROUP = 8, 16
# Full load is measured before and after, for so many seconds, as the machine may be slower by then.
FULL_SECONDS = 10
EVERY_SECONDS = 0.2
SERVICE = replace(OURS, variables={"PORT": "{port}"})


@click.command()
@click.option("--seconds", default=60, show_default=True, help="How long the load lasts.")
@click.option("--times", default=3.0, show_default=True, help="How many times what the service can carry.")
@click.option("--port", default=8099, show_default=True, help="Port to serve on meanwhile.")
def main(seconds: int, times: float, port: int) -> None:
    """Print what is served, what is refused and how fast, how health answers, and what memory is taken."""
    image = photo_of_a_digit()
    with tempfile.TemporaryDirectory() as directory, running(SERVICE, port, image) as process:
        photo = Path(directory) / "photo.jpg"
        photo.write_bytes(image)
        command = [f"--data={photo}", url(SERVICE, port)]
        before = _full_rate(command)
        watch = _Watch(port, process)
        rate = times * before / GROUPS / CLIENTS_OF_A_GROUP
        load = h2load([*command, f"--rps={rate}"], CLIENTS_OF_A_GROUP, seconds, GROUPS, apart=1 / rate / GROUPS)
        health, memory = watch.stop()
        after = _full_rate(command)
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


def _full_rate(command: list[str]) -> float:
    """Requests a second that are answered when a few clients wait for one another, so that none is refused."""
    answers = h2load(command, CLIENTS_OF_A_GROUP, FULL_SECONDS)
    return sum(status == 200 for status, _ in answers) / FULL_SECONDS


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
            self._memory.append(sum(resident(process) for process in tree(self._process)))

    def stop(self) -> tuple[list[float], list[int]]:
        """Seconds of every answer, and bytes at every look."""
        self._stopped.set()
        self._thread.join()
        return self._health, self._memory


def _times(seconds: list[float]) -> str:
    if not seconds:
        return "none"
    middle, most, longest = np.percentile(seconds, [50, 99, 100]) * 1000
    return f"{middle:.0f} ms (half), {most:.0f} ms (99 %), {longest:.0f} ms (all)"


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.performance.overload")
