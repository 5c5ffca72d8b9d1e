"""How many digits are read on photographed pages that have none: tables, textures, punctuation, words and drawings.

Letters that many people write like a digit are left out. Never train on these pages or choose a threshold by them.
"""

import io
from pathlib import Path

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFont

from benchmarks.accuracy.drawing import Ink, curve, drawn, strokes_of
from benchmarks.accuracy.figures import Figure, mean
from benchmarks.accuracy.hard_photos import BLACK, BLUE, GRAPHITE, WHITE, Sheet, shadowed
from benchmarks.accuracy.input_variations import file_of
from benchmarks.accuracy.not_a_digit import DIGIT_SHAPED, FONTS, HANDWRITING, read_packaged, texture
from benchmarks.accuracy.symbols import SYMBOLS
from digits.recognizer import Recognizer

COUNT = 200
SIZES = ((600, 400), (800, 600), (1280, 960), (1600, 1200))
KINDS = ("tables", "textures", "punctuation", "words", "drawings")
PUNCTUATION = ".,:;!?-+=*#&()/"
# Readings with this confidence count.
SURE = 0.9


def measure(recognizer: Recognizer, count: int = COUNT, fonts: Path = FONTS) -> list[Figure]:
    """The mean number of digits that are surely read on a page, of all pages and of each kind."""
    numbers = np.array([_surely_read(recognizer, empty_page(seed, fonts)) for seed in range(count)])
    name = f"digits read at confidence {SURE} for each page"
    return [
        mean(f"{name} without digits", numbers),
        *(mean(f"{name} of {kind}", numbers[place :: len(KINDS)]) for place, kind in enumerate(KINDS)),
    ]


def _surely_read(recognizer: Recognizer, file: bytes) -> int:
    return sum(one.digit is not None and one.confidence >= SURE for one in recognizer.read(file).digits)


def empty_page(seed: int, fonts: Path = FONTS) -> bytes:
    """The file of a page; the kind is KINDS[seed % 5]."""
    random = np.random.default_rng((8, seed))
    kind = KINDS[seed % len(KINDS)]
    if kind == "textures":
        return file_of(Image.fromarray(texture(random)), "JPEG", quality=90)
    long, short = SIZES[random.integers(len(SIZES))]
    size = (long, short) if random.random() < 0.7 else (short, long)
    ink = {"tables": _table, "punctuation": _punctuation, "words": _words, "drawings": _drawings}[kind](
        random, size, fonts
    )
    pen = [GRAPHITE, BLUE, BLACK][random.integers(3)]
    light = np.ones((1, 1, 1), np.float32)
    if random.random() < 0.4:
        light = shadowed(random, size, [side * random.uniform(0.3, 0.7) for side in size])
    sheet = Sheet(random, ink, WHITE, pen, light, exposure=random.uniform(0.5, 0.95), blur=0.7)
    return file_of(sheet.image(), "JPEG", quality=int(random.integers(70, 93)))


def _table(random: Generator, size: tuple[int, int], _fonts: Path) -> Ink:
    """Columns and rows without entries, drawn with a ruler."""
    height, width = size
    canvas = Image.new("L", (width, height))
    draw, pen = ImageDraw.Draw(canvas), int(random.integers(1, 4))
    rows, columns = random.integers(3, 15), random.integers(2, 8)
    top, left = 0.1 * height, 0.1 * width
    for y in np.linspace(top, 0.9 * height, rows):
        draw.line((left, y, 0.9 * width, y), fill=255, width=pen)
    for x in np.linspace(left, 0.9 * width, columns):
        draw.line((x, top, x, 0.9 * height), fill=255, width=pen)
    return np.asarray(canvas.rotate(random.uniform(-3, 3), Image.Resampling.BICUBIC), np.float32) / np.float32(255)


def _punctuation(random: Generator, size: tuple[int, int], fonts: Path) -> Ink:
    return _lines(random, size, fonts, PUNCTUATION)


def _words(random: Generator, size: tuple[int, int], fonts: Path) -> Ink:
    return _lines(random, size, fonts, "")


def _lines(random: Generator, size: tuple[int, int], fonts: Path, marks: str) -> Ink:
    """Lines of words of random letters of one handwriting font, or of punctuation marks."""
    package = list(HANDWRITING)[random.integers(len(HANDWRITING))]
    path, letters = list(HANDWRITING[package].items())[random.integers(len(HANDWRITING[package]))]
    letters = marks or "".join(one for one in letters if one not in DIGIT_SHAPED)
    tall = min(size) * random.uniform(0.05, 0.12)
    face = ImageFont.truetype(io.BytesIO(read_packaged(fonts / path, package)), tall)
    canvas = Image.new("L", size[::-1])
    draw = ImageDraw.Draw(canvas)
    for line in range(int(random.integers(2, 9))):
        words = ["".join(random.choice(list(letters), random.integers(2, 8))) for _ in range(random.integers(1, 4))]
        draw.text((0.1 * size[1], 0.1 * size[0] + 1.5 * tall * line), "  ".join(words), fill=255, font=face)
    return np.asarray(canvas.rotate(random.uniform(-3, 3), Image.Resampling.BICUBIC), np.float32) / np.float32(255)


def _drawings(random: Generator, size: tuple[int, int], _fonts: Path) -> Ink:
    """A few symbols and loose curves."""
    side = min(size) * random.uniform(0.15, 0.4)
    strokes = []
    for _ in range(int(random.integers(2, 7))):
        at = random.uniform(0, 1, 2) * (size[1] - 1.2 * side, size[0] - 1.2 * side)
        if random.random() < 0.7:
            name = list(SYMBOLS)[random.integers(len(SYMBOLS))]
            strokes += [at + side * one for one in strokes_of(SYMBOLS[name], random, 0.018, slant=0.15, turn=0.15)]
        else:
            strokes.append(at + side * curve(random.uniform(0, 1, (int(random.integers(5, 12)), 2))))
    return drawn(strokes, size, random.uniform(2, 6) * max(size) / 1000)
