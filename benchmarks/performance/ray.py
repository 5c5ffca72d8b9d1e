"""Batch scoring with Ray compared with local processes, on one machine: `python -m benchmarks.performance.ray`.

Whole commands in turn, from their start to their end: in process, and with Ray. What four times the images take longer
goes with the images; what else the images take is what it takes to start and to end.
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
from benchmarks.performance.processes import proportional, tree
from benchmarks.performance.scoring import write_files
from benchmarks.performance.servers import ROOT
from digits.system import usable_cores

RESULTS = Path("benchmarks/results/cluster.md")
SAMPLE_SECONDS = 0.25
PROGRAM = """
from dataclasses import replace
from scoring import __main__
from scoring.engines import ray as cluster
from scoring.inputs import shards
class OnCores(cluster.ClassifyingActor):
    def start(self, settings, image_seconds):
        super().start(replace(settings, provider="cpu"), image_seconds)
def pipeline(self, every, cores, gpus):
    on_cores = {{"num_cpus": 0.5, "compute": cluster.ActorPoolStrategy(size=cores)}}
    prepared = every.map(cluster.PreparingActor, fn_constructor_args=(self._job,), **on_cores)
    return prepared.map(OnCores, fn_constructor_args=(self._job,), **on_cores)
{change}
__main__.main()
"""
IN_PROCESS, RAY = "in process", "Ray, as it is"
# Each way, and what of the code it changes.
WAYS = {
    IN_PROCESS: "",
    RAY: "",
    "Ray, shards of 16,384 images": "shards.SHARD = 16384",
    "Ray, decoding and network in actors of their own": "cluster.RayEngine._pipeline = pipeline",
}
TIMES = 4
# Nodes that are all like this one.
NODES = (2, 4, 16)


def command(way: str, images: Sequence[Path], folder: Path) -> list[str]:
    """Scores images in a way."""
    arguments = [*map(str, images), "--overwrite", "--output"]
    if way == IN_PROCESS:
        return [sys.executable, "-m", "scoring", *arguments, str(folder / "rows.parquet")]
    program = PROGRAM.format(change=WAYS[way])
    return [sys.executable, "-c", program, *arguments, str(folder / "rows"), "--engine", "ray"]


def timed(way: str, images: Sequence[Path], folder: Path) -> float:
    """Seconds of a run."""
    shutil.rmtree(folder / "rows", ignore_errors=True)
    start = time.perf_counter()
    run = command(way, images, folder)
    subprocess.run(run, cwd=ROOT, stderr=subprocess.DEVNULL, check=True)  # noqa: S603 - our own command
    return time.perf_counter() - start


def most_memory(way: str, images: Sequence[Path], folder: Path) -> float:
    """Bytes that all processes of a run had at most, of what they share each its part."""
    most = 0
    run = command(way, images, folder)
    with subprocess.Popen(run, cwd=ROOT, stderr=subprocess.DEVNULL) as process:  # noqa: S603 - our own command
        while process.poll() is None:
            try:
                most = max(most, sum(map(proportional, tree(process.pid))))
            except (FileNotFoundError, ProcessLookupError):
                continue  # one has ended meanwhile
            time.sleep(SAMPLE_SECONDS)
    return most


def parts(once: float, often: float, count: int) -> tuple[float, float]:
    """Seconds to start and end, and seconds an image."""
    image = (often - once) / (TIMES - 1) / count
    return once - count * image, image


def pays_from(seconds: dict[str, tuple[float, float]], count: int, nodes: int) -> str:
    """The number of images from which on as many nodes as this one take less time than this one in process."""
    (start, image), (ray_start, ray_image) = (parts(*seconds[way], count) for way in (IN_PROCESS, RAY))
    gained = image - ray_image / nodes
    return f"{(ray_start - start) / gained:,.0f}" if gained > 0 else "never"


@click.command()
@click.option("--rounds", default=3, show_default=True, help="How often each is timed.")
@click.option("--publish", is_flag=True, help=f"Write {RESULTS}.")
def main(rounds: int, publish: bool) -> None:
    """Print the tables."""
    begun = conditions("python -m benchmarks.performance.ray")
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    with TemporaryDirectory() as directory:
        folder = Path(directory)
        images = [folder / "images"]
        count = len(write_files(images[0]))
        for number in range(rounds):
            for way in WAYS:
                found[way].append((timed(way, images, folder), timed(way, images * TIMES, folder)))
                click.echo(f"round {number + 1}: {way}: {found[way][-1]}", err=True)
        memory = {way: most_memory(way, images * TIMES, folder) / 2**20 for way in (IN_PROCESS, RAY)}
    seconds = {
        way: (statistics.median(once for once, _ in times), statistics.median(often for _, often in times))
        for way, times in found.items()
    }
    lines = [
        "# Batch scoring with Ray on one machine",
        "",
        *(f"- {line}" for line in begun),
        f"- {rounds} rounds, in turn; medians",
        "",
        f"| {usable_cores()} cores | {count:,} PNG files, s | {TIMES * count:,}, s | to start and end, s "
        "| images/s then | most memory, MB |",
        "|---|---|---|---|---|---|",
        *(
            f"| {way} | {once:.1f} | {often:.1f} | {parts(once, often, count)[0]:.1f} | "
            f"{1 / parts(once, often, count)[1]:,.0f} | {f'{memory[way]:.0f}' if way in memory else ''} |"
            for way, (once, often) in seconds.items()
        ),
        "",
        "From so many images on, Ray on so many nodes like this one takes less time than this one in process, if none",
        "waits for what holds the images:",
        "",
        f"| {' | '.join(f'{nodes} nodes' for nodes in NODES)} |",
        f"|{'---|' * len(NODES)}",
        f"| {' | '.join(pays_from(seconds, count, nodes) for nodes in NODES)} |",
        "",
    ]
    text = "\n".join(lines)
    click.echo(text)
    if publish:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.performance.ray")
