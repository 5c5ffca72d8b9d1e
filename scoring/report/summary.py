"""A summary of all rows, made in one pass: counts, grades by labels, and a few images to show."""

from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Iterable
from heapq import nlargest, nsmallest
from itertools import islice
from random import Random
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from digits.accuracy import accuracy_text, confusion_text
from digits.classifier import CLASSES
from scoring.inputs.labels import NONE, Labels
from scoring.rows import ERROR, ModelIdentity, Row

# Where the histogram's bins begin; the last ends at 1. They are finer where most images are.
BINS = (0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999)
# How many images to show: the least certain, the most certain mistakes, samples per outcome, and errors.
UNCERTAIN, MISTAKES, SAMPLES, ERRORS = 40, 40, 10, 20
# How many pages to show.
PAGES_SHOWN = 12
_ROWS_AT_ONCE = 10_000

Item = TypeVar("Item")


class Picked(NamedTuple):
    """An image, and its label or NONE."""

    row: Row
    label: int

    @property
    def is_mistake(self) -> bool:
        """Whether a digit was read, but not the label's."""
        return self.row.digit is not None and self.label not in (NONE, self.row.digit)


class OutputSummary:
    """Counts of all rows, and some of them. Its memory does not depend on the number of rows.

    What it says of images it says of digits if the rows are of digits on pages.
    """

    def __init__(self, rows: Iterable[Row], labels: Labels | None = None) -> None:
        self.images = 0  # or pages
        self.outcomes: Counter[str] = Counter()
        self.models: dict[ModelIdentity, None] = {}
        self.errors: list[Row] = []
        # The images read with the lowest confidence, and those read wrongly with the highest; the most extreme first.
        self.uncertain: list[Picked] = []
        self.mistakes: list[Picked] = []
        # Images per bin of confidence: those read, those of them that differ from their labels, those rejected.
        self.read, self.wrong, self.rejected = ([0] * len(BINS) for _ in range(3))
        random = Random(0)  # noqa: S311 - the same rows give the same samples
        self._samples: defaultdict[str, _Sample[Picked]] = defaultdict(lambda: _Sample(SAMPLES, random))
        self._shown: _Sample[list[Row]] = _Sample(PAGES_SHOWN, random)
        page: list[Row] = []
        self.grades = None if labels is None else Grades()
        remaining = iter(rows)
        while some := list(islice(remaining, _ROWS_AT_ONCE)):
            found = labels.find([row.path for row in some]).tolist() if labels else [NONE] * len(some)
            images = list(map(Picked, some, found))
            for image in images:
                self._add(image)
                if image.row.begins_image:
                    page = []
                    self.images += 1
                page.append(image.row)
                if image.row.line is not None and image.row.begins_image:
                    self._shown.offer(page)
            read = [image for image in images if image.row.digit is not None]
            wrong = [image for image in read if image.is_mistake]
            self.uncertain = nsmallest(UNCERTAIN, [*self.uncertain, *read], key=_confidence)
            self.mistakes = nlargest(MISTAKES, [*self.mistakes, *wrong], key=_confidence)
        if self.grades and labels:
            self.grades.unused = labels.unused

    def _add(self, image: Picked) -> None:
        row, label = image
        outcome = row.outcome
        self.outcomes[outcome] += 1
        self.models[row.identity] = None
        if self.grades:
            self.grades.add(row, label)
        if outcome == ERROR:
            if len(self.errors) < ERRORS:
                self.errors.append(row)
            return
        self._samples[outcome].offer(image)
        place = bisect(BINS, _confidence(image)) - 1
        if row.digit is None:
            self.rejected[place] += 1
        else:
            self.read[place] += 1
            self.wrong[place] += image.is_mistake

    @property
    def digits(self) -> dict[int, int]:
        """The number of images per digit."""
        return {digit: self.outcomes[str(digit)] for digit in range(CLASSES)}

    @property
    def reasons(self) -> dict[str, int]:
        """The number of images per rejection reason, most frequent first."""
        return {name: count for name, count in self.outcomes.most_common() if not name.isdecimal() and name != ERROR}

    @property
    def shown(self) -> list[list[Row]]:
        """A uniform sample of the pages with digits, as their digits' rows."""
        return self._shown.kept

    def samples(self, outcome: str) -> list[Picked]:
        """A uniform sample of the images with a digit or a rejection reason."""
        return self._samples[outcome].kept


def _confidence(image: Picked) -> float:
    return image.row.confidence or 0.0


class Grades:
    """How often the digit agrees with the label; an image without a digit counts as wrong."""

    def __init__(self) -> None:
        # One row per label, one column per digit that was read, the last for none.
        self.confusion = np.zeros((CLASSES, CLASSES + 1), np.int64)
        self.unlabelled = self.unused = self.undecoded = 0

    def add(self, row: Row, label: int) -> None:
        """Adds an image."""
        if label == NONE:
            self.unlabelled += 1
            return
        self.undecoded += row.error is not None
        self.confusion[label, CLASSES if row.digit is None else row.digit] += 1

    @property
    def labelled(self) -> int:
        return int(self.confusion.sum())

    @property
    def right(self) -> int:
        return int(self.confusion.trace())

    @property
    def unread(self) -> int:
        """The labelled images that were rejected or not decoded."""
        return int(self.confusion[:, CLASSES].sum())

    def __str__(self) -> str:
        lines = [f"{self.labelled:,} images with labels"]
        if self.labelled:
            read = self.labelled - self.unread
            lines[0] += f": {accuracy_text(self.right, self.labelled)}"
            lines.append(
                f"  {read:,} of them read{f': {accuracy_text(self.right, read)}' if read else ''}; "
                f"{self.unread - self.undecoded:,} rejected, {self.undecoded:,} not decoded"
            )
        lines.append(f"  {self.unlabelled:,} images without a label, {self.unused:,} labels without an image")
        return "\n".join([*lines, *(confusion_text(self.confusion) if self.labelled else [])])


class _Sample(Generic[Item]):
    """A uniform sample of what comes one by one (Vitter 1985, algorithm R)."""

    def __init__(self, count: int, random: Random) -> None:
        self._count, self._random, self._offered = count, random, 0
        self.kept: list[Item] = []

    def offer(self, item: Item) -> None:
        self._offered += 1
        if len(self.kept) < self._count:
            self.kept.append(item)
            return
        place = int(self._random.random() * self._offered)
        if place < self._count:
            self.kept[place] = item
