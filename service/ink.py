"""Finds the ink of the digit in an image: either polarity, uneven light, shadows, ruled lines, noise, second marks.

Ink is judged by its contrast with the paper around it, never by its brightness. On a canvas or in a scan the paper is
one shade, known from the frame. On a photo it is estimated at every place by an opening: the brightness left once
everything narrower than a window is taken away. That follows shadows and vignettes, and does not hollow out broad
strokes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Grey = NDArray[np.float32]
Mask = NDArray[np.bool_]

# The long side, in pixels, of the reduced image in which ink is looked for: enough for a pencil line on a page.
WORKING_SIZE = 224
# Contrast (of 255) below which nothing counts as ink: what a sheet of white paper shows of itself in a photo; and above
# which it is ink whatever the noise: averaging leaves no noise that strong.
MINIMUM_CONTRAST, CERTAIN_CONTRAST = 12, 40
# How many pixels must reach the contrast; by how many standard deviations they must stand out of the noise, and by how
# many any pixel of ink must.
PEAK_PIXELS, PEAK_NOISE, FLOOR_NOISE = 3, 12, 4
# How far the frame's pixels may lie from each other, and what part of them must not, for paper of one shade.
FLAT_TOLERANCE, FLAT_SHARE = 3, 0.8
# The opening's window as a part of the long side: wider than a stroke, narrower than a shadow.
PAPER_WINDOW = 0.22
# A part that touches the frame is more likely the paper's edge, a shadow or a neighbour than the digit.
FRAME_PENALTY = 0.05
# Another part belongs to the digit (a 5's bar) if it lies this near, by the digit's size, and has this much of the
# digit's ink, this dense.
PART_REACH, PART_MASS, PART_DENSITY = 0.25, 0.03, 0.4
# A sheet of paper on a ground of another shade: it fills this much of its extent and all four corners of it, a corner
# being this part of a side; one side is at least this much of the other; and this much of a side is left out all around
# when it is looked into.
SHEET_FILLED, SHEET_CORNER, SHEET_ASPECT, SHEET_EDGE = 0.5, 0.05, 0.4, 0.03


@dataclass(frozen=True)
class Noise:
    """What the paper itself shows as ink: the median and the standard deviation."""

    middle: float
    deviation: float


def find_ink(grey: NDArray[np.uint8]) -> Grey | None:
    """The digit's ink, float32 [h, w], 0 for paper to 255, cropped to the digit; None where there is no ink.

    Takes a grey image, uint8 [H, W], of either polarity.
    """
    image = _reduced(grey)
    ink, noise = _ink_on_flat_paper(image) or _ink_on_uneven_paper(image)
    mask = _digit_mask(ink, noise)
    if mask is None:
        return None
    top, bottom, left, right = extent(mask)
    scale = max(grey.shape) / max(image.shape)
    side = max(bottom - top, right - left)
    margin = 0.0
    if scale > 1 and side < WORKING_SIZE / 4:
        # Small on a large page: looked at again in full.
        margin = side
    elif _is_sheet(mask[top:bottom, left:right]):
        margin = -SHEET_EDGE * side
    part = _part(grey, top, bottom, left, right, scale, margin)
    if margin and 0 < part.size < grey.size and (closer := find_ink(part)) is not None:
        return closer
    peak = np.percentile(ink[mask], 80)
    ink = np.clip(ink * (255 / peak), 0, 255) * _dilated(mask)
    return ink[top:bottom, left:right].astype(np.float32)


def extent(mask: Mask) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of what is set, as slices take them."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _is_sheet(mask: Mask) -> bool:
    """Whether what was taken for a digit, cropped to its extent, is the paper that one is written on."""
    corner = max(1, round(SHEET_CORNER * min(mask.shape)))
    ends = (slice(None, corner), slice(-corner, None))
    return bool(
        min(mask.shape) >= SHEET_ASPECT * max(mask.shape)
        and mask.mean() >= SHEET_FILLED
        and all(mask[rows, columns].mean() > 0.5 for rows in ends for columns in ends)
    )


def _part(
    grey: NDArray[np.uint8], top: int, bottom: int, left: int, right: int, scale: float, margin: float
) -> NDArray[np.uint8]:
    """A part of the image in full, its place given in the reduced image, with a margin around it."""
    rows = slice(max(0, int((top - margin) * scale)), int((bottom + margin) * scale) + 1)
    columns = slice(max(0, int((left - margin) * scale)), int((right + margin) * scale) + 1)
    return grey[rows, columns]


def _reduced(grey: NDArray[np.uint8]) -> Grey:
    """The image at working size, each pixel the mean of those it stands for."""
    factor = -(-max(grey.shape) // WORKING_SIZE)
    if factor > 1:
        grey = np.asarray(Image.fromarray(grey).reduce(factor))
    return grey.astype(np.float32)


def _ink_on_flat_paper(image: Grey) -> tuple[Grey, Noise] | None:
    """Ink as the difference from the paper's one shade; None where the frame does not show one shade."""
    frame = np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])
    paper = float(np.median(frame))
    if np.mean(np.abs(frame - paper) <= FLAT_TOLERANCE) < FLAT_SHARE:
        return None
    deviation: Grey = image - paper
    ink = np.maximum(-deviation if _is_dark(deviation) else deviation, 0)
    return ink, Noise(0, _deviation(frame, paper))


def _ink_on_uneven_paper(image: Grey) -> tuple[Grey, Noise]:
    """Ink as what stands out from an opening."""
    image = _blurred(image)
    if _is_dark(image - _light(image)):
        image = 255 - image
    window = max(3, int(PAPER_WINDOW * max(image.shape)))
    paper = _blurred(_slid_maximum(-_slid_maximum(-image, window), window))
    ink = np.maximum(image - paper, 0)
    middle = float(np.median(ink))
    return ink, Noise(middle, _deviation(ink, middle))


def _deviation(values: Grey, middle: float) -> float:
    """The standard deviation of normal noise, by the median of the deviations, which ink among it does not change."""
    return 1.4826 * float(np.median(np.abs(values - middle)))


def _is_dark(deviation: Grey) -> bool:
    """Whether the ink is darker than the paper: the deviations from the paper are then few and far down."""
    return bool(np.sum(deviation**3) < 0)


def _light(image: Grey) -> Grey:
    """The light over the paper: the quadratic surface nearest to the most pixels, by reweighted least squares."""
    rows, columns = np.mgrid[-1 : 1 : image.shape[0] * 1j, -1 : 1 : image.shape[1] * 1j]
    terms = np.stack([np.ones_like(rows), rows, columns, rows * rows, rows * columns, columns * columns], axis=-1)
    step = max(1, max(image.shape) // 32)
    samples, values = terms[::step, ::step].reshape(-1, 6), image[::step, ::step].ravel()
    weights = np.ones(len(values))
    for _ in range(8):
        factors = np.linalg.lstsq(samples * weights[:, None], values * weights)[0]
        weights = 1 / np.sqrt(np.maximum(np.abs(values - samples @ factors), 2))
    return (terms @ factors).astype(np.float32)


def _slid_maximum(image: Grey, window: int) -> Grey:
    """The maximum of the window × window pixels around each, of fewer at the edges."""
    for axis in (0, 1):
        image = np.moveaxis(image, axis, 0)
        padded = np.pad(image, ((window // 2, (window - 1) // 2), (0, 0)), constant_values=-np.inf)
        span = 1
        while span < window:  # each pass doubles the span at most, so that a wide window costs few passes
            step = min(span, window - span)
            padded = np.maximum(padded[:-step], padded[step:])
            span += step
        image = np.moveaxis(padded, 0, axis)
    return image


def _blurred(image: Grey) -> Grey:
    return np.asarray(Image.fromarray(image.astype(np.uint8)).filter(ImageFilter.BoxBlur(1)), dtype=np.float32)


def _dilated(mask: Mask) -> Mask:
    return np.asarray(Image.fromarray(mask.astype(np.uint8)).filter(ImageFilter.MaxFilter(3))) > 0


def _digit_mask(ink: Grey, noise: Noise) -> Mask | None:
    """Which pixels are the digit's; None where nothing stands out."""
    peak = np.partition(ink, -PEAK_PIXELS, axis=None)[-PEAK_PIXELS] if ink.size >= PEAK_PIXELS else ink.max()
    if peak < np.clip(noise.middle + PEAK_NOISE * noise.deviation, MINIMUM_CONTRAST, CERTAIN_CONTRAST):
        return None
    floor = max(MINIMUM_CONTRAST / 2, noise.middle + FLOOR_NOISE * noise.deviation)
    threshold = _otsu(ink)
    parts = _parts(ink, ink > max(0.5 * threshold, floor), ink > max(threshold, floor))
    score = parts.mass * np.where(parts.at_frame, FRAME_PENALTY, 1)
    if not score.any():
        return None
    digit = int(np.argmax(score))
    apart = np.maximum(parts.low - parts.high[digit], parts.low[digit] - parts.high).max(axis=1)
    size = (parts.high[digit] - parts.low[digit]).max()
    belongs = (
        ~parts.at_frame
        & (apart <= PART_REACH * size)
        & (parts.mass >= PART_MASS * parts.mass[digit])
        & (parts.mass / parts.area > PART_DENSITY * parts.mass[digit] / parts.area[digit])
    )
    belongs[digit] = True
    return np.concatenate([[False], belongs])[parts.labels]


def _otsu(values: Grey) -> float:
    """The threshold that parts values 0–255 into two classes with the least variance within them (Otsu 1979)."""
    histogram = np.bincount(values.astype(np.uint8).ravel(), minlength=256).astype(np.float64)
    weight, mass = np.cumsum(histogram)[:-1], np.cumsum(histogram * np.arange(256))
    total = histogram.sum()
    between = (mass[-1] * weight / total - mass[:-1]) ** 2 / np.maximum(weight * (total - weight), 1)
    return float(between.argmax()) + 0.5


@dataclass(frozen=True)
class _Parts:
    """The connected parts of a mask: `labels` has 0 for the rest and part i as i + 1; all else is indexed by part."""

    labels: NDArray[np.int32]
    area: NDArray[np.int64]
    mass: NDArray[np.float64]  # of the strong ink alone
    low: NDArray[np.int64]  # first row and column
    high: NDArray[np.int64]  # last row and column
    at_frame: Mask


def _parts(ink: Grey, weak: Mask, strong: Mask) -> _Parts:
    labels, count = connected(weak)
    places = np.argwhere(labels)
    which = labels[weak] - 1
    low = np.full((count, 2), np.iinfo(np.int64).max)
    high = np.full((count, 2), -1)
    np.minimum.at(low, which, places)
    np.maximum.at(high, which, places)
    return _Parts(
        labels,
        np.bincount(which, minlength=count),
        np.bincount(which, weights=(ink * strong)[weak], minlength=count).astype(np.float64),
        low,
        high,
        (low == 0).any(axis=1) | (high == np.array(ink.shape) - 1).any(axis=1),
    )


def connected(mask: Mask) -> tuple[NDArray[np.int32], int]:
    """Labels the 8-connected parts of a mask from 1, 0 for the rest, and counts them.

    Runs of set pixels are joined from row to row, so that the work goes with the number of runs, not of pixels.
    """
    edges = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    rows, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]
    first_of_row = np.searchsorted(rows, np.arange(mask.shape[0] + 1)).tolist()
    start, end = starts.tolist(), ends.tolist()
    parent = list(range(len(start)))

    def root(run: int) -> int:
        while parent[run] != run:
            parent[run] = parent[parent[run]]
            run = parent[run]
        return run

    for row in range(1, mask.shape[0]):
        above, here = first_of_row[row - 1], first_of_row[row]
        while above < first_of_row[row] and here < first_of_row[row + 1]:
            if start[here] <= end[above] and start[above] <= end[here]:
                one, other = root(above), root(here)
                parent[max(one, other)] = min(one, other)
            if end[above] < end[here]:
                above += 1
            else:
                here += 1
    names, numbers = np.unique([root(run) for run in range(len(start))], return_inverse=True)
    steps = np.zeros((mask.shape[0], mask.shape[1] + 1), np.int32)
    steps[rows, starts] += numbers.astype(np.int32) + 1
    steps[rows, ends] -= numbers.astype(np.int32) + 1
    return np.cumsum(steps, axis=1, dtype=np.int32)[:, :-1], len(names)
