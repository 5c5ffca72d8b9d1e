"""Photographed pages of digits with the truth: rows of MNIST's test digits, or of one unseen writer, on paper.

`python -m benchmarks.accuracy.pages FOLDER` writes examples, each with its lines and boxes in a JSON file.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from benchmarks.accuracy.drawing import Ink, cropped, drawn, in_processes, log_uniform, read, redrawn, sized
from benchmarks.accuracy.figures import Figure, share
from benchmarks.accuracy.hard_photos import BLACK, BLUE, GRAPHITE, WHITE, Light, Sheet, clouds, shadowed, thinned
from benchmarks.accuracy.input_variations import file_of
from digits.reasons import SEVERAL_DIGITS
from digits.recognizer import Recognizer
from training.datasets.mnist import load_test
from training.datasets.pen_strokes import HELD_OUT_WRITERS, PEN_STROKES, PenDigit, load_pen_digits

COUNT, EXAMPLES = 40, 24
# The longer and the shorter side of a photo.
SIZES = ((600, 400), (800, 600), (1280, 960), (1600, 1200), (2048, 1536), (4000, 3000))
# Larger photos are enlarged, as a phone's are hardly sharper.
LARGEST_SHARP = 2048
LINES, DIGITS = 10, 13
# The least height of a digit in pixels.
SMALLEST = 15
YELLOW = (0.83, 0.72, 0.26)
SLANT = np.radians(15)

# Left, top, width and height in pixels.
Box = tuple[int, int, int, int]
# A digit's ink, by its label and height in pixels.
Hand = Callable[[int, float], Ink]


@dataclass(frozen=True)
class Page:
    """A JPEG file, its lines of digits from top to bottom, and every digit's box, by line."""

    file: bytes
    lines: list[str]
    boxes: list[list[Box]]


def measure(recognizer: Recognizer, count: int = COUNT) -> list[Figure]:
    """Share of pages of at least two digits that are answered `several digits`."""
    files = in_processes(several_on_page, range(count))
    several = np.array([one.reason == SEVERAL_DIGITS for one in read(recognizer, files)])
    return [share("pages of digits: answered `several digits`", several)]


def several_on_page(seed: int) -> bytes:
    """The file of a page of at least two digits."""
    made = page(seed)
    return made.file if sum(map(len, made.lines)) > 1 else several_on_page(seed + 1_000_000)


def page(seed: int) -> Page:
    """A page of 1 to 10 lines of 1 to 13 digits."""
    random = np.random.default_rng((7, seed))
    long, short = SIZES[random.integers(len(SIZES))]
    zoom = 2 if long > LARGEST_SHARP else 1
    size = (long // zoom, short // zoom) if random.random() < 0.7 else (short // zoom, long // zoom)
    corners = _corners(random, size)
    ink, lines, boxes = _written(random, size, corners)
    paper, pitch = _paper(random, size), boxes[0][0][3] * random.uniform(0.5, 1.3)
    if random.random() < 0.5:
        paper = paper * _rules(random, size, pitch, squared=bool(random.random() < 0.5))
    if random.random() < 0.3:
        ink = np.maximum(ink, _other_side(random, ink))
    light = np.ones((1, 1, 1), np.float32)
    if random.random() < 0.4:
        light = shadowed(random, size, [side * random.uniform(0.3, 0.7) for side in size])
    paper, light = _on_table(random, paper, light, corners)
    pen = [GRAPHITE, BLUE, BLACK, BLACK][random.integers(4)]
    image = Sheet(random, ink, paper, pen, light, exposure=random.uniform(0.5, 0.95), blur=0.7).image()
    if zoom > 1:
        image = image.resize((zoom * image.width, zoom * image.height), Image.Resampling.BICUBIC)
    zoomed = [
        [(zoom * left, zoom * top, zoom * width, zoom * height) for left, top, width, height in line] for line in boxes
    ]
    return Page(file_of(image, "JPEG", quality=int(random.integers(70, 93))), lines, zoomed)


def _corners(random: Generator, size: tuple[int, int]) -> NDArray[np.float64]:
    """The sheet's corners, x and y, clockwise from the top left; in half of the photos beyond the image's."""
    whole = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64)
    inset = random.uniform(0.03, 0.13) if random.random() < 0.5 else -0.1
    moved = 0.5 + (whole - 0.5) * (1 - 2 * inset) + random.uniform(-0.02, 0.02, (4, 2))
    return moved * (size[1], size[0])


def _written(
    random: Generator, size: tuple[int, int], corners: NDArray[np.float64]
) -> tuple[Ink, list[str], list[list[Box]]]:
    """Lines of digits on the sheet, slightly rising or falling, none beyond its edges."""
    margin = 0.05 * min(size)
    top, bottom = max(0, *corners[:2, 1]) + margin, min(size[0], *corners[2:, 1]) - margin
    left, right = max(0, corners[0, 0], corners[3, 0]) + margin, min(size[1], *corners[1:3, 0]) - margin
    layout = _layout(random, right - left, bottom - top, min(size))
    hand = _hand(random)
    ink = np.zeros(size, np.float32)
    texts, boxes = [], []
    first = top + max(0.0, -layout.slope * (right - left)) + layout.spare * random.random() ** 2
    for line in range(layout.lines):
        start = left + random.uniform(0, 0.3) * max(0.0, right - left - layout.digits * layout.pitch)
        text, places = _line(random, ink, hand, layout, (start, first + line * layout.spacing, right))
        texts.append(text)
        boxes.append(places)
    return ink, texts, boxes


@dataclass(frozen=True)
class Layout:
    """How many digits in how many lines; lengths in pixels, `slope` in pixels down per pixel to the right."""

    lines: int
    digits: int
    tall: float
    spacing: float
    pitch: float
    gap: float
    touching: float
    slope: float
    spare: float


def _layout(random: Generator, width: float, height: float, short: int) -> Layout:
    """A layout for a part of a sheet; `gap` is in widths of a digit, `touching` a share of neighbours."""
    lines, digits = int(random.integers(1, LINES + 1)), int(random.integers(1, DIGITS + 1))
    spacing, gap = random.uniform(1.4, 2.4), 2 * random.random() ** 2
    slope = float(np.tan(np.radians(random.uniform(-3, 3))))
    height -= abs(slope) * width
    pitch = 0.7 * (1 + gap)
    tall = min(height / (lines * spacing), width / (digits * pitch), short * random.uniform(0.05, 0.3))
    if tall < SMALLEST:
        tall, lines = SMALLEST, max(1, min(lines, int(height / (SMALLEST * spacing))))
    touching = float(random.choice([0, 0.2, 0.6], p=[0.5, 0.4, 0.1]))
    spare = max(0.0, height - lines * spacing * tall)
    return Layout(lines, digits, tall, spacing * tall, pitch * tall, gap, touching, slope, spare)


def _line(
    random: Generator, ink: Ink, hand: Hand, layout: Layout, where: tuple[float, float, float]
) -> tuple[str, list[Box]]:
    """Writes a line onto the ink; `where` is its left end, top and right end."""
    start, top, end = where
    text, boxes, x = "", list[Box](), start
    for _ in range(max(1, layout.digits - int(random.integers(3)))):
        label = int(random.integers(10))
        low = 0.7 if label == 0 else 0.85
        digit = hand(label, layout.tall * random.uniform(low, 1.05))
        height, width = digit.shape
        if text and x + width > end:
            break
        y = top + layout.slope * (x - start) + layout.tall * (1 + random.uniform(-0.05, 0.05)) - height
        row, column = (
            int(min(max(0, place), room - side))
            for place, room, side in zip((y, x), ink.shape, digit.shape, strict=True)
        )
        part = ink[row : row + height, column : column + width]
        np.maximum(part, digit, out=part)
        text += str(label)
        boxes.append((column, row, width, height))
        apart = -0.07 * width if random.random() < layout.touching else 0.03 * layout.tall
        x = (
            column
            + width
            + max(apart, 0.6 * layout.tall * layout.gap * random.uniform(0.6, 1.2) if apart > 0 else apart)
        )
    return text, boxes


def _hand(random: Generator) -> Hand:
    """How digits are written on one page: by one pen with one slant, from MNIST or by one writer."""
    shear, pen = np.tan(random.uniform(-SLANT, SLANT)), log_uniform(random, 0.05, 0.12)
    writer = int(random.choice(HELD_OUT_WRITERS)) if random.random() < 0.5 else None
    thin = random.random() < 0.5

    def digit(label: int, tall: float) -> Ink:
        if writer is not None:
            ink = _drawn_by(random, writer, label, pen)
        else:
            ink = redrawn(_of_mnist()[label][random.integers(len(_of_mnist()[label]))])
            ink = thinned(ink, pen) if thin else ink
        ink = _sheared(ink, shear)
        return sized(ink, max(tall * max(ink.shape) / ink.shape[0] if ink.shape[1] < 1.3 * ink.shape[0] else tall, 4))

    return digit


@cache
def _of_mnist() -> list[NDArray[np.uint8]]:
    data = load_test()
    return [data.images[data.labels == label] for label in range(10)]


@cache
def _by_writer() -> dict[tuple[int, int], list[PenDigit]]:
    digits = load_pen_digits(PEN_STROKES, HELD_OUT_WRITERS)
    return {
        (writer, label): [one for one in digits if (one.writer, one.label) == (writer, label)]
        for writer in HELD_OUT_WRITERS
        for label in range(10)
    }


def _drawn_by(random: Generator, writer: int, label: int, pen: float) -> Ink:
    chosen = _by_writer()[writer, label]
    strokes = chosen[random.integers(len(chosen))].strokes
    points = np.concatenate(strokes)
    low, scale = points.min(axis=0), 120 / np.ptp(points, axis=0).max()
    return cropped(drawn([(one - low) * scale + 20 for one in strokes], (160, 160), 120 * pen))


def _sheared(ink: Ink, shear: float) -> Ink:
    room = int(abs(shear) * len(ink)) + 1
    image = Image.fromarray(np.pad(ink, ((0, 0), (room, room))))
    across = (1, shear, -shear * len(ink) / 2, 0, 1, 0)
    return cropped(np.asarray(image.transform(image.size, Image.Transform.AFFINE, across, Image.Resampling.BILINEAR)))


def _paper(random: Generator, size: tuple[int, int]) -> Light:
    colour = YELLOW if random.random() < 0.2 else WHITE
    return np.ones((*size, 1), np.float32) * np.array(colour, np.float32)


def _rules(random: Generator, size: tuple[int, int], pitch: float, *, squared: bool) -> Light:
    """Ruled or squared paper: what the lines leave of the light."""
    rows, columns = np.indices(size, dtype=np.float32)
    tilt, width = random.uniform(-0.04, 0.04), max(0.8, pitch * random.uniform(0.015, 0.04))
    lines = np.zeros(size, np.float32)
    for across in (rows + tilt * columns, columns - tilt * rows)[: 2 if squared else 1]:
        distance = np.abs((across + random.uniform(0, pitch)) % pitch - pitch / 2)
        lines = np.maximum(lines, np.clip(width / 2 + 0.5 - distance, 0, 1))
    colour = np.array(
        [[0.45, 0.6, 0.85], [0.6, 0.6, 0.6], [0.85, 0.5, 0.5]][random.choice(3, p=[0.6, 0.3, 0.1])], np.float32
    )
    return 1 - lines[..., None] * (1 - colour) * np.float32(random.uniform(0.4, 1))


def _other_side(random: Generator, ink: Ink) -> Ink:
    """Writing on the sheet's other side, mirrored and blurred."""
    back = np.roll(ink[:, ::-1], tuple(int(random.uniform(-0.1, 0.1) * side) for side in ink.shape), (0, 1))
    blurred = _soft(Image.fromarray((255 * back).astype(np.uint8)), max(ink.shape) / 500)
    return np.float32(random.uniform(0.06, 0.2)) * blurred[..., 0]


def _on_table(random: Generator, paper: Light, light: Light, corners: NDArray[np.float64]) -> tuple[Light, Light]:
    """The sheet on a table of wood or of one colour; it throws a soft shadow."""
    height, width = paper.shape[:2]
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).polygon([tuple(one) for one in corners], fill=255)
    sheet = _soft(mask, 0.7)
    shade = _soft(mask, max(height, width) / 120)
    stretched = clouds(random, (height, max(2, width // 12)), 3)
    grain = np.asarray(Image.fromarray(stretched).resize((width, height), Image.Resampling.BICUBIC))[..., None]
    colour = [(0.3, 0.17, 0.08), (0.12, 0.06, 0.03), (0.35, 0.35, 0.36), (0.03, 0.03, 0.04)][random.integers(4)]
    table = np.array(colour, np.float32) * (1 + np.float32(random.uniform(0.02, 0.25)) * grain)
    return sheet * paper + (1 - sheet) * table, light * (1 - np.float32(0.5) * shade * (1 - sheet))


def _soft(mask: Image.Image, blur: float) -> Light:
    return np.asarray(mask.filter(ImageFilter.GaussianBlur(blur)), np.float32)[..., None] / np.float32(255)


def write_examples(folder: Path, count: int = EXAMPLES) -> None:
    """Writes pages, and their lines and boxes as JSON, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        made = asdict(page(seed))
        (folder / f"{seed:03}.jpg").write_bytes(made.pop("file"))
        (folder / f"{seed:03}.json").write_text(json.dumps(made) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_examples(Path(sys.argv[1]))
