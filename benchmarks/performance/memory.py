"""A worker's memory over many requests of all sizes: `python -m benchmarks.performance.memory`.

Starts the service, sends a mixture of requests over several connections, and compares each worker's memory after the
first tenth with that at the end. Needs Debian's wrk.
"""

import itertools
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
from PIL import Image

from benchmarks.accuracy.input_variations import file_of
from benchmarks.performance.conditions import conditions
from benchmarks.performance.drivers import write_requests, wrk
from benchmarks.performance.photos import photo_of_a_digit
from benchmarks.performance.processes import peak_resident, resident, tree
from benchmarks.performance.servers import SERVICE, http, running, url
from training.datasets.mnist import load_test

CONNECTIONS, CHUNK_SECONDS = 16, 2
# Requests in flight at the end of a chunk finish within this time.
SETTLE_SECONDS = 1
ROWS = 10
# The largest growth between the first tenth and the end that counts as flat.
FLAT = 1.05
# The mixture per thousand requests; the rest are MNIST's own digits.
SCANS, LARGE_SCANS, PHOTOS, LARGE_PHOTOS, BROKEN = 60, 2, 20, 3, 20
SCAN_SIDE, LARGE_SCAN_SIDE, LARGE_SIDES = 300, 2400, (2000, 2800, 3460)


@click.command()
@click.option("--requests", default=1_000_000, show_default=True, help="Number of requests.")
@click.option("--port", default=8097, show_default=True, help="Port of the service.")
def main(requests: int, port: int) -> None:
    """Print the memory of each worker after every tenth of the requests."""
    click.echo("\n".join(f"- {line}" for line in conditions("python -m benchmarks.performance.memory")))
    files = mixture()
    with running(SERVICE, port, files[0], Path(os.devnull)) as process, TemporaryDirectory() as directory:
        written = Path(directory) / "requests"
        write_requests([http(SERVICE.path, *SERVICE.encode(file)) for file in files], written)
        workers = tree(process)[1:]
        numbers = range(1, len(workers) + 1)
        click.echo(f"\n| requests | {' | '.join(f'worker {number}, MB' for number in numbers)} |")
        click.echo("|---" * (len(workers) + 1) + "|")
        done, held = 0, list[list[float]]()
        for part in range(ROWS + 1):
            while done < requests * part // ROWS:
                done += wrk(url(SERVICE, port), written, CONNECTIONS, CHUNK_SECONDS).requests
            time.sleep(SETTLE_SECONDS)
            if tree(process)[1:] != workers:
                raise click.ClickException("a worker was replaced during the run")
            held.append([resident(worker) / 2**20 for worker in workers])
            click.echo(f"| {done:,} | {' | '.join(f'{one:.0f}' for one in held[-1])} |")
        peak = max(map(peak_resident, workers)) / 2**20
    flat = all(last <= FLAT * first for first, last in zip(held[1], held[-1], strict=True))
    trend = "flat since the first tenth" if flat else "not flat since the first tenth"
    click.echo(f"\n{trend}; largest worker {max(held[-1]):.0f} MB at the end, {peak:.0f} MB at its peak")


def mixture() -> list[bytes]:
    """A thousand files in random order: digits, scans, photos and broken files."""
    random = np.random.default_rng(0)
    digits = load_test().images[: 1000 - SCANS - LARGE_SCANS - PHOTOS - LARGE_PHOTOS - BROKEN]
    files = [file_of(Image.fromarray(digit)) for digit in digits]
    sides = [SCAN_SIDE] * SCANS + [LARGE_SCAN_SIDE] * LARGE_SCANS
    scans = [Image.fromarray(255 - digit).resize((side, side)) for side, digit in zip(sides, digits, strict=False)]
    files += [file_of(scan) for scan in scans]
    files += [photo_of_a_digit(number=number) for number in range(PHOTOS)]
    files += [photo_of_a_digit(side, number) for number, side in zip(range(LARGE_PHOTOS), itertools.cycle(LARGE_SIDES))]
    files += [file[: len(file) // 2] for file in files[:BROKEN]]
    return [files[one] for one in random.permutation(len(files))]


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.performance.memory")
