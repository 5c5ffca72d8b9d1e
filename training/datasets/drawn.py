"""Synthetic digits in styles that MNIST hardly has: 1s with flags and bases, barred 7s, slashed 0s.

Each style is a few strokes through points, which are jittered and drawn with a random pen.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from digits.decode import Pixels

Stroke = NDArray[np.float64]

# The styles of each digit: strokes, separated by `;`, of points `x,y` in percent of the digit's box, y down. A smooth
# curve runs through the points; `|` makes a corner of the point before it.
WAYS = {
    0: (
        "50,0 18,12 2,50 18,88 50,100 82,88 98,50 82,12 50,0",
        "60,0 20,15 5,55 25,95 60,98 92,70 95,30 70,3 40,8",
        "50,0 18,12 2,50 18,88 50,100 82,88 98,50 82,12 50,0 ; 95,-5 5,105",
        "50,0 18,12 2,50 18,88 50,100 82,88 98,50 82,12 50,0 ; 80,12 20,88",
    ),
    1: (
        "50,0 50,100",
        "25,25 52,0 | 50,100",
        "0,45 55,0 | 52,100",
        "15,40 35,25 55,0 | 50,100",
        "25,25 52,0 | 50,100 ; 15,100 85,100",
        "5,40 55,0 | 52,100 ; 20,100 90,98",
    ),
    2: (
        "8,25 25,4 60,0 85,20 75,48 40,75 5,98 | 98,96",
        "8,25 30,2 70,5 80,30 55,65 15,95 5,88 20,78 50,92 98,92",
        "10,15 50,0 85,15 75,50 2,100 | 50,92 98,100",
    ),
    3: (
        "8,15 35,0 78,8 78,35 42,46 | 85,58 92,82 55,100 5,88",
        "8,2 88,0 | 40,40 | 85,52 92,82 50,100 5,90",
        "10,12 40,0 75,12 70,38 45,45 30,46 50,48 85,60 88,85 50,100 8,92",
    ),
    4: (
        "18,0 5,58 | 98,55 ; 72,25 65,100",
        "70,100 72,0 | 0,66 | 100,66",
        "25,0 5,45 12,58 60,55 95,35 ; 80,5 65,100",
        "18,0 5,58 | 98,55 ; 82,0 70,100",
        "65,0 2,60 | 98,62 ; 75,35 70,100",
    ),
    5: (
        "20,2 15,45 | 50,36 88,52 85,85 50,100 5,90 ; 20,2 90,0",
        "88,0 22,2 | 15,45 | 50,36 88,52 85,85 50,100 5,90",
        "85,3 40,2 18,20 30,42 70,52 88,75 60,98 8,92",
        "20,8 15,45 | 55,38 90,58 82,88 45,100 5,92 ; 25,0 95,-6",
    ),
    6: (
        "75,0 35,20 8,60 20,93 55,100 85,82 72,56 40,53 10,72",
        "60,0 20,40 5,75 30,100 70,95 85,72 60,55 20,65 8,80",
        "90,5 45,10 10,45 10,85 50,100 88,85 80,60 45,52 12,70",
    ),
    7: (
        "3,4 96,0 | 40,100",
        "3,4 96,0 | 40,100 ; 22,52 80,46",
        "3,20 6,3 | 96,0 | 60,45 45,100",
        "3,20 6,3 | 96,0 | 60,45 45,100 ; 25,50 88,50",
        "2,10 30,0 60,8 96,0 | 55,50 40,100",
        "2,10 30,0 60,8 96,0 | 55,50 40,100 ; 20,55 85,45",
    ),
    8: (
        "85,15 50,0 15,18 38,44 82,66 80,92 50,100 15,90 18,66 60,42 88,20 80,8",
        "50,0 20,8 18,36 50,46 82,36 80,8 50,0 ; 50,46 12,60 10,90 50,100 90,90 88,60 50,46",
        "75,5 30,2 15,25 50,48 88,72 60,100 15,88 30,58 70,38 78,10",
    ),
    9: (
        "85,18 50,0 12,16 14,40 50,50 85,24 | 80,100",
        "85,18 50,0 12,16 14,40 50,50 85,24 | 84,70 60,98 10,92",
        "88,10 45,0 8,25 30,48 75,35 88,10 | 70,60 40,100",
        "70,50 15,45 15,8 60,0 88,20 85,60 75,100",
    ),
}
# Jitter of a digit's points, as a share of its box; range of its width, limits of its slant and rotation.
JITTER, STRETCH, SLANT, TURN = 0.045, (0.4, 1.05), 0.35, math.radians(10)
# Pen widths from a hair to a broad marker, relative to the digit's longer side.
THINNEST, BROADEST = 0.023, 0.2


def random_pen(random: np.random.Generator) -> float:
    """A log-uniform pen width, relative to the digit's longer side."""
    return float(math.exp(random.uniform(math.log(THINNEST), math.log(BROADEST))))


def random_digit(label: int, random: np.random.Generator) -> list[Stroke]:
    """The strokes of a digit in a random style, each float64 [n, 2], x to the right and y down."""
    way = WAYS[label][random.integers(len(WAYS[label]))]
    # A wider 1 has a flag as long as its stem, or a roof.
    return write(way, random.uniform(STRETCH[0], 0.75 if label == 1 else STRETCH[1]), random)


def write(way: str, width: float, random: np.random.Generator) -> list[Stroke]:
    """The strokes of a plan as in WAYS, jittered, slanted and turned; `width` is relative to the height."""
    strokes = jittered_strokes(way, random)
    cos, sin = math.cos(turn := random.uniform(-TURN, TURN)), math.sin(turn)
    shape = np.array([[width, 0], [-random.normal(0, SLANT / 2), 1]]) @ np.array([[cos, sin], [-sin, cos]])
    return [stroke @ shape for stroke in strokes]


def jittered_strokes(way: str, random: np.random.Generator) -> list[Stroke]:
    """The strokes of a plan as in WAYS, its points jittered; in its box from 0 to 1."""
    strokes: list[Stroke] = []
    for stroke in way.split(";"):
        curves: list[Stroke] = []
        for curve in stroke.split("|"):
            points = np.array([point.split(",") for point in curve.split()], dtype=np.float64) / 100
            points += random.normal(0, JITTER, points.shape)
            curves.append(points if not curves else np.concatenate([curves[-1][-1:], points]))
        strokes.append(np.concatenate([smooth(points) for points in curves]))
    return strokes


def smooth(points: Stroke, steps: int = 8) -> Stroke:
    """A curve through all points, float64 [n, 2] (Catmull and Rom 1974)."""
    before, after = 2 * points[0] - points[1], 2 * points[-1] - points[-2]
    p0, p1, p2, p3 = (np.concatenate([[before], points, [after]])[i : len(points) - 1 + i, None] for i in range(4))
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    curve = p1 + t / 2 * (p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0)))
    return np.concatenate([curve.reshape(-1, 2), points[-1:]])


def draw(strokes: Sequence[Stroke], pen: float, size: int = 56) -> Pixels:
    """Draws strokes white on black with a round pen: uint8 [size, size], the strokes' longer side 0.7 of `size`.

    `pen` is the pen's width relative to that longer side.
    """
    fine = 4  # supersampling, for smooth edges
    points = np.concatenate(strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = 0.7 * size * fine / max((high - low).max(), 1e-9)
    width = pen * 0.7 * size * fine
    image = Image.new("L", (size * fine, size * fine))
    canvas = ImageDraw.Draw(image)
    for stroke in strokes:
        path = (stroke - (low + high) / 2) * scale + size * fine / 2
        canvas.line([tuple(point) for point in path], fill=255, width=round(width), joint="curve")
        for end in (path[0], path[-1]):
            canvas.ellipse((*(end - width / 2), *(end + width / 2)), fill=255)
    return np.asarray(image.reduce(fine))
