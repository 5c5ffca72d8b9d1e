"""Speed of batch scoring compared with its parts, and its memory: `python -m benchmarks.performance.scoring`.

Measures on all cores, alternating: decoding and preprocessing alone, the network alone, and a whole run, from finding
the first image to writing the last row. Without any overhead a run would take 1/d + 1/r per image.
"""

import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
from PIL import Image

from benchmarks.performance.conditions import conditions
from benchmarks.performance.processes import peak_memory, proportional, resident
from benchmarks.tables import document, table
from digits.classifier import MAXIMUM_BATCH, Classifier
from digits.decode import decode
from digits.memory import set_memory_options
from digits.recognizer import Recognizer
from digits.settings import ModelSettings
from digits.system import usable_cores
from scoring.engines.local import LocalEngine
from scoring.inputs.images import read
from scoring.run import Summary, score_to_file
from training.datasets.mnist import load_training

RESULTS = Path("benchmarks/results/scoring.md")
IDX = Path("training/data/mnist/train-images-idx3-ubyte.gz")
IMAGES_PER_FOLDER = 1000
LEAST, MOST = 10_000, 1_000_000

Images = Sequence[Path] | Sequence[bytes] | np.ndarray


def write_files(folder: Path) -> list[Path]:
    """Writes MNIST's training images as PNG files."""
    paths = []
    for number, image in enumerate(load_training().images):
        path = folder / f"{number // IMAGES_PER_FOLDER:02d}" / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        paths.append(path)
    return paths


def preprocess_all(images: Images, barrier: Barrier) -> None:
    """Decodes and preprocesses in step with other processes; reads files that are given by their path."""
    set_memory_options()
    recognizer = Recognizer(ModelSettings().model_path, "cpu")
    recognizer.warm_up()
    barrier.wait()
    for image in images:
        if isinstance(image, np.ndarray):
            recognizer.preprocess(image)
        else:
            recognizer.preprocess(decode(image if isinstance(image, bytes) else read(str(image))))
    barrier.wait()


def run_all(images: np.ndarray, barrier: Barrier) -> None:
    """Runs the network in step with other processes."""
    set_memory_options()
    classifier = Classifier(ModelSettings().model_path, "cpu")
    classifier.warm_up()
    barrier.wait()
    for start in range(0, len(images), MAXIMUM_BATCH):
        classifier.session.run(None, {"images": images[start : start + MAXIMUM_BATCH]})
    barrier.wait()


def alone(work: Callable[..., None], images: Images) -> float:
    """Images per second of one process per core that only do `work`."""
    processes = usable_cores()
    barrier = multiprocessing.Barrier(processes + 1)
    started = [
        multiprocessing.Process(target=work, args=(images[index::processes], barrier)) for index in range(processes)
    ]
    for process in started:
        process.start()
    barrier.wait()
    begun = time.perf_counter()
    barrier.wait()
    seconds = time.perf_counter() - begun
    for process in started:
        process.join()
    return len(images) / seconds


def whole(path: Path, folder: Path) -> float:
    """Images per second of a run."""
    summary = Summary()
    score_to_file([str(path)], folder / "out.csv", LocalEngine(ModelSettings(provider="cpu")), summary)
    seconds = summary.seconds
    (folder / "out.csv").unlink()
    return summary.images / seconds


def measure_speed(rounds: int, images: Path, folder: Path) -> str:
    """A table of medians over the rounds."""
    pixels = load_training().images
    files = sorted(images.rglob("*.png"))
    kinds: dict[str, tuple[Path, Images, Images]] = {
        f"{len(pixels):,} PNG files": (images, [path.read_bytes() for path in files], files),
        f"the IDX file of {len(pixels):,}": (IDX, pixels, pixels),
    }
    rates: dict[str, list[tuple[float, ...]]] = {kind: [] for kind in kinds}
    for number in range(rounds):
        running = alone(run_all, pixels)
        for kind, (path, contents, sources) in kinds.items():
            preprocessed, with_reading = alone(preprocess_all, contents), alone(preprocess_all, sources)
            rates[kind].append((preprocessed, with_reading, running, whole(path, folder)))
            click.echo(f"round {number + 1}: {kind}: " + ", ".join(f"{one:,.0f}" for one in rates[kind][-1]), err=True)
    rows = []
    for kind, found in rates.items():
        medians = [f"{statistics.median(column):,.0f}" for column in zip(*found, strict=True)]
        parts = [[one[-1] * (1 / one[part] + 1 / one[2]) for one in found] for part in (0, 1)]
        shares = [f"{statistics.median(part):.0%} ({min(part):.0%} to {max(part):.0%})" for part in parts]
        rows.append([kind, *medians, *shares])
    steps = ["decoded and preprocessed/s (d)", "with reading/s (d′)", "through the network/s (r)", "scored/s"]
    return table(["images", *steps, "of 1/(1/d + 1/r)", "of 1/(1/d′ + 1/r)"], rows)


def measure_memory(images: Path, folder: Path) -> str:
    """A table of the peak memory of all processes, by number of images."""
    many = folder / "many"
    files = sorted(images.rglob("*.png"))
    for number in range(MOST):
        path = many / f"{number // IMAGES_PER_FOLDER:04d}" / f"{number:07d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(files[number % len(files)], path)
    rows = []
    for count in (LEAST, MOST):
        paths = map(str, sorted(many.iterdir())[: count // IMAGES_PER_FOLDER])
        command = [sys.executable, "-m", "scoring", *paths, "--output", str(folder / "out.csv"), "--overwrite"]
        peaks = peak_memory(command, proportional, resident)
        rows.append([f"{count:,}", *(f"{one / 2**20:.0f}" for one in peaks)])
    return table(["images", "peak memory of all processes, MB", "with shared pages counted in each, MB"], rows)


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Number of measurements of each.")
@click.option("--memory/--no-memory", default=True, help="Whether to measure memory with a million images.")
@click.option("--publish", is_flag=True, help=f"Write {RESULTS}.")
def main(rounds: int, memory: bool, publish: bool) -> None:
    """Print the tables."""
    begun = [*conditions("python -m benchmarks.performance.scoring"), f"medians of {rounds} rounds, alternating"]
    with TemporaryDirectory() as directory:
        folder = Path(directory)
        write_files(folder / "images")
        tables = [measure_speed(rounds, folder / "images", folder)]
        if memory:
            tables.append(measure_memory(folder / "images", folder))
    text = document("Batch scoring", begun, *tables)
    click.echo(text)
    if publish:
        RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.performance.scoring")
