"""A run: finds images, scores them with an engine, and writes their rows."""

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Thread

from tqdm import tqdm

from scoring.engines import Engine
from scoring.errors import ScoringError, writing
from scoring.inputs.images import count_images, find_chunks
from scoring.journal import Journal
from scoring.outputs import finish, journal_path
from scoring.rows import ERROR, HEADER, Scored


class Summary:
    """How many images had which outcome, in this run and before it, and how fast this run is."""

    def __init__(self) -> None:
        self.begin(Counter())

    def begin(self, outcomes: Counter[str]) -> None:
        """Starts the clock; `outcomes` are those of earlier runs."""
        self.outcomes = Counter(outcomes)
        self.before = outcomes.total()
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long this run has been scoring."""
        return time.monotonic() - self._start

    def __str__(self) -> str:
        digits = {name: images for name, images in sorted(self.outcomes.items()) if name.isdecimal()}
        rejected = {one: images for one, images in self.outcomes.most_common() if one not in digits and one != ERROR}
        seconds, scored = self.seconds, self.outcomes.total() - self.before
        lines = [
            f"{self.outcomes.total():,} images: {sum(digits.values()):,} read, {sum(rejected.values()):,} rejected, "
            f"{self.outcomes[ERROR]:,} not decoded",
            *(
                f"  {title}: " + ", ".join(f"{name} ({images:,})" for name, images in counts.items())
                for title, counts in [("digits", digits), ("rejected", rejected)]
                if counts
            ),
            f"  {scored:,} in {seconds:,.1f} s, {scored / seconds:,.0f} images/s"
            + (f"; {self.before:,} had been scored before" if self.before else ""),
        ]
        return "\n".join(lines)


def score_to_file(
    paths: Sequence[str], output: Path, engine: Engine, summary: Summary, overwrite: bool = False
) -> None:
    """Scores the images that have no row yet, and writes the output when all have one. Raises ScoringError.

    However it ends, the next call resumes from the rows that are written, unless they are to be overwritten.
    """
    with engine:
        with writing(output):
            journal = Journal(journal_path(output), engine.model, overwrite)
        with journal:
            summary.begin(journal.outcomes)
            for scored in counted(engine.score(journal.remaining(find_chunks(paths))), paths, summary):
                journal.append(scored)
            with writing(output):
                finish(output, journal)


def score_to_descriptor(paths: Sequence[str], descriptor: int, engine: Engine, summary: Summary) -> None:
    """Scores all images, and writes CSV. Raises ScoringError, and BrokenPipeError if the reader is gone."""
    with engine:
        summary.begin(Counter())
        with writing("standard output"):
            _write_all(descriptor, HEADER)
        for scored in counted(engine.score(find_chunks(paths)), paths, summary):
            with writing("standard output"):
                _write_all(descriptor, b"".join(scored.texts))


def _write_all(descriptor: int, data: bytes) -> None:
    written = 0
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])


def counted(scores: Iterator[Scored], paths: Sequence[str], summary: Summary) -> Iterator[Scored]:
    """Adds to the summary what the caller has written, and shows a progress bar on a terminal.

    Raises ScoringError if there are no images, counting those of earlier runs.
    """
    with tqdm(unit=" images", unit_scale=True, initial=summary.before, disable=None if sys.stderr else True) as bar:
        if not bar.disable:
            Thread(target=_count, args=(bar, paths), daemon=True).start()
        for scored in scores:
            bar.update(scored.outcomes.total())
            yield scored
            summary.outcomes += scored.outcomes
    if not summary.outcomes:
        raise ScoringError(f"{', '.join(paths)}: no images found")


def _count(bar: tqdm, paths: Sequence[str]) -> None:
    bar.total = count_images(paths)
