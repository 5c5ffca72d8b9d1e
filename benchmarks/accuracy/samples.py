"""The samples that the service's page shows: a digit, a tight crop, a number, a page, and a smiley.

`python -m benchmarks.accuracy.samples service/static/samples` writes them, from MNIST's test digits and pen strokes.
"""

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.accuracy.crops import crop
from benchmarks.accuracy.drawing import cropped, drawn, redrawn, strokes_of
from benchmarks.accuracy.hard_photos import BLUE, WHITE, Sheet, framed, slanting_shadow
from benchmarks.accuracy.input_variations import file_of
from benchmarks.accuracy.pages import page
from benchmarks.accuracy.symbols import SYMBOLS
from training.datasets.mnist import load_test

DIGIT, CROP = 15, 61
NUMBER, PAGE = 1046, 1382
NOTE = (20, 10, 400, 263)  # what is shown of the number's photo
SIDE, QUALITY = 720, 68


def samples() -> dict[str, Image.Image]:
    """An image by the name of its file."""
    digits = load_test().images
    random = np.random.default_rng(4)
    return {
        "digit.jpg": _opened(slanting_shadow(redrawn(digits[DIGIT]), random)),
        "crop.jpg": Image.fromarray(crop(redrawn(digits[CROP]), 240, 4, 0, random, binarised=False)),
        "number.jpg": _opened(page(NUMBER).file).crop(NOTE),
        "page.jpg": _opened(page(PAGE).file),
        "smiley.jpg": _smiley(),
    }


def _opened(file: bytes) -> Image.Image:
    return Image.open(io.BytesIO(file))


def _smiley() -> Image.Image:
    random = np.random.default_rng(1)
    strokes = [50 + 400 * one for one in strokes_of(SYMBOLS["smiley"], random, 0.01)]
    ink = framed(cropped(drawn(strokes, (500, 500), 14)), random, (480, 480), 0.6, 0.7)
    return Sheet(random, ink, WHITE, BLUE).image()


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in samples().items():
        image.thumbnail((SIDE, SIDE))
        (folder / name).write_bytes(file_of(image, "JPEG", quality=QUALITY))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
