"""Unusual digits and digits with marks: bold, boxy and hollow ones; in a circle, in a box, crossed by a ruled line, and
with a second mark that is no digit next to them.

MNIST's test digits, the boxy ones apart, which are drawn here; correct means the true digit, a rejection is wrong.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from benchmarks.accuracy.drawing import (
    Ink,
    Stroke,
    broadened,
    cropped,
    curve,
    digits_of,
    drawn,
    edge_distance,
    grey_file,
    log_uniform,
    on_paper,
    read,
    redrawn,
    sized,
    spread,
    stroke_width,
    strokes_of,
)
from benchmarks.accuracy.figures import Figure, share
from digits.recognizer import Recognizer
from training.datasets.mnist import Dataset, load_test

COUNT = 300
# Block digits as people write them into forms: see `drawing.parsed`.
BLOCKS = (
    ("0,0 100,0 100,100 0,100 0,0",),
    ("50,0 50,100", "20,22 50,0 50,100", "50,0 50,100; 20,100 80,100"),
    ("0,0 100,0 100,50 0,50 0,100 100,100", "0,0 100,0 100,48 0,100 100,100"),
    ("0,0 100,0 100,100 0,100; 25,50 100,50",),
    ("0,0 0,55 100,55; 75,0 75,100", "100,100 100,0 0,60 0,62 125,62", "0,0 0,50 100,50; 100,0 100,100"),
    ("100,0 0,0 0,48 100,48 100,100 0,100", "100,0 0,0 0,45 70,45 100,60 100,85 75,100 0,100"),
    ("100,0 0,0 0,100 100,100 100,48 0,48", "0,0 0,100 100,100 100,52 0,52"),
    ("0,0 100,0 100,100", "0,0 100,0 50,55 50,100", "0,0 100,0 35,100"),
    ("0,0 100,0 100,100 0,100 0,0; 0,48 100,48",),
    ("100,48 0,48 0,0 100,0 100,100 0,100", "100,50 0,50 0,0 100,0 100,100"),
)
Draw = Callable[[Ink, Generator], Ink]


def measure(recognizer: Recognizer, count: int = COUNT) -> list[Figure]:
    """Share of `count` digits of each kind read correctly."""
    digits = spread(load_test(), count)
    return [
        share(f"digits with marks: {kind}", digits_of(read(recognizer, marked(digits, kind))) == digits.labels)
        for kind in KINDS
    ]


def marked(digits: Dataset, kind: str) -> list[bytes]:
    """An image file of each digit, drawn as one of KINDS."""
    random = np.random.default_rng(len(kind))
    files = []
    for image, label in zip(digits.images, digits.labels, strict=True):
        ink = KINDS[kind](boxy(int(label), random) if kind == BOXY else redrawn(image), random)
        files.append(grey_file(on_paper(sized(ink, log_uniform(random, 48, 360)), random), random))
    return files


def with_room(ink: Ink, random: Generator, least: float = 0.03, most: float = 0.5) -> Ink:
    """Ink with paper on each side, `least` to `most` of its longer side wide."""
    above, below, left, right = (random.uniform(least, most, 4) * max(ink.shape)).astype(int)
    return np.pad(ink, ((above, below), (left, right)))


def bold(ink: Ink, random: Generator) -> Ink:
    """Strokes up to 2.6 times as broad, if their holes stay open."""
    return with_room(broadened(ink, stroke_width(ink) * random.uniform(0.35, 0.8)), random)


def boxy(label: int, random: Generator) -> Ink:
    """A block digit of straight strokes, cropped."""
    shape = BLOCKS[label][random.integers(len(BLOCKS[label]))]
    width, pen = random.uniform(110, 210), random.uniform(16, 64)
    strokes = strokes_of(shape, random, 0.015, slant=0.12, turn=0.06)
    points = [100 + stroke * (width, 240) for stroke in strokes]
    return cropped(drawn(points, (440, 480), min(pen, width / 3.5), square=bool(random.random() < 0.5)))


def hollow(ink: Ink, random: Generator) -> Ink:
    """The outline of a broad digit."""
    broad = np.pad(broadened(ink, stroke_width(ink) * random.uniform(0.25, 0.6)), 20)
    pen = stroke_width(broad) * random.uniform(0.1, 0.22)
    return with_room(np.clip(pen / 2 + 0.5 - np.abs(edge_distance(broad)), 0, 1), random)


def circled(ink: Ink, random: Generator) -> Ink:
    """In an uneven circle that a hand drew, which need not close."""
    radius = np.hypot(*ink.shape) / 2 * random.uniform(1.15, 1.7)
    angles = random.uniform(0, 2 * np.pi) + np.linspace(0, 2 * np.pi * random.uniform(0.95, 1.1), 14)
    wobble = 1 + random.normal(0, 0.02, len(angles)) + random.uniform(-0.12, 0.12) * np.cos(2 * angles)
    circle = radius * wobble[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return _around(ink, curve(circle), stroke_width(ink) * random.uniform(0.3, 1), random)


def boxed(ink: Ink, random: Generator) -> Ink:
    """In a form's box, printed or drawn, with parts of its neighbours in a row of boxes."""
    height, width = ink.shape
    half = np.array([max(width, height * 0.6), height]) / 2 * random.uniform(1.12, 1.6)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]]) * half
    corners[:-1] += random.normal(0, random.choice([0, 0.01]) * height, (4, 2))
    corners[-1] = corners[0]
    return _around(ink, corners, stroke_width(ink) * random.uniform(0.15, 0.9), random)


def _around(ink: Ink, outline: Stroke, pen: float, random: Generator) -> Ink:
    """The ink inside a closed outline, whose origin is the ink's centre."""
    low, high = outline.min(axis=0) - pen, outline.max(axis=0) + pen
    margins = random.uniform(0, 0.25, 4) * (high - low).max()
    origin = margins[:2] - low
    width, height = (int(side) + 1 for side in high + origin + margins[2:])
    sheet = drawn([outline + origin], (height, width), pen) * np.float32(random.uniform(0.5, 1))
    top, left = (int(one) for one in (origin[::-1] - np.array(ink.shape) / 2))
    part = sheet[top : top + ink.shape[0], left : left + ink.shape[1]]
    np.maximum(part, ink, out=part)
    return sheet


def ruled_through(ink: Ink, random: Generator) -> Ink:
    """Crossed by one ruled line, paler than the ink, or by several."""
    sheet = with_room(ink, random, 0.1)
    rows, columns = np.indices(sheet.shape)
    across = rows + random.uniform(-0.06, 0.06) * columns
    place = np.flatnonzero((sheet > 0.5).any(axis=1))
    start = place[0] + random.uniform(0.1, 0.95) * len(place)
    distance = np.abs(across - start)
    if random.random() < 0.4:
        pitch = len(place) * random.uniform(0.5, 1.2)
        distance = np.minimum((across - start) % pitch, (start - across) % pitch)
    line = np.clip(stroke_width(ink) * random.uniform(0.08, 0.35) + 0.5 - distance, 0, 1)
    return np.maximum(sheet, line * random.uniform(0.2, 0.7)).astype(np.float32)


def with_mark(ink: Ink, random: Generator) -> Ink:
    """A tick or a dash on one side, or a neighbour of which the frame shows the edge."""
    pen, tall = stroke_width(ink), max(ink.shape)
    on_left, cut = random.random() < 0.5, random.random() < 1 / 3
    if cut:
        test = load_test().images
        mark = redrawn(test[random.integers(len(test))])
        shown = max(2, int(mark.shape[1] * random.uniform(0.08, 0.3)))
        mark = mark[:, -shown:] if on_left else mark[:, :shown]
    else:
        tick, dash = [[0, 0.6], [0.35, 1], [1, 0]], [[0, 0], [1, 0]]
        points = np.array(tick if random.random() < 0.5 else dash)
        points = points + random.normal(0, 0.05, points.shape)
        mark = _alone(points * tall * random.uniform(0.2, 0.45), pen)
    height = max(len(ink), len(mark))
    tops = [int(random.uniform(0, height - len(one) + 1)) for one in (ink, mark)]
    both = [np.pad(one, ((top, height - len(one) - top), (0, 0))) for one, top in zip((ink, mark), tops, strict=True)]
    gap = np.zeros((height, int(tall * random.uniform(0.15, 0.5))), np.float32)
    sheet = with_room(np.hstack([both[1], gap, both[0]] if on_left else [both[0], gap, both[1]]), random)
    if cut:
        inked = np.flatnonzero((sheet > 0.5).any(axis=0))
        sheet = sheet[:, inked[0] :] if on_left else sheet[:, : inked[-1] + 1]
    return sheet


def _alone(stroke: Stroke, pen: float) -> Ink:
    """One stroke, cropped."""
    points = stroke - stroke.min(axis=0) + pen + 2
    width, height = (int(side + pen) + 3 for side in points.max(axis=0))
    return cropped(drawn([points], (height, width), pen))


BOXY = "boxy"
KINDS: dict[str, Draw] = {
    "bold": bold,
    BOXY: with_room,
    "hollow": hollow,
    "in a circle": circled,
    "in a box": boxed,
    "crossed by a ruled line": ruled_through,
    "a second mark": with_mark,
}
