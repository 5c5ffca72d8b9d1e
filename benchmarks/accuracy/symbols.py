"""How sure the model is of symbols, scribbles and printed letters, which are no digits.

Never train on these symbols or choose a threshold by them: they measure how the model treats what it has never seen.
"""

import io
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from benchmarks.accuracy.drawing import (
    CONFIDENT,
    Ink,
    Pixels,
    confident,
    cropped,
    curve,
    drawn,
    grey_file,
    log_uniform,
    on_paper,
    read,
    sized,
    spread,
    strokes_of,
)
from benchmarks.accuracy.figures import Figure, share
from benchmarks.accuracy.input_variations import file_of
from benchmarks.accuracy.marks import with_room
from benchmarks.accuracy.not_a_digit import DIGIT_SHAPED, FASHION, FONTS, load_fashion, read_packaged
from digits.recognizer import Prediction, Recognizer
from training.datasets.mnist import load_test

COUNT = 1000
TALL = 200
# Drawn by hand in a few strokes: see `drawing.parsed`.
SYMBOLS = {
    "smiley": "~50,0 15,15 0,50 15,85 50,100 85,85 100,50 85,15 50,0; 33,32 33,42; 67,32 67,42; ~25,62 50,80 75,62",
    "spiral": "~50,50 58,52 55,64 40,60 38,40 58,30 76,48 68,78 36,82 16,54 30,14 70,6 98,40 92,80",
    "anchor": "50,18 50,98; 30,34 70,34; ~50,0 42,8 50,18 58,8 50,0; ~4,62 18,88 50,98 82,88 96,62; 4,62 0,76",
    "heart": "~50,28 30,2 2,14 8,50 50,98; ~50,28 70,2 98,14 92,50 50,98",
    "house": "10,45 10,100 90,100 90,45; 0,50 50,0 100,50; 40,100 40,68 60,68 60,100",
    "star": "50,0 80,95 2,36 98,36 20,95 50,0",
    "arrow": "0,50 100,50; 65,18 100,50 65,82",
    "note": "60,80 60,0; ~60,0 74,18 92,30 86,52; ~60,82 40,74 22,88 38,100 60,88 60,80",
    "two notes": "22,84 22,8 90,0 90,78; ~22,84 6,80 0,96 14,100 22,84; ~90,78 74,74 68,90 82,94 90,78",
    "ampersand": "~100,100 60,60 25,22 40,0 60,12 50,35 8,70 25,98 62,88 92,50",
    "at": "~66,40 46,32 34,52 46,70 64,62 68,36; ~68,36 66,64 80,72 96,50 80,12 40,4 6,34 12,80 50,100 84,90",
    "question": "~8,22 40,0 84,20 70,48 48,60 48,76; 48,94 48,98",
    "percent": "~20,4 2,20 20,38 38,20 20,4; ~80,62 62,80 80,98 98,80 80,62; 88,0 12,100",
    "hash": "34,0 22,100; 78,0 66,100; 4,32 100,32; 0,68 96,68",
    "plus": "50,0 50,100; 0,50 100,50",
    "cross": "0,0 100,100; 100,0 0,100",
    "tick": "0,55 35,100 100,0",
    "lightning": "62,0 18,56 52,56 34,100 88,38 52,40 62,0",
    "flower": "~50,36 34,8 50,0 66,8 50,36; ~62,46 92,30 100,50 92,62 62,54; "
    "~54,64 72,92 50,98 34,90 46,64; ~38,52 8,66 0,48 8,34 38,44; ~50,36 38,50 50,64 62,50 50,36",
    "fish": "~100,50 70,22 30,24 4,80; ~100,50 70,78 30,76 4,20; 4,20 4,80; 78,42 79,44",
    "key": "~20,32 2,50 20,68 38,50 20,32; 38,50 100,50; 82,50 82,70; 97,50 97,72",
    "umbrella": "~0,50 14,16 50,2 86,16 100,50; ~0,50 25,40 50,50 75,40 100,50; ~50,50 50,80 50,92 38,100 28,90",
    "tree": "50,0 20,36 38,36 10,70 90,70 62,36 80,36 50,0; 44,70 44,100 56,100 56,70",
    "envelope": "0,15 100,15 100,85 0,85 0,15; 0,15 50,58 100,15",
    "cup": "10,20 20,95 68,95 78,20 10,20; ~76,36 98,34 96,64 72,66",
    "triangle": "50,0 100,90 0,90 50,0",
    "sun": "~50,28 28,50 50,72 72,50 50,28; 50,0 50,16; 50,84 50,100; "
    "0,50 16,50; 84,50 100,50; 15,15 26,26; 74,74 85,85; 85,15 74,26; 26,74 15,85",
    "euro": "~96,12 62,0 26,22 18,50 26,78 62,100 96,88; 0,42 66,42; 0,58 60,58",
    "ladder": "20,0 10,100; 80,0 90,100; 18,22 82,22; 15,50 85,50; 12,78 88,78",
    "stick figure": "~50,0 38,11 50,22 62,11 50,0; 50,22 50,62; 14,38 86,38; 20,100 50,62 80,100",
}
PRINT = {
    "fonts-dejavu-core": [
        f"truetype/dejavu/DejaVu{name}.ttf" for name in ("Sans", "Sans-Bold", "SansMono", "Serif", "Serif-Bold")
    ],
    "fonts-liberation": [
        f"truetype/liberation/Liberation{name}.ttf"
        for name in ("Sans-Regular", "Sans-Italic", "Serif-Regular", "Serif-Italic", "Mono-Regular")
    ],
}


def measure(recognizer: Recognizer, count: int = COUNT, fonts: Path = FONTS, fashion: Path = FASHION) -> list[Figure]:
    """Shares read as a digit with high confidence, and what such readings are worth if a tenth are no digits."""
    letters = "".join(one for one in ascii_uppercase + ascii_lowercase if one not in DIGIT_SHAPED)
    random = np.random.default_rng(0)
    files = {
        "symbols": [symbol(list(SYMBOLS)[index % len(SYMBOLS)], random) for index in range(count)],
        "scribbles": [scribble(random) for _ in range(count)],
        "printed capitals A to J except B and I": printed("ACDEFGHJ", fonts, count, random),
        f"printed letters except {', '.join(DIGIT_SHAPED)}": printed(letters, fonts, count, random),
    }
    predictions = {name: read(recognizer, some) for name, some in files.items()}
    figures = [
        share(f"{name}: read at confidence {CONFIDENT}", confident(some), higher_is_better=False)
        for name, some in predictions.items()
    ]
    garments = (file_of(Image.fromarray(image)) for image in load_fashion(fashion)[: count // 4])
    return [*figures, _mixed(recognizer, [*predictions.values(), read(recognizer, garments)], count)]


def _mixed(recognizer: Recognizer, others: list[list[Prediction]], count: int) -> Figure:
    """The share of wrong readings among confident ones of nine parts MNIST digits to one part others."""
    digits = spread(load_test(), 9 * count)
    known = read(recognizer, (file_of(Image.fromarray(digit)) for digit in digits.images))
    wrong = np.array([one.digit != label for one, label in zip(known, digits.labels, strict=True)])
    mixed = [one for kind in others for one in kind[: count // len(others)]]
    sure = np.concatenate([confident(known), confident(mixed)])
    return share(
        f"wrong among readings at confidence {CONFIDENT}, a tenth of the images being no digits",
        np.concatenate([wrong, np.ones(len(mixed), bool)])[sure],
        higher_is_better=False,
    )


def symbol(name: str, random: Generator) -> bytes:
    """One of SYMBOLS, drawn with any pen, a bit turned and slanted."""
    shape = np.array([random.uniform(0.7, 1.1), 1]) * TALL
    strokes = [100 + one * shape for one in strokes_of(SYMBOLS[name], random, 0.018, slant=0.15, turn=0.15)]
    return _file(cropped(drawn(strokes, (TALL + 200, TALL + 220), log_uniform(random, 5, 28))), random)


def scribble(random: Generator) -> bytes:
    """A loose line back and forth, a knot of curves, or a few crossing strokes."""
    match random.integers(3):
        case 0:
            turns = int(random.integers(6, 16))
            along = np.linspace(0, 1, turns)
            across = np.where(np.arange(turns) % 2, 1, 0) + random.normal(0, 0.15, turns)
            strokes = [curve(np.stack([along + random.normal(0, 0.04, turns), across], axis=1) * (1, 0.6))]
        case 1:
            strokes = [curve(random.uniform(0, 1, (int(random.integers(9, 16)), 2)))]
        case _:
            strokes = []
            for angle in random.uniform(0, np.pi, random.integers(3, 7)):
                end = np.array([np.cos(angle), np.sin(angle)]) / 2
                strokes.append(curve(np.stack([-end, 0 * end, end]) + random.normal(0, 0.1, (3, 2))))
    points = [one @ _turned(random) * TALL for one in strokes]
    low = np.concatenate(points).min(axis=0) - 30
    width, height = (int(side) + 30 for side in np.concatenate(points).max(axis=0) - low)
    return _file(cropped(drawn([one - low for one in points], (height, width), log_uniform(random, 4, 22))), random)


def _turned(random: Generator) -> NDArray[np.float64]:
    angle = random.uniform(0, 2 * np.pi)
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def printed(letters: str, fonts: Path, count: int, random: Generator) -> list[bytes]:
    """`count` letters, printed in fonts of Debian's packages in turn. Raises click.ClickException if one is missing."""
    faces = [
        ImageFont.truetype(io.BytesIO(read_packaged(fonts / name, package)), TALL)
        for package, names in PRINT.items()
        for name in names
    ]
    files = []
    for index in range(count):
        sheet = Image.new("L", (2 * TALL, 2 * TALL))
        letter = letters[index % len(letters)]
        ImageDraw.Draw(sheet).text((TALL / 2, TALL / 2), letter, 255, faces[random.integers(len(faces))])
        files.append(_file(cropped(np.asarray(sheet, np.float32) / np.float32(255)), random))
    return files


def _file(ink: Ink, random: Generator) -> bytes:
    pixels: Pixels = on_paper(sized(with_room(ink, random), log_uniform(random, 32, 300)), random)
    return grey_file(pixels, random)
