"""Simulated canvas drawings, scans and photos of digits.

Preprocessing leaves artefacts: broken or hollow strokes, remains of ruled lines and shadows, wrong crops. The network
has to know them, so it is trained on these images after preprocessing.
"""

import io
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from digits.decode import Pixels

# A quantity per pixel of a page, [H, W]: light, the paper's reflectance, the ink's absorption.
Field = NDArray[np.floating[Any]]
Effect = Callable[[Field, Generator], Field]

# The digit's longer side in pixels; the page's sides relative to the digit's.
SIDE, ROOM = (22, 160), (1.1, 2.6)
LARGEST_ROTATION = 8
# Probability of light ink on dark paper, as on a blackboard.
INVERTED = 0.15
# The side, in pixels, to which MNIST's digits are enlarged.
ENLARGED = 140
# The side, in pixels, of drawn strokes.
DRAWN_SIZE = 160


def simulate_photo(ink: Pixels, random: Generator) -> Pixels:
    """A grey canvas drawing, scan or photo of a digit given as white ink on black; uint8 [H, W] of any size."""
    ink = _cropped(ink)
    page = KINDS[random.integers(len(KINDS))](_placed(ink, random), random)
    if random.random() < INVERTED:
        page = 1 - page
    if random.random() < 0.6:
        page = _compressed(page, int(random.integers(25, 96)))
    return _to_pixels(page)


def redrawn(digit: Pixels, random: Generator) -> Pixels:
    """An MNIST digit enlarged, half of the time with another pen along the ridge of its strokes."""
    large = Image.fromarray(digit).resize((ENLARGED, ENLARGED), Image.Resampling.BICUBIC)
    if random.random() < 0.5:
        values = np.asarray(large, np.float32)
        return np.clip((values - random.uniform(90, 150)) * 3 + 128, 0, 255).astype(np.uint8)
    soft = large.filter(ImageFilter.GaussianBlur(ENLARGED / 28))
    highest = np.asarray(soft.filter(ImageFilter.MaxFilter(ENLARGED // 28 * 2 + 1)), np.float32)
    ridge = (np.asarray(soft) > 0.86 * highest) & (np.asarray(large) > 100)
    drawn = Image.fromarray(np.where(ridge, 255, 0).astype(np.uint8))
    for _ in range(random.integers(0, 10)):  # each adds a pixel on every side
        drawn = drawn.filter(ImageFilter.MaxFilter(3))
    return np.asarray(drawn.filter(ImageFilter.GaussianBlur(1.5)))


def _cropped(ink: Pixels) -> Pixels:
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _to_pixels(page: Field) -> Pixels:
    return np.clip(page * 255, 0, 255).round().astype(np.uint8)


def _ratio(random: Generator, low: float, high: float) -> float:
    """A log-uniform random number."""
    return math.exp(random.uniform(math.log(low), math.log(high)))


def _placed(ink: Pixels, random: Generator) -> Field:
    """The ink at a random place on a page, 0 for paper to 1, mostly with a slight rotation."""
    side = _ratio(random, *SIDE)
    image = Image.fromarray(ink)
    scale = side / max(image.size)
    image = image.resize(
        (max(2, round(image.width * scale)), max(2, round(image.height * scale))), Image.Resampling.BOX
    )
    if random.random() < 0.7:
        image = image.rotate(random.uniform(-LARGEST_ROTATION, LARGEST_ROTATION), Image.Resampling.BICUBIC, expand=True)
    width, height = (max(one + 4, round(side * _ratio(random, *ROOM))) for one in image.size)
    page = Image.new("L", (width, height))
    left, top = (round((room - one) * random.beta(2, 2)) for room, one in zip(page.size, image.size, strict=True))
    page.paste(image, (left, top))
    return np.asarray(page, np.float32) / 255


def _canvas(ink: Field, random: Generator) -> Field:
    """A drawing on a screen: one shade on another, sometimes with hard edges."""
    if random.random() < 0.3:
        ink = (ink > 0.5).astype(np.float32)
    paper = random.choice([1.0, random.uniform(0.75, 1)])
    return paper - ink * random.uniform(0.35, paper)


def _scan(ink: Field, random: Generator) -> Field:
    """Even light, a little noise, sometimes a form's lines or specks of dust."""
    paper = np.full_like(ink, random.uniform(0.85, 1))
    paper = affected(paper, random, [(_ruled, 0.25), (grainy, 0.3), (specked, 0.2)])
    page = paper * (1 - pen_marks(ink, random))
    return page + random.normal(0, _ratio(random, 0.002, 0.03), ink.shape)


def _photo(ink: Field, random: Generator) -> Field:
    """Printed paper and its surroundings in uneven light, seen by an imperfect camera."""
    paper = np.full_like(ink, random.uniform(0.7, 1))
    effects = [(_ruled, 0.35), (grainy, 0.4), (creased, 0.15), (specked, 0.1), (_on_a_table, 0.2)]
    paper = affected(paper, random, effects)
    if random.random() < 0.12:
        ink = np.maximum(ink, _neighbour(ink, random))
    page = paper * (1 - pen_marks(ink, random))
    light = np.full_like(ink, random.uniform(0.5, 1.05))
    light = affected(light, random, [(falling_light, 0.6), (shaded, 0.35), (clouded, 0.25)])
    return seen(page * light, random)


KINDS = (_canvas, _scan, _photo, _photo, _photo)


def affected(field: Field, random: Generator, effects: Iterable[tuple[Effect, float]]) -> Field:
    """The field after applying each effect with its probability."""
    for effect, share in effects:
        if random.random() < share:
            field = effect(field, random)
    return field


def pen_marks(ink: Field, random: Generator) -> Field:
    """The absorption of a grainy pencil, a pen running dry or a marker."""
    match random.integers(3):
        case 0:
            strength, grain = random.uniform(0.25, 0.6), random.uniform(0, 0.5) * smooth_noise(ink.shape, 1.5, random)
        case 1:
            strength, grain = random.uniform(0.4, 0.9), random.uniform(0, 0.6) * smooth_noise(ink.shape, 12, random)
        case _:
            strength, grain = random.uniform(0.5, 0.95), random.uniform(0, 0.3) * smooth_noise(ink.shape, 25, random)
    return ink * strength * (1 - grain)


def smooth_noise(shape: tuple[int, ...], scale: float, random: Generator, length: float = 1) -> Field:
    """Smooth noise from 0 to 1 with features about `scale` pixels high and `length` times as wide."""
    height, width = shape
    coarse = random.random((max(2, round(height / scale) + 1), max(2, round(width / scale / length) + 1)))
    large = Image.fromarray(coarse.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(large).clip(0, 1)


def distance_along(shape: tuple[int, ...], angle: float) -> Field:
    """Every pixel's distance from the centre along a direction, in pixels."""
    rows, columns = (np.arange(side, dtype=np.float32) - side / 2 for side in shape)
    return rows[:, None] * math.cos(angle) + columns[None, :] * math.sin(angle)


def _ruled(paper: Field, random: Generator) -> Field:
    """Ruled lines, squares, dots or a margin, slightly tilted."""
    angle = random.normal(0, 0.03)
    pitch = max(8, _ratio(random, 0.15, 0.9) * min(paper.shape))
    width = _ratio(random, 0.6, 2.5) * max(1, min(paper.shape) / 200)
    strength = random.uniform(0.05, 0.4)

    def lines(turn: float, pitch: float) -> Field:
        place = (distance_along(paper.shape, angle + turn) + random.uniform(0, pitch)) % pitch
        return np.clip(width / 2 + 0.5 - np.abs(place - pitch / 2), 0, 1)

    level, upright = lines(0, pitch), lines(math.pi / 2, pitch)
    margin = lines(math.pi / 2, 3 * max(paper.shape))
    marks = [level, level, np.maximum(level, upright), np.maximum(level, upright), np.maximum(level, margin)]
    marks.append(level * upright)
    return paper * (1 - strength * marks[random.integers(len(marks))])


def grainy(paper: Field, random: Generator) -> Field:
    for scale in (1.2, 3, 10):
        paper = paper * (1 + random.uniform(0, 0.09) * (smooth_noise(paper.shape, scale, random) - 0.5))
    return paper


def creased(paper: Field, random: Generator) -> Field:
    """Folds, where the paper bends towards the light or away from it."""
    for _ in range(random.integers(1, 4)):
        across = distance_along(paper.shape, random.uniform(0, math.pi)) - random.uniform(-0.4, 0.4) * min(paper.shape)
        reach = _ratio(random, 0.02, 0.3) * max(paper.shape)
        fold = np.sign(across) * np.exp(-np.abs(across) / reach)
        paper = paper * (1 + random.uniform(-0.15, 0.15) * fold)
    return paper


def specked(paper: Field, random: Generator) -> Field:
    paper = paper.copy()
    for _ in range(random.integers(1, 6)):
        row, column = (int(random.integers(side)) for side in paper.shape)
        side = 1 + int(random.integers(max(1, max(paper.shape) // 80) + 1))
        paper[row : row + side, column : column + side] *= random.uniform(0.2, 0.8)
    return paper


def _on_a_table(paper: Field, random: Generator) -> Field:
    """The sheet ends inside the frame at one or two edges; beyond is a table of another shade, possibly grained."""
    grain = smooth_noise(paper.shape, 3, random, length=8)
    table = random.uniform(0.08, 0.7) * (1 + random.uniform(0, 0.4) * (grain - 0.5))
    turn = int(random.integers(4)) * math.pi / 2
    for _ in range(random.integers(1, 3)):
        beyond = distance_along(paper.shape, turn + random.normal(0, 0.06))
        beyond = beyond - beyond.max() + _ratio(random, 0.02, 0.18) * max(paper.shape)
        shadow = 1 - random.uniform(0, 0.4) * np.exp(-np.abs(beyond) / (0.02 * max(paper.shape)))
        paper = np.where(beyond > 0, table * shadow, paper)
        turn += math.pi / 2
    return paper


def _neighbour(ink: Field, random: Generator) -> Field:
    """The same ink, rotated by 180°, reaching into the frame across one edge."""
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    axis = int(random.integers(2))
    low, high = ((rows, columns)[axis][end] for end in (0, -1))
    reach = max(1, int(random.uniform(0.05, 0.3) * (high - low)))
    turned = np.moveaxis(np.rot90(ink, 2), axis, 0)
    size = len(turned)
    shifted = np.zeros_like(turned)
    shifted[:reach] = turned[size - 1 - low - reach : size - 1 - low]
    return np.moveaxis(shifted if random.random() < 0.5 else shifted[::-1], 0, axis)


def falling_light(light: Field, random: Generator) -> Field:
    """A lamp or window to one side, or a lens that darkens the corners."""
    place = [random.uniform(-1.5, 1.5) * side for side in light.shape]
    rows, columns = (
        np.arange(side, dtype=np.float32) - side / 2 - at for side, at in zip(light.shape, place, strict=True)
    )
    distance = np.hypot(rows[:, None], columns[None, :]) / max(light.shape)
    fall = 1 / (1 + random.uniform(0.1, 1.5) * distance**2)
    return light * (fall / fall.max())


def shaded(light: Field, random: Generator) -> Field:
    """The shadow of a hand, phone or shelf: a straight or wavy edge, or a patch, hard or soft."""
    for _ in range(random.integers(1, 3)):
        angle, reach = random.uniform(0, 2 * math.pi), min(light.shape)
        across, along = distance_along(light.shape, angle), distance_along(light.shape, angle + math.pi / 2)
        if random.random() < 0.6:
            wave = random.uniform(0, 0.12) * reach * np.sin(along / (random.uniform(0.1, 0.5) * reach))
            edge = across + wave - random.uniform(-0.5, 0.5) * reach
        else:
            middle = random.uniform(-0.5, 0.5, 2) * reach
            radii = random.uniform(0.2, 0.8, 2) * reach
            edge = (1 - np.hypot((across - middle[0]) / radii[0], (along - middle[1]) / radii[1])) * radii.min()
        shade = np.clip(edge / (_ratio(random, 0.005, 0.3) * reach) + 0.5, 0, 1)
        light = light * (1 - random.uniform(0.1, 0.6) * shade)
    return light


def clouded(light: Field, random: Generator) -> Field:
    """Light through leaves, from several lamps or reflected by a glossy page."""
    scale = random.uniform(0.3, 1) * max(light.shape)
    return light * (1 + random.uniform(-0.5, 0.5) * smooth_noise(light.shape, scale, random))


def seen(page: Field, random: Generator) -> Field:
    """The camera: exposure, focus, noise, then smoothing or sharpening."""
    page = page * (random.uniform(0.6, 1.1) / np.percentile(page, 97))
    if random.random() < 0.5:
        blur = _ratio(random, 0.3, 2.5) * max(1, min(page.shape) / 200)
        page = _filtered(page, ImageFilter.GaussianBlur(blur))
    strongest = 0.06 * min(1, min(page.shape) / 120)
    page = page + random.normal(0, _ratio(random, 0.003, strongest), page.shape)
    if random.random() < 0.4:
        page = _filtered(page, FILTERS[random.integers(len(FILTERS))])
    return np.clip(page, 0, 1) ** random.uniform(0.7, 1.4)


FILTERS = (ImageFilter.MedianFilter(3), ImageFilter.GaussianBlur(0.6), ImageFilter.UnsharpMask(2, 120, 2))


def _filtered(page: Field, one: ImageFilter.Filter) -> Field:
    return np.asarray(Image.fromarray(_to_pixels(page)).filter(one), np.float32) / 255


def _compressed(page: Field, quality: int) -> Field:
    file = io.BytesIO()
    Image.fromarray(_to_pixels(page)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file), np.float32) / 255
