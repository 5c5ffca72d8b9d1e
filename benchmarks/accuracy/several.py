"""Pairs of MNIST's test digits, from far apart to overlapping, and how often one digit is taken for several."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.random import Generator

from benchmarks.accuracy.crops import crop
from benchmarks.accuracy.drawing import (
    Ink,
    Pixels,
    broadened,
    cropped,
    drawn,
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
from benchmarks.accuracy.marks import with_room
from digits.reasons import SEVERAL_DIGITS
from digits.recognizer import Recognizer
from training.datasets.mnist import load_test
from training.datasets.pen_strokes import HELD_OUT_WRITERS, PEN_STROKES, load_pen_digits

PAIRS, SINGLES = 500, 3000
TALL = 200
# 5s with a detached bar, 4s open at the top and 7s with a crossbar: see `drawing.parsed`.
LOOSE = (
    "~10,14 14,50 52,38 90,56 84,86 45,100 6,92; 28,-4 98,-12",
    "~30,22 24,52 60,48 85,70 62,98 12,94; 42,2 104,-4",
    "10,2 4,52 100,50; 84,-4 74,100",
    "~6,0 10,45 30,58 90,52; 78,2 70,100",
    "2,4 96,0 40,100; 20,54 84,48",
    "~0,14 8,2 50,6 98,0; 98,0 48,100; 24,50 90,46",
)


def measure(recognizer: Recognizer, pairs: int = PAIRS, singles: int = SINGLES) -> list[Figure]:
    """Share of pairs answered `several digits`, for each gap; and the share of single digits answered so."""
    figures = [share(f"two digits: {gap}", _several(recognizer, pair_files(gap, pairs))) for gap in GAPS]
    files = single_files(singles)
    return [*figures, share("one digit taken for several", _several(recognizer, files), higher_is_better=False)]


def _several(recognizer: Recognizer, files: Iterator[bytes]) -> np.ndarray:
    return np.array([one.reason == SEVERAL_DIGITS for one in read(recognizer, files)])


def pair_files(gap: str, count: int) -> Iterator[bytes]:
    """PNG files of `count` pairs of digits; `gap` is one of GAPS."""
    digits, random = load_test().images, np.random.default_rng(len(gap))
    for _ in range(count):
        left, right = (_scaled(digits[which], random) for which in random.choice(len(digits), 2, replace=False))
        sheet = with_room(pair(left, right, gap, random), random, 0.02, 0.3)
        yield grey_file(on_paper(sized(sheet, log_uniform(random, 56, 400)), random), random)


def pair(left: Ink, right: Ink, gap: str, random: Generator) -> Ink:
    """Two digits side by side, or one below the other; the later by chance only if they are apart."""
    upright = gap != APART or random.random() < 0.7
    if not upright:
        left, right = left.T, right.T
    height = round(max(len(left), len(right)) * random.uniform(1, 1.2))
    tops = [int(random.uniform(0, height - len(one) + 1)) for one in (left, right)]
    left, right = (
        np.pad(one, ((top, height - len(one) - top), (0, 0))) for one, top in zip((left, right), tops, strict=True)
    )
    sheet = _joined(left, right, round(GAPS[gap](left, right, random)))
    return sheet if upright else sheet.T


def _joined(left: Ink, right: Ink, gap: int) -> Ink:
    """The digits with a gap, in pixels, between their boxes; less than 0 if they overlap."""
    start = left.shape[1] + gap
    sheet = np.zeros((len(left), max(left.shape[1], start + right.shape[1])), np.float32)
    sheet[:, : left.shape[1]] = left
    sheet[:, start : start + right.shape[1]] = np.maximum(sheet[:, start : start + right.shape[1]], right)
    return sheet


def _nearest(left: Ink, right: Ink) -> int:
    """The gap between their boxes at which the ink of both first touches: at most 0."""
    shared = (left > 0.5).any(axis=1) & (right > 0.5).any(axis=1)
    if not shared.any():
        return 0
    free_left = np.argmax(left[shared, ::-1] > 0.5, axis=1)
    free_right = np.argmax(right[shared] > 0.5, axis=1)
    return -min(int((free_left + free_right).min()), left.shape[1], right.shape[1])


def _overlap(left: Ink, right: Ink, random: Generator) -> float:
    narrower = min(left.shape[1], right.shape[1])
    return max(_nearest(left, right) - 0.1 * narrower, -narrower)


APART = "apart"
# The gap between the digits' boxes in pixels.
GAPS: dict[str, Callable[[Ink, Ink, Generator], float]] = {
    APART: lambda left, right, random: TALL * random.uniform(0.25, 1),
    "a stroke's width apart": lambda left, right, random: _nearest(left, right) + stroke_width(left),
    "touching": lambda left, right, random: _nearest(left, right) - 0.25 * stroke_width(left),
    "overlapping by 10 %": _overlap,
}


def single_files(count: int) -> Iterator[bytes]:
    """PNG files of `count` single digits: in turn redrawn, cropped, bold, by unseen writers, and of loose strokes."""
    random = np.random.default_rng(0)
    written = load_pen_digits(PEN_STROKES, HELD_OUT_WRITERS)
    kinds = [
        lambda digit: _paper(redrawn(digit), random),
        lambda digit: _crop(redrawn(digit), random),
        lambda digit: _paper(_bold(redrawn(digit), random), random),
        lambda digit: _paper(_written(written[random.integers(len(written))].strokes, random), random),
        lambda digit: _paper(loose(random), random),
    ]
    for index, digit in enumerate(spread(load_test(), count).images):
        yield kinds[index % len(kinds)](digit)


def loose(random: Generator) -> Ink:
    """A 4, 5 or 7 whose strokes need not touch."""
    strokes = strokes_of(LOOSE[random.integers(len(LOOSE))], random, 0.02, slant=0.25, turn=0.08)
    shape = np.array([random.uniform(0.5, 0.85), 1]) * TALL
    return cropped(drawn([100 + one * shape for one in strokes], (TALL + 200, TALL + 200), random.uniform(8, 24)))


def _written(strokes: tuple[np.ndarray, ...], random: Generator) -> Ink:
    points = np.concatenate(strokes)
    low, scale = points.min(axis=0), TALL / np.ptp(points, axis=0).max()
    return cropped(
        drawn([(one - low) * scale + 50 for one in strokes], (TALL + 100, TALL + 100), random.uniform(6, 24))
    )


def _bold(ink: Ink, random: Generator) -> Ink:
    return broadened(ink, stroke_width(ink) * random.uniform(0.2, 0.8))


def _scaled(digit: Pixels, random: Generator) -> Ink:
    return sized(redrawn(digit), TALL * random.uniform(0.85, 1))


def _crop(digit: Ink, random: Generator) -> bytes:
    side = round(log_uniform(random, 14, 200))
    pixels = crop(
        digit, side, int(random.integers(1, 5)), int(random.integers(2)), random, binarised=random.random() < 0.5
    )
    return grey_file(pixels, random)


def _paper(ink: Ink, random: Generator) -> bytes:
    return grey_file(on_paper(sized(with_room(ink, random), log_uniform(random, 40, 300)), random), random)
