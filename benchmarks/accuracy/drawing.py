"""What the benchmarks' generators share: digits redrawn at any size, pen strokes, paper, and reading the files."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import islice
from multiprocessing import get_context
from typing import TypeVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from scipy.interpolate import CubicSpline
from scipy.ndimage import distance_transform_edt, label, maximum_filter

from benchmarks.accuracy.input_variations import file_of
from digits.recognizer import Prediction, Recognizer
from training.datasets.mnist import Dataset

# How much larger than MNIST's a redrawn digit is: its longer side is about 200 pixels.
FINE = 10
CONFIDENT = 0.99

Pixels = NDArray[np.uint8]
# How much of a pixel is ink, 0 to 1, float32 [H, W].
Ink = NDArray[np.float32]
# Points of a pen stroke, float64 [n, 2], x to the right and y down.
Stroke = NDArray[np.float64]

Task = TypeVar("Task")
Made = TypeVar("Made")

# The result for an image that is rejected or cannot be decoded.
NOTHING = Prediction(None, 0.0, (0.1,) * 10, "not decoded")


def spread(data: Dataset, count: int) -> Dataset:
    """`count` digits, evenly spread over the data."""
    return data.part(np.linspace(0, len(data) - 1, count).astype(np.int64))


def read(recognizer: Recognizer, files: Iterable[bytes]) -> list[Prediction]:
    """Predictions for image files; a file that is not decoded counts as rejected."""
    rest, results = iter(files), []
    while part := list(islice(rest, 16)):
        results += recognizer.recognize(part)
    return [one if isinstance(one, Prediction) else NOTHING for one in results]


def in_processes(function: Callable[[Task], Made], tasks: Sequence[Task]) -> Iterator[Made]:
    """What a function makes of each task, one process per core."""
    if len(tasks) < 16:
        yield from map(function, tasks)
        return
    with ProcessPoolExecutor(mp_context=get_context("forkserver")) as pool:
        yield from pool.map(function, tasks, chunksize=4)


def digits_of(predictions: Iterable[Prediction]) -> NDArray[np.int64]:
    """The digits read, -1 for rejected images."""
    return np.array([-1 if one.digit is None else one.digit for one in predictions])


def confident(predictions: Iterable[Prediction]) -> NDArray[np.bool_]:
    """Which images are read as a digit with a confidence of at least CONFIDENT."""
    return np.array([one.digit is not None and one.confidence >= CONFIDENT for one in predictions])


def redrawn(digit: Pixels) -> Ink:
    """An MNIST digit, uint8 [28, 28], with the smooth and sharp edges of a pen, cropped to its ink.

    Its edge is where the digit is half as bright as the brightest pixel next to it, so that faint strokes stay whole
    and narrow gaps open.
    """
    padded = np.pad(digit, 1)
    edge = np.maximum(_enlarged(maximum_filter(padded, 3), 1.0) / 2, 0.2)
    inked = _enlarged(padded, 0.3) > edge
    smooth = Image.fromarray(inked.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(0.3 * FINE))
    return cropped(np.clip((np.asarray(smooth, np.float32) / 255 - 0.5) * 3 + 0.5, 0, 1))


def _enlarged(image: Pixels, blur: float) -> Ink:
    """FINE times as large, 0 to 1; `blur` is in pixels of the image."""
    large = Image.fromarray(image).resize((image.shape[1] * FINE, image.shape[0] * FINE), Image.Resampling.BICUBIC)
    return np.asarray(large.filter(ImageFilter.GaussianBlur(blur * FINE)), np.float32) / np.float32(255)


def cropped(ink: Ink) -> Ink:
    rows, columns = (np.flatnonzero((ink > 0.5).any(axis=axis)) for axis in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def sized(ink: Ink, side: float, room: tuple[float, float, float, float] = (0, 0, 0, 0)) -> Ink:
    """Ink as a scanner at a lower or higher resolution sees it, each pixel the mean of what it covers.

    Its longer side becomes `side` pixels; `room` is the empty paper at its top, bottom, left and right, in pixels.
    """
    scale = side / max(ink.shape)
    top, bottom, left, right = room
    height, width = (
        max(1, round(length * scale + before + after))
        for length, before, after in zip(ink.shape, (top, left), (bottom, right), strict=True)
    )
    border = int(max(room) / scale + 2 / scale + 2)
    padded = Image.fromarray(np.pad(ink, border))
    start = (border - left / scale, border - top / scale)
    box = (*start, start[0] + width / scale, start[1] + height / scale)
    resampling = Image.Resampling.BOX if scale < 0.7 else Image.Resampling.BILINEAR
    return np.clip(np.asarray(padded.resize((width, height), resampling, box)), 0, 1)


def stroke_width(ink: Ink) -> float:
    """The mean width of the strokes in pixels: across a stroke, the distance to its edge is a quarter of its width."""
    inside = distance_transform_edt(ink > 0.5)
    return 4 * float(inside[inside > 0].mean())


def edge_distance(ink: Ink) -> Ink:
    """Distance in pixels to the edge of the ink, negative inside."""
    return (distance_transform_edt(ink <= 0.5) - distance_transform_edt(ink > 0.5)).astype(np.float32)


def broadened(ink: Ink, by: float) -> Ink:
    """The ink with strokes broader by twice `by` pixels, or less if a hole or gap would close or nearly so."""
    still_open = FINE / 3
    reach = int(by + still_open) + 2
    padded = np.pad(ink, reach)
    distance = edge_distance(padded)
    topology = _topology(padded > 0.5)
    while by > 0 and _topology(distance <= by + still_open) != topology:
        by *= 0.85
        by = by if by > 0.5 else 0
    return cropped(np.clip(by + 0.5 - distance, 0, 1))


def _topology(inked: NDArray[np.bool_]) -> tuple[int, int]:
    return label(inked)[1], label(~inked)[1]


def curve(points: Stroke, steps: int = 12) -> Stroke:
    """A smooth curve through all points: cubic splines over the length of the chords."""
    length = np.concatenate([[0], np.cumsum(np.maximum(np.hypot(*np.diff(points, axis=0).T), 1e-6))])
    closed = np.array_equal(points[0], points[-1])
    spline = CubicSpline(length, points, bc_type="periodic" if closed else "not-a-knot")
    return spline(np.linspace(0, length[-1], steps * len(points)))


@cache
def parsed(shape: str) -> tuple[tuple[bool, Stroke], ...]:
    """Strokes `x,y x,y …; …` in percent of the shape's box; `~` in front of one makes it a curve."""
    strokes = []
    for text in shape.split(";"):
        points = np.array([point.split(",") for point in text.strip().strip("~").split()], np.float64) / 100
        strokes.append((text.strip().startswith("~"), points))
    return tuple(strokes)


def strokes_of(shape: str, random: Generator, jitter: float, slant: float = 0.0, turn: float = 0.0) -> list[Stroke]:
    """A shape's strokes in its box of 1, each point moved by about `jitter`, sheared and turned by up to the limits."""
    angle, shear = random.uniform(-turn, turn), random.uniform(-slant, slant)
    matrix = np.array([[1, 0], [-shear, 1]]) @ np.array(
        [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    )
    strokes = []
    for smooth, points in parsed(shape):
        closed = len(points) > 2 and np.array_equal(points[0], points[-1])
        moved = points + random.normal(0, jitter, points.shape)
        if closed:
            moved[-1] = moved[0]
        strokes.append(((curve(moved) if smooth else moved) - 0.5) @ matrix + 0.5)
    return strokes


def drawn(strokes: Iterable[Stroke], size: tuple[int, int], pen: float, square: bool = False) -> Ink:
    """Strokes in pixels, drawn with a pen of a width in pixels on a sheet of `size`: its height and width.

    The pen is round, or `square` at corners and ends.
    """
    fine = 4
    sheet = Image.new("L", (size[1] * fine, size[0] * fine))
    canvas = ImageDraw.Draw(sheet)
    width, half = max(1, round(pen * fine)), pen * fine / 2
    for stroke in strokes:
        points = stroke * fine
        canvas.line([tuple(point) for point in points], fill=255, width=width)
        for point in points:
            dot = (*(point - half), *(point + half))
            if square:
                canvas.rectangle(dot, fill=255)
            else:
                canvas.ellipse(dot, fill=255)
    return np.asarray(sheet.reduce(fine), np.float32) / np.float32(255)


def on_paper(ink: Ink, random: Generator) -> Pixels:
    """Ink dark on light in shades of grey, with a little noise."""
    paper, pen = random.uniform(185, 255), random.uniform(0, 90)
    noise = random.uniform(0, 3) * random.standard_normal(ink.shape, np.float32)
    return rounded(paper + (pen - paper) * ink + noise)


def grey_file(pixels: Pixels, random: Generator, inverted: float = 0.2) -> bytes:
    """A PNG file, light on dark with the probability `inverted`."""
    return file_of(Image.fromarray(255 - pixels if random.random() < inverted else pixels), compress_level=1)


def log_uniform(random: Generator, low: float, high: float) -> float:
    return float(np.exp(random.uniform(np.log(low), np.log(high))))


def rounded(image: NDArray[np.floating]) -> Pixels:
    return np.clip(image.round(), 0, 255).astype(np.uint8)
