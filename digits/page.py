"""A page → all its digits: the finder looks at tiles of it, at several sizes."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from digits import tracing
from digits.decode import Pixels
from digits.finder import FRAME, INK, MULTIPLE, Box, Finder, FoundDigit, SeenDigit
from digits.lines import begins_number, lines_of

# The sides of tiles, at most and at least, in pixels. Large ones overlap less, but in frames that are larger yet the
# finder sees digits worse. Tiles overlap by so much that every digit of up to this size lies whole in one.
TILE, LEAST_TILE, OVERLAP = 160, 64, 64
# Each look is at this many times the size of the one before, up to this long side in pixels. The more looks, the
# likelier one of them parts two digits that touch.
GROWTH, FINEST = math.sqrt(2), 2048
SIZES = [round(FRAME * GROWTH**look) for look in range(round(math.log(FINEST / FRAME, GROWTH)) + 1)]
# Up to this size all of the page is looked at; then only where there are marks that the look before did not show as a
# digit of this height in the frame or more; a greater one if it is as slim as a 1, or it may be a column of digits.
EVERYWHERE, LOW, SLIM, TALL = 362, 20, 0.3, 56
# Marks are told in blocks of the finest look, so many pixels wide, by how many shades darker they are than the rest of
# their row and column. That exceeds the least; what paper has by a factor, or else the most that paper has; and a part
# of the contrast of what was seen. If less than this part of what was seen is dark, or light, there are no such marks.
BLOCK, LEAST_SHADES, MOST_SHADES, PAPER_SHADES, STRONG, FEW = 16, 16, 48, 3, 0.9, 0.1
# No look follows once so much was seen: the page has too many digits.
MOST_SEEN = 10_000
# Digits of these sides in the frame are seen best, and none as large as this part of it unless it is the whole page.
BEST, LARGEST = (32, 48), 0.75
# The network takes so many tiles at once: more would only need more memory.
BATCH = 10
# Two digits nearer than this part of the larger one, or of which the smaller one lies within the other by this part of
# its box, are the same.
SAME, WITHIN = 0.3, 0.6
# What lies within a digit by this part of its box and is so many times smaller is a piece of it, such as the bar of a
# 4, which looks like a 1, if the digit is read more surely than its pieces, by their mean times their part of the ink.
# It is none if the digit is read with less than this, if two are surely read as something else than a 1, or if more
# than this fill so much of its box: then it is a column or a row.
PIECE_WITHIN, PIECE, LIKELY, PIECES, FILLED = 0.7, 1.5, 0.7, 3, 0.3
# Less ink than this is none.
PAPER = 0.1
# A page is written with one pen, or a few. What is less prominent than this part of what a tenth of all that is surely
# read exceeds shows through from the other side, or is a ruled line.
SURELY, FAINT, STRONGEST = 0.8, 0.25, 90
# Digits are read alike at all looks, and the finder is sure of them; letters are not, though one look at them may be.
# How far that is so, by looks at the whole digit, of these sides in the frame if there are any, is averaged over a
# number and so many more that are as the page is on average. In numbers it is this or more. A page with fewer marks
# than this tells nothing.
WHOLE, LEGIBLE, MORE, ALIKE, LEAST_MARKS = 0.7, (20, 70), 3, 0.465, 4


@dataclass(frozen=True)
class SeenOnPage(FoundDigit):
    """A digit as one look at a page shows it: `side` in pixels of that look, and by how many shades it is darker."""

    side: int
    darkness: float

    @property
    def contrast(self) -> float:
        """By how many shades it differs from the paper."""
        return abs(self.darkness)


def look_at_page(pixels: Pixels, finder: Finder, turned: int = 0) -> list[SeenOnPage]:
    """All that looks like a digit on a page, grey, uint8 [H, W], at any size: one digit several times, or in pieces.

    The page is turned clockwise first, by 0, 90, 180 or 270 degrees; the boxes are those on the turned page.
    """
    seen: list[SeenOnPage] = []
    last: list[SeenOnPage] = []
    page = pixels.shape if turned in (0, 180) else pixels.shape[::-1]
    longest = max(page)
    with tracing.span("finder"):
        # All sizes are made from this one, which takes a fraction of the time for a large page.
        finest = np.ascontiguousarray(np.rot90(_sized(pixels, min(1, FINEST / longest)), -turned // 90))
    marks: _Marks | None = None
    for size in SIZES:
        with tracing.span("finder"):
            scale = size / longest
            sized = _sized(finest, size / max(finest.shape))
            tiles = _tiles(sized.shape)
            if size > EVERYWHERE:
                if marks is None:
                    marks = _Marks(finest, page, seen)
                marks.account_for(last)
                tiles = [tile for tile in tiles if marks.are_in(tile, scale)]
            last = list(islice(_look(sized, tiles, scale, finder, page), MOST_SEEN + 1))
            seen += last
            if size >= GROWTH * longest or not tiles or len(seen) > MOST_SEEN:
                break
    return seen


class _Marks:
    """Where a page has marks, until a digit accounts for them."""

    def __init__(self, pixels: Pixels, page: tuple[int, ...], seen: Sequence[SeenOnPage]) -> None:
        """`pixels` show the page, which has that size; marks far fainter than most of what was seen do not count."""
        dark = float(np.mean([one.darkness > 0 for one in seen])) if seen else 0.5
        shades = [_ink_shades(pixels)] if dark > FEW else []
        if dark < 1 - FEW:
            shades.append(_ink_shades(255 - pixels))
        marks = np.maximum.reduce(shades)
        paper = float(np.percentile(marks, 20))
        faintest = STRONG * float(np.percentile([one.contrast for one in seen], STRONGEST)) if seen else 0.0
        self._are_left = marks > max(LEAST_SHADES, faintest, min(PAPER_SHADES * paper, MOST_SHADES))
        self._blocks_per_pixel = pixels.shape[0] / page[0] / BLOCK

    def account_for(self, seen: Sequence[SeenOnPage]) -> None:
        """Leaves out what was seen well."""
        for one in seen:
            height, width = one.ink.shape
            if height >= (LOW if width > SLIM * height else TALL):
                self._part(one.box, 1)[:] = False

    def are_in(self, tile: Box, scale: float) -> bool:
        """Whether any are left in a tile of the page at that scale."""
        return bool(self._part(tile, scale).any())

    def _part(self, box: Box, scale: float) -> NDArray[np.bool_]:
        """The blocks that a box reaches into, on the page at that scale."""
        blocks = self._blocks_per_pixel / scale
        top, left = int(box.top * blocks), int(box.left * blocks)
        bottom, right = math.ceil((box.top + box.height) * blocks), math.ceil((box.left + box.width) * blocks)
        return self._are_left[top : max(top + 1, bottom), left : max(left + 1, right)]


def _ink_shades(pixels: Pixels) -> Pixels:
    """How much darker a pixel is than the lightest in its row and the lightest in its column, the most in each block.

    Rows and columns are those of half a block: ruled lines and the edges of the paper fill theirs, digits do not.
    """
    half = BLOCK // 2
    down, across = (-side % BLOCK for side in pixels.shape)
    pixels = np.pad(pixels, ((0, down), (0, across)), "edge")
    rows = np.maximum.reduce([pixels[:, one::half] for one in range(half)])
    columns = np.maximum.reduce([pixels[one::half] for one in range(half)]).repeat(half, axis=0)
    shades = np.zeros_like(rows)
    for one in range(half):
        part = pixels[:, one::half]
        lightest = np.minimum(rows, columns[:, one::half])
        np.maximum(shades, np.maximum(lightest, part) - part, out=shades)
    shades = np.maximum.reduce([shades[one::BLOCK] for one in range(BLOCK)])
    return np.maximum(shades[:, ::2], shades[:, 1::2])


def distinct(seen: Sequence[SeenOnPage], digits: ArrayLike, confidences: ArrayLike) -> list[int]:
    """Which of what was seen are the page's digits, each once, as it was seen best; by what each is read as."""
    boxes, sure = _Boxes(seen), np.array(confidences, np.float64)
    are_ones = np.array(digits) == 1
    heats = np.array([one.heat for one in seen])
    left = _stands_out(heats * [one.contrast for one in seen], sure)
    masses = np.array([one.mass for one in seen])
    for number in np.flatnonzero(left & (sure >= LIKELY)).tolist():
        inside = boxes.shared(number) > PIECE_WITHIN * boxes.areas
        pieces = np.flatnonzero(left & inside & (PIECE * boxes.sides < boxes.sides[number]))
        if len(pieces):
            apart = boxes.apart(pieces[np.argsort(-sure[pieces], kind="stable")])
            covered = min(1.0, masses[apart].sum() / masses[number])
            are_many = len(apart) > PIECES and boxes.areas[apart].sum() > FILLED * boxes.areas[number]
            are_digits = are_many or (~are_ones[apart] & (sure[apart] >= SURELY)).sum() > 1
            if not are_digits and sure[number] > covered * np.exp(np.log(sure[apart] + 1e-6).mean()):
                left[pieces] = False
    sides = np.array([one.side for one in seen])
    quality = sure * heats * np.sqrt(np.minimum(1, np.minimum(sides / BEST[0], BEST[1] / sides)))
    chosen = []
    for number in np.argsort(-quality, kind="stable").tolist():
        if left[number]:
            chosen.append(number)
            left &= ~boxes.are_same(number)
    return chosen


def in_text(seen: Sequence[SeenOnPage], kept: Sequence[int], readings: NDArray[np.float32]) -> list[int]:
    """Which of those kept, by their places in that sequence, are in words or rows of marks rather than numbers.

    `readings` are the probabilities of each digit at each look, times `is_digit`, [N, 10].
    """
    if len(kept) < LEAST_MARKS:
        return []
    boxes, sides = _Boxes(seen), np.array([one.side for one in seen])
    heats = np.array([one.heat for one in seen])
    alike, are_ones = np.empty(len(kept)), readings[list(kept)].argmax(axis=1) == 1
    for place, number in enumerate(kept):
        digit = readings[number].argmax()
        ratios = boxes.sides / boxes.sides[number]
        looks = boxes.are_same(number) & (ratios > WHOLE) & (ratios < 1 / WHOLE)
        legible = looks & (sides >= LEGIBLE[0]) & (sides <= LEGIBLE[1])
        alike[place] = readings[legible if legible.any() else looks, digit].mean() * heats[looks].mean()
    if are_ones.any() and not are_ones.all():
        # Parts of letters look like 1s from anywhere: what else is on the page says more, the more of it there is.
        others = min(1.0, float((~are_ones).sum() / are_ones.sum()))
        alike[are_ones] += others * np.minimum(0, alike[~are_ones].mean() - alike[are_ones])
    places = [seen[number].box for number in kept]
    lines = lines_of(places)
    first = begins_number(places, lines) | {line[0] for line in lines}
    groups: list[list[int]] = []
    for one in chain.from_iterable(lines):
        if one in first:
            groups.append([])
        groups[-1].append(one)
    around = MORE * alike.mean()
    are_text = [group for group in groups if alike[group].sum() + around < ALIKE * (len(group) + MORE)]
    return list(chain.from_iterable(are_text))


def turned_back(box: Box, turned: int, size: tuple[int, int]) -> Box:
    """A box on a page of that height and width that was turned clockwise, as it is on the page before."""
    height, width = size
    return {
        0: box,
        90: Box(box.top, height - box.left - box.width, box.height, box.width),
        180: Box(width - box.left - box.width, height - box.top - box.height, box.width, box.height),
        270: Box(width - box.top - box.height, box.left, box.height, box.width),
    }[turned]


def _stands_out(prominences: NDArray[np.float64], sure: NDArray[np.float64]) -> NDArray[np.bool_]:
    surest = prominences[sure >= SURELY]
    return prominences >= (FAINT * np.percentile(surest, STRONGEST) if len(surest) else 0)


Numbers = NDArray[np.int64] | slice
ALL = slice(None)


class _Boxes:
    """The places of what was seen, one compared with all at a time."""

    def __init__(self, seen: Sequence[SeenOnPage]) -> None:
        boxes = np.array([(one.box.top, one.box.left, one.box.height, one.box.width) for one in seen]).reshape(-1, 4)
        self._starts, sizes = boxes[:, :2], boxes[:, 2:]
        self._ends = self._starts + sizes
        self.areas, self.sides = sizes.prod(axis=1), sizes.max(axis=1)

    def shared(self, number: int, others: Numbers = ALL) -> NDArray[np.int64]:
        """How much of each box, or of some, lies within one of them."""
        first = np.maximum(self._starts[others], self._starts[number])
        return np.maximum(0, np.minimum(self._ends[others], self._ends[number]) - first).prod(axis=1)

    def are_same(self, number: int, others: Numbers = ALL) -> NDArray[np.bool_]:
        """Which boxes, or which of some, are of the same digit as one of them."""
        middles = self._starts + self._ends
        distances = np.hypot(*(middles[others] - middles[number]).T) / 2
        is_near = distances < SAME * np.maximum(self.sides[others], self.sides[number])
        return is_near | (self.shared(number, others) > WITHIN * np.minimum(self.areas[others], self.areas[number]))

    def apart(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of these boxes that are not of the same digit as one before them."""
        chosen = []
        while len(numbers):
            chosen.append(numbers[0])
            numbers = numbers[~self.are_same(numbers[0], numbers)]
        return np.array(chosen)


def _sized(pixels: Pixels, scale: float) -> Pixels:
    height, width = (max(1, round(side * scale)) for side in pixels.shape)
    if (height, width) == pixels.shape:
        return pixels
    image = Image.fromarray(pixels)
    if scale < 1:
        return np.asarray(image.resize((width, height), Image.Resampling.BOX, reducing_gap=2))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def _tiles(shape: tuple[int, ...]) -> list[Box]:
    """Tiles of TILE×TILE, or less where the page is smaller, that cover the page and overlap by OVERLAP or more."""
    height, width = (min(TILE, side) for side in shape)
    return [Box(left, top, width, height) for top in _starts(shape[0]) for left in _starts(shape[1])]


def _starts(side: int) -> list[int]:
    steps = math.ceil(max(0, side - TILE) / (TILE - OVERLAP))
    return [round(one * (side - TILE) / max(steps, 1)) for one in range(steps + 1)] if steps else [0]


def _look(
    pixels: Pixels, tiles: Sequence[Box], scale: float, finder: Finder, size: tuple[int, ...]
) -> Iterator[SeenOnPage]:
    """The digits that lie whole in one of the tiles; `pixels` show the page, which has that size, at that scale."""
    height, width = (max(LEAST_TILE, min(TILE, _up(side))) for side in pixels.shape)
    for first in range(0, len(tiles), BATCH):
        batch = tiles[first : first + BATCH]
        frames = np.empty((len(batch), height, width), np.uint8)
        for frame, tile in zip(frames, batch, strict=True):
            part = tile.of(pixels)
            frame[:] = round(float(part.mean()))
            frame[: tile.height, : tile.width] = part
        for frame, tile, digits in zip(frames, batch, finder.look_at(frames), strict=True):
            whole = [one for one in digits if _is_whole(one.place, tile, pixels.shape)]
            yield from (_on_page(one, tile, size, scale, _darkness(one, frame)) for one in whole)


def _up(side: int) -> int:
    """The next multiple of what the finder's frames are multiples of."""
    return math.ceil(side / MULTIPLE) * MULTIPLE


def _is_whole(place: Box, tile: Box, size: tuple[int, ...]) -> bool:
    """Whether a digit in a tile of a page of that size is not cut by the tile's edges."""
    if tile.height == size[0] and tile.width == size[1]:
        return True
    ends = (
        place.top <= 1 and tile.top > 0,
        place.left <= 1 and tile.left > 0,
        place.top + place.height >= tile.height - 1 and tile.top + tile.height < size[0],
        place.left + place.width >= tile.width - 1 and tile.left + tile.width < size[1],
    )
    # The next tile shows it with more around it, which the finder needs.
    next_tiles = (
        place.top >= TILE - OVERLAP // 2 and tile.top + tile.height < size[0],
        place.left >= TILE - OVERLAP // 2 and tile.left + tile.width < size[1],
    )
    return not any(ends + next_tiles) and place.side <= LARGEST * FRAME


def _darkness(seen: SeenDigit, frame: Pixels) -> float:
    """By how many shades a digit's ink is darker than the paper around it."""
    height, width = frame.shape
    wide = seen.place.widened(2 + seen.place.side // 8, (height, width))
    ink, pixels = np.zeros((wide.height, wide.width), np.float32), wide.of(frame)
    top, left = seen.place.top - wide.top, seen.place.left - wide.left
    ink[top : top + seen.place.height, left : left + seen.place.width] = seen.ink
    is_ink, is_paper = ink > INK, ink < PAPER
    if not is_ink.any() or not is_paper.any():
        return 0.0
    return float(np.median(pixels[is_paper])) - float(pixels[is_ink].mean())


def _on_page(seen: SeenDigit, tile: Box, size: tuple[int, ...], scale: float, darkness: float) -> SeenOnPage:
    """A digit in a tile of a page, in the page's own pixels; `size` is the page's."""
    height, width = size
    left, top = int((tile.left + seen.place.left) / scale), int((tile.top + seen.place.top) / scale)
    left, top = min(left, width - 1), min(top, height - 1)
    across, down = (max(1, round(side / scale)) for side in (seen.place.width, seen.place.height))
    box = Box(left, top, min(across, width - left), min(down, height - top))
    return SeenOnPage(seen.ink, box, seen.heat, max(seen.ink.shape), darkness)
