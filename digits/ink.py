"""Finds the ink of the digit in an image: either polarity, uneven light, shadows, ruled lines, noise, second marks.

Ink is judged by its contrast with the paper around it, never by its brightness. On a canvas or in a scan the paper is
one shade, known from the frame. On a photo it is estimated at every place by an opening: the brightness left once
everything narrower than a window is taken away. A wide window does not hollow out broad strokes, a narrow one follows
the shadows of fingers: each gives a reading of its own, and the likeliest is taken.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from digits.decode import FIRST_SIZE, Pixels
from digits.parts import Mask, Runs, connected

Grey = NDArray[np.float32]

Number = TypeVar("Number", np.uint8, np.float32)

# Why there is no digit to read.
BLANK, SEVERAL_DIGITS, NOT_A_DIGIT = "blank", "several digits", "not a digit"

# As FIRST_SIZE, where no digit is found in the first look, a faint one, or one that something may speak against: enough
# for a pencil line on a page.
WORKING_SIZE = 224
# Contrast (of 255) below which nothing counts as ink: what a sheet of white paper shows of itself in a photo; and above
# which it is ink whatever the noise: averaging leaves no noise that strong.
MINIMUM_CONTRAST, CERTAIN_CONTRAST = 12, 40
# How many pixels must reach the contrast; by how many standard deviations they must stand out of the noise, and by how
# many any pixel of ink must.
PEAK_PIXELS, PEAK_NOISE, CERTAIN_NOISE, FLOOR_NOISE = 3, 12, 5, 4
# How far the frame's pixels may lie from each other, and what part of them must not, for paper of one shade.
FLAT_TOLERANCE, FLAT_SHARE = 3, 0.8
# The openings' windows as parts of the long side, wider than a stroke, narrower than a shadow. Contrast is relative to
# the paper, so that ink is as dark in a shadow, but to paper of this brightness at least, below which noise rules.
PAPER_WINDOWS, DARKEST_PAPER = (0.22, 0.14, 0.06), 64
# In a small image, only the widest may have so few pixels: in a narrower one, gaps and seams of anything are strokes.
NARROWEST_WINDOW = 5
# A reading is taken for that of a wider window if less speaks against it and it is so strong still, by that one, or if
# it is so many times as likely: a long sharp outline, and ink whose darkness varies little, where this much is nothing.
STRENGTH_KEPT, LIKELIER, EVEN_INK = 0.5, 1.1, 0.05
# Where this much of all the ink is the digit's, there are no shadows for narrower windows to follow.
ALONE = 0.98
# The windows against whose mean ink is told from paper, likewise: from a hair's width to a broad marker's.
POLARITY_WINDOWS = (0.04, 0.08, 0.16, 0.32)
# The long side, in pixels, at most, of the image in which it is told.
POLARITY_SIZE = 112
# A part at the frame that reaches further inside than half the widest window with less than this part of it is no ink.
SLOPE_INSIDE = 0.05
# How much the brightness must vary within two pixels of an outline, by the depth of the ink: less is light that falls
# off. Of the digits on photos made for development, none that was read had less.
SOFTEST = 0.46
# A part that touches the frame is more likely the paper's edge, a shadow or a neighbour than the digit. What touches it
# with no more than this part of its outline, and not on opposite sides, is cut by it and not joined to it.
FRAME_PENALTY, FRAME_CONTACT = 0.05, 0.12
# Ink down to this share of the threshold belongs to what it is connected with. Where that joins the digit with the
# frame or is no digit, it is looked for again without rules, and at the frame then above higher shares; what is found
# so is taken if it is so strong still, by what was found at first.
WEAK_SHARES, LOOSENED = (0.5, 1.0, 1.4), 0.12
# Noise breaks a faint rule; a window of so many pixels closes its gaps.
RULE_GAP = 5
# Another part is another digit if it lies at least this far off, by the digit's size, is this tall, by the digit's
# height, and has this much of its ink.
OTHER_APART, OTHER_HEIGHT, OTHER_MASS = 0.07, 0.5, 0.12
# But two circles close above one another are an 8; a circle encloses this much of its extent.
CIRCLE_FILLED = 0.65
# A broader digit, by its height, is several that touch.
BROADEST = 1.9
# The part of the ink within the frame that is the digit's, at least; how many holes it has, at most, each no smaller
# than this part of its extent: noise and textures are specks or a net.
DIGIT_SHARE, MOST_HOLES, HOLE_AREA = 0.15, 12, 0.0005
# The depth that becomes 255: that many of the digit's pixels have less.
PEAK = 0.8
# What is smaller, in the pixels of the image, could not be read.
MINIMUM_SIDE = 8
# Another part belongs to the digit (a 5's bar) if it lies this near, by the digit's size, and has this much of the
# digit's ink, this dense.
PART_REACH, PART_MASS, PART_DENSITY = 0.25, 0.03, 0.4
# What encloses a digit fills this much of its extent, and of the least rectangle around it, upright or turned by a
# multiple of so many degrees; one side is at least this much of the other.
FILLED, RECTANGULAR, TURN, ASPECT = 0.5, 0.87, 5, 0.4
# It is a sheet of paper on a ground of another shade if this much of it is solid, and this much of a side is left out
# all around to look into it; or else a box drawn around something that has this much of its height.
SHEET_SOLID, SHEET_EDGE, BOXED_HEIGHT = 0.6, 0.03, 0.25


@dataclass(frozen=True)
class Noise:
    """What the paper itself shows as ink: the median and the standard deviation."""

    middle: float
    deviation: float


@dataclass(frozen=True)
class Ink:
    """What was found: float32 [h, w], 0 for paper to 255, cropped to the digit; `reason` says why it is none."""

    pixels: Grey
    reason: str | None = None


@dataclass(frozen=True)
class _Reading:
    """Ink as seen against one estimate of the paper, and how sharp its edges are: None on paper of one shade."""

    ink: Grey
    noise: Noise
    edges: Grey | None = None


@dataclass(frozen=True)
class _Found:
    """Ink and the mask of what is likeliest the digit in it, both cropped to that, and where it lies in the image.

    `place` is top, bottom, left and right, as slices take them. A `faint` digit may be noise; where it is `alone`,
    there is hardly any other ink.
    """

    ink: Grey
    mask: Mask
    place: tuple[int, int, int, int]
    strength: float
    likelihood: float
    faint: bool
    alone: bool
    at_frame: bool
    joined: bool
    reason: str | None

    @property
    def doubts(self) -> tuple[bool, bool]:
        """What may speak against it, the worse first, so that rules and thresholds are tried."""
        return (self.at_frame, self.reason is not None)

    @property
    def objections(self) -> tuple[bool, bool]:
        """What does speak against it, the worse first: the frame may cut a digit."""
        return (self.joined, self.reason is not None)


def find_ink(grey: Pixels, full: Callable[[], Pixels] | None = None) -> Ink:
    """Finds the digit in a grey image, uint8 [H, W], of either polarity.

    Where that is a reduced one, `full` gives it in full, and is asked only if a closer look is needed.
    """
    image = _reduced(grey, FIRST_SIZE)
    found = _likeliest(image)
    is_reduced = full is not None or image.size < grey.size
    if is_reduced and (found is None or found.faint or any(found.doubts)):
        grey, full = (full() if full else grey), None
        image = _reduced(grey, WORKING_SIZE)
        found = _likeliest(image)
        is_reduced = image.size < grey.size
    if found is None:
        return Ink(np.zeros((1, 1), np.float32), BLANK)
    side = max(found.mask.shape)
    if is_reduced and side < FIRST_SIZE / 4:
        # Small on a large page: looked at again in full.
        margin, is_sheet = float(side), False
    else:
        margin, is_sheet = _enclosure(found.mask)
    if margin and full:
        grey = full()
    scale = max(grey.shape) / max(image.shape)
    part = _part(grey, *found.place, scale, margin)
    if margin and 0 < part.size < grey.size:
        closer = find_ink(part)
        if is_sheet or closer.reason != BLANK:
            return Ink(closer.pixels, closer.reason or (found.reason if margin > 0 else None))
    if side * scale < MINIMUM_SIDE:
        return Ink(np.zeros((1, 1), np.float32), BLANK)
    ordered = np.sort(found.ink[found.mask])
    ink = np.minimum(found.ink * (255 / ordered[int(PEAK * (len(ordered) - 1))]), 255) * _dilated(found.mask)
    return Ink(ink, found.reason)


def _likeliest(image: Pixels) -> _Found | None:
    """The digit in the likeliest reading of the image; None where nothing stands out."""
    best = None
    for reading in _readings(image):
        found = _find_digit(reading)
        if found is not None and (
            best is None
            or (found.objections < best.objections and found.strength > STRENGTH_KEPT * best.strength)
            or (
                found.objections == best.objections
                and best.reason is None
                and found.likelihood > LIKELIER * best.likelihood
            )
        ):
            best = found
        if best is not None and best.alone and not any(best.doubts):
            break
    return best


def _enclosure(mask: Mask) -> tuple[float, bool]:
    """How much to leave out all around to look into what was taken for a digit, cropped to its extent, and whether it
    is the paper that one is written on; or else it is a box drawn around one, or neither, and then that is 0."""
    if min(mask.shape) < ASPECT * max(mask.shape):
        return 0, False
    filled = _between(mask, 0) & _between(mask, 1)
    if filled.mean() < FILLED or _rectangularity(filled) < RECTANGULAR:
        return 0, False
    if mask.sum() > SHEET_SOLID * filled.sum():
        return -SHEET_EDGE * max(mask.shape), True
    labels, count = connected(mask)
    heights = sorted(np.ptp(np.flatnonzero((labels == part).any(axis=1))) + 1 for part in range(1, count + 1))
    if count < 2 or heights[-2] < BOXED_HEIGHT * heights[-1]:
        return 0, False
    down, across = mask[:, mask.shape[1] // 2], mask[mask.shape[0] // 2]
    return -1.0 - max(int(np.argmin(line)) for line in (down, down[::-1], across, across[::-1])), False


def _between(mask: Mask, axis: int) -> Mask:
    """What has ink before and behind it along the axis."""
    places = np.arange(mask.shape[axis])[:, None] if axis == 0 else np.arange(mask.shape[axis])
    first = np.expand_dims(mask.argmax(axis=axis), axis)
    last = mask.shape[axis] - 1 - np.expand_dims(np.flip(mask, axis).argmax(axis=axis), axis)
    return (places >= first) & (places <= last) & mask.any(axis=axis, keepdims=True)


def _rectangularity(mask: Mask) -> float:
    """The part that is set of the least rectangle around it, upright or turned."""
    rows, columns = np.divmod(np.flatnonzero(mask & ~_eroded(mask)), mask.shape[1])
    angles = np.radians(np.arange(0, 90, TURN))[:, None]
    height = np.ptp(rows * np.cos(angles) - columns * np.sin(angles), axis=1) + 1
    width = np.ptp(rows * np.sin(angles) + columns * np.cos(angles), axis=1) + 1
    return float(mask.sum() / (height * width).min())


def extent(mask: Mask) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of what is set, as slices take them."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _part(grey: Pixels, top: int, bottom: int, left: int, right: int, scale: float, margin: float) -> Pixels:
    """A part of the image in full, its place given in the reduced image, with a margin around it."""
    rows = slice(max(0, int((top - margin) * scale)), int((bottom + margin) * scale) + 1)
    columns = slice(max(0, int((left - margin) * scale)), int((right + margin) * scale) + 1)
    return grey[rows, columns]


def _reduced(grey: Pixels, size: int) -> Pixels:
    """The image with a long side of at most that size, each pixel the mean of those it stands for."""
    factor = -(-max(grey.shape) // size)
    return np.asarray(Image.fromarray(grey).reduce(factor)) if factor > 1 else grey


def _ink_on_flat_paper(image: Pixels) -> tuple[Grey, Noise] | None:
    """Ink as the difference from the paper's one shade; None where the frame does not show one shade."""
    frame = _frame(image).astype(np.float32)
    paper = _median(frame)
    if np.mean(np.abs(frame - paper) <= FLAT_TOLERANCE) < FLAT_SHARE:
        return None
    deviation = image - np.float32(paper)
    ink = np.maximum(-deviation if _cubed(deviation).sum() < 0 else deviation, 0)
    return ink, Noise(0, _deviation(frame, paper))


def _frame(image: NDArray[Any]) -> NDArray[Any]:
    """The pixels at the four edges."""
    return np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])


def _readings(image: Pixels) -> Iterator[_Reading]:
    """Ink as what stands out from paper of one shade, or from openings, the widest first; none where nothing does."""
    flat = _ink_on_flat_paper(image)
    if flat:
        if _stands_out(*flat):
            yield _Reading(*flat)
        return
    image = _smoothed(image)
    if not _is_dark(image):
        image = 255 - image
    edges = _edges(image)
    for share in PAPER_WINDOWS:
        window = max(3, int(share * max(image.shape))) | 1  # odd, so that the opening is centred
        if window < NARROWEST_WINDOW and share != PAPER_WINDOWS[0]:
            return
        paper = 255 - _slid_maximum(255 - _slid_maximum(image, window), window)
        gain = np.float32(255) / np.maximum(paper, DARKEST_PAPER).astype(np.float32)
        ink = gain * (paper - image)
        if share == PAPER_WINDOWS[0]:
            # Noise goes with the root of the light.
            steady = ink / np.sqrt(gain)
            if not _stands_out(steady, _noise(steady)):
                return
        yield _Reading(ink, _noise(ink), gain * edges)


def _edges(image: Pixels) -> Pixels:
    """How much the brightness varies within two pixels of each."""
    return _slid_maximum(image, 5) - (255 - _slid_maximum(255 - image, 5))


def _noise(ink: Grey) -> Noise:
    middle = _median(ink)
    # Where most of it is 0, it does not deviate from that.
    return Noise(middle, _deviation(ink, middle) if middle else 0)


def _deviation(values: Grey, middle: float) -> float:
    """The standard deviation of normal noise, by the median of the deviations, which ink among it does not change."""
    return 1.4826 * _median(np.abs(values - np.float32(middle)))


def _median(values: Grey) -> float:
    # As NumPy's, which takes many times as long.
    ordered = np.sort(values, axis=None)
    return float((ordered[(values.size - 1) // 2] + ordered[values.size // 2]) / 2)


def _is_dark(image: Pixels) -> bool:
    """Whether the ink is darker than the paper.

    It then deviates far from the mean around it, and little paper does in the other direction; the edges of shadows
    deviate in both alike. Each width of strokes shows best against a mean over a window of its own.
    """
    image = _reduced(image, POLARITY_SIZE)
    radii = [max(1, round(share * max(image.shape) / 2)) for share in POLARITY_WINDOWS]
    blurrable = Image.fromarray(image)
    blurred = np.array([blurrable.filter(ImageFilter.BoxBlur(radius)) for radius in radii])
    cubes = _cubed(np.subtract(image, blurred, dtype=np.float32))
    skews = cubes.sum(axis=(1, 2)) / np.maximum(np.abs(cubes).sum(axis=(1, 2)), 1)
    return bool(skews[np.abs(skews).argmax()] < 0)


def _cubed(values: Grey) -> Grey:
    return values * values * values


def _slid_maximum(image: NDArray[Number], window: int, axes: tuple[int, ...] = (0, 1)) -> NDArray[Number]:
    """The maximum of the window × window pixels around each, of fewer at the edges; or of a window along one axis.

    There is nothing less than 0.
    """
    for axis in axes:
        lines = image.T if axis else image
        padded = np.zeros((len(lines) + window - 1, lines.shape[1]), image.dtype)
        padded[window // 2 :][: len(lines)] = lines
        span = 1
        while span < window:  # each pass doubles the span at most, so that a wide window costs few passes
            step = min(span, window - span)
            padded = np.maximum(padded[:-step], padded[step:])
            span += step
        image = padded.T if axis else padded
    return image


def _smoothed(image: Pixels) -> Pixels:
    """The mean of the three pixels across and then down, each rounded."""
    for _ in range(2):
        lines = image.T.astype(np.uint16)
        sums = lines + 1
        sums[1:] += lines[:-1]
        sums[:-1] += lines[1:]
        sums[0] += lines[0]
        sums[-1] += lines[-1]
        image = (sums // 3).astype(np.uint8)
    return image


def _eroded(mask: Mask) -> Mask:
    """The mask less its border, as if there were none of it beyond the frame."""
    padded = _padded(mask)
    rows = padded[:-2] & padded[1:-1] & padded[2:]
    return rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]


def _dilated(mask: Mask) -> Mask:
    padded = _padded(mask)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    return rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]


def _padded(mask: Mask) -> Mask:
    padded = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), bool)
    padded[1:-1, 1:-1] = mask
    return padded


def _stands_out(ink: Grey, noise: Noise) -> bool:
    """Whether there is any ink."""
    certain = max(CERTAIN_CONTRAST, noise.middle + CERTAIN_NOISE * noise.deviation)
    least = min(max(noise.middle + PEAK_NOISE * noise.deviation, MINIMUM_CONTRAST), certain)
    return bool(np.count_nonzero(ink >= least) >= (PEAK_PIXELS if ink.size >= PEAK_PIXELS else 1))


def _find_digit(reading: _Reading) -> _Found | None:
    """Which of the ink is the digit's; None where nothing stands out."""
    ink, noise = reading.ink, reading.noise
    floor = max(MINIMUM_CONTRAST / 2, noise.middle + FLOOR_NOISE * noise.deviation)
    threshold = max(_otsu(ink), floor)
    found = None
    weak, *stricter = WEAK_SHARES
    for share, rules in [(weak, True), (weak, False), *((one, True) for one in stricter)]:
        attempted = ink if rules else _without_rules(ink)
        parts = _parts(attempted, attempted > max(share * threshold, floor), threshold, reading.edges)
        score = parts.strength * np.where(parts.at_frame, FRAME_PENALTY, 1)
        if reading.edges is not None:
            score[_slopes(parts) | (parts.sharpness < SOFTEST)] = 0
        if not score.any():
            continue
        digit = int(np.argmax(score))
        if found is not None and not found.at_frame and rules:
            break
        attempt = _found(attempted, parts, digit)
        if found is None or (attempt.doubts < found.doubts and attempt.strength > LOOSENED * found.strength):
            found = attempt
        if not any(found.doubts):
            break
    return found


def _slopes(parts: "_Parts") -> Mask:
    """Which parts lie within half a window of the frame, and touch it: there an opening cannot tell slopes from ink."""
    if not parts.at_frame.any():
        return parts.at_frame
    sides = parts.labels.shape
    edges = [int(min(PAPER_WINDOWS[0] / 2 * max(sides), side / 3)) for side in sides]
    inside = parts.labels[tuple(slice(edge, side - edge) for edge, side in zip(edges, sides, strict=True))]
    within = np.bincount(inside.ravel(), minlength=len(parts.area) + 1)[1:]
    return parts.at_frame & (within < SLOPE_INSIDE * parts.area)


def _found(ink: Grey, parts: "_Parts", digit: int) -> _Found:
    apart = np.maximum(parts.low - parts.high[digit], parts.low[digit] - parts.high).max(axis=1)
    size = parts.high - parts.low + 1
    height, side = size[digit, 0], size[digit].max()
    dense = parts.mass / parts.area > PART_DENSITY * parts.mass[digit] / parts.area[digit]
    inside = ~parts.at_frame & dense
    others = inside & (apart > OTHER_APART * side) & (size[:, 0] > OTHER_HEIGHT * height)
    others &= parts.mass > OTHER_MASS * parts.mass[digit]
    others[digit] = False
    if others.sum() == 1 and _is_eight(parts, digit, int(np.argmax(others))):
        others[:] = False
    belongs = inside & ~others & (apart <= PART_REACH * side) & (parts.mass >= PART_MASS * parts.mass[digit])
    belongs[digit] = True
    top, left = parts.low[belongs].min(axis=0)
    bottom, right = parts.high[belongs].max(axis=0) + 1
    ink = ink[top:bottom, left:right]
    mask = np.concatenate([[False], belongs])[parts.labels[top:bottom, left:right]]
    reason = None
    if parts.mass[belongs].sum() < DIGIT_SHARE * parts.mass[belongs | ~parts.at_frame].sum() or _is_net(mask):
        reason = NOT_A_DIGIT
    elif others.any() or size[digit, 1] > BROADEST * height:
        reason = SEVERAL_DIGITS
    inner = _eroded(mask)
    depth = ink[inner if inner.any() else mask]
    mean = float(depth.mean())
    likelihood = parts.strength[digit] / (EVEN_INK + float(depth.std()) / mean)
    return _Found(
        ink,
        mask,
        (int(top), int(bottom), int(left), int(right)),
        float(parts.strength[digit]),
        float(likelihood),
        mean < CERTAIN_CONTRAST,
        bool(parts.mass[belongs].sum() >= ALONE * parts.mass.sum()),
        bool(parts.at_frame[digit]),
        bool(parts.joined[digit]),
        reason,
    )


def _is_eight(parts: "_Parts", *pair: int) -> bool:
    """Whether two parts are the circles of an 8, one close above the other."""
    low, high = parts.low[list(pair)], parts.high[list(pair)]
    down, across = low.max(axis=0) - high.min(axis=0)
    above = across < 0 and down <= PART_REACH * (high - low + 1)[0].max()
    return bool(above) and all(_is_circle(parts.labels == one + 1) for one in pair)


def _is_circle(mask: Mask) -> bool:
    """Whether ink runs around an empty middle, closed or not."""
    top, bottom, left, right = extent(mask)
    mask = mask[top:bottom, left:right]
    height, width = (side // 3 for side in mask.shape)
    around = _between(mask, 1)
    return not mask[height:-height, width:-width].any() and around.mean() > CIRCLE_FILLED


def _is_net(mask: Mask) -> bool:
    """Whether ink, cropped to its extent, has more holes than a digit, the smallest left out."""
    around = ~_padded(mask)
    runs = Runs(around)
    if runs.most_parts - 1 <= MOST_HOLES:
        return False
    numbers, count = runs.parts()
    areas = np.bincount(numbers, weights=runs.ends - runs.starts, minlength=count)[1:]  # the first is what is around
    return bool(np.count_nonzero(areas >= HOLE_AREA * around.size) > MOST_HOLES)


def _without_rules(ink: Grey) -> Grey:
    """Ink less what runs on from edge to edge, by at most a row a column: rules, margins, a shadow's edge.

    Only what is well darker stays where they cross the digit.
    """
    rules = np.maximum(_across(ink), _across(ink.T).T)
    return np.minimum(ink, 2 * (ink - rules)).clip(0)


def _across(ink: Grey) -> Grey:
    """For each pixel the strongest line through it from the left edge to the right, by the least ink on its way."""
    strength = []
    bridged = _slid_maximum(ink, RULE_GAP, axes=(1,))
    for direction in (1, -1):
        columns = np.pad(bridged.T[::direction], ((0, 0), (1, 1)))
        for before, column in pairwise(columns):
            np.minimum(column[1:-1], np.maximum(np.maximum(before[:-2], before[1:-1]), before[2:]), out=column[1:-1])
        strength.append(columns[::direction, 1:-1].T)
    return np.minimum(*strength)


def _otsu(values: Grey) -> float:
    """The threshold that parts values 0–255 into two classes with the least variance within them (Otsu 1979)."""
    histogram = np.bincount(values.astype(np.uint8).ravel(), minlength=256)
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
    strength: NDArray[np.float64]  # the outline's length by how sharp it is, 0 without strong ink; or the mass
    sharpness: NDArray[np.float64]  # how much the brightness varies across the outline, by the depth of the strong ink
    low: NDArray[np.int64]  # first row and column
    high: NDArray[np.int64]  # last row and column
    at_frame: Mask
    joined: Mask  # at the frame, and not merely cut by it


def _parts(ink: Grey, weak: Mask, threshold: float, edges: Grey | None) -> _Parts:
    # On uneven paper a shadow may have more mass than the digit, but hardly as long and sharp an outline.
    runs = Runs(weak)
    numbers, count = runs.parts()
    rows, starts = np.divmod(runs.starts, runs.shape[1] + 1)
    lengths = runs.ends - runs.starts
    low, high = np.full((2, count), np.iinfo(np.int64).max), np.full((2, count), -1)
    for axis, (first, last) in enumerate([(rows, rows), (starts, starts + lengths - 1)]):
        np.minimum.at(low[axis], numbers, first)
        np.maximum.at(high[axis], numbers, last)
    places = np.flatnonzero(weak)
    which = np.repeat(numbers, lengths)
    values = ink.ravel()[places]
    strong = values > threshold
    mass = np.bincount(which, weights=values * strong, minlength=count).astype(np.float64)
    depth = mass / np.maximum(np.bincount(which, weights=strong, minlength=count), 1)
    rim = ~_eroded(weak).ravel()[places]
    around = which[rim]
    rim_length = np.bincount(around, minlength=count)
    if edges is None:
        strength, sharpness = mass, np.full(count, np.inf)
    else:
        strength = np.where(mass > 0, np.bincount(around, weights=edges.ravel()[places[rim]], minlength=count), 0)
        sharpness = strength / rim_length / np.maximum(depth, 1)
    labels = runs.labels(numbers)
    contact = np.bincount(_frame(labels), minlength=count + 1)[1:]
    low, high = low.T, high.T
    first, last = low == 0, high == np.array(ink.shape) - 1
    return _Parts(
        labels,
        np.bincount(which, minlength=count),
        mass,
        strength,
        sharpness,
        low,
        high,
        (first | last).any(axis=1),
        (first & last).any(axis=1) | (contact > FRAME_CONTACT * rim_length),
    )
