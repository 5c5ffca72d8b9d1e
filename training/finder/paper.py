"""How a page looks to a camera, a scanner or on a screen: the paper, what is printed on it, the light and the noise.

A field is float32 [H, W]: the paper's brightness or how much of its light the ink takes away, 0 to 1.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from digits.decode import Pixels
from training.datasets.photographed import (
    affected,
    clouded,
    creased,
    distance_along,
    falling_light,
    grainy,
    pen_marks,
    seen,
    shaded,
    smooth_noise,
)
from training.finder.writing import ratio

Field = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Scene:
    """What is on a page, each a field: the digits and marks in ink, the writing on the other side, the table beside it.

    `size` is the digits' usual height in pixels and `turn` the lines' angle in radians.
    """

    ink: Field
    marks: Field
    behind: Field
    table: NDArray[np.bool_]
    size: float
    turn: float


Look = Callable[[Scene, Generator], Field]


def image_of(scene: Scene, size: int, random: Generator, look: Look | None = None) -> Pixels:
    """The scene as somebody sends it: dark ink on lighter paper, uint8, its long side about `size` pixels.

    `look` says how it was recorded; one of LOOKS at random unless given.
    """
    shares = SMALL_LOOK_SHARES if size < SMALL else LOOK_SHARES
    look = look or LOOKS[random.choice(len(LOOKS), p=shares)]
    image = _reduced(_pixels(look(scene, random)), size)
    if size < SMALL and random.random() < 0.2:  # a small sensor
        image = _noisy(image, random)
    if random.random() < (0.08 if size < SMALL else 0.03):
        image = _flawed(image, random)
    draw = random.random()
    if draw < 0.3 and look in (screen, _scan):
        image = _black_and_white(image, random)
    elif draw < 0.55:
        image = _compressed(image, int(random.integers(25, 96)))
    if max(image.size) < 100 and random.random() < 0.4:
        scale = random.uniform(1.5, 250 / max(image.size))
        kernel = (Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)[random.integers(3)]
        image = image.resize((max(2, round(image.width * scale)), max(2, round(image.height * scale))), kernel)
        if random.random() < 0.3:
            image = _compressed(image, int(random.integers(40, 96)))
    return np.asarray(image)


def screen(scene: Scene, random: Generator) -> Field:
    """Drawn on a screen: one shade on another, sometimes with hard edges."""
    ink = np.maximum(scene.ink, scene.marks)
    if random.random() < 0.3:
        ink = (ink > 0.5).astype(np.float32)
    paper = random.choice([1.0, random.uniform(0.75, 1)])
    page = paper - ink * (paper if random.random() < 0.4 else random.uniform(0.3, paper))
    if random.random() < 0.15:
        page = page * (1 - random.uniform(0.1, 0.5) * ruling(scene, random))
    return page


def _scan(scene: Scene, random: Generator) -> Field:
    """Even light and little noise."""
    paper = np.full_like(scene.ink, random.uniform(0.85, 1))
    paper = affected(paper, random, [(grainy, 0.3), (_dusty, 0.2)])
    if random.random() < 0.4:
        paper = paper * (1 - ratio(random, 0.03, 0.8) * ruling(scene, random))
    page = _inked(paper, scene, random, ratio(random, 0.3, 0.95))
    return page + random.normal(0, ratio(random, 0.002, 0.03), page.shape)


def _photo(scene: Scene, random: Generator) -> Field:
    """Paper in uneven light, on a table or not, seen by a camera."""
    page = _inked(_sheet(scene, random), scene, random, ratio(random, 0.25, 0.95))
    light = np.full_like(page, random.uniform(0.5, 1.05))
    light = affected(light, random, [(falling_light, 0.6), (shaded, 0.4), (_slanting_shadow, 0.15), (clouded, 0.25)])
    return seen(page * light, random)


def _faint(scene: Scene, random: Generator) -> Field:
    """Hard pencil, or ink whose colour is as bright as the paper: hardly any contrast, but little noise too."""
    paper = np.full_like(scene.ink, random.uniform(0.7, 1))
    paper = affected(paper, random, [(grainy, 0.2), (creased, 0.15)])
    if random.random() < 0.3:
        paper = paper * (1 - ratio(random, 0.01, 0.1) * ruling(scene, random))
    page = _inked(paper, scene, random, ratio(random, 0.02, 0.3))
    light = np.full_like(page, random.uniform(0.6, 1))
    light = affected(light, random, [(falling_light, 0.7), (shaded, 0.25), (clouded, 0.3)])
    return page * light + random.normal(0, ratio(random, 0.001, 0.012), page.shape)


def _slanting_shadow(light: Field, random: Generator) -> Field:
    """A deep shadow with a sharp, straight edge, somewhere near the middle."""
    across = distance_along(light.shape, random.uniform(0, 2 * math.pi))
    reach = float(across.max())
    edge = (across - random.uniform(-0.5, 0.5) * reach) / (ratio(random, 0.005, 0.08) * reach)
    return light * (1 - random.uniform(0.35, 0.8) * np.clip(edge + 0.5, 0, 1))


def _dusty(paper: Field, random: Generator) -> Field:
    """Specks all over the paper, mostly darker than it."""
    paper = paper.copy()
    most = max(paper.shape) // 60 + 1
    for row, column in random.integers(paper.shape, size=(int(ratio(random, 2, 60)), 2)):
        height, width = random.integers(1, most + 1, 2)
        paper[row : row + height, column : column + width] *= random.uniform(0.3, 1.15)
    return paper


def _dim(scene: Scene, random: Generator) -> Field:
    """Low light: strong noise, fine and in blotches."""
    page = _inked(_sheet(scene, random), scene, random, ratio(random, 0.4, 0.95))
    light = affected(np.full_like(page, 1.0), random, [(falling_light, 0.7), (shaded, 0.4), (clouded, 0.2)])
    exposure = random.uniform(0.08, 0.5)
    page = page * light * exposure
    grain = ratio(random, 0.03, 0.16) * exposure
    page = page + random.normal(0, grain, page.shape)
    page = page + random.uniform(0, 1.2) * grain * (smooth_noise(page.shape, random.uniform(2, 5), random) - 0.5) * 3
    if random.random() < 0.4:
        page = np.asarray(_pixels(page).filter(ImageFilter.MedianFilter(3)), np.float32) / 255
    return page * random.uniform(0.9, 1.8)


LOOKS = (screen, _scan, _photo, _faint, _dim)
LOOK_SHARES = (0.14, 0.18, 0.46, 0.12, 0.10)
# Images smaller than this are mostly cut out of scans, or drawn.
SMALL, SMALL_LOOK_SHARES = 40, (0.36, 0.34, 0.2, 0.05, 0.05)


def _sheet(scene: Scene, random: Generator) -> Field:
    """Paper of any tone with its grain, folds and ruling, often with the table beside it."""
    paper = np.full_like(scene.ink, random.uniform(0.7, 1))
    paper = affected(paper, random, [(grainy, 0.4), (creased, 0.15), (_dusty, 0.12)])
    if random.random() < 0.45:
        paper = paper * (1 - ratio(random, 0.03, 0.8) * ruling(scene, random))
    if scene.table.any():
        table = random.uniform(0.05, 0.9) * (1 - random.uniform(0, 0.7) * texture(paper.shape, random))
        paper = np.where(scene.table, table, paper)
    return paper


def _inked(paper: Field, scene: Scene, random: Generator, strength: float) -> Field:
    """The paper with the writing on it; marks are as dark as the digits, or written with another pen."""
    written = pen_marks(np.maximum(scene.ink, 1e-3), random)
    written = written * (strength / max(float(written.max()), 1e-3)) * (scene.ink > 0)
    other = scene.marks * (strength if random.random() < 0.6 else ratio(random, 0.05, 0.95))
    page = paper * (1 - np.maximum(written, other))
    if scene.behind.any():
        page = page * (1 - random.uniform(0.05, 0.4) * strength * scene.behind)
    return page


def ruling(scene: Scene, random: Generator) -> Field:
    """Printed lines in one direction, squares, dots or a margin, spaced by the digits' height; 0 to 1."""
    shape = scene.ink.shape
    turn = scene.turn + random.normal(0, 0.03)
    pitch = max(4.0, ratio(random, 0.3, 2.5) * scene.size)
    width = min(max(0.5, ratio(random, 0.01, 0.2) * pitch), 0.25 * pitch)

    def lines(angle: float, pitch: float) -> Field:
        place = (distance_along(shape, angle) + random.uniform(0, pitch)) % pitch
        return np.clip(width / 2 + 0.5 - np.abs(place - pitch / 2), 0, min(1, width))

    # Distances for angle 0 are along the columns, so their lines are level; a positive turn lowers their right ends.
    level, upright = (
        lines(-turn, pitch),
        lines(math.pi / 2 - turn, pitch * random.choice([1.0, random.uniform(0.7, 3)])),
    )
    match random.integers(7):
        case 0 | 1:
            return level
        case 2 | 3 | 4:
            return np.maximum(level, upright)
        case 5:
            return np.maximum(level, lines(math.pi / 2 - turn, 3 * max(shape)))
        case _:
            return level * upright


def beyond_paper(shape: tuple[int, int], random: Generator) -> NDArray[np.bool_]:
    """Where the sheet has ended, bool [H, W]: along one side of the frame, two or all four."""
    beyond = np.zeros(shape, bool)
    turn = random.choice([0, 1, 2, 3]) * math.pi / 2 + random.normal(0, 0.12)
    count = int(random.choice([1, 2, 4], p=[0.4, 0.4, 0.2]))
    for _ in range(count):
        across = distance_along(shape, turn)
        beyond |= across > across.max() - ratio(random, 0.02, 0.9 / max(2, count)) * float(np.ptp(across))
        turn += math.pi / 2
    return beyond


def texture(shape: tuple[int, ...], random: Generator) -> Field:
    """Wood, weave, stripes, checks, speckles, stains or smooth noise, 0 to 1."""
    size = max(shape)
    turn = random.choice([0, math.pi / 2, random.uniform(0, math.pi)])
    across, along = distance_along(shape, turn), distance_along(shape, turn + math.pi / 2)
    bends = smooth_noise(shape, ratio(random, 0.1, 0.6) * size, random) - 0.5
    match random.integers(7):
        case 0 | 1:  # wood: rings cut lengthwise, and fine grain along them
            rings = across * ratio(random, 2, 25) / size + bends * ratio(random, 0.3, 4)
            sharp = random.uniform(0.5, 6)
            wood = 1 / (1 + np.exp(-sharp * (np.sin(2 * math.pi * rings) - random.uniform(-0.5, 0.9))))
            return np.clip(wood * random.uniform(0.4, 1) + 0.4 * smooth_noise(shape, 2, random, length=12), 0, 1)
        case 2:  # long grain
            grain = smooth_noise(shape, ratio(random, 1.2, 6), random, length=ratio(random, 3, 20))
            return grain if random.random() < 0.5 or shape[0] != shape[1] else grain.T
        case 3:  # checks, stripes or a weave
            waves = [
                np.sin(2 * math.pi * place * ratio(random, 2, 30) / size + bends * random.uniform(0, 3))
                > random.uniform(-0.5, 0.95)
                for place in (across, along)
            ]
            return (waves[0] ^ waves[1] if random.random() < 0.5 else waves[random.integers(2)]).astype(np.float32)
        case 4:  # speckles
            return (smooth_noise(shape, ratio(random, 1, 5), random) > random.uniform(0.5, 0.9)).astype(np.float32)
        case 5:  # leaves and stains
            coarse = smooth_noise(shape, ratio(random, 0.04, 0.3) * size, random)
            return np.clip((coarse - random.uniform(0.3, 0.7)) * ratio(random, 2, 40) + 0.5, 0, 1)
        case _:
            return smooth_noise(shape, ratio(random, 1.5, 40), random)


def _reduced(image: Image.Image, size: int) -> Image.Image:
    if max(image.size) <= size:
        return image
    scale = size / max(image.size)
    return image.resize((max(2, round(image.width * scale)), max(2, round(image.height * scale))), Image.Resampling.BOX)


def _noisy(image: Image.Image, random: Generator) -> Image.Image:
    return _pixels(np.asarray(image, np.float32) / 255 + random.normal(0, ratio(random, 0.01, 0.06), image.size[::-1]))


def _flawed(image: Image.Image, random: Generator) -> Image.Image:
    """Single pixels black or white, as dead ones are; or all moved a little, as behind frosted glass."""
    pixels = np.array(image)
    if random.random() < 0.6:
        is_dead = random.random(pixels.shape) < ratio(random, 0.005, 0.25)
        pixels[is_dead] = random.choice(np.array([0, 255], np.uint8), int(is_dead.sum()))
        return Image.fromarray(pixels)
    reach = max(1, round(ratio(random, 0.01, 0.05) * max(pixels.shape)))
    moved = np.indices(pixels.shape) + random.integers(-reach, reach + 1, (2, *pixels.shape))
    rows, columns = np.clip(moved, 0, np.array(pixels.shape)[:, None, None] - 1)
    return Image.fromarray(pixels[rows, columns])


def _black_and_white(image: Image.Image, random: Generator) -> Image.Image:
    """Thresholded between its darkest and brightest shades; unless that would lose or flood it."""
    values = np.asarray(image)
    low, high = np.percentile(values, (1, 95))
    bright = values > low + (high - low) * random.uniform(0.35, 0.7)
    return Image.fromarray(np.where(bright, 255, 0).astype(np.uint8)) if 0.3 < bright.mean() < 0.995 else image


def _pixels(page: Field) -> Image.Image:
    return Image.fromarray(np.clip(page * 255, 0, 255).round().astype(np.uint8))


def _compressed(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("L")
