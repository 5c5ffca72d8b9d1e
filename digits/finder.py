"""Grey pixels → the digits' ink and places, by a network that is trained for it (training/finder/).

The network sees a frame: the image with a long side of FRAME pixels. It says for every pixel how likely that is a
digit's ink, and for cells of CELL×CELL pixels whether a digit has its centre there, where the centre of the cell's own
digit lies, and how large that digit is (as Panoptic-DeepLab does for objects; Cheng et al. 2020).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from digits import tracing
from digits.decode import FIRST_SIZE, GreyImage, Pixels
from digits.session import ModelFile, check_tensors, first_run, load_session
from digits.version import FINDER

Ink = NDArray[np.float32]
Value = TypeVar("Value", bound=np.generic)

# The frame's long side; the network takes any multiple of this.
FRAME, MULTIPLE = FIRST_SIZE, 16
CELL = 4
# Where the heat reaches this, there is a digit, unless a hotter one lies nearer than this part of its size.
LEAST_HEAT, APART = 0.4, 0.3
# Ink that points further away than this part of the digit's size is not that digit's.
ASTRAY = 0.75
# Ink is what is likelier ink than not. A digit's is surer than this on average: in noise and textures, what is found is
# not. And fewer pixels are no digit.
INK, SURE, LEAST_PIXELS = 0.5, 0.75, 6
# In an image of so few pixels a side, nobody can be as sure.
COARSE, SURE_IF_COARSE = 20, 0.65
# What lies apart and has less than this part of a digit's ink is what is left of a circle or a ruled line.
SPECK = 0.06
# A digit smaller than this part of the frame is looked at again, with this much around it, by its size.
SMALL, MARGIN = 0.25, 0.45
# Paper whose edges differ by no more shades is of one shade. What is drawn on it is looked at with this margin, in a
# smaller frame at first.
FLAT, DRAWING_FRAME, DRAWING_MARGIN = 3, 96, 0.2
# A digit that reaches over this much of all that is drawn is alone.
ALONE = 0.85
# What differs by so many shades from the mean of so many pixels around it, and so many times as far as most pixels do,
# is a mark.
LEAST_CONTRAST, AROUND, STANDS_OUT = 12, 12, 8


@dataclass(frozen=True)
class Box:
    """A place in an image, in pixels."""

    left: Annotated[int, Meta(ge=0)]
    top: Annotated[int, Meta(ge=0)]
    width: Annotated[int, Meta(ge=1)]
    height: Annotated[int, Meta(ge=1)]

    @property
    def side(self) -> int:
        """The longer side."""
        return max(self.width, self.height)

    @property
    def middle(self) -> tuple[float, float]:
        """Down and right."""
        return self.top + self.height / 2, self.left + self.width / 2

    def of(self, pixels: NDArray[Value]) -> NDArray[Value]:
        """This part of an image."""
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]

    def widened(self, by: int, size: tuple[int, int]) -> "Box":
        """With a margin all around, within an image of that height and width."""
        top, left = max(0, self.top - by), max(0, self.left - by)
        bottom, right = min(size[0], self.top + self.height + by), min(size[1], self.left + self.width + by)
        return Box(left, top, right - left, bottom - top)


@dataclass(frozen=True)
class SeenDigit:
    """A digit in one frame: `ink` as FoundDigit's; `place` in the frame's pixels, which are the ink's; `heat`."""

    ink: Ink
    place: Box
    heat: float


@dataclass(frozen=True)
class FoundDigit:
    """A digit that was found.

    `ink` is float32 [h, w], 0 for paper to 1, cropped to the digit; `box` its place in the whole upright image; `heat`
    how sure the network is that it is a digit, 0 to 1.
    """

    ink: Ink
    box: Box
    heat: float

    @property
    def mass(self) -> float:
        """How much ink it has, in pixels of the whole image."""
        return float(self.ink.sum()) * (self.box.side / max(self.ink.shape)) ** 2


class Finder:
    """A loaded finder; may be called from several threads."""

    def __init__(self, file: ModelFile, provider: str = "auto") -> None:
        """Loads finder.onnx on the execution provider `auto`, `cpu` or `cuda`. Raises ModelError."""
        self.file = file
        self.session = load_session(file, provider)
        check_tensors(file.path, self.session, _TENSORS)

    @classmethod
    def next_to(cls, model: Path) -> "Finder":
        """The finder of the version whose classifier is the file `model`, on the CPU. Raises ModelError."""
        return cls(ModelFile.read(model.with_name(FINDER)), "cpu")

    def find(self, image: GreyImage) -> list[FoundDigit]:
        """The digits in an image, the one with the most ink first."""
        with tracing.span("finder"):
            if image.full is None and (part := _drawn_part(image.pixels)) is not None:
                return self._in_drawing(image.pixels, part)
            height, width = image.size
            everything = Box(0, 0, width, height)
            digits = self._look(image.pixels, everything)
            if everything.side > FRAME:
                closer = self._closer(image, digits[0]) if digits else None
                if closer is None and (part := _marked_part(pixels := image.whole())):
                    # Perhaps too small, or too faint once averaged.
                    digits = self._look(part.of(pixels), part) or self._look(pixels, everything, 2 * FRAME) or digits
                    closer = self._closer(image, digits[0]) if digits else None
                if closer:
                    digits[0] = closer
            return digits

    def warm_up(self) -> None:
        """Runs the network once, so that the first request finds everything loaded. Raises ModelError."""
        with first_run(self.file.path):
            self._look(np.zeros((FRAME, FRAME), np.uint8), Box(0, 0, FRAME, FRAME))

    def _in_drawing(self, pixels: Pixels, part: Box) -> list[FoundDigit]:
        """A digit alone is large enough in a small frame."""
        if not part.side:
            return []
        wide = part.widened(round(DRAWING_MARGIN * part.side) + 1, pixels.shape)
        digits = self._look(wide.of(pixels), wide, DRAWING_FRAME)
        is_all = len(digits) == 1 and digits[0].box.side > ALONE * part.side
        return digits if is_all else self._look(wide.of(pixels), wide)

    def _closer(self, image: GreyImage, digit: FoundDigit) -> FoundDigit | None:
        """A digit that is small in a large image, as a crop of that shows it; None if that shows none there."""
        if digit.box.side > SMALL * max(image.size):
            return digit
        pixels = image.whole()
        part = digit.box.widened(round(MARGIN * digit.box.side), pixels.shape)
        near = {math.dist(digit.box.middle, one.box.middle): one for one in self._look(part.of(pixels), part)}
        closest = min(near, default=math.inf)
        return near[closest] if closest < digit.box.side / 2 else None

    def look_at(self, frames: Pixels, sure: float = SURE) -> list[list[SeenDigit]]:
        """The digits in each of N frames, uint8 [N, H, W], both sides multiples of MULTIPLE."""
        maps = self.session.run(_OUTPUTS, {"images": frames})
        return [list(_separated(sure, *one)) for one in zip(*maps, strict=True)]

    def _look(self, pixels: Pixels, part: Box, frame: int = FRAME) -> list[FoundDigit]:
        """The digits in a part of the whole image, the one with the most ink first; `pixels` may show it reduced."""
        scale = part.side / frame
        sure = SURE if max(pixels.shape) > COARSE else SURE_IF_COARSE
        digits = []
        for seen in self.look_at(_framed(pixels, frame)[None], sure)[0]:
            top, bottom = _scaled(seen.place.top, seen.place.height, scale, part.height)
            left, right = _scaled(seen.place.left, seen.place.width, scale, part.width)
            box = Box(part.left + left, part.top + top, right - left, bottom - top)
            digits.append(FoundDigit(seen.ink, box, seen.heat))
        return sorted(digits, key=lambda digit: -float(digit.ink.sum()))


_OUTPUTS = ["ink", "heat", "offsets", "sizes"]
_TENSORS: dict[str, tuple[str, tuple[int | str, ...]]] = {
    "images": ("tensor(uint8)", ("N", "N", "N")),
    "ink": ("tensor(float)", ("N", "N", "N")),
    "heat": ("tensor(float)", ("N", "N", "N")),
    "offsets": ("tensor(float)", ("N", 2, "N", "N")),
    "sizes": ("tensor(float)", ("N", "N", "N")),
}


def _scaled(start: int, length: int, scale: float, side: int) -> tuple[int, int]:
    """A part of the frame's rows or columns in the pixels of an image, at least one and within its side."""
    first = min(int(start * scale), side - 1)
    return first, max(first + 1, min(math.ceil((start + length) * scale), side))


def _framed(pixels: Pixels, frame: int) -> Pixels:
    """A square frame with the image in its upper left corner, its long side that of the frame, the rest its mean."""
    scale = frame / max(pixels.shape)
    height, width = (max(1, round(side * scale)) for side in pixels.shape)
    image = Image.fromarray(pixels)
    if scale < 1:
        image = image.resize((width, height), Image.Resampling.BOX, reducing_gap=2)
    elif scale > 1:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    if height == width:
        return np.asarray(image)
    fitted = np.asarray(image)
    framed = np.full((frame, frame), round(float(fitted.mean())), np.uint8)
    framed[:height, :width] = fitted
    return framed


def _drawn_part(pixels: Pixels) -> Box | None:
    """Where anything is drawn on paper of one shade, of no size if nothing is; None if the edges show other shades."""
    low, high = max(0, int(pixels[0, 0]) - FLAT), min(255, int(pixels[0, 0]) + FLAT)
    edges = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    if any(edge.min() < low or edge.max() > high for edge in edges):
        return None
    # By rows and columns, so that a large image takes no more memory.
    rows, columns = ((pixels.min(axis=axis) < low) | (pixels.max(axis=axis) > high) for axis in (1, 0))
    return _span(rows, columns) or Box(0, 0, 0, 0)


def _marked_part(pixels: Pixels) -> Box | None:
    """Where an image has marks, with a margin around them; None if it has none."""
    block = -(-max(pixels.shape) // FRAME)
    down, across = (np.arange(0, side, block) for side in pixels.shape)
    marked = np.zeros((len(down), len(across)), bool)
    for extreme in (np.minimum, np.maximum):
        marked |= _stand_out(extreme.reduceat(extreme.reduceat(pixels, down, axis=0), across, axis=1))
    blocks = _extent(marked)
    if blocks is None:
        return None
    blocks = blocks.widened(2 + round(MARGIN * blocks.side), marked.shape)
    part = Box(*(block * one for one in (blocks.left, blocks.top, blocks.width, blocks.height)))
    part = part.widened(0, pixels.shape)
    if 2 * part.side < max(pixels.shape) and block > 1:  # again, in finer blocks
        inside = _marked_part(part.of(pixels)) or Box(0, 0, part.width, part.height)
        return Box(part.left + inside.left, part.top + inside.top, inside.width, inside.height)
    return part


def _extent(mask: NDArray[np.bool_]) -> Box | None:
    """The box around what is set; None if nothing is."""
    return _span(np.logical_or.reduce(mask, axis=1), np.logical_or.reduce(mask, axis=0))


def _span(rows: NDArray[np.bool_], columns: NDArray[np.bool_]) -> Box | None:
    """From the first to the last of the rows and columns that are set; None if none is."""
    if not rows.any():
        return None
    top, left = int(rows.argmax()), int(columns.argmax())
    return Box(left, top, len(columns) - int(columns[::-1].argmax()) - left, len(rows) - int(rows[::-1].argmax()) - top)


def is_marked(pixels: Pixels) -> bool:
    """Whether anything in an image stands out from what is around it."""
    block = -(-max(pixels.shape) // FRAME)
    return bool(_stand_out(np.asarray(Image.fromarray(pixels).reduce(block))).any())


def _stand_out(pixels: Pixels) -> NDArray[np.bool_]:
    """Which pixels differ from those around them by far more than most do."""
    around = Image.fromarray(pixels).filter(ImageFilter.BoxBlur(AROUND))
    difference = np.abs(pixels.astype(np.int16) - np.asarray(around))
    return difference > max(LEAST_CONTRAST, STANDS_OUT * (float(np.median(difference)) + 0.5))


def _separated(sure: float, ink: Ink, heat: Ink, offsets: Ink, sizes: Ink) -> Iterator[SeenDigit]:
    """Every digit, from the network's maps of one frame; `sure` as SURE."""
    centres = _centres(heat, sizes)
    if not centres:
        return
    rows, columns = ((np.arange(side, dtype=np.float32) + 0.5) * CELL for side in heat.shape)
    down, across = offsets[0] + rows[:, None], offsets[1] + columns
    distances = np.stack([np.hypot(down - row, across - column) / size for row, column, size, _ in centres])
    owners = distances.argmin(axis=0).astype(np.uint16)
    owners[distances.min(axis=0) > ASTRAY] = len(centres)
    owners = owners.repeat(CELL, axis=0).repeat(CELL, axis=1)
    is_ink = ink > INK
    for number, (*_, certainty) in enumerate(centres):
        mask = is_ink & (owners == number)
        place = _extent(mask)
        if place is None:
            continue
        place = _without_specks(mask, place)
        mask, soft = place.of(mask), place.of(ink)
        count = np.count_nonzero(mask)
        if count >= LEAST_PIXELS and soft[mask].sum() > sure * count:
            yield SeenDigit(soft * _dilated(mask), place, certainty)


def _without_specks(mask: NDArray[np.bool_], box: Box) -> Box:
    """The box without what empty columns or rows part from the rest of a digit and has hardly any ink."""
    for axis in (0, 1, 0):
        counts = box.of(mask).sum(axis=axis)
        if counts.all():
            continue
        ends = np.flatnonzero(np.diff(counts > 0, prepend=False, append=False)).reshape(-1, 2)
        large = ends[np.add.reduceat(counts, ends[:, 0]) >= SPECK * counts.sum()]
        first, last = int(large[0, 0]), int(large[-1, 1])
        if axis == 0:
            box = Box(box.left + first, box.top, last - first, box.height)
        else:
            box = Box(box.left, box.top + first, box.width, last - first)
    return box


def _dilated(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """With the pixels around each that is set."""
    wide = mask.copy()
    wide[:, 1:] |= mask[:, :-1]
    wide[:, :-1] |= mask[:, 1:]
    near = wide.copy()
    near[1:] |= wide[:-1]
    near[:-1] |= wide[1:]
    return near


def _centres(heat: Ink, sizes: Ink) -> list[tuple[float, float, float, float]]:
    """The digits' centres, the hottest first: down, right, size in pixels, and heat."""
    rows, columns = np.nonzero(heat > LEAST_HEAT)
    heats, around = heat[rows, columns], np.maximum(sizes[rows, columns], CELL)
    down, right = (rows + 0.5) * CELL, (columns + 0.5) * CELL
    centres = []
    while len(heats):
        hottest = int(heats.argmax())
        row, column, size = float(down[hottest]), float(right[hottest]), float(around[hottest])
        centres.append((row, column, size, float(heats[hottest])))
        left = np.hypot(down - row, right - column) > np.maximum(APART * np.maximum(around, size), 1.5 * CELL)
        down, right, around, heats = down[left], right[left], around[left], heats[left]
    return centres
