"""The service at three times its capacity: `python -m benchmarks.performance.overload`.

Starts the service, measures how many one-megapixel photos per second it reads at full load, then sends three times as
many for a minute at a fixed rate (open loop). Needs Debian's nghttp2-client.
"""

import statistics
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path

import click
import numpy as np

from benchmarks.performance.drivers import h2load
from benchmarks.performance.photos import PIXELS, photo_of_a_digit
from benchmarks.performance.processes import resident, tree
from benchmarks.performance.servers import HOST, SERVICE, running, url
from benchmarks.tables import table

# All clients of one h2load send at the same moments; several of them, started in sequence, spread the load.
GROUPS, CLIENTS_PER_GROUP = 8, 16
# Full load is measured before and after, as the machine may get slower.
FULL_SECONDS = 10
EVERY_SECONDS = 0.2


@click.command()
@click.option("--seconds", default=60, show_default=True, help="Duration of the load.")
@click.option("--times", default=3.0, show_default=True, help="Load as a multiple of the service's capacity.")
@click.option("--port", default=8099, show_default=True, help="Port of the service.")
def main(seconds: int, times: float, port: int) -> None:
    """Print throughput, rejections, latencies of both and of the health check, and memory."""
    image = photo_of_a_digit()
    with tempfile.TemporaryDirectory() as directory, running(SERVICE, port, image) as process:
        photo = Path(directory) / "photo.jpg"
        photo.write_bytes(image)
        command = [f"--data={photo}", url(SERVICE, port)]
        before = _full_rate(command)
        watch = _Watch(port, process)
        rate = times * before / GROUPS / CLIENTS_PER_GROUP
        load = h2load([*command, f"--rps={rate}"], CLIENTS_PER_GROUP, seconds, GROUPS, apart=1 / rate / GROUPS)
        health, memory = watch.stop()
        after = _full_rate(command)
    full = (before + after) / 2
    served = [latency for status, latency in load if status == 200]
    rejected = [latency for status, latency in load if status == 503]
    quarter = len(memory) // 4
    first, last = (statistics.median(part) / 2**20 for part in (memory[:quarter], memory[-quarter:]))
    rows = [
        ("full load, before and after", f"{before:.0f} and {after:.0f} requests/s"),
        ("sent", f"{len(load) / seconds:.0f} requests/s"),
        ("served", f"{len(served) / seconds:.0f} requests/s, {len(served) / seconds / full:.0%} of full load"),
        ("latency of served requests", _latencies(served)),
        ("rejected with 503", f"{len(rejected) / seconds:.0f} requests/s"),
        ("latency of rejections", _latencies(rejected)),
        ("other responses", dict(Counter(status for status, _ in load if status not in (200, 503))) or "none"),
        (f"latency of {len(health)} health checks", _latencies(health)),
        ("memory of all processes, first and last quarter", f"{first:.0f} MB and {last:.0f} MB"),
    ]
    click.echo(table([f"photos of {PIXELS}×{PIXELS} pixels, {seconds} s at {times:g} times full load", ""], rows))


def _full_rate(command: list[str]) -> float:
    """Requests per second with a few closed-loop clients, so that none is rejected."""
    answers = h2load(command, CLIENTS_PER_GROUP, FULL_SECONDS)
    return sum(status == 200 for status, _ in answers) / FULL_SECONDS


class _Watch:
    """A thread that polls the health check and the memory of a process and its descendants."""

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
            with urllib.request.urlopen(f"http://{HOST}:{self._port}/health/ready", timeout=30) as response:
                response.read()
            self._health.append(time.monotonic() - begun)
            self._memory.append(sum(resident(process) for process in tree(self._process)))

    def stop(self) -> tuple[list[float], list[int]]:
        """Seconds of every health check, and bytes of memory at the same times."""
        self._stopped.set()
        self._thread.join()
        return self._health, self._memory


def _latencies(seconds: list[float]) -> str:
    if not seconds:
        return "none"
    p50, p99, longest = np.percentile(seconds, [50, 99, 100]) * 1000
    return f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, maximum {longest:.0f} ms"


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.performance.overload")
