"""Batch scoring with Ray compared with local processes, on one machine: `python -m benchmarks.performance.ray`.

Times whole commands, alternating between the engines, on a set of images and on the same set four times. The difference
gives the time per image; what remains of the first run is the time to start and stop.
"""

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from benchmarks.performance.conditions import conditions
from benchmarks.performance.processes import peak_memory, proportional
from benchmarks.performance.scoring import write_files
from benchmarks.performance.servers import ROOT
from benchmarks.tables import document, table
from digits.system import usable_cores

RESULTS = Path("benchmarks/results/cluster.md")
PROGRAM = """
from scoring import __main__
from scoring.inputs import shards
{change}
__main__.main()
"""
IN_PROCESS, RAY = "in process", "Ray"
# Each variant, and the change it makes to the code.
VARIANTS = {
    IN_PROCESS: "",
    RAY: "",
    "Ray, shards of 16,384 images": "shards.SHARD = 16384",
}
TIMES = 4
# Clusters of nodes like this machine.
NODES = (2, 4, 16)


def command(variant: str, images: Sequence[Path], folder: Path) -> list[str]:
    arguments = [*map(str, images), "--overwrite", "--output"]
    if variant == IN_PROCESS:
        return [sys.executable, "-m", "scoring", *arguments, str(folder / "rows.parquet")]
    program = PROGRAM.format(change=VARIANTS[variant])
    return [sys.executable, "-c", program, *arguments, str(folder / "rows"), "--engine", "ray"]


def timed(variant: str, images: Sequence[Path], folder: Path) -> float:
    """Seconds of a run."""
    shutil.rmtree(folder / "rows", ignore_errors=True)
    start = time.perf_counter()
    run = command(variant, images, folder)
    subprocess.run(run, cwd=ROOT, stderr=subprocess.DEVNULL, check=True)  # noqa: S603 - our own command
    return time.perf_counter() - start


def parts(once: float, often: float, count: int) -> tuple[float, float]:
    """Seconds to start and stop, and seconds per image."""
    image = (often - once) / (TIMES - 1) / count
    return once - count * image, image


def break_even(seconds: dict[str, tuple[float, float]], count: int, nodes: int) -> str:
    """The number of images from which on a cluster of `nodes` is faster than this machine in process."""
    (start, image), (ray_start, ray_image) = (parts(*seconds[variant], count) for variant in (IN_PROCESS, RAY))
    gained = image - ray_image / nodes
    return f"{(ray_start - start) / gained:,.0f}" if gained > 0 else "never"


@click.command()
@click.option("--rounds", default=3, show_default=True, help="Number of runs of each.")
@click.option("--publish", is_flag=True, help=f"Write {RESULTS}.")
def main(rounds: int, publish: bool) -> None:
    """Print the tables."""
    begun = conditions("python -m benchmarks.performance.ray")
    found: dict[str, list[tuple[float, float]]] = {variant: [] for variant in VARIANTS}
    with TemporaryDirectory() as directory:
        folder = Path(directory)
        images = [folder / "images"]
        count = len(write_files(images[0]))
        for number in range(rounds):
            for variant in VARIANTS:
                found[variant].append((timed(variant, images, folder), timed(variant, images * TIMES, folder)))
                click.echo(f"round {number + 1}: {variant}: {found[variant][-1]}", err=True)
        memory = {
            variant: f"{peak_memory(command(variant, images * TIMES, folder), proportional)[0] / 2**20:.0f}"
            for variant in (IN_PROCESS, RAY)
        }
    rows, seconds = [], {}
    for variant, times in found.items():
        once, often = seconds[variant] = (
            statistics.median(time[0] for time in times),
            statistics.median(time[1] for time in times),
        )
        start, image = parts(once, often, count)
        rows.append(
            (variant, f"{once:.1f}", f"{often:.1f}", f"{start:.1f}", f"{1 / image:,.0f}", memory.get(variant, ""))
        )
    counts = f"{count:,} PNG files, s", f"{TIMES * count:,}, s"
    heads = [f"{usable_cores()} cores", *counts, "start and stop, s", "then images/s", "peak memory, MB"]
    text = document(
        "Batch scoring with Ray on one machine",
        [*begun, f"medians of {rounds} rounds, alternating"],
        table(heads, rows),
        "The number of images from which on a Ray cluster of such nodes is faster than one of them in process, if the\n"
        "storage of the images is not the bottleneck:",
        table([f"{nodes} nodes" for nodes in NODES], [[break_even(seconds, count, nodes) for nodes in NODES]]),
    )
    click.echo(text)
    if publish:
        RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.performance.ray")
