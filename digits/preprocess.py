"""Grey pixels → the 28×28 image for the network, preprocessed as MNIST was.

White ink on black, cropped, scaled to fit 20×20 with its aspect ratio kept, and placed with its centre of mass in the
centre of 28×28 (LeCun, Cortes, Burges: the MNIST database of handwritten digits).
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from digits import tracing
from digits.decode import GreyImage, Pixels
from digits.finder import Box, Finder, FoundDigit, Ink, is_marked

# Why there is no digit to read.
BLANK, SEVERAL_DIGITS, NOT_A_DIGIT = "blank", "several digits", "not a digit"

SIZE = 28
BOX = 20
# Another digit counts only if the finder is so sure of it and it has this part of the first one's ink and height: ticks
# and dashes do not.
OTHER_HEAT, OTHER_MASS, OTHER_HEIGHT = 0.5, 0.15, 0.5
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

    def without_ink(self) -> "Preprocessed":
        """All that a prediction needs, in a fraction of the memory."""
        return replace(self, ink=None)


def preprocess(image: GreyImage | Pixels, finder: Finder) -> Preprocessed:
    """Finds the digit in a grey image, uint8 [H, W], and makes it look like MNIST."""
    image = image if isinstance(image, GreyImage) else GreyImage(image)
    already = preprocessed_already(image.pixels)
    if already is not None:
        return Preprocessed(already)
    digits = finder.find(image)
    with tracing.span("prepare"):
        if digits:
            first, *others = digits
            reason = SEVERAL_DIGITS if any(_counts(one, first) for one in others) else None
            return Preprocessed(centred(first.ink), reason, first.box, first.ink)
        reason = NOT_A_DIGIT if is_marked(image.pixels) else BLANK
        return Preprocessed(np.zeros((SIZE, SIZE), np.uint8), reason)


def _counts(other: FoundDigit, first: FoundDigit) -> bool:
    """Whether another digit makes it several."""
    is_large = other.mass > OTHER_MASS * first.mass and other.box.height > OTHER_HEIGHT * first.box.height
    return is_large and other.heat > OTHER_HEAT


def preprocessed_already(pixels: Pixels) -> Pixels | None:
    """An image of 28×28 that looks like MNIST, white on black, or None; preprocessing it again would only blur it."""
    if pixels.shape != (SIZE, SIZE):
        return None
    return next((image for image in (pixels, 255 - pixels) if _is_like_mnist(image)), None)


def _is_like_mnist(image: Pixels) -> bool:
    lines = (image.sum(axis=1), image.sum(axis=0))
    inked = [one.nonzero()[0] for one in lines]
    if not len(inked[0]) or max(one[-1] - one[0] + 1 for one in inked) not in (BOX - 1, BOX):
        return False
    return all(abs(_centre_of_mass(one) - CENTRE) <= 1 for one in lines)


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
