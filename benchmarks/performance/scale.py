"""What a load takes in cores, pods and memory: `python -m benchmarks.performance.scale`.

Starts the service here, two processes as in a pod of two cores, and loads it in turn with what people send; counted is
the processor's time of the service alone, which the clients beside it do not change much. From that and the
autoscaler's target follows what a load takes. Needs Debian's wrk.
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
from benchmarks.performance.processes import processor_seconds, proportional, tree
from benchmarks.performance.servers import BOUNDARY, OURS, ROOT, http, raw, running, url, v2_binary_tensors
from training.datasets.mnist import load_test

RESULTS = ROOT / "benchmarks" / "results" / "scale.md"
DEPLOYMENT = ROOT / "deploy" / "kubernetes" / "base"
LOADS = (1_000, 100_000)
REQUESTS, PHOTOS, PORT = 100, 8, 8310


@dataclass(frozen=True)
class Kind:
    """What is sent: how many images a request holds, on how many connections, and the requests."""

    title: str
    images: int
    connections: int
    requests: Callable[[NDArray[np.uint8]], Sequence[bytes]]


def _files(images: NDArray[np.uint8]) -> list[bytes]:
    return [file_of(Image.fromarray(image)) for image in images]


def _form(files: Sequence[bytes]) -> bytes:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="{number}"\r\n\r\n'.encode()
        + file
        + b"\r\n"
        for number, file in enumerate(files)
    ]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def _batches(images: NDArray[np.uint8]) -> list[bytes]:
    files = _files(images)
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return [http("/predict/batch", kind, _form(files[start : start + 64])) for start in range(0, len(files), 64)]


KINDS = (
    Kind("a PNG of 28×28", 1, 16, lambda images: [http("/predict", *raw(file)) for file in _files(images[:REQUESTS])]),
    Kind(
        "a JPEG photo of a megapixel",
        1,
        8,
        lambda _: [http("/predict", *raw(photo_of_a_digit(number=number))) for number in range(PHOTOS)],
    ),
    Kind("64 PNGs of 28×28, `/predict/batch`", 64, 4, lambda images: _batches(images[: 64 * 8])),
    Kind(
        "a prepared image, V2 in binary",
        1,
        16,
        lambda images: [http(*v2_binary_tensors(images[number : number + 1])) for number in range(REQUESTS)],
    ),
    Kind(
        "256 prepared images, V2 in binary",
        256,
        4,
        lambda images: [http(*v2_binary_tensors(batch)) for batch in images[: 256 * 8].reshape(8, 256, 28, 28)],
    ),
)


@dataclass(frozen=True)
class Pod:
    """What a pod has, and how much of its cores' time the autoscaler wants it to use."""

    cores: float
    target: float

    @classmethod
    def deployed(cls) -> "Pod":
        """As the manifests say."""
        deployment = yaml.safe_load((DEPLOYMENT / "deployment.yaml").read_text())
        autoscaler = yaml.safe_load((DEPLOYMENT / "autoscaler.yaml").read_text())
        [container] = deployment["spec"]["template"]["spec"]["containers"]
        utilization = autoscaler["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"]
        return cls(float(container["resources"]["requests"]["cpu"]), utilization / 100)

    def needed(self, load: float, seconds: float) -> tuple[float, int]:
        """The cores that so many requests a second keep busy, each for so many seconds of one; the pods for that."""
        busy = load * seconds
        return busy, max(1, math.ceil(busy / (self.target * self.cores)))


@click.command()
@click.option("--rounds", default=5, show_default=True, help="How often each kind has its turn.")
@click.option("--seconds", default=4, show_default=True, help="How long each turn lasts.")
@click.option("--publish", is_flag=True, help=f"Write {RESULTS.name}.")
def main(rounds: int, seconds: int, publish: bool) -> None:
    """Print a table."""
    begun = conditions("python -m benchmarks.performance.scale")
    images = load_test().images
    taken: dict[str, list[tuple[float, float, float]]] = {kind.title: [] for kind in KINDS}
    with TemporaryDirectory() as directory, running(OURS, PORT, _files(images[:1])[0]) as process:
        folders = [Path(directory) / str(number) for number in range(len(KINDS))]
        for kind, folder in zip(KINDS, folders, strict=True):
            write_requests(kind.requests(images), folder)
        for number in range(rounds + 1):  # the first is there to warm up
            for kind, folder in zip(KINDS, folders, strict=True):
                found = _turn(kind, folder, process, seconds if number else 1)
                if number:
                    taken[kind.title].append(found)
                    click.echo(f"round {number}: {kind.title}: {found[0]:,.0f}/s, {found[1] * 1e6:,.0f} µs", err=True)
    begun.append(f"two processes; medians of {rounds} rounds, in which each kind has its turn of {seconds} seconds")
    text = render(begun, taken, Pod.deployed())
    click.echo(text)
    if publish:
        RESULTS.write_text(text, encoding="utf-8")


def _turn(kind: Kind, folder: Path, process: int, seconds: int) -> tuple[float, float, float]:
    """Requests a second, the processor's seconds of each, and the memory of a worker in bytes."""
    processes = tree(process)
    before = processor_seconds(processes)
    load = wrk(url(OURS, PORT), folder, kind.connections, seconds)
    if load.failed:
        raise click.ClickException(f"{kind.title}: expected answers; {load.failed} requests failed")
    used = processor_seconds(processes) - before
    return load.rate, used / load.requests, max(map(proportional, processes[1:]))


def render(begun: Sequence[str], taken: dict[str, list[tuple[float, float, float]]], pod: Pod) -> str:
    """The results in Markdown."""
    lines = ["# What a load takes", "", *(f"- {line}" for line in begun), ""]
    heads = [f"{load:,} requests/s: cores busy, pods" for load in LOADS]
    lines += [
        f"| a request | CPU ms | requests/s a core | images/s a core | worker's memory, MB | {' | '.join(heads)} |",
        "|---" * (5 + len(heads)) + "|",
    ]
    images = {kind.title: kind.images for kind in KINDS}
    for title, found in taken.items():
        _, seconds, memory = (statistics.median(column) for column in zip(*found, strict=True))
        needed = [pod.needed(load, seconds) for load in LOADS]
        cells = [
            f"{seconds * 1e3:.2f}",
            f"{1 / seconds:,.0f}",
            f"{images[title] / seconds:,.0f}",
            f"{memory / 2**20:.0f}",
            *(f"{busy:,.1f}, {pods:,}" for busy, pods in needed),
        ]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    lines += ["", f"A pod has {pod.cores:g} cores, of whose time the autoscaler lets {pod.target:.0%} be used.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.performance.scale")
