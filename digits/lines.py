"""Digits on a page → lines of digits in reading order."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from digits.finder import Box

# Lines rise or fall by no more than this, in radians.
STEEPEST = math.radians(25)
# The next digit of a line begins no further right than this, by the height of a digit, if it is to tell the slope.
NEXT = 4.0
# A digit belongs to a line if it shares so much of its height, or of that of the line's last digits, with them.
SHARED = 0.35
# A gap is one between numbers if it is so many times as wide as most on the page, and so wide by the digits' height.
WIDE, WIDEST_WITHIN = 2.2, 0.9


@dataclass(frozen=True)
class _Place:
    """A digit's extent along and across the lines."""

    number: int
    left: float
    right: float
    top: float
    bottom: float

    @property
    def height(self) -> float:
        return self.bottom - self.top


def lines_of(boxes: Sequence[Box]) -> list[list[int]]:
    """The boxes by their places in the sequence, line by line from the top, each from left to right."""
    if not boxes:
        return []
    places = _straightened(boxes)
    lines: list[list[_Place]] = []
    for place in sorted(places, key=lambda one: one.left + one.right):
        shares = [_shared(line, place) for line in lines]
        best = int(np.argmax(shares)) if shares else 0
        if shares and shares[best] > SHARED:
            lines[best].append(place)
        else:
            lines.append([place])
    lines.sort(key=lambda line: float(np.mean([one.top + one.bottom for one in line])))
    return [[one.number for one in line] for line in lines]


def begins_number(boxes: Sequence[Box], lines: Sequence[Sequence[int]]) -> set[int]:
    """Of `lines_of` these boxes, those before which there is a gap as between two numbers."""
    height = float(np.median([box.height for box in boxes])) if boxes else 0.0
    gaps = {
        after: boxes[after].left - boxes[before].left - boxes[before].width
        for line in lines
        for before, after in itertools.pairwise(line)
    }
    usual = float(np.median([max(0, gap) for gap in gaps.values()])) if gaps else 0.0
    return {after for after, gap in gaps.items() if gap > max(WIDEST_WITHIN * height, WIDE * usual)}


def _straightened(boxes: Sequence[Box]) -> list[_Place]:
    """Where the boxes lie once the page is turned so that most lines are level."""
    turn = _slope(boxes)
    places = []
    for number, box in enumerate(boxes):
        down, right = box.middle
        along, across = right * math.cos(turn) + down * math.sin(turn), down * math.cos(turn) - right * math.sin(turn)
        places.append(
            _Place(
                number, along - box.width / 2, along + box.width / 2, across - box.height / 2, across + box.height / 2
            )
        )
    return places


def _slope(boxes: Sequence[Box]) -> float:
    """The lines' angle in radians, positive if they fall: the median of the angles to each digit's right neighbour."""
    middles = np.array([box.middle for box in boxes])
    heights = np.array([box.height for box in boxes], np.float64)
    angles = []
    for middle, height in zip(middles, heights, strict=True):
        down, right = (middles - middle).T
        reach = NEXT * np.maximum(height, heights)
        near = (right > 0.2 * height) & (right < reach) & (np.abs(down) < math.tan(STEEPEST) * right)
        if near.any():
            distances: NDArray[np.float64] = np.where(near, right + 2 * np.abs(down), np.inf)
            best = int(distances.argmin())
            angles.append(math.atan2(down[best], right[best]))
    return float(np.median(angles)) if angles else 0.0


def _shared(line: list[_Place], place: _Place) -> float:
    """How much of its height a digit shares with the last digits of a line, as a part of the lower one's."""
    last = line[-3:]
    top, bottom = sum(one.top for one in last) / len(last), sum(one.bottom for one in last) / len(last)
    shared = min(bottom, place.bottom) - max(top, place.top)
    return shared / min(bottom - top, place.height)
