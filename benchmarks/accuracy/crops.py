"""Digits that fill their frame: MNIST's test digits scanned at several resolutions and cropped to their ink.

As by OpenCV's `boundingRect` on a form, with no margin, one pixel, or 2 % of the digit cut off; one to four edges of
the frame are that near, the others far.
"""

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from skimage.filters import threshold_otsu

from benchmarks.accuracy.drawing import Ink, Pixels, digits_of, on_paper, read, redrawn, sized, spread
from benchmarks.accuracy.figures import Figure, share
from benchmarks.accuracy.input_variations import file_of
from digits.recognizer import Recognizer
from training.datasets.mnist import load_test

COUNT = 1008
# Pixels of a digit's longer side.
SIDES = (200, 64, 28, 16, 8)
FORMS = ("grey", "binarised", "JPEG")
# The largest digits from which a part is cut off, and how much.
CUT_FROM, CUT = 28, 0.02


def measure(recognizer: Recognizer, count: int = COUNT) -> list[Figure]:
    """Share of `count` digits read correctly, for each size and form, over all edges, margins and polarities."""
    digits = spread(load_test(), count)
    inks = [redrawn(digit) for digit in digits.images]
    figures = []
    for side, form in product(SIDES, FORMS):
        predictions = read(recognizer, crops(inks, side, form))
        figures.append(
            share(f"digits that fill their frame: {side} px, {form}", digits_of(predictions) == digits.labels)
        )
    return figures


def crops(digits: Sequence[Ink], side: int, form: str) -> Iterator[bytes]:
    """Each redrawn digit cropped, with one combination of touched edges, margin and polarity after the other."""
    random = np.random.default_rng(side)
    margins = (0, 1, -max(1, round(CUT * side))) if side >= CUT_FROM else (0, 1)
    kinds = list(product((1, 2, 3, 4), margins, (False, True)))
    for index, digit in enumerate(digits):
        touched, margin, inverted = kinds[index % len(kinds)]
        pixels = crop(digit, side, touched, margin, random, binarised=form == "binarised")
        image = Image.fromarray(255 - pixels if inverted else pixels)
        quality = int(random.integers(70, 81))
        yield file_of(image, "JPEG", quality=quality) if form == "JPEG" else file_of(image, compress_level=1)


def crop(digit: Ink, side: int, touched: int, margin: int, random: Generator, *, binarised: bool) -> Pixels:
    """A digit dark on light, its longer side `side` pixels; `touched` edges of the frame are `margin` from its ink."""
    far = int(side * random.uniform(0.25, 0.5)) + 2
    scan = on_paper(sized(digit, side, tuple(far + one for one in random.uniform(0, 1, 4))), random)
    inked = scan <= threshold_otsu(scan)
    margins = np.full(4, far)
    margins[random.permutation(4)[:touched]] = margin
    frame = _frame(inked, margins)
    if inked[frame].all():  # a straight 1 of which no paper is left
        frame = _frame(inked, np.maximum(margins, 1))
    return np.where(inked[frame], 0, 255).astype(np.uint8) if binarised else scan[frame]


def _frame(inked: NDArray[np.bool_], margins: NDArray[np.int64]) -> tuple[slice, slice]:
    """Where the ink is, with margins at the top, bottom, left and right."""
    rows, columns = (np.flatnonzero(inked.any(axis=axis)) for axis in (1, 0))
    above, below, before, after = margins
    return (
        slice(max(0, rows[0] - above), rows[-1] + 1 + below),
        slice(max(0, columns[0] - before), columns[-1] + 1 + after),
    )
