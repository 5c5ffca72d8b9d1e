"""Grey pixels → the digits' ink and places, by a network that is trained for it (training/finder/).

The network sees a frame: the image with a long side of FRAME pixels. It says for every pixel how likely that is a
digit's ink, and for cells of CELL×CELL pixels whether a digit has its centre there, where the centre of the cell's own
digit lies, and how large that digit is (as Panoptic-DeepLab does for objects; Cheng et al. 2020).
"""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from digits import tracing
from digits.decode import FIRST_SIZE, GreyImage, Pixels
from digits.session import ModelFile, check_tensors, first_run, load_session

Ink = NDArray[np.float32]
# Top, left, height and width, in pixels of the whole image.
Place = tuple[int, int, int, int]

# The frame's long side; the network takes any multiple of 16.
FRAME = FIRST_SIZE
CELL = 4
# Where the heat reaches this, there is a digit, unless a hotter one lies nearer than this part of its size.
LEAST_HEAT, APART = 0.4, 0.3
# Ink that points further away than this part of the digit's size is not that digit's.
ASTRAY = 0.75
# Ink is what is likelier ink than not. A digit's is surer than this on average: in noise and textures, what is found is
# not. And fewer pixels are no digit.
INK, SURE, LEAST_PIXELS = 0.5, 0.8, 6
# A digit smaller than this part of the frame is looked at again, with this much around it, by its size.
SMALL, MARGIN = 0.44, 0.45
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


@dataclass(frozen=True)
class FoundDigit:
    """A digit that was found.

    `ink` is float32 [h, w], 0 for paper to 1, cropped to the digit; `box` its place in the whole upright image; `heat`
    how sure the network is that it is a digit, 0 to 1.
    """

    ink: Ink
    box: Box
    heat: float


class Finder:
    """A loaded finder; may be called from several threads."""

    def __init__(self, file: ModelFile, provider: str = "auto") -> None:
        """Loads finder.onnx on the execution provider `auto`, `cpu` or `cuda`. Raises ModelError."""
        self.file = file
        self.session = load_session(file, provider)
        check_tensors(file.path, self.session, _TENSORS)

    def find(self, image: GreyImage) -> list[FoundDigit]:
        """The digits in an image, the one with the most ink first."""
        with tracing.span("finder"):
            everything = (0, 0, *image.size)
            digits = self._look(image.pixels, everything)
            if max(image.size) > FRAME:
                if not digits and (place := _marked_part(pixels := image.whole())):
                    # Perhaps too small, or too faint once averaged.
                    top, left, height, width = place
                    digits = self._look(pixels[top : top + height, left : left + width], place)
                    digits = digits or self._look(pixels, everything, 2 * FRAME)
                if digits:
                    digits[0] = self._closer(image, digits[0])
            return digits

    def warm_up(self) -> None:
        """Runs the network once, so that the first request finds everything loaded. Raises ModelError."""
        with first_run(self.file.path):
            self._look(np.zeros((FRAME, FRAME), np.uint8), (0, 0, FRAME, FRAME))

    def _closer(self, image: GreyImage, digit: FoundDigit) -> FoundDigit:
        """A digit that is small in a large image, as a crop of that shows it."""
        box = digit.box
        side = max(box.width, box.height)
        if side > SMALL * max(image.size):
            return digit
        around = round(MARGIN * side)
        top, left = max(0, box.top - around), max(0, box.left - around)
        bottom, right = (end + around for end in (box.top + box.height, box.left + box.width))
        crop = image.whole()[top:bottom, left:right]
        found = self._look(crop, (top, left, *crop.shape))
        middle = (box.top + box.height / 2, box.left + box.width / 2)

        def distance(one: FoundDigit) -> float:
            return math.dist(middle, (one.box.top + one.box.height / 2, one.box.left + one.box.width / 2))

        closest = min(found, key=distance, default=digit)
        return closest if distance(closest) < side / 2 else digit

    def _look(self, pixels: Pixels, place: Place, frame: int = FRAME) -> list[FoundDigit]:
        """The digits in a part of the whole image, given by top, left, height and width, the most ink first.

        `pixels` may show that part reduced.
        """
        top, left, height, width = place
        scale = max(height, width) / frame
        ink, heat, offsets, sizes = self.session.run(_OUTPUTS, {"images": _framed(pixels, frame)[None]})
        digits = []
        for rows, columns, one, certainty in _separated(ink[0], heat[0], offsets[0], sizes[0]):
            low = [int(first * scale) + start for first, start in ((rows.start, top), (columns.start, left))]
            high = [
                max(before + 1, min(math.ceil(last * scale) + start, start + side))
                for before, last, start, side in zip(
                    low, (rows.stop, columns.stop), (top, left), (height, width), strict=True
                )
            ]
            digits.append(FoundDigit(one, Box(low[1], low[0], high[1] - low[1], high[0] - low[0]), certainty))
        return sorted(digits, key=lambda digit: -digit.ink.sum() * scale * scale)


_OUTPUTS = ["ink", "heat", "offsets", "sizes"]
_TENSORS: dict[str, tuple[str, tuple[int | str, ...]]] = {
    "images": ("tensor(uint8)", ("N", "N", "N")),
    "ink": ("tensor(float)", ("N", "N", "N")),
    "heat": ("tensor(float)", ("N", "N", "N")),
    "offsets": ("tensor(float)", ("N", 2, "N", "N")),
    "sizes": ("tensor(float)", ("N", "N", "N")),
}


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


def _marked_part(pixels: Pixels) -> Place | None:
    """Where an image has marks, with a margin around them: top, left, height, width; None if it has none."""
    block = -(-max(pixels.shape) // FRAME)
    down, across = (np.arange(0, side, block) for side in pixels.shape)
    marked = np.zeros((len(down), len(across)), bool)
    for extreme in (np.minimum, np.maximum):
        marked |= _stand_out(extreme.reduceat(extreme.reduceat(pixels, down, axis=0), across, axis=1))
    rows, columns = np.flatnonzero(marked.any(axis=1)), np.flatnonzero(marked.any(axis=0))
    if not len(rows):
        return None
    around = 2 + round(MARGIN * max(rows[-1] - rows[0], columns[-1] - columns[0]))
    top, left = (max(0, int(lines[0]) - around) * block for lines in (rows, columns))
    bottom, right = (
        min(side, (int(lines[-1]) + 1 + around) * block)
        for side, lines in zip(pixels.shape, (rows, columns), strict=True)
    )
    part = pixels[top:bottom, left:right]
    if 2 * max(part.shape) < max(pixels.shape) and block > 1:  # again, in finer blocks
        inside = _marked_part(part) or (0, 0, *part.shape)
        return top + inside[0], left + inside[1], inside[2], inside[3]
    return top, left, *part.shape


def is_marked(pixels: Pixels) -> bool:
    """Whether anything in an image stands out from what is around it."""
    block = -(-max(pixels.shape) // FRAME)
    return bool(_stand_out(np.asarray(Image.fromarray(pixels).reduce(block))).any())


def _stand_out(pixels: Pixels) -> NDArray[np.bool_]:
    """Which pixels differ from those around them by far more than most do."""
    around = Image.fromarray(pixels).filter(ImageFilter.BoxBlur(AROUND))
    difference = np.abs(pixels.astype(np.int16) - np.asarray(around))
    return difference > max(LEAST_CONTRAST, STANDS_OUT * (float(np.median(difference)) + 0.5))


def _separated(ink: Ink, heat: Ink, offsets: Ink, sizes: Ink) -> list[tuple[slice, slice, Ink, float]]:
    """Every digit's rows, columns, ink and heat, from the network's maps of one frame."""
    centres = _centres(heat, sizes)
    if not centres:
        return []
    places = (np.arange(len(heat), dtype=np.float32) + 0.5) * CELL
    down, across = offsets[0] + places[:, None], offsets[1] + places
    distances = np.stack([np.hypot(down - row, across - column) / size for row, column, size, _ in centres])
    owners = distances.argmin(axis=0)
    owners[distances.min(axis=0) > ASTRAY] = len(centres)
    owners = owners.repeat(CELL, axis=0).repeat(CELL, axis=1)
    is_ink = ink > INK
    digits = []
    for number, (*_, certainty) in enumerate(centres):
        mask = is_ink & (owners == number)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            continue
        box = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
        count = np.count_nonzero(mask[box])
        if count < LEAST_PIXELS or (ink[box] * mask[box]).sum() < SURE * count:
            continue
        # With the soft edge around it.
        near = np.asarray(Image.fromarray(mask[box].astype(np.uint8)).filter(ImageFilter.MaxFilter(3)))
        digits.append((*box, ink[box] * near, certainty))
    return digits


def _centres(heat: Ink, sizes: Ink) -> list[tuple[float, float, float, float]]:
    """The digits' centres, the hottest first: down, right, size in pixels, and heat."""
    rows, columns = np.nonzero(heat > LEAST_HEAT)
    heats, around = heat[rows, columns], sizes[rows, columns]
    kept: list[tuple[float, float, float, float]] = []
    for place in np.argsort(-heats).tolist():
        down, right = (float(rows[place]) + 0.5) * CELL, (float(columns[place]) + 0.5) * CELL
        size = max(float(around[place]), CELL)
        if all(math.hypot(down - one[0], right - one[1]) > max(1.5 * CELL, APART * max(size, one[2])) for one in kept):
            kept.append((down, right, size, float(heats[place])))
    return kept
