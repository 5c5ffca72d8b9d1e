"""Out-of-distribution negatives: images without a digit (outlier exposure; Hendrycks, Mazeika, Dietterich 2019).

All are generated: random glyphs, line drawings, digits rotated or mirrored into something else, digits cut up, and
textured shapes and silhouettes. They include no fonts, no photos and no other data set, so that those can measure
generalisation.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from digits.classifier import CLASSES
from digits.decode import Pixels
from training.datasets.drawn import Stroke, draw, random_pen, smooth
from training.datasets.line_drawings import TRAINED, Maker, random_drawing
from training.datasets.mnist import Dataset

# Digits that are none when rotated by 90°, by 180° or mirrored. (A 6 rotated by 180° is a 9, a mirrored 2 looks like a
# 5, a mirrored 7 like a 1 with a flag.)
QUARTERS, HALVES, MIRRORED = (2, 3, 4, 5, 6, 7, 8, 9), (3, 4, 7), (3, 4, 6, 9)
SIDE = 56
# Waves of a silhouette's stripes, folds or lattice over its side.
WAVES = (2, 14)


def random_writing(digits: Dataset, random: np.random.Generator) -> Pixels:
    """A line drawing or a glyph, or a digit turned into something else: white on black, of any size."""
    match random.integers(10):
        case 0 | 1:
            return _glyph(random)
        case 2:
            return _rotated(digits, random)
        case 3:
            return _cut_up(digits, random)
        case _:
            return line_drawing(TRAINED, random)


def random_thing(random: np.random.Generator) -> Pixels:
    """A shape or silhouette, white on black, of any size."""
    return filled_outlines(random) if random.random() < 0.25 else silhouette(random)


def line_drawing(kinds: dict[Maker, float], random: np.random.Generator) -> Pixels:
    return draw(random_drawing(kinds, random), random_pen(random))


def _glyph(random: np.random.Generator) -> Pixels:
    """A few strokes through random points: too many for the result to be a digit often."""
    strokes: list[Stroke] = []
    box = random.uniform((0.4, 0.4), (1, 1))
    while sum(len(stroke) for stroke in strokes) < 7:
        points = random.random((random.integers(2, 6), 2))
        if random.random() < 0.3:  # strokes are often vertical or horizontal
            points[1] = np.where(random.random() < 0.5, (points[0, 0], points[1, 1]), (points[1, 0], points[0, 1]))
        strokes.append(points * box)
    curved = random.random(len(strokes)) < 0.7
    return draw([smooth(one) if bend else one for one, bend in zip(strokes, curved, strict=True)], random_pen(random))


def _pick(digits: Dataset, labels: tuple[int, ...], random: np.random.Generator) -> Pixels:
    """A random digit with one of these labels."""
    chosen = random.choice(labels)
    return digits.images[random.choice(np.flatnonzero(digits.labels == chosen))]


def _rotated(digits: Dataset, random: np.random.Generator) -> Pixels:
    match random.integers(3):
        case 0:
            return np.rot90(_pick(digits, QUARTERS, random), int(random.choice([1, 3])))
        case 1:
            return np.rot90(_pick(digits, HALVES, random), 2)
        case _:
            return np.fliplr(_pick(digits, MIRRORED, random))


def _cut_up(digits: Dataset, random: np.random.Generator) -> Pixels:
    """Quarters of several digits' boxes, each rotated, put together."""
    boxes = [_pick(digits, tuple(range(CLASSES)), random)[4:24, 4:24] for _ in range(4)]
    quarters = [
        np.rot90(box[10 * row : 10 * row + 10, 10 * column : 10 * column + 10], int(random.integers(4)))
        for box, row, column in zip(boxes, *random.integers(2, size=(2, 4)), strict=True)
    ]
    return np.pad(np.vstack([np.hstack(quarters[:2]), np.hstack(quarters[2:])]), 4)


def filled_outlines(random: np.random.Generator) -> Pixels:
    """Filled outlines that may overlap or be cut by the frame, shaded and textured."""
    image = Image.new("L", (SIDE, SIDE))
    canvas = ImageDraw.Draw(image)
    for _ in range(random.integers(1, 5)):
        corners = random.integers(3, 9)
        angles = np.sort(random.uniform(0, 2 * np.pi, corners))
        radii = random.uniform(0.3, 1, (corners, 1)) * random.uniform(0.15, 0.7) * SIDE * random.uniform(0.3, 1, 2)
        outline = random.uniform(0.3, 0.7, 2) * SIDE + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        if random.random() < 0.5:
            outline = smooth(np.concatenate([outline, outline[:1]]))
        canvas.polygon([tuple(point) for point in outline], fill=int(random.integers(80, 256)))
    if random.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0, 2)))
    texture = _texture(random)
    return (np.asarray(image) * (1 - random.uniform(0, 0.8) * texture)).astype(np.uint8)


def _texture(random: np.random.Generator) -> NDArray[np.float64]:
    """Smooth noise from 0 to 1, coarse or fine, isotropic or not."""
    cells = random.integers(2, SIDE // 2, size=2)
    coarse = Image.fromarray(random.random(cells).astype(np.float32))
    return np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float64).clip(0, 1)


def silhouette(random: np.random.Generator) -> Pixels:
    """The outline of an object such as a vase, a bell, a fork or a sole, mostly symmetric; plain or patterned."""
    rows = np.linspace(0, 1, SIDE)[:, None]
    columns = np.linspace(-1, 1, SIDE)[None, :]
    left, right = _profile(random), _profile(random)
    if random.random() < 0.7:
        right = left
    mask = (columns > -left) & (columns < right)
    if random.random() < 0.4:  # legs, or a cup's opening
        mask &= ~_notch(random, rows, columns)
    if random.random() < 0.2:  # a handle
        ring = np.hypot((rows - 0.1) / 0.3, columns / random.uniform(0.3, 0.8))
        mask |= (np.abs(ring - 1) < random.uniform(0.1, 0.3)) & (rows < 0.4)
    brightness = random.uniform(0.3, 1) * (1 - random.uniform(0, 0.7) * _texture(random))
    if random.random() < 0.5:
        phase = (rows, columns / 2, rows + columns / 2)[random.integers(3)] * random.uniform(*WAVES)
        brightness = brightness * (1 - random.uniform(0, 0.6) * (np.sin(2 * np.pi * phase) > random.uniform(-0.9, 0.9)))
    image = Image.fromarray((255 * mask * brightness).astype(np.uint8))
    size = [max(8, round(SIDE * random.uniform(0.5, 1))), SIDE]
    if random.random() < 0.35:  # on its side
        size.reverse()
    image = image.resize((size[0], size[1]), Image.Resampling.BILINEAR)
    image = image.rotate(random.normal(0, 5), Image.Resampling.BILINEAR, expand=True)
    return np.pad(np.asarray(image), 6)


def _profile(random: np.random.Generator) -> NDArray[np.float64]:
    """Half the width of a silhouette at every height, [SIDE, 1], in steps or slopes."""
    places = np.sort(random.random(random.integers(2, 7)))
    widths = random.uniform(0.25, 1, len(places))
    heights = np.linspace(0, 1, SIDE)
    if random.random() < 0.4:
        return widths[np.searchsorted(places[1:], heights)][:, None]
    return np.interp(heights, places, widths)[:, None]


def _notch(random: np.random.Generator, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.bool_]:
    """A wedge or slot cut into the lower or upper end, bool [SIDE, SIDE]."""
    depth, width = random.uniform(0.1, 0.85), random.uniform(0.05, 0.5)
    inside = (rows - 1 + depth if random.random() < 0.7 else depth - rows) / depth
    return (inside > 0) & (np.abs(columns) < width * (inside if random.random() < 0.6 else 1))
