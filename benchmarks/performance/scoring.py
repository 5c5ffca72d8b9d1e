"""Speed of batch scoring compared with its parts, and its memory: `python -m benchmarks.performance.scoring`.

In turn, each on all cores: decoding and preparing alone, `session.run` alone, and the whole run, from the first image
that is looked for to the last row on the disk. Were nothing else to do, that would take 1/d + 1/r an image.
"""

import multiprocessing
import os
import statistics
import subprocess
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
from benchmarks.performance.processes import proportional, resident, tree
from digits.classifier import MAXIMUM_BATCH, Classifier
from digits.decode import decode
from digits.memory import set_memory_options
from digits.picture import Picture
from digits.preprocess import preprocess
from digits.settings import ModelSettings
from digits.system import usable_cores
from scoring.engines.local import LocalEngine
from scoring.inputs.images import read
from scoring.run import Summary, score_to_file
from training.datasets.mnist import load_training

RESULTS = Path("benchmarks/results/scoring.md")
IDX = Path("training/data/mnist/train-images-idx3-ubyte.gz")
IMAGES_A_FOLDER = 1000
LEAST, MOST, SAMPLE_SECONDS = 10_000, 1_000_000, 0.1


def write_files(folder: Path) -> list[Path]:
    """MNIST's training images, each a PNG file."""
    paths = []
    for number, image in enumerate(load_training().images):
        path = folder / f"{number // IMAGES_A_FOLDER:02d}" / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        paths.append(path)
    return paths


Images = Sequence[Path] | Sequence[bytes] | np.ndarray


def prepare_all(images: Images, barrier: Barrier) -> None:
    """Decodes and prepares, while others do; files that are only named are read first."""
    set_memory_options()
    barrier.wait()
    for image in images:
        if isinstance(image, np.ndarray):
            preprocess(Picture(image))
        else:
            preprocess(decode(image if isinstance(image, bytes) else read(str(image))))
    barrier.wait()


def run_all(images: np.ndarray, barrier: Barrier) -> None:
    """Runs the network, while others do."""
    set_memory_options()
    classifier = Classifier(ModelSettings().model_path, "cpu")
    classifier.warm_up()
    barrier.wait()
    for start in range(0, len(images), MAXIMUM_BATCH):
        classifier.session.run(None, {"images": images[start : start + MAXIMUM_BATCH]})
    barrier.wait()


def alone(work: Callable[..., None], images: Images) -> float:
    """Images a second of processes that do nothing else, one a core."""
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
    """Images a second of a run."""
    output = folder / "out.csv"
    summary = Summary()
    score_to_file([str(path)], output, LocalEngine(ModelSettings(provider="cpu")), summary)
    seconds = summary.seconds
    output.unlink()
    return summary.outcomes.total() / seconds


def measure_speed(rounds: int, images: Path, folder: Path) -> list[str]:
    """A table of the medians over rounds."""
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
            prepared, read = alone(prepare_all, contents), alone(prepare_all, sources)
            rates[kind].append((prepared, read, running, whole(path, folder)))
            click.echo(f"round {number + 1}: {kind}: " + ", ".join(f"{one:,.0f}" for one in rates[kind][-1]), err=True)
    lines = [
        "| images | decoded and prepared a second (d) | the same, read too (d′) | through the network a second (r) "
        "| scored a second | of 1/(1/d + 1/r) | of 1/(1/d′ + 1/r) |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, found in rates.items():
        medians = [f"{statistics.median(column):,.0f}" for column in zip(*found, strict=True)]
        parts = [[one[-1] * (1 / one[part] + 1 / one[2]) for one in found] for part in (0, 1)]
        shares = [f"{statistics.median(part):.0%} ({min(part):.0%} to {max(part):.0%})" for part in parts]
        lines.append(f"| {kind} | {' | '.join([*medians, *shares])} |")
    return lines


def measure_memory(images: Path, folder: Path) -> list[str]:
    """A table of the most memory that all processes of a run had, by how many images there were."""
    many = folder / "many"
    files = sorted(images.rglob("*.png"))
    for number in range(MOST):
        path = many / f"{number // IMAGES_A_FOLDER:04d}" / f"{number:07d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(files[number % len(files)], path)
    lines = [
        "| images | most memory of all processes, MB | the same, shared pages counted in each, MB |",
        "|---|---|---|",
    ]
    for count in (LEAST, MOST):
        paths = sorted(many.iterdir())[: count // IMAGES_A_FOLDER]
        command = [
            sys.executable,
            "-m",
            "scoring",
            *map(str, paths),
            "--output",
            str(folder / "out.csv"),
            "--overwrite",
        ]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:  # noqa: S603 - our own command
            most = [0.0, 0.0]
            while process.poll() is None:
                with_shared = [_total(measure, process.pid) for measure in (proportional, resident)]
                most = [max(pair) for pair in zip(most, with_shared, strict=True)]
                time.sleep(SAMPLE_SECONDS)
        lines.append(f"| {count:,} | " + " | ".join(f"{one / 2**20:.0f}" for one in most) + " |")
    return lines


def _total(measure: Callable[[int], int], process: int) -> int:
    try:
        return sum(map(measure, tree(process)))
    except (FileNotFoundError, ProcessLookupError):
        return 0  # one has ended meanwhile


@click.command()
@click.option("--rounds", default=5, show_default=True, help="How often each is timed.")
@click.option("--memory/--no-memory", default=True, help="Whether a million images are scored.")
@click.option("--publish", is_flag=True, help=f"Write {RESULTS}.")
def main(rounds: int, memory: bool, publish: bool) -> None:
    """Print the tables."""
    begun = conditions("python -m benchmarks.performance.scoring")
    with TemporaryDirectory() as directory:
        folder = Path(directory)
        write_files(folder / "images")
        tables = [measure_speed(rounds, folder / "images", folder)]
        if memory:
            tables.append(measure_memory(folder / "images", folder))
    text = "# Batch scoring\n\n" + "\n".join(f"- {line}" for line in begun)
    text += f"\n- {rounds} rounds, in turn; medians\n\n" + "\n\n".join("\n".join(table) for table in tables) + "\n"
    click.echo(text)
    if publish:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.performance.scoring")
