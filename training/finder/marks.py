"""Marks on a training page that are no digits and not to be found: letters, symbols, scribbles, punctuation, outlines.

Everything is ink, uint8 [h, w], 0 to 255, cropped to its extent.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from digits.decode import Pixels
from training.datasets.drawn import Stroke, draw, jittered_strokes, smooth
from training.datasets.line_drawings import UNLIKE_DIGITS, random_drawing
from training.datasets.photographed import distance_along
from training.finder.writing import DRAWN_SHARE, cropped, rotation

# Letters that look like no digit, as plans of strokes like those of the synthetic digits.
LETTERS = (
    "0,100 50,0 | 100,100 ; 20,62 80,62",  # A
    "95,0 5,0 | 5,100 | 95,100 ; 5,50 80,50",  # E
    "95,0 5,0 | 5,100 ; 5,48 75,48",  # F
    "5,0 5,100 ; 95,0 95,100 ; 5,50 95,50",  # H
    "5,0 5,100 ; 90,0 8,55 | 95,100",  # K
    "0,100 8,0 | 50,65 | 92,0 | 100,100",  # M
    "5,100 5,0 | 95,100 | 95,0",  # N
    "8,100 8,0 | 60,2 92,26 60,50 8,52",  # P
    "8,100 8,0 | 60,2 92,26 60,50 8,52 | 95,100",  # R
    "0,0 50,100 | 100,0",  # V
    "0,0 25,100 | 50,35 | 75,100 | 100,0",  # W
    "0,0 100,100 ; 100,0 0,100",  # X
    "8,0 8,100 | 8,65 45,42 85,62 85,100",  # h
    "5,100 5,30 | 8,50 28,30 45,50 47,100 | 48,50 70,30 90,50 95,100",  # m
    "10,100 10,20 | 12,50 45,22 85,45 88,100",  # n
    "85,8 55,0 42,25 40,100 ; 8,42 80,42",  # f
    "40,0 42,80 60,100 85,88 ; 5,30 80,30",  # t
    "5,100 5,0 | 95,0 | 95,100",  # Π
    "5,0 5,100 | 95,100 | 95,0 ; 50,0 50,100",  # Ш
    "5,0 10,45 50,62 90,45 95,0 ; 50,0 50,100",  # Ψ
)


def _drawn(strokes: Sequence[Stroke], pen: float, size: float) -> Pixels:
    """Strokes as ink whose longer side is about `size` pixels; lines are half a pixel wide at least."""
    side = max(3, round(size / (1 + pen) / DRAWN_SHARE))
    return cropped(draw(strokes, max(pen, 0.5 / (DRAWN_SHARE * side)), side))


def scribble(size: float, pen: float, random: Generator) -> Pixels:
    """A random figure of several strokes, about `size` pixels large, that is hardly ever a digit."""
    strokes: list[Stroke] = []
    box, left = random.uniform((0.4, 0.4), (1, 1)), int(random.integers(7, 12))
    while left > 1:  # points: with fewer it could be a 1 or a 7
        count = min(int(random.integers(2, 9)), left)
        points = random.random((count, 2)) * box
        strokes.append(smooth(points) if random.random() < 0.7 else points)
        left -= count
    return _drawn(strokes, pen, size)


def letter(size: float, pen: float, random: Generator) -> Pixels:
    """A letter that looks like no digit, about `size` pixels high."""
    shape = np.array([[random.uniform(0.5, 1), 0], [random.normal(0, 0.15), 1]])
    return _drawn([one @ shape for one in jittered_strokes(str(random.choice(LETTERS)), random)], pen, size)


def word(size: float, pen: float, random: Generator) -> Pixels:
    """A word in joined handwriting: loops, arches and stems along a line, its letters about `size` pixels high."""
    count = int(random.integers(3, 9))
    along = np.linspace(0, count, 16 * count)
    phase = 2 * math.pi * along
    heights = np.interp(along, np.arange(count + 1), random.choice([0.3, 0.35, 0.4, 0.8], count + 1))
    loops = np.interp(along, np.arange(count + 1), random.uniform(-0.1, 0.5, count + 1))
    points = np.stack([0.7 * along + loops * np.sin(phase), -heights * np.cos(phase)], axis=1)
    return _drawn([points * (0.6, 0.8)], pen / count, 0.45 * count * size)


def bars(shape: tuple[int, ...], random: Generator) -> Pixels:
    """Bars, a barcode, a fence or a lattice across the whole of an image."""

    def parallel(angle: float) -> NDArray[np.bool_]:
        across = distance_along(shape, angle)
        reach = float(across.max())
        if random.random() < 0.5:  # evenly spaced
            pitch = 2 * reach / random.uniform(5, 20)
            return (across + random.uniform(0, pitch)) % pitch < pitch * random.uniform(0.08, 0.6)
        return np.searchsorted(np.sort(random.uniform(-reach, reach, random.integers(10, 40))), across) % 2 > 0

    angle = random.choice([0, math.pi / 2]) + random.normal(0, 0.1)
    covered = parallel(angle)
    if random.random() < 0.5:
        covered = covered | parallel(angle + math.pi / 2)
    return np.where(covered, 255, 0).astype(np.uint8)


def symbol(size: float, pen: float, random: Generator) -> Pixels:
    """A figure that looks like no digit: a star, a spiral, an arrow, a face, a house, now and then a letter."""
    if random.random() < 0.1:
        return letter(size, pen, random)
    return _drawn(random_drawing(UNLIKE_DIGITS, random), pen, size)


def punctuation(size: float, pen: float, random: Generator) -> Pixels:
    """A mark as it stands beside digits of that size: a dot, comma, colon, dash, plus, tick, bracket or slash."""
    width = max(1.0, pen * size)
    if (kind := random.integers(8)) == 0:
        strokes, side = [np.array([[0, 0], [0.01, 0.01]])], 1.5 * width
    elif kind == 1:
        strokes, side = [np.array([[0.5, 0], [0.6, 0.4], [0, 1]])], size * random.uniform(0.15, 0.35)
    elif kind == 2:
        strokes, side = [np.array([[0, 0], [0, 0.02]]), np.array([[0, 1], [0, 1.02]])], size * random.uniform(0.3, 0.6)
    elif kind == 3:
        strokes, side = [np.array([[0, 0], [1, random.normal(0, 0.1)]])], size * random.uniform(0.25, 0.7)
    elif kind == 4:
        strokes = [np.array([[0, 0.5], [1, 0.5]]), np.array([[0.5, 0], [0.5, 1]])]
        side = size * random.uniform(0.3, 0.7)
    elif kind == 5:
        strokes = [np.array([[0, random.uniform(0.4, 0.7)], [0.3, 1], [random.uniform(0.7, 1.1), 0]])]
        side = size * random.uniform(0.35, 1)
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
    rows, columns = (side * random.uniform(1.2, 2.3) for side in (height, width))
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
