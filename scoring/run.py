"""A run: finds images, scores them with an engine, and writes their rows."""

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from threading import Thread
from typing import TypeVar

from tqdm import tqdm

from scoring.engines import Engine
from scoring.errors import ScoringError, writing
from scoring.inputs.containers import read_many
from scoring.inputs.search import count_images, find, find_chunks
from scoring.journal import Journal
from scoring.outputs import finish, journal_path
from scoring.rows import ERROR, IMAGES, Scored

AnyScored = TypeVar("AnyScored", bound=Scored)

# How many images of a file are tried to find out whether it is transposed, and the share that is read if it is not.
SAMPLE, SURE = 100, 0.8


class Summary:
    """How many images, or digits on pages, had which outcome, in this run and before it, and how fast this run is."""

    def __init__(self) -> None:
        self.begin()
        self.hint = ""

    def begin(self) -> None:
        """Starts the clock."""
        self.images = self.before = self.skipped = 0
        self.outcomes: Counter[str] = Counter()
        self._start = time.monotonic()

    def add_earlier(self, images: int, outcomes: Counter[str]) -> None:
        """Adds images of an earlier run."""
        self.outcomes += outcomes
        self.images += images
        self.before += images

    def skip(self, _path: str) -> None:
        """Counts a junk file."""
        self.skipped += 1

    @property
    def seconds(self) -> float:
        """How long this run has been scoring."""
        return time.monotonic() - self._start

    def __str__(self) -> str:
        digits = {name: images for name, images in sorted(self.outcomes.items()) if name.isdecimal()}
        rejected = {one: images for one, images in self.outcomes.most_common() if one not in digits and one != ERROR}
        seconds, scored = self.seconds, self.images - self.before
        lines = [
            f"{self.images:,} images: {sum(digits.values()):,} read, {sum(rejected.values()):,} rejected, "
            f"{self.outcomes[ERROR]:,} not decoded",
            *(
                f"  {title}: " + ", ".join(f"{name} ({images:,})" for name, images in counts.items())
                for title, counts in [("digits", digits), ("rejected", rejected)]
                if counts
            ),
            f"  {scored:,} in {seconds:,.1f} s, {scored / seconds:,.0f} images/s"
            + (f"; {self.before:,} had been scored before" if self.before else ""),
            *([f"  {self.skipped:,} junk files, such as .DS_Store, skipped"] if self.skipped else []),
            *([self.hint] if self.hint else []),
        ]
        return "\n".join(lines)


def score_to_file(
    paths: Sequence[str],
    output: Path,
    engine: Engine,
    summary: Summary,
    overwrite: bool = False,
    transposed: bool = False,
) -> None:
    """Scores the images that have no row yet, and writes the output when all have one. Raises ScoringError.

    However it ends, the next call resumes from the rows that are written, unless they are to be overwritten.
    """
    with engine:
        with writing(output):
            journal = Journal(journal_path(output), engine.model, overwrite, engine.layout)
        with journal:
            summary.begin()
            summary.add_earlier(journal.images, journal.outcomes)
            chunks = find_chunks(paths, transposed, summary.skip)
            for scored in counted(engine.score(journal.remaining(chunks)), paths, summary):
                journal.append(scored)
            with writing(output):
                finish(output, journal)
        if not transposed and engine.layout == IMAGES:
            summary.hint = _hint(paths, engine, summary)


def _hint(paths: Sequence[str], engine: Engine, summary: Summary) -> str:
    """A hint if many images are rejected, but those of a file of many images are read when they are transposed."""
    if _read(summary.outcomes) > SURE * summary.outcomes.total():
        return ""
    path = next((one for one in find(paths) if isinstance(one, str)), None)
    if not path:
        return ""
    samples = (islice(read_many(path, 0, SAMPLE, transposed), 1) for transposed in (False, True))
    as_is, transposed = (sum((one.outcomes for one in engine.score(sample)), Counter()) for sample in samples)
    if _read(transposed) < SURE * transposed.total() or _read(as_is) > SURE * _read(transposed):
        return ""
    return f"{path}: many images are rejected, but read if rows and columns are swapped; try --transposed --overwrite"


def _read(outcomes: Counter[str]) -> int:
    return sum(count for name, count in outcomes.items() if name.isdecimal())


def score_to_descriptor(
    paths: Sequence[str], descriptor: int, engine: Engine, summary: Summary, transposed: bool = False
) -> None:
    """Scores all images, and writes CSV. Raises ScoringError, and BrokenPipeError if the reader is gone."""
    with engine:
        summary.begin()
        with writing("standard output"):
            _write_all(descriptor, engine.layout.header)
        for scored in counted(engine.score(find_chunks(paths, transposed, summary.skip)), paths, summary):
            with writing("standard output"):
                _write_all(descriptor, scored.text)


def _write_all(descriptor: int, data: bytes) -> None:
    written = 0
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])


def counted(scores: Iterator[AnyScored], paths: Sequence[str], summary: Summary) -> Iterator[AnyScored]:
    """Adds to the summary what the caller has written, and shows a progress bar on a terminal.

    Raises ScoringError if there are no images, counting those of earlier runs.
    """
    with tqdm(unit=" images", unit_scale=True, initial=summary.before, disable=None if sys.stderr else True) as bar:
        if not bar.disable:
            Thread(target=_count, args=(bar, paths), daemon=True).start()
        for scored in scores:
            bar.update(scored.images)
            yield scored
            summary.images += scored.images
            summary.outcomes += scored.outcomes
    if not summary.images:
        raise ScoringError(f"{', '.join(paths)}: no images found")


def _count(bar: tqdm, paths: Sequence[str]) -> None:
    bar.total = count_images(paths)
