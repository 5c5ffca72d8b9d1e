"""What rows say when all are looked at: counted, graded, and a few picked out to be shown; in one pass."""

import heapq
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import islice
from random import Random
from typing import NamedTuple

import numpy as np

from digits.accuracy import confusion_text, share_right
from digits.classifier import CLASSES
from scoring.inputs.labels import NONE, Labels
from scoring.rows import ERROR, Model, Row

# Where the histogram's bins begin; the last ends at 1. They are finer where almost all images are.
BINS = (0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999)
# Images to show: the least certain, the most certain mistakes, of each outcome, and those that are errors.
UNCERTAIN, MISTAKES, SAMPLES, ERRORS = 40, 40, 10, 20
_ROWS_AT_ONCE = 10_000


class Picked(NamedTuple):
    """An image to be shown, and its label, or NONE."""

    row: Row
    label: int


class Survey:
    """Counts of all rows, and some of them. However many rows there are, it takes the same memory."""

    def __init__(self, rows: Iterable[Row], labels: Labels | None = None) -> None:
        self.outcomes: Counter[str] = Counter()
        self.models: dict[Model, None] = {}
        self._model: tuple[str, ...] = ()
        self.errors: list[Row] = []
        # Images by the bin of their confidence: those read, those of them that are labelled otherwise, those refused.
        self.read, self.wrong, self.refused = ([0] * len(BINS) for _ in range(3))
        self._uncertain, self._mistakes = _Highest(UNCERTAIN), _Highest(MISTAKES)
        random = Random(0)  # noqa: S311 - the same rows give the same samples
        self._samples: defaultdict[str, _Sample] = defaultdict(lambda: _Sample(SAMPLES, random))
        self.grades = None if labels is None else Grades()
        remaining = iter(rows)
        while some := list(islice(remaining, _ROWS_AT_ONCE)):
            found = labels.find([row.path for row in some]).tolist() if labels else [NONE] * len(some)
            for row, label in zip(some, found, strict=True):
                self._add(Picked(row, label))
        if self.grades and labels:
            self.grades.unused = labels.unused

    def _add(self, picked: Picked) -> None:
        row, label = picked
        outcome = row.outcome
        self.outcomes[outcome] += 1
        if row[5:] != self._model:
            self._model = Model(*row[5:])
            self.models[self._model] = None
        if self.grades:
            self.grades.add(row, label)
        if outcome == ERROR:
            if len(self.errors) < ERRORS:
                self.errors.append(row)
            return
        self._samples[outcome].offer(picked)
        confidence = row.confidence or 0.0
        place = bisect(BINS, confidence) - 1
        if row.digit is None:
            self.refused[place] += 1
            return
        self.read[place] += 1
        self._uncertain.offer(-confidence, picked)
        if label not in (NONE, row.digit):
            self.wrong[place] += 1
            self._mistakes.offer(confidence, picked)

    @property
    def digits(self) -> dict[int, int]:
        """How many images were read as each digit."""
        return {digit: self.outcomes[str(digit)] for digit in range(CLASSES)}

    @property
    def reasons(self) -> dict[str, int]:
        """How many images were refused for each reason, most first."""
        return {name: count for name, count in self.outcomes.most_common() if not name.isdecimal() and name != ERROR}

    @property
    def uncertain(self) -> list[Picked]:
        """The least certain of the images that were read, these first."""
        return self._uncertain.picked()

    @property
    def mistakes(self) -> list[Picked]:
        """The most certain of the images that were read as what they are not, these first."""
        return self._mistakes.picked()

    def samples(self, outcome: str) -> list[Picked]:
        """Images of a digit or of a reason of refusals, by chance, all equally likely."""
        return self._samples[outcome].picked()


class Grades:
    """How often what was read is what the labels say; what was not read is wrong."""

    def __init__(self) -> None:
        # [10, 11]: a row a label, a column a digit that was read, the last for none.
        self._confusion = [[0] * (CLASSES + 1) for _ in range(CLASSES)]
        self.unlabelled = self.unused = self.undecoded = 0

    def add(self, row: Row, label: int) -> None:
        """Counts one image in."""
        if label == NONE:
            self.unlabelled += 1
            return
        self.undecoded += row.error is not None
        self._confusion[label][CLASSES if row.digit is None else row.digit] += 1

    @property
    def confusion(self) -> "np.ndarray[tuple[int, int], np.dtype[np.int64]]":
        """Counts [10, 11]: a row a label, a column a digit that was read, the last for none."""
        return np.array(self._confusion, np.int64)

    @property
    def labelled(self) -> int:
        return sum(map(sum, self._confusion))

    @property
    def right(self) -> int:
        return sum(self._confusion[digit][digit] for digit in range(CLASSES))

    @property
    def unread(self) -> int:
        """Of the labelled images those that were refused or not decoded."""
        return sum(row[CLASSES] for row in self._confusion)

    def __str__(self) -> str:
        lines = [f"{self.labelled:,} images with labels"]
        if self.labelled:
            read = self.labelled - self.unread
            lines[0] += f": {share_right(self.right, self.labelled)}"
            lines.append(
                f"  {read:,} of them read{f': {share_right(self.right, read)}' if read else ''}; "
                f"{self.unread - self.undecoded:,} refused, {self.undecoded:,} not decoded"
            )
        lines.append(f"  {self.unlabelled:,} images without a label, {self.unused:,} labels without an image")
        return "\n".join([*lines, *(confusion_text(self.confusion) if self.labelled else [])])


class _Highest:
    """The first of those that rank highest."""

    def __init__(self, count: int) -> None:
        self._count, self._offered = count, 0
        self._kept: list[tuple[float, int, Picked]] = []

    def offer(self, rank: float, picked: Picked) -> None:
        self._offered += 1
        if len(self._kept) < self._count:
            heapq.heappush(self._kept, (rank, -self._offered, picked))
        elif rank > self._kept[0][0]:
            heapq.heapreplace(self._kept, (rank, -self._offered, picked))

    def picked(self) -> list[Picked]:
        return [picked for _, _, picked in sorted(self._kept, reverse=True)]


class _Sample:
    """Some of all, each as likely as any other (Vitter 1985, algorithm R)."""

    def __init__(self, count: int, random: Random) -> None:
        self._count, self._random, self._offered = count, random, 0
        self._kept: list[Picked] = []

    def offer(self, picked: Picked) -> None:
        self._offered += 1
        if len(self._kept) < self._count:
            self._kept.append(picked)
            return
        place = int(self._random.random() * self._offered)
        if place < self._count:
            self._kept[place] = picked

    def picked(self) -> list[Picked]:
        return self._kept
