"""Cores, pods and memory that a load takes: `python -m benchmarks.performance.scale`.

Starts the service with two processes, as in a pod of two cores, and loads it with each kind of request. Only the
service's own CPU time counts, which clients on the same machine hardly affect; the number of pods follows from it
and the autoscaler's target. Needs Debian's wrk.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from benchmarks.accuracy.input_variations import file_of
from benchmarks.performance.conditions import conditions
from benchmarks.performance.drivers import write_requests, wrk
from benchmarks.performance.photos import photo_of_a_digit
from benchmarks.performance.processes import proportional, tree, with_cpu_seconds
from benchmarks.performance.servers import OURS, ROOT, form, http, raw, running, url, v2_binary_tensors
from benchmarks.tables import document, table
from training.datasets.mnist import load_test

RESULTS = ROOT / "benchmarks" / "results" / "scale.md"
DEPLOYMENT = ROOT / "deploy" / "kubernetes" / "base"
LOADS = (1_000, 100_000)
REQUESTS, PHOTOS, PORT = 100, 8, 8310

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Kind:
    """A kind of request: the images in each, the number of connections, and the requests."""

    title: str
    images: int
    connections: int
    requests: Callable[[Images], Sequence[bytes]]


def _files(images: Images) -> list[bytes]:
    return [file_of(Image.fromarray(image)) for image in images]


def _batches(images: Images) -> list[bytes]:
    files = _files(images)
    return [http("/predict/batch", *form(*files[start : start + 64])) for start in range(0, len(files), 64)]


def _photos(_: Images) -> list[bytes]:
    return [http("/predict", *raw(photo_of_a_digit(number=number))) for number in range(PHOTOS)]


def _tensors(images: Images, size: int) -> list[bytes]:
    return [http(*v2_binary_tensors(batch)) for batch in images.reshape(-1, size, 28, 28)]


KINDS = (
    Kind("a PNG of 28×28", 1, 16, lambda images: [http("/predict", *raw(file)) for file in _files(images[:REQUESTS])]),
    Kind("a JPEG photo of a megapixel", 1, 8, _photos),
    Kind("64 PNGs of 28×28, `/predict/batch`", 64, 4, lambda images: _batches(images[: 64 * 8])),
    Kind("a preprocessed image, V2 in binary", 1, 16, lambda images: _tensors(images[:REQUESTS], 1)),
    Kind("256 preprocessed images, V2 in binary", 256, 4, lambda images: _tensors(images[: 256 * 8], 256)),
)


@dataclass(frozen=True)
class Pod:
    """A pod's cores, and the autoscaler's target for their utilization."""

    cores: float
    target: float

    @classmethod
    def deployed(cls) -> "Pod":
        """As in the manifests."""
        deployment = yaml.safe_load((DEPLOYMENT / "deployment.yaml").read_text())
        autoscaler = yaml.safe_load((DEPLOYMENT / "autoscaler.yaml").read_text())
        [container] = deployment["spec"]["template"]["spec"]["containers"]
        utilization = autoscaler["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"]
        return cls(float(container["resources"]["requests"]["cpu"]), utilization / 100)

    def needed(self, load: float, seconds: float) -> tuple[float, int]:
        """Busy cores and pods for `load` requests per second of `seconds` CPU each."""
        busy = load * seconds
        return busy, max(1, math.ceil(busy / (self.target * self.cores)))


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Number of measurements per kind of request.")
@click.option("--seconds", default=4, show_default=True, help="Duration of each.")
@click.option("--publish", is_flag=True, help=f"Write {RESULTS.name}.")
def main(rounds: int, seconds: int, publish: bool) -> None:
    """Print a table."""
    begun = conditions("python -m benchmarks.performance.scale")
    images = load_test().images
    taken: dict[str, list[tuple[float, float]]] = {kind.title: [] for kind in KINDS}
    with TemporaryDirectory() as directory, running(OURS, PORT, _files(images[:1])[0]) as process:
        folders = [Path(directory) / str(number) for number in range(len(KINDS))]
        for kind, folder in zip(KINDS, folders, strict=True):
            write_requests(kind.requests(images), folder)
        for number in range(rounds + 1):  # the first is a warm-up
            for kind, folder in zip(KINDS, folders, strict=True):
                found = _measure(kind, folder, process, seconds if number else 1)
                if number:
                    taken[kind.title].append(found)
                    click.echo(f"round {number}: {kind.title}: {found[0] * 1e6:,.0f} µs of CPU per request", err=True)
    begun.append(f"two processes; medians of {rounds} rounds of {seconds} seconds per kind of request, alternating")
    text = render(begun, taken, Pod.deployed())
    click.echo(text)
    if publish:
        RESULTS.write_text(text, encoding="utf-8")


def _measure(kind: Kind, folder: Path, process: int, seconds: int) -> tuple[float, float]:
    """CPU seconds per request, and a worker's memory in bytes."""
    load, cpu = with_cpu_seconds(process, lambda: wrk(url(OURS, PORT), folder, kind.connections, seconds))
    if load.failed:
        raise click.ClickException(f"{kind.title}: {load.failed} requests failed")
    return cpu / load.requests, max(map(proportional, tree(process)[1:]))


def render(begun: Sequence[str], taken: dict[str, list[tuple[float, float]]], pod: Pod) -> str:
    """The results in Markdown."""
    heads = ["request", "CPU ms", "requests/s per core", "images/s per core", "worker's memory, MB"]
    heads += [f"{load:,} requests/s: busy cores, pods" for load in LOADS]
    rows = []
    for kind in KINDS:
        seconds, memory = (statistics.median(column) for column in zip(*taken[kind.title], strict=True))
        needed = ("{:,.1f}, {:,}".format(*pod.needed(load, seconds)) for load in LOADS)
        rates = f"{1 / seconds:,.0f}", f"{kind.images / seconds:,.0f}"
        rows.append((kind.title, f"{seconds * 1e3:.2f}", *rates, f"{memory / 2**20:.0f}", *needed))
    note = f"A pod has {pod.cores:g} cores; the autoscaler's target is a utilization of {pod.target:.0%}."
    return document("Capacity", begun, table(heads, rows), note)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.performance.scale")
