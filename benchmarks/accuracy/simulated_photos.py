"""Simulated photos: MNIST's test digits on paper seen by a camera, in bad light, on ruled lines, out of focus.

Correct means the digit read in the clean 28×28 image; a rejection is wrong.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from benchmarks.accuracy.figures import Figure
from benchmarks.accuracy.input_variations import Render, enlarged, file_of, same_answers
from digits.recognizer import Recognizer
from training.datasets.mnist import load_test

COUNT = 300
# Reflectance per colour channel of pencil and of black, blue and red ink.
INKS = [(0.55, 0.55, 0.55), (0.15, 0.15, 0.18), (0.2, 0.25, 0.65), (0.75, 0.2, 0.2)]

# The paper's reflectance or the light on it, 0 to 1, float32 [H, W, 3] or [H, W, 1].
Surface = NDArray[np.float32]


def measure(recognizer: Recognizer, count: int = COUNT) -> list[Figure]:
    """Share of `count` digits read as in the clean image, over all kinds of photos and for each."""
    digits = load_test().images[:: len(load_test()) // count][:count]
    return same_answers(recognizer, digits, KINDS, "simulated photo")


def _photo(digit: NDArray[np.uint8], random: Generator, *effects: Callable[["Page"], None]) -> bytes:
    page = Page(digit, random)
    for effect in effects:
        effect(page)
    return page.shot()


class Page:
    """A sheet with a digit, and the light, focus and noise of its photo."""

    def __init__(self, digit: NDArray[np.uint8], random: Generator) -> None:
        self.random = random
        height = round(float(np.exp(random.uniform(np.log(100), np.log(1200)))))
        width = round(height * random.uniform(0.8, 1.6))
        self.size = (height, width)
        side = round(min(self.size) * random.uniform(0.45, 0.95))
        top, left = (int(random.integers(0, room - side + 1)) for room in self.size)
        ink = np.zeros(self.size, np.float32)
        ink[top : top + side, left : left + side] = np.asarray(enlarged(digit, side), np.float32) / 255
        self.ink, self.box = ink[..., None], (top, left, side)
        self.paper: Surface = np.full((*self.size, 1), random.uniform(0.8, 1), np.float32)
        self.light: Surface = np.full((*self.size, 1), random.uniform(0.6, 1), np.float32)
        self.blur, self.noise = 0.0, 1.0
        self.pen = np.array(INKS[random.integers(len(INKS))], np.float32)

    def place(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Rows and columns from -1 to 1."""
        rows, columns = np.indices(self.size)
        return (
            (2 * rows / self.size[0] - 1).astype(np.float32),
            (2 * columns / self.size[1] - 1).astype(np.float32),
        )

    def shot(self) -> bytes:
        surface = self.paper * (1 - self.ink) + self.paper * self.pen * self.ink
        seen = 235 * surface * self.light + self.random.normal(0, self.noise, (*self.size, 3))
        image = Image.fromarray(np.clip(seen, 0, 255).astype(np.uint8))
        if self.blur:
            image = image.filter(ImageFilter.GaussianBlur(self.blur))
        return file_of(image, "JPEG", quality=int(self.random.integers(60, 95)))


def _falling_light(page: Page) -> None:
    """Brighter on one side or towards the middle."""
    rows, columns = page.place()
    angle = page.random.uniform(0, 2 * np.pi)
    ramp = (rows * np.sin(angle) + columns * np.cos(angle)) / np.sqrt(2)
    distance = (rows**2 + columns**2) / 2
    fall = (1 + ramp) / 2 * page.random.uniform(0, 0.6) + distance * page.random.uniform(0, 0.5)
    page.light = page.light * np.maximum(1 - fall, 0.15)[..., None]


def _hard_shadow(page: Page) -> None:
    """A straight edge beyond which 40 to 75 % of the light is left."""
    rows, columns = page.place()
    angle, place = page.random.uniform(0, 2 * np.pi), page.random.uniform(-0.6, 0.6)
    across = rows * np.sin(angle) + columns * np.cos(angle) - place
    shade = np.clip(across / page.random.uniform(0.01, 0.1) + 0.5, 0, 1)
    page.light = page.light * (1 - page.random.uniform(0.25, 0.6) * shade)[..., None]


def _ruled(page: Page) -> None:
    _lines(page, 0)


def _squared(page: Page) -> None:
    _lines(page, 0)
    _lines(page, 1)


def _lines(page: Page, axis: int) -> None:
    """Thin pale lines, slightly tilted, between a third of the digit's size and its size apart."""
    side = page.box[2]
    pitch, width = side * page.random.uniform(0.33, 1), max(1.0, side * page.random.uniform(0.005, 0.015))
    along, across = np.indices(page.size, dtype=np.float32)[:: 1 if axis == 1 else -1]
    distance = (across + page.random.uniform(-0.03, 0.03) * along + page.random.uniform(0, pitch)) % pitch
    line = (np.abs(distance - pitch / 2) < width / 2)[..., None]
    colour = np.array([0.65, 0.75, 0.9] if page.random.random() < 0.7 else [0.75, 0.75, 0.75], np.float32)
    page.paper = np.where(line, page.paper * colour, page.paper).astype(np.float32)


def _texture(page: Page) -> None:
    """Rough paper: grain at several scales."""
    for scale in (1, 3, 9):
        height, width = (max(2, side // scale) for side in page.size)
        grain = Image.fromarray(page.random.normal(0, 1, (height, width)).astype(np.float32))
        grain = grain.resize(page.size[::-1], Image.Resampling.BICUBIC)
        bumps = page.random.uniform(0.005, 0.025) * np.asarray(grain, np.float32)
        page.paper = (page.paper * (1 + bumps[..., None])).astype(np.float32)


def _out_of_focus(page: Page) -> None:
    page.blur = page.box[2] * page.random.uniform(0.005, 0.03)


def _noisy(page: Page) -> None:
    page.noise = page.random.uniform(5, 20)


def _edge(page: Page) -> None:
    """A darker or coloured table beyond one or two edges of the sheet."""
    table = page.random.uniform(0.1, 0.7, 3).astype(np.float32)
    top, left, side = page.box
    rows, columns = np.indices(page.size, dtype=np.float32)
    room = [top, page.size[0] - top - side, left, page.size[1] - left - side]
    for which in page.random.permutation(4)[: page.random.integers(1, 3)]:
        depth = room[which] * page.random.uniform(0.3, 0.9) + 1
        from_edge = [rows, page.size[0] - 1 - rows, columns, page.size[1] - 1 - columns][which]
        slant = page.random.uniform(-0.05, 0.05) * (columns if which < 2 else rows) * min(1, depth / side)
        page.paper = np.where((from_edge + slant < depth)[..., None], table, page.paper).astype(np.float32)


EFFECTS: dict[str, Callable[[Page], None]] = {
    "light falling off": _falling_light,
    "a hard shadow": _hard_shadow,
    "ruled": _ruled,
    "squared": _squared,
    "texture": _texture,
    "out of focus": _out_of_focus,
    "noise": _noisy,
    "an edge": _edge,
}


def _mixed(digit: NDArray[np.uint8], random: Generator) -> bytes:
    chosen = random.permutation(len(EFFECTS))[: random.integers(2, 4)]
    return _photo(digit, random, *(list(EFFECTS.values())[which] for which in sorted(chosen)))


KINDS: dict[str, Render] = {
    name: lambda digit, random, effect=effect: _photo(digit, random, effect) for name, effect in EFFECTS.items()
} | {"two or three of these": _mixed}
