"""The digits on a training page, in one writer's style.

Everything is ink, uint8 [h, w], 0 to 255, cropped to its extent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from digits.classifier import CLASSES
from digits.decode import Pixels
from training.datasets.drawn import Stroke, draw, random_digit
from training.datasets.mnist import Dataset
from training.datasets.pen_strokes import PenDigit
from training.datasets.photographed import distance_along, redrawn

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
    0: ("0,0 100,0 100,100 0,100 0,0",),
    1: ("50,0 50,100", "15,20 50,0 50,100", "15,25 50,0 50,100 ; 10,100 90,100"),
    2: ("0,0 100,0 100,50 0,50 0,100 100,100", "0,0 100,0 100,45 0,100 100,100"),
    3: ("0,0 100,0 100,100 0,100 ; 20,50 100,50",),
    4: ("0,0 0,55 100,55 ; 80,0 80,100", "0,0 0,50 100,50 ; 100,0 100,100", "80,100 80,0 0,65 100,65"),
    5: ("100,0 0,0 0,50 100,50 100,100 0,100",),
    6: ("100,0 0,0 0,100 100,100 100,50 0,50", "0,0 0,100 100,100 100,50 0,50"),
    7: ("0,0 100,0 60,100", "0,0 100,0 100,100", "0,0 100,0 50,45 50,100"),
    8: ("0,0 100,0 100,100 0,100 0,0 ; 0,50 100,50",),
    9: ("100,50 0,50 0,0 100,0 100,100 0,100", "100,50 0,50 0,0 100,0 100,100"),
}


@dataclass(frozen=True)
class Glyph:
    """A digit: `shown` is what the pen left, `ink` what should be found; that is broader where the frame needs it."""

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
        by_width = np.argsort([stroke_width(ink) for ink in inks])
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
        # Hollow digits are found as the outline they are. Filled in, they taught to fill loops and circles, too.
        self.hollow, self.broken = random.random() < 0.04, random.random() < 0.06
        if self.hollow:
            self.pen = ratio(random, 0.1, 0.3)
        # By how much MNIST's strokes are broadened on each side, relative to the digit's longer side.
        self.bold = ratio(random, 0.01, 0.07) if self.hollow or random.random() < 0.15 else 0.0
        self.outline = ratio(random, 0.01, 0.07)
        first = int(random.integers(POOL - SIMILAR))
        self.mnist = writers.mnist[first : first + SIMILAR]
        self.source = str(random.choice(["mnist", "pen", "drawn", "block"], p=[0.45, 0.28, 0.2, 0.07]))
        if not writers.pen_digits and self.source == "pen":
            self.source = "drawn"
        if self.source == "pen":
            self.pen_digits = writers.pen_digits[int(random.choice(list(writers.pen_digits)))]

    def digit(self, size: float, turn: float, random: Generator) -> Glyph:
        """A random digit whose longer side is about `size` pixels, turned by an angle in radians."""
        if self.source == "mnist":
            chosen, label = self.mnist[random.integers(len(self.mnist))]
            size = size / (1 + 2 * self.bold)
            shown = ink = _warped(chosen, size, self.width * ratio(random, 0.9, 1.1), self.slant, turn)
            if self.bold:
                shown = ink = cropped(_grown(ink, self.bold * size))
            if MNIST_STROKE * size < self.least.found - 1:
                shown = np.pad(shown, 1)
                ink = np.asarray(Image.fromarray(shown).filter(ImageFilter.MaxFilter(3)))
        else:
            strokes, label = self._strokes(random)
            if self.broken:  # strokes written apart, such as a 5's bar
                strokes = [one + random.normal(0, 0.05, 2) for one in strokes]
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
        if self.hollow:
            shown = ink = _outline(ink, max(self.outline * size, self.least.shown, self.least.found))
        elif self.broken:
            shown, ink = _broken(shown, ink, random)
        return Glyph(shown, ink, label)

    def bar(self, size: float, turn: float, random: Generator) -> Glyph:
        """A 1 that is one straight stroke, about as broad as the other digits'."""
        usual = MNIST_STROKE * ratio(random, 0.6, 1.5) if self.source == "mnist" else self.pen
        pen = max(usual, self.least.shown / size, self.least.found / size)
        stroke = np.array([[0, 0], [random.normal(0, 0.05), 1]]) @ rotation(turn)
        ink = cropped(draw([stroke], pen, max(3, round(size / (1 + pen) / DRAWN_SHARE))))
        return Glyph(ink, ink, 1)

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
        way = BLOCK_STROKES[label][random.integers(len(BLOCK_STROKES[label]))]
        for stroke in way.split(";"):
            points = np.array([point.split(",") for point in stroke.split()], dtype=np.float64) / 100
            strokes.append((points + random.normal(0, 0.03, points.shape)) * (width, 1))
        return strokes, label


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


def _grown(ink: Pixels, by: float) -> Pixels:
    """Ink broadened by so many pixels on every side."""
    soft = Image.fromarray(np.pad(ink, math.ceil(2 * by))).filter(ImageFilter.GaussianBlur(by))
    return np.clip((np.asarray(soft, np.float32) - 30) * 3, 0, 255).astype(np.uint8)


def _outline(ink: Pixels, width: float) -> Pixels:
    """The border of the ink, so many pixels wide; all of it if hardly anything lies inside."""
    soft = Image.fromarray(np.pad(ink, math.ceil(2 * width))).filter(ImageFilter.GaussianBlur(width))
    edge = math.ceil(2 * width)
    inside = np.clip((np.asarray(soft, np.float32)[edge:-edge, edge:-edge] - 210) * 6, 0, 255)
    hollow = ink - np.minimum(ink, inside.astype(np.uint8))
    return hollow if hollow.sum(dtype=np.int64) < 0.8 * ink.sum(dtype=np.int64) else ink


def _broken(shown: Pixels, ink: Pixels, random: Generator) -> tuple[Pixels, Pixels]:
    """Both without a narrow band through the digit, unless that is most of it."""
    across = distance_along(ink.shape, random.uniform(0, math.pi)) - random.uniform(-0.35, 0.35) * max(ink.shape)
    rest = np.abs(across) > max(ink.shape) * random.uniform(0.02, 0.05)
    return (shown * rest, ink * rest) if (ink * rest).sum() > 0.8 * ink.sum(dtype=np.int64) else (shown, ink)


def stroke_width(ink: Pixels) -> float:
    """The mean stroke width in pixels: twice the area over the length of the outline."""
    values = np.pad(ink.astype(np.float32), 1)
    outline = np.hypot(np.abs(np.diff(values, axis=0)).sum(), np.abs(np.diff(values, axis=1)).sum())
    return float(2 * ink.sum(dtype=np.float64) / outline)
