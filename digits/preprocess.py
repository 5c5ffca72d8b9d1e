"""Grey pixels → the 28×28 image for the network, preprocessed as MNIST was.

White ink on black, cropped, scaled to fit 20×20 with its aspect ratio kept, and placed with its centre of mass in the
centre of 28×28 (LeCun, Cortes, Burges: the MNIST database of handwritten digits).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from digits import tracing
from digits.decode import GreyImage, Pixels
from digits.finder import FRAME, Box, Finder, FoundDigit, Ink, is_marked
from digits.reasons import BLANK, NOT_A_DIGIT, SEVERAL_DIGITS

SIZE = 28
BOX = 20
# Another digit counts only if the finder is so sure of it, it has this part of the first one's ink and height, and it
# is read with this confidence, or with the second one below this part of the height: ticks, dashes and crosses do not.
OTHER_HEAT, OTHER_MASS, OTHER_HEIGHT = 0.5, 0.15, 0.5
OTHER_CONFIDENCE, SHORT_CONFIDENCE, SHORT = 0.5, 0.8, 0.7
# MNIST's strokes are rarely thinner, in pixels of 28×28; thinner ones are thickened to this.
MINIMUM_STROKE = 1.6
# MNIST's centre of mass, rounded up to whole pixels: 14 to 15 pixels from the edges.
CENTRE = SIZE / 2 + 0.5


@dataclass(frozen=True)
class Preprocessed:
    """`image` is uint8 [28, 28], white ink on black; `reason` says why it holds no digit, None if it may hold one.

    `box` is where the digit was found, `ink` its ink, float32 [h, w], 0 for paper to 1; None if none was found, or the
    image was preprocessed already. Where none was found, the image is black.
    """

    image: Pixels
    reason: str | None = None
    box: Box | None = None
    ink: Ink | None = None
    others: "Others | None" = None

    def without_ink(self) -> "Preprocessed":
        """All that a prediction needs, in a fraction of the memory."""
        return self if self.ink is None else replace(self, ink=None)


@dataclass(frozen=True)
class Others:
    """What else may be a digit in an image: each one's image, and the confidence with which it must be read to be one.

    `together` is everything that was found as one digit.
    """

    images: Sequence[Pixels]
    least: Sequence[float]
    together: Preprocessed


def preprocess(image: GreyImage | Pixels, finder: Finder) -> Preprocessed:
    """Finds the digit in a grey image, uint8 [H, W], and makes it look like MNIST."""
    image = image if isinstance(image, GreyImage) else GreyImage(image)
    already = preprocessed_already(image.pixels)
    if already is not None:
        return Preprocessed(already)
    digits = finder.find(image)
    with tracing.span("prepare"):
        if not digits:
            reason = NOT_A_DIGIT if is_marked(image.pixels) else BLANK
            return Preprocessed(np.zeros((SIZE, SIZE), np.uint8), reason)
        first = _preprocessed(digits[0])
        others = [one for one in digits[1:] if _counts(one, digits[0])]
        if not others:
            return first
        least = [_least_confidence(one, digits[0]) for one in others]
        images, together = [centred(one.ink) for one in others], _preprocessed(_together(digits))
        return replace(first, reason=SEVERAL_DIGITS, others=Others(images, least, together))


def _preprocessed(digit: FoundDigit) -> Preprocessed:
    return Preprocessed(centred(digit.ink), None, digit.box, digit.ink)


def _together(digits: Sequence[FoundDigit]) -> FoundDigit:
    """Several digits as one, whose ink is as large as the network's frame."""
    top, left = min(one.box.top for one in digits), min(one.box.left for one in digits)
    bottom = max(one.box.top + one.box.height for one in digits)
    right = max(one.box.left + one.box.width for one in digits)
    everything = Box(left, top, right - left, bottom - top)
    scale = FRAME / everything.side
    together = np.zeros((math.ceil(scale * everything.height), math.ceil(scale * everything.width)), np.float32)
    for one in digits:
        height, width = (max(1, int(scale * side)) for side in (one.box.height, one.box.width))
        part = Box(int(scale * (one.box.left - left)), int(scale * (one.box.top - top)), width, height).of(together)
        ink = Image.fromarray(one.ink).resize(part.shape[::-1], Image.Resampling.BILINEAR)
        np.maximum(part, np.asarray(ink), out=part)
    return FoundDigit(together, everything, min(one.heat for one in digits))


def _counts(other: FoundDigit, first: FoundDigit) -> bool:
    """Whether another digit, if it is one, makes it several."""
    is_large = other.mass > OTHER_MASS * first.mass and other.box.height > OTHER_HEIGHT * first.box.height
    return is_large and other.heat > OTHER_HEAT


def _least_confidence(other: FoundDigit, first: FoundDigit) -> float:
    return SHORT_CONFIDENCE if other.box.height < SHORT * first.box.height else OTHER_CONFIDENCE


def preprocessed_already(pixels: Pixels) -> Pixels | None:
    """An image of 28×28 that looks like MNIST, white on black, or None; preprocessing it again would only blur it."""
    if pixels.shape != (SIZE, SIZE):
        return None
    return next((image for image in (pixels, 255 - pixels) if _is_like_mnist(image)), None)


def _is_like_mnist(image: Pixels) -> bool:
    if max(_inked_lines(image.tobytes()), _inked_lines(image.T.tobytes())) not in (BOX - 1, BOX):
        return False
    mass, down, right = (_MOMENTS @ image.ravel().astype(np.float32)).tolist()
    return abs(down / mass - CENTRE) <= 1 and abs(right / mass - CENTRE) <= 1


# Of the 784 pixels: one each, and how far down and right the pixel's centre is.
_MOMENTS = np.stack([np.ones((SIZE, SIZE)), *(np.indices((SIZE, SIZE)) + 0.5)]).reshape(3, -1).astype(np.float32)


def _inked_lines(pixels: bytes) -> int:
    """How many lines of SIZE pixels there are from the first to the last with ink; a fraction of NumPy's time."""
    first = (len(pixels) - len(pixels.lstrip(b"\0"))) // SIZE
    return -(-len(pixels.rstrip(b"\0")) // SIZE) - first


def _centre_of_mass(lines: NDArray[np.number]) -> float:
    """The centre of mass, given the sums of all rows or columns; the first pixel's centre is at 0.5."""
    return float(lines @ (np.arange(len(lines)) + 0.5) / lines.sum())


def _stroke_width(ink: Ink) -> float:
    """The mean stroke width in pixels: a stroke of width w and length l has the area w·l and edges of about 2·l."""
    padded = np.zeros((ink.shape[0] + 2, ink.shape[1] + 2), np.float32)
    padded[1:-1, 1:-1] = ink
    down, across = padded[1:] - padded[:-1], padded[:, 1:] - padded[:, :-1]
    edges = np.hypot(np.abs(down).sum(), np.abs(across).sum())
    return float(2 * ink.sum() / edges)


def _thickened(ink: Ink) -> Ink:
    """Thickens strokes that would vanish when scaled to 20×20."""
    missing = MINIMUM_STROKE * max(ink.shape) / BOX - _stroke_width(ink)
    border = int(missing / 2)
    if border < 1:
        return ink
    padded = Image.fromarray((255 * np.pad(ink, border)).astype(np.uint8))
    return np.asarray(padded.filter(ImageFilter.MaxFilter(2 * border + 1)), dtype=np.float32)


def centred(ink: Ink) -> Pixels:
    """Scales a digit's ink, cropped to it, to fit 20×20 and centres it in 28×28 by its centre of mass."""
    ink = _thickened(ink)
    scale = BOX / max(ink.shape)
    height, width = (max(1, round(side * scale)) for side in ink.shape)
    scaled = np.asarray(Image.fromarray(ink).resize((width, height), Image.Resampling.BILINEAR))
    scaled = np.clip(scaled * (255 / scaled.max()), 0, 255)
    row, column = (_centre_of_mass(scaled.sum(axis=axis)) for axis in (1, 0))
    # The box stays inside the image even if the mass lies to one side.
    top = min(max(round(CENTRE - row), 0), SIZE - height)
    left = min(max(round(CENTRE - column), 0), SIZE - width)
    image = np.zeros((SIZE, SIZE), np.uint8)
    image[top : top + height, left : left + width] = scaled.round()
    return image
