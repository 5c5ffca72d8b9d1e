"""A run: every image that is found through an engine, and its row to where it belongs."""

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Thread

from tqdm import tqdm

from scoring.engines import Engine
from scoring.errors import ScoringError
from scoring.inputs.images import count_images, find_chunks
from scoring.journal import Journal, write_all
from scoring.outputs import finish, journal_path
from scoring.rows import ERROR, HEADER, Scored


class Summary:
    """Images by outcome, how many of them an earlier run had scored, and since when this one scores."""

    def __init__(self) -> None:
        self.begin(Counter())

    def begin(self, outcomes: Counter[str]) -> None:
        """Scoring begins, with what there is already, which the run goes on to count in."""
        self.outcomes = outcomes
        self.before = outcomes.total()
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long this run has scored."""
        return time.monotonic() - self._start

    def __str__(self) -> str:
        digits = {name: images for name, images in sorted(self.outcomes.items()) if name.isdecimal()}
        refused = {one: images for one, images in self.outcomes.most_common() if one not in digits and one != ERROR}
        seconds, scored = self.seconds, self.outcomes.total() - self.before
        lines = [
            f"{self.outcomes.total():,} images: {sum(digits.values()):,} read, {sum(refused.values()):,} refused, "
            f"{self.outcomes[ERROR]:,} not decoded",
            *(
                f"  {title}: " + ", ".join(f"{name} ({images:,})" for name, images in counts.items())
                for title, counts in [("digits", digits), ("refused", refused)]
                if counts
            ),
            f"  {scored:,} in {seconds:,.1f} s, {scored / seconds:,.0f} images/s"
            + (f"; {self.before:,} had been scored before" if self.before else ""),
        ]
        return "\n".join(lines)


def score_to_file(paths: Sequence[str], output: Path, engine: Engine, summary: Summary, anew: bool = False) -> None:
    """Scores what has no row yet, and makes the output when all has. Raises ScoringError.

    However it ends, started again it goes on from the rows that it has written, unless it is to begin anew.
    """
    writing = _Writing(str(output))
    with engine:
        with writing:
            journal = Journal(journal_path(output), engine.model, anew)
        with journal:
            summary.begin(journal.outcomes)
            for scored in shown(engine.score(journal.remaining(find_chunks(paths))), paths, summary.before):
                with writing:
                    journal.append(scored)
            if not journal.outcomes:
                raise ScoringError(f"{', '.join(paths)}: expected images; found none")
            with writing:
                finish(output)


def score_to_descriptor(paths: Sequence[str], descriptor: int, engine: Engine, summary: Summary) -> None:
    """Scores everything, and writes CSV. Raises ScoringError, and BrokenPipeError if nobody reads on."""
    writing = _Writing("standard output")
    with engine:
        summary.begin(Counter())
        with writing:
            write_all(descriptor, HEADER)
        for scored in shown(engine.score(find_chunks(paths)), paths, 0):
            with writing:
                write_all(descriptor, scored.text)
            summary.outcomes += scored.outcomes
    if not summary.outcomes:
        raise ScoringError(f"{', '.join(paths)}: expected images; found none")


class _Writing(AbstractContextManager[None]):
    """Raises ScoringError in place of an OSError other than BrokenPipeError."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            got = error.strerror or error
            raise ScoringError(f"{self._name}: expected to be able to write it; got: {got}") from error


def shown(scores: Iterator[Scored], paths: Sequence[str], before: int) -> Iterator[Scored]:
    """Shows a bar on a terminal; how many images there are is counted meanwhile."""
    with tqdm(unit=" images", unit_scale=True, initial=before, disable=None if sys.stderr else True) as bar:
        if not bar.disable:
            Thread(target=_count, args=(bar, paths), daemon=True).start()
        for scored in scores:
            bar.update(scored.outcomes.total())
            yield scored


def _count(bar: tqdm, paths: Sequence[str]) -> None:
    bar.total = count_images(paths)
