"""A page → all its digits: the finder looks at tiles of it, at several sizes."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from digits import tracing
from digits.decode import Pixels
from digits.finder import FRAME, INK, Box, Finder, FoundDigit, SeenDigit

# Tiles overlap by half, so that every digit of up to this size lies whole in one of them.
STEP = FRAME // 2
# Each look is at this many times the size of the one before, up to this long side in pixels. The more looks, the
# likelier one of them parts two digits that touch.
GROWTH, FINEST = math.sqrt(2), 2048
SIZES = [round(FRAME * GROWTH**look) for look in range(round(math.log(FINEST / FRAME, GROWTH)) + 1)]
# Up to this size all of the page is looked at; then only what holds digits lower than this in the frame, in pixels, or
# everything if none was found.
EVERYWHERE, LOW = 512, 20
# Digits of these sides in the frame are seen best, and none as large as this part of it unless it is the whole page.
BEST, LARGEST = (32, 48), 0.75
# The network takes so many tiles at once: more would only need more memory.
BATCH = 16
# Two digits nearer than this part of the larger one, or of which the smaller one lies within the other by this part of
# its box, are the same.
SAME, WITHIN = 0.3, 0.6
# A digit read with this confidence is whole: what is so many times smaller and lies within it by this part of its box
# is a piece of it, such as the bar of a 4, which looks like a 1.
SURELY, PIECE, PIECE_WITHIN = 0.8, 1.5, 0.7
# Less ink than this is none.
PAPER = 0.1
# A page is written with one pen, or a few. What is less prominent than this part of what a tenth of all that is surely
# read exceeds shows through from the other side, or is a ruled line.
FAINT, STRONGEST = 0.25, 90


@dataclass(frozen=True)
class SeenOnPage(FoundDigit):
    """A digit as one look at a page shows it: `side` in pixels of that look, and `contrast` to the paper in shades."""

    side: int
    contrast: float


def look_at_page(pixels: Pixels, finder: Finder) -> list[SeenOnPage]:
    """All that looks like a digit on a page, grey, uint8 [H, W], at any size: one digit several times, or in pieces."""
    with tracing.span("finder"):
        seen: list[SeenOnPage] = []
        longest = max(pixels.shape)
        for size in SIZES:
            scale = size / longest
            if size > EVERYWHERE and seen and not any(_is_low(one, scale / GROWTH) for one in seen):
                break
            sized = _sized(pixels, scale)
            tiles = _tiles(sized.shape)
            if size > EVERYWHERE and seen:
                low = [one for one in seen if _is_low(one, scale / GROWTH)]
                tiles = [tile for tile in tiles if any(_is_in(one, tile, scale) for one in low)]
            seen += _look(sized, tiles, scale, finder)
            if size >= GROWTH * longest:
                break
        return seen


def distinct(seen: Sequence[SeenOnPage], confidences: Sequence[float]) -> list[int]:
    """Which of what was seen are the page's digits, each once, as it was seen best; by how surely each one is read."""
    boxes, sure = _Boxes(seen), np.array(confidences)
    heats = np.array([one.heat for one in seen])
    left = _stands_out(heats * [one.contrast for one in seen], sure)
    for number in np.flatnonzero(left & (sure >= SURELY)).tolist():
        inside = boxes.shared(number) > PIECE_WITHIN * boxes.areas
        left &= ~(inside & (PIECE * boxes.sides < boxes.sides[number]))
    sides = np.array([one.side for one in seen])
    quality = sure * heats * np.sqrt(np.minimum(1, np.minimum(sides / BEST[0], BEST[1] / sides)))
    chosen = []
    for number in np.argsort(-quality, kind="stable").tolist():
        if left[number]:
            chosen.append(number)
            left &= ~boxes.are_same(number)
    return chosen


def _stands_out(prominences: NDArray[np.float64], sure: NDArray[np.float64]) -> NDArray[np.bool_]:
    surest = prominences[sure >= SURELY]
    return prominences >= (FAINT * np.percentile(surest, STRONGEST) if len(surest) else 0)


class _Boxes:
    """The places of what was seen, one compared with all at a time."""

    def __init__(self, seen: Sequence[SeenOnPage]) -> None:
        boxes = np.array([(one.box.top, one.box.left, one.box.height, one.box.width) for one in seen]).reshape(-1, 4)
        self._starts, sizes = boxes[:, :2], boxes[:, 2:]
        self._ends = self._starts + sizes
        self.areas, self.sides = sizes.prod(axis=1), sizes.max(axis=1)

    def shared(self, number: int) -> NDArray[np.int64]:
        """How much of each box lies within one of them."""
        first = np.maximum(self._starts, self._starts[number])
        return np.maximum(0, np.minimum(self._ends, self._ends[number]) - first).prod(axis=1)

    def are_same(self, number: int) -> NDArray[np.bool_]:
        """Which boxes are of the same digit as one of them."""
        apart = (self._starts + self._ends - self._starts[number] - self._ends[number]) / 2
        is_near = np.hypot(*apart.T) < SAME * np.maximum(self.sides, self.sides[number])
        return is_near | (self.shared(number) > WITHIN * np.minimum(self.areas, self.areas[number]))


def _is_low(digit: FoundDigit, scale: float) -> bool:
    """Whether it is so low at that scale that a closer look is worth it."""
    return digit.box.height * scale < LOW


def _is_in(digit: FoundDigit, tile: Box, scale: float) -> bool:
    down, right = (scale * place for place in digit.box.middle)
    return 0 <= down - tile.top < tile.height and 0 <= right - tile.left < tile.width


def _sized(pixels: Pixels, scale: float) -> Pixels:
    height, width = (max(1, round(side * scale)) for side in pixels.shape)
    image = Image.fromarray(pixels)
    if scale < 1:
        return np.asarray(image.resize((width, height), Image.Resampling.BOX, reducing_gap=2))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def _tiles(shape: tuple[int, ...]) -> list[Box]:
    """Tiles of FRAME×FRAME, or less where the page is smaller, that cover the page and overlap by half or more."""
    height, width = (min(FRAME, side) for side in shape)
    return [Box(left, top, width, height) for top in _starts(shape[0]) for left in _starts(shape[1])]


def _starts(side: int) -> list[int]:
    steps = math.ceil(max(0, side - FRAME) / STEP)
    return [round(one * (side - FRAME) / max(steps, 1)) for one in range(steps + 1)] if steps else [0]


def _look(pixels: Pixels, tiles: Sequence[Box], scale: float, finder: Finder) -> Iterator[SeenOnPage]:
    """The digits that lie whole in one of the tiles; `pixels` show the page at that scale."""
    for first in range(0, len(tiles), BATCH):
        batch = tiles[first : first + BATCH]
        frames = np.empty((len(batch), FRAME, FRAME), np.uint8)
        for frame, tile in zip(frames, batch, strict=True):
            part = tile.of(pixels)
            frame[:] = round(float(part.mean()))
            frame[: tile.height, : tile.width] = part
        for frame, tile, digits in zip(frames, batch, finder.look_at(frames), strict=True):
            whole = [one for one in digits if _is_whole(one.place, tile, pixels.shape)]
            yield from (_on_page(one, tile, pixels.shape, scale, _contrast(one, frame)) for one in whole)


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
    return not any(ends) and place.side <= LARGEST * FRAME


def _contrast(seen: SeenDigit, frame: Pixels) -> float:
    """By how many shades a digit's ink differs from the paper around it."""
    ink = np.zeros(frame.shape, np.float32)
    seen.place.of(ink)[:] = seen.ink
    wide = seen.place.widened(2 + seen.place.side // 8, (FRAME, FRAME))
    ink, pixels = wide.of(ink), wide.of(frame)
    is_ink, is_paper = ink > INK, ink < PAPER
    if not is_ink.any() or not is_paper.any():
        return 0.0
    return abs(float(pixels[is_ink].mean()) - float(np.median(pixels[is_paper])))


def _on_page(seen: SeenDigit, tile: Box, size: tuple[int, ...], scale: float, contrast: float) -> SeenOnPage:
    """A digit in a tile of a page, in the page's own pixels; `size` is the page's at that scale."""
    height, width = (round(side / scale) for side in size)
    left, top = int((tile.left + seen.place.left) / scale), int((tile.top + seen.place.top) / scale)
    across, down = (max(1, round(side / scale)) for side in (seen.place.width, seen.place.height))
    box = Box(left, top, min(across, width - left), min(down, height - top))
    return SeenOnPage(seen.ink, box, seen.heat, max(seen.ink.shape), contrast)
