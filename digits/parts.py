"""The connected parts of a mask, as runs of set pixels: the work goes with the number of runs, not of pixels."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Indices = NDArray[np.int64]


class Runs:
    """The runs of set pixels of a mask, from top to bottom and left to right, and how they touch.

    Two runs are connected if a pixel of one is among the eight around a pixel of the other.
    """

    def __init__(self, mask: Mask) -> None:
        height, width = mask.shape
        # A column of unset pixels ends the last run of every row, so that rows can be read on as one line.
        line = np.zeros(1 + height * (width + 1), bool)
        line[1:].reshape(height, width + 1)[:, :width] = mask
        self._changes = np.flatnonzero(line[1:] != line[:-1])
        self.shape = mask.shape
        self.starts, self.ends = self._changes[::2], self._changes[1::2]

    @cached_property
    def above(self) -> tuple[Indices, Indices]:
        """For each run the first of those above that it touches, and the one after the last."""
        step = self.shape[1] + 1
        return (
            np.searchsorted(self.ends, self.starts - step, side="left"),
            np.searchsorted(self.starts, self.ends - step, side="right"),
        )

    @property
    def most_parts(self) -> int:
        """How many parts there are at most: those whose highest run is one that touches none above."""
        first, last = self.above
        return int(np.count_nonzero(first >= last))

    def parts(self) -> tuple[Indices, int]:
        """The number of each run's part, from 0 and in the order of the parts' first runs, and how many there are."""
        first, last = self.above
        touching = np.maximum(last - first, 0)
        below = np.repeat(np.arange(len(first)), touching)
        above = np.arange(len(below)) + np.repeat(first - (np.cumsum(touching) - touching), touching)
        # Every run points to an earlier one of its part, in the end all to the first.
        earlier = np.arange(len(first))
        while len(below):
            one, other = earlier[below], earlier[above]
            np.minimum.at(earlier, np.maximum(one, other), np.minimum(one, other))
            while not np.array_equal(further := earlier[earlier], earlier):
                earlier = further
            apart = earlier[below] != earlier[above]
            below, above = below[apart], above[apart]
        firsts = earlier == np.arange(len(first))
        return (np.cumsum(firsts) - 1)[earlier], int(np.count_nonzero(firsts))

    def labels(self, numbers: Indices) -> NDArray[np.int32]:
        """For each pixel of the mask the number of its run plus 1, 0 where it is not set."""
        height, width = self.shape
        between = np.zeros(len(self._changes) + 1, np.int32)
        between[1::2] = numbers + 1
        lengths = np.diff(self._changes, prepend=0, append=height * (width + 1))
        return np.repeat(between, lengths).reshape(height, width + 1)[:, :width]


def connected(mask: Mask) -> tuple[NDArray[np.int32], int]:
    """Labels the 8-connected parts of a mask from 1, 0 for the rest, and counts them."""
    runs = Runs(mask)
    numbers, count = runs.parts()
    return runs.labels(numbers), count
