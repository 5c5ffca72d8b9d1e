"""What is written on a training page: digits in one writer's style, and marks that are no digits.

Everything is ink, uint8 [h, w], 0 to 255, cropped to its extent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from digits.classifier import CLASSES
from digits.decode import Pixels
from training.datasets.drawn import Stroke, draw, random_digit, smooth
from training.datasets.mnist import Dataset
from training.datasets.pen_strokes import PenDigit
from training.datasets.photographed import redrawn

# Widths of pens, relative to the digit's longer side: hairlines to brushes.
THINNEST, BROADEST = 0.012, 0.34
# The usual width of MNIST's strokes, likewise.
MNIST_STROKE = 0.1
# The part of its square image that `draw` fills with the strokes' longer side.
DRAWN_SHARE = 0.7
# How many MNIST digits are redrawn for a shard of pages, and how many of similar stroke width one page draws from.
POOL, SIMILAR = 800, 80
# Digits of straight strokes only, as in forms and on stencils; points are percent of the digit's box, y down.
BLOCK_STROKES = {
    0: "0,0 100,0 100,100 0,100 0,0",
    1: "50,0 50,100",
    2: "0,0 100,0 100,50 0,50 0,100 100,100",
    3: "0,0 100,0 100,100 0,100 ; 20,50 100,50",
    4: "0,0 0,55 100,55 ; 80,0 80,100",
    5: "100,0 0,0 0,50 100,50 100,100 0,100",
    6: "100,0 0,0 0,100 100,100 100,50 0,50",
    7: "0,0 100,0 60,100",
    8: "0,0 100,0 100,100 0,100 0,0 ; 0,50 100,50",
    9: "100,50 0,50 0,0 100,0 100,100 0,100",
}


@dataclass(frozen=True)
class Glyph:
    """A digit: `shown` is what the pen left, `ink` what should be found; they differ if the digit is hollow."""

    shown: Pixels
    ink: Pixels
    label: int


@dataclass(frozen=True)
class Least:
    """The least widths of strokes in pixels: as they are drawn, and as they should be found.

    What is thinner than a pixel of the finder's frame would not be ink to more than a half there.
    """

    shown: float = 0.5
    found: float = 0.0


def ratio(random: Generator, low: float, high: float) -> float:
    """A random number between the two, uniform in its logarithm."""
    return math.exp(random.uniform(math.log(low), math.log(high)))


def cropped(ink: Pixels) -> Pixels:
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


class Writers:
    """Sources of digits: MNIST's, recorded pen strokes, and drawn ones."""

    def __init__(self, digits: Dataset, pen_digits: Sequence[PenDigit], random: Generator) -> None:
        chosen = random.choice(len(digits), POOL)
        inks = [cropped(redrawn(image, random)) for image in digits.images[chosen]]
        by_width = np.argsort([_stroke_width(ink) for ink in inks])
        self.mnist = [(inks[number], int(digits.labels[chosen[number]])) for number in by_width]
        self.pen_digits: dict[int, list[PenDigit]] = {}
        for digit in pen_digits:
            self.pen_digits.setdefault(digit.writer, []).append(digit)

    def random_style(self, random: Generator, least: Least) -> "Style":
        return Style(self, random, least)


class Style:
    """One writer's digits with one pen: the same source, stroke width and slant for all digits of a page."""

    def __init__(self, writers: Writers, random: Generator, least: Least) -> None:
        self.least = least
        self.pen = ratio(random, THINNEST, BROADEST) if random.random() < 0.5 else ratio(random, 0.03, 0.12)
        self.slant, self.width = random.normal(0, 0.12), ratio(random, 0.8, 1.25)
        self.hollow = random.random() < 0.03
        first = int(random.integers(POOL - SIMILAR))
        self.mnist = writers.mnist[first : first + SIMILAR]
        self.source = str(random.choice(["mnist", "pen", "drawn", "block"], p=[0.45, 0.28, 0.22, 0.05]))
        if not writers.pen_digits and self.source == "pen":
            self.source = "drawn"
        if self.source == "pen":
            self.pen_digits = writers.pen_digits[int(random.choice(list(writers.pen_digits)))]

    def digit(self, size: float, turn: float, random: Generator) -> Glyph:
        """A random digit whose longer side is about `size` pixels, turned by an angle in radians."""
        if self.source == "mnist":
            chosen, label = self.mnist[random.integers(len(self.mnist))]
            shown = ink = _warped(chosen, size, self.width * ratio(random, 0.9, 1.1), self.slant, turn)
            if MNIST_STROKE * size < self.least.found - 1:
                shown = np.pad(shown, 1)
                ink = np.asarray(Image.fromarray(shown).filter(ImageFilter.MaxFilter(3)))
        else:
            strokes, label = self._strokes(random)
            slant = self.slant + random.normal(0, 0.05)
            shape = np.array([[self.width * ratio(random, 0.9, 1.1), 0], [-slant, 1]]) @ rotation(turn)
            pen = max(self.pen * ratio(random, 0.9, 1.1), self.least.shown / size)
            strokes, side = [one @ shape for one in strokes], max(3, round(size / (1 + pen) / DRAWN_SHARE))
            shown = ink = draw(strokes, pen, side)
            if pen * size < self.least.found:
                ink = draw(strokes, self.least.found / size, side)
            rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
            box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
            shown, ink = shown[box], ink[box]
        if self.hollow and min(ink.shape) > 12:
            border = max(1, round(0.04 * max(ink.shape)))
            inside = Image.fromarray(np.pad(ink, 1)).filter(ImageFilter.MinFilter(2 * border + 1))
            return Glyph(np.asarray(ink - np.minimum(ink, np.asarray(inside)[1:-1, 1:-1])), ink, label)
        return Glyph(shown, ink, label)

    def _strokes(self, random: Generator) -> tuple[list[Stroke], int]:
        """A digit's strokes, their longer side about 1."""
        if self.source == "pen":
            digit = self.pen_digits[random.integers(len(self.pen_digits))]
            points = np.concatenate(digit.strokes)
            longer = max(np.ptp(points, axis=0).max(), 1)
            return [one / longer for one in digit.strokes], digit.label
        label = int(random.integers(CLASSES))
        if self.source == "drawn":
            return random_digit(label, random), label
        width = random.uniform(0.4, 0.8)
        strokes = []
        for stroke in BLOCK_STROKES[label].split(";"):
            points = np.array([point.split(",") for point in stroke.split()], dtype=np.float64) / 100
            strokes.append((points + random.normal(0, 0.03, points.shape)) * (width, 1))
        return strokes, label


def _drawn(strokes: Sequence[Stroke], pen: float, size: float) -> Pixels:
    """Strokes as ink whose longer side is about `size` pixels; lines are half a pixel wide at least."""
    side = max(3, round(size / (1 + pen) / DRAWN_SHARE))
    return cropped(draw(strokes, max(pen, 0.5 / (DRAWN_SHARE * side)), side))


def rotation(turn: float) -> NDArray[np.float64]:
    """The matrix that turns row vectors (x, y)."""
    return np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])


def _warped(ink: Pixels, size: float, width: float, slant: float, turn: float) -> Pixels:
    """Ink scaled to a longer side of `size` pixels, stretched, slanted and turned."""
    image = Image.fromarray(ink)
    scale = size / max(image.width * width, image.height)
    large = max(scale, 1.0)  # slanted and turned at no less than its own size, then reduced, for smooth edges
    shape = np.diag([width * large, large]) @ np.array([[1, 0], [-slant, 1]]) @ rotation(turn)
    corners = np.array([[0, 0], [image.width, 0], [0, image.height], [image.width, image.height]]) @ shape
    low, high = corners.min(axis=0), corners.max(axis=0)
    inverse = np.linalg.inv(shape)
    (a, d), (b, e) = inverse  # x_in = a·x + b·y + c
    c, f = low @ inverse
    side = (math.ceil(high[0] - low[0]) + 1, math.ceil(high[1] - low[1]) + 1)
    turned = image.transform(side, Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR)
    if scale < 1:
        turned = turned.resize(
            (max(1, round(turned.width * scale)), max(1, round(turned.height * scale))), Image.Resampling.BOX
        )
    return cropped(np.maximum(np.asarray(turned), 0)) if np.asarray(turned).any() else np.full((1, 1), 255, np.uint8)


def _stroke_width(ink: Pixels) -> float:
    """The mean stroke width in pixels: twice the area over the length of the outline."""
    values = np.pad(ink.astype(np.float32), 1)
    outline = np.hypot(np.abs(np.diff(values, axis=0)).sum(), np.abs(np.diff(values, axis=1)).sum())
    return float(2 * ink.sum(dtype=np.float64) / outline)


def scribble(size: float, pen: float, random: Generator) -> Pixels:
    """A random figure of several strokes, about `size` pixels large, that is hardly ever a digit."""
    strokes: list[Stroke] = []
    box = random.uniform((0.4, 0.4), (1, 1))
    while sum(len(stroke) for stroke in strokes) < 6:
        points = random.random((random.integers(2, 7), 2)) * box
        strokes.append(smooth(points) if random.random() < 0.7 else points)
    return _drawn(strokes, pen, size)


def symbol(size: float, pen: float, random: Generator) -> Pixels:
    """A figure with a plan that is no digit: a star, spiral, wave, cross, arrow, face, grid or closed curve."""
    around = np.linspace(0, 2 * math.pi, 41)
    circle = np.stack([np.cos(around), np.sin(around)], axis=1)
    match random.integers(9):
        case 0:  # a star, or a polygon drawn in one go
            points = int(random.choice([3, 4, 5, 5, 7]))
            step = 2 if points > 4 else 1
            angles = 2 * math.pi * np.arange(points + 1) * step / points - math.pi / 2
            strokes = [np.stack([np.cos(angles), np.sin(angles)], axis=1)]
        case 1:  # a spiral
            along = np.linspace(0, 1, 80)[:, None]
            angles = along[:, 0] * 2 * math.pi * random.uniform(1.8, 4)
            strokes = [along * np.stack([np.cos(angles), np.sin(angles)], axis=1)]
        case 2:  # a wave or a zigzag
            along = np.linspace(-1, 1, 60)
            wave = np.sin(along * math.pi * random.uniform(1.5, 5))
            wave = np.sign(wave) * np.abs(wave) ** random.uniform(0.3, 1)
            strokes = [np.stack([along, wave * random.uniform(0.1, 0.5)], axis=1)]
        case 3:  # strokes crossing in the middle: a plus, a cross, an asterisk
            angles = math.pi * (np.arange(count := random.integers(2, 5)) / count + random.choice([0, 0.25]))
            ends = np.stack([np.cos(angles), np.sin(angles)], axis=1)
            strokes = [np.stack([-end, end]) for end in ends]
        case 4:  # an arrow
            head = random.uniform(0.3, 0.7)
            strokes = [np.array([[-1, 0], [1, 0.0]]), np.array([[1 - head, -head], [1, 0], [1 - head, head]])]
            strokes = [one @ rotation(random.uniform(0, 2 * math.pi)) for one in strokes]
        case 5:  # a face
            mouth = circle[4:17] * (0.5, random.uniform(-0.6, 0.6)) + (0, 0.2)
            eyes = [circle * random.uniform(0.05, 0.15) + (place, -0.3) for place in (-0.35, 0.35)]
            strokes = [circle, mouth, *eyes]
        case 6:  # a table or a noughts-and-crosses grid
            places = np.linspace(-0.8, 0.8, int(random.integers(2, 5)))
            strokes = [np.array([[place, -1], [place, 1]]) for place in places]
            strokes += [np.array([[-1, place], [1, place]]) for place in places]
        case 7:  # a closed curve with bays: a leaf, a cloud, a heart
            radii = 1 + random.uniform(0.25, 0.45) * np.cos(random.integers(3, 8) * around + random.uniform(0, 6))
            strokes = [circle * radii[:, None]]
        case _:  # hatching
            places = np.linspace(-1, 1, int(random.integers(5, 10)))
            strokes = [np.array([[place - 0.6, 1], [place + 0.6, -1]]) for place in places]
    shape = np.diag(random.uniform(0.6, 1, 2)) @ rotation(random.normal(0, 0.15))
    moved = [(one + random.normal(0, 0.015, one.shape)) @ shape for one in strokes]
    return _drawn(moved, pen, size)


def punctuation(size: float, pen: float, random: Generator) -> Pixels:
    """A mark as it stands between digits of that size: a dot, comma, colon, dash, plus, bracket or slash."""
    width = max(1.0, pen * size)
    if (kind := random.integers(6)) == 0:
        strokes, side = [np.array([[0, 0], [0.01, 0.01]])], 1.5 * width
    elif kind == 1:
        strokes, side = [np.array([[0.5, 0], [0.6, 0.4], [0, 1]])], size * random.uniform(0.15, 0.35)
    elif kind == 2:
        strokes, side = [np.array([[0, 0], [0, 0.02]]), np.array([[0, 1], [0, 1.02]])], size * random.uniform(0.3, 0.6)
    elif kind == 3:
        strokes, side = [np.array([[0, 0], [1, random.normal(0, 0.1)]])], size * random.uniform(0.25, 0.6)
    elif kind == 4:
        strokes = [np.array([[0, 0.5], [1, 0.5]]), np.array([[0.5, 0], [0.5, 1]])]
        side = size * random.uniform(0.3, 0.7)
    elif random.random() < 0.5:
        bend = random.uniform(0.2, 0.35) * random.choice([-1, 1])
        strokes = [smooth(np.array([[0, 0], [bend, 0.3], [bend, 0.7], [0, 1]]))]
        side = size * random.uniform(1.1, 1.5)
    else:
        strokes = [np.array([[random.uniform(0.45, 0.8), 0], [0, 1]])]
        side = size * random.uniform(1.1, 1.5)
    return _drawn(strokes, min(width / max(side, 1), 0.4), side)


def enclosure(height: float, width: float, pen: float, random: Generator) -> Pixels:
    """A circle or a box, drawn by hand around something of that size in pixels."""
    fine = 2
    rows, columns = (side * random.uniform(1.2, 1.9) for side in (height, width))
    if random.random() < 0.7:  # not so slim around a 1
        rows, columns = max(rows, 0.7 * columns), max(columns, 0.7 * rows)
    line = max(1.0, pen * max(height, width)) * fine
    around = np.linspace(0, 2 * math.pi * random.uniform(0.95, 1.08), 60) + random.uniform(0, 2 * math.pi)
    if random.random() < 0.5:
        outline = np.stack([np.cos(around), np.sin(around)], axis=1)
        outline *= 1 + 0.04 * np.cos(2 * around + random.uniform(0, 6))[:, None] + 0.03 * random.normal()
    else:
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]]) + random.normal(0, 0.03, (5, 2))
        outline = corners
    points = (outline * (columns / 2, rows / 2)) @ rotation(random.normal(0, 0.05)) * fine
    points -= points.min(axis=0) - line / 2
    side = (np.ceil(points.max(axis=0) + line / 2 + 1) // fine * fine + fine).astype(int)
    image = Image.new("L", (int(side[0]), int(side[1])))
    ImageDraw.Draw(image).line([tuple(point) for point in points], fill=255, width=round(line), joint="curve")
    return np.asarray(image.reduce(fine))
