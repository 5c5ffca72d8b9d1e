"""Synthetic photos of digits; and how long reading them takes without HTTP: `python -m benchmarks.performance.photos`.

Each way of reading runs in a process of its own, in turn for several rounds, on one thread.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from statistics import median

import click
import numpy as np
from PIL import Image

from benchmarks.accuracy.input_variations import enlarged, file_of
from benchmarks.performance.conditions import conditions
from benchmarks.performance.peers.plain import SHIPPED, Network
from benchmarks.tables import document, table
from digits.memory import set_memory_options
from digits.recognizer import Prediction, Recognizer
from training.datasets.mnist import load_training

PIXELS = 1000
PHOTOS, WARM_UP = 54, 6
_training = cache(load_training)


def photo_of_a_digit(pixels: int = PIXELS, number: int = 0) -> bytes:
    """A square JPEG, `pixels` wide: a digit on unevenly lit paper, with a camera's noise."""
    random = np.random.default_rng(number)
    ink = np.asarray(enlarged(_training().images[number], pixels), np.float32) / 255
    light = np.linspace(230, 150, pixels, dtype=np.float32)
    seen = (light * (1 - 0.8 * ink))[..., None] + random.normal(0, 4, (pixels, pixels, 3))
    return file_of(Image.fromarray(np.clip(seen, 0, 255).astype(np.uint8)), "JPEG", quality=85)


def _digits() -> Callable[[bytes], int | None]:
    set_memory_options()  # as the service does
    recognizer = Recognizer(SHIPPED, "cpu")

    def read(photo: bytes) -> int | None:
        [prediction] = recognizer.recognize([photo])
        assert isinstance(prediction, Prediction)
        return prediction.digit

    return read


def _plain(*, reduced: bool) -> Callable[[bytes], int | None]:
    network = Network(SHIPPED, reduced=reduced)
    return lambda photo: network.read(photo)["digit"]


WAYS: dict[str, tuple[str, Callable[[], Callable[[bytes], int | None]]]] = {
    "digits": ("**digits**", _digits),
    "plain": ("decode, resize to 28×28, the same network", lambda: _plain(reduced=False)),
    "reduced": ("the same, decoded at a part of its size", lambda: _plain(reduced=True)),
}


@click.command()
@click.option("--rounds", default=15, show_default=True, help="Number of measurements of each way.")
@click.option("--only", type=click.Choice(list(WAYS)), hidden=True, help="Measure one way once, in this process.")
def main(rounds: int, only: str | None) -> None:
    """Print CPU time per photo, and how many are read right."""
    if only:
        click.echo(json.dumps(_measure(WAYS[only][1]())))
        return
    begun = conditions("python -m benchmarks.performance.photos")
    measured: dict[str, list[tuple[float, int]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, results in measured.items():
            command = [sys.executable, "-m", "benchmarks.performance.photos", "--only", way]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603
            results.append(tuple(json.loads(output)))
    rows = []
    for way, results in measured.items():
        ratios = [one[0] / ours[0] for one, ours in zip(results, measured["digits"], strict=True)]
        spread = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        rows.append((WAYS[way][0], f"{1e3 * median(one[0] for one in results):.2f}", spread, results[0][1]))
    heads = ["", "CPU ms per photo", "its time ÷ digits'", f"read right, of {PHOTOS}"]
    begun.append(f"medians of {rounds} rounds in turn, {PHOTOS} photos of {PIXELS}×{PIXELS} pixels")
    click.echo(document("Photos without HTTP", begun, table(heads, rows)))


def _measure(read: Callable[[bytes], int | None]) -> tuple[float, int]:
    """CPU seconds per photo, and the number read right."""
    photos = [photo_of_a_digit(number=number) for number in range(PHOTOS)]
    for photo in photos[:WARM_UP]:
        read(photo)
    begun = time.process_time()
    found = [read(photo) for photo in photos]
    seconds = (time.process_time() - begun) / PHOTOS
    return seconds, sum(one == label for one, label in zip(found, _training().labels.tolist(), strict=False))


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.performance.photos")
