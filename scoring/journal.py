"""The rows of a run that is not done, beside its output: what survives whatever ends the run."""

import errno
import fcntl
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from scoring.completed import Names
from scoring.errors import ScoringError
from scoring.inputs.images import Chunk
from scoring.rows import HEADER, Model, Scored, read_csv

# Seconds after which rows are sure to be on the disk, should the machine fail; should the process be killed, they are
# at once.
SYNC_SECONDS = 5


class Journal:
    """`FILE.partial`: rows in CSV, of which a run that was ended leaves the last one torn at most."""

    def __init__(self, path: Path, model: Model, anew: bool = False) -> None:
        """Opens it, with the rows that it has unless it begins anew, or makes it. Raises ScoringError and OSError.

        It holds rows of one model only, and is open in one process only.
        """
        self.path = path
        self.outcomes: Counter[str] = Counter()
        self._file = path.open("ab+", buffering=0)
        try:
            lock(self._file.fileno(), str(path))
            if anew:
                self._file.truncate(0)
            self._done = Names(self._rows(model))
        except BaseException:
            self._file.close()
            raise
        self._synced = time.monotonic()

    def _rows(self, model: Model) -> Iterator[str]:
        """The paths of the rows that are there; what follows the last whole one is cut off."""
        end = 0
        with self.path.open("rb") as file:
            head = file.read(len(HEADER))
            if not HEADER.startswith(head):
                raise ScoringError(
                    f"{self.path}: expected the rows of a run, or no such file; got something else; remove it"
                )
            if head == HEADER:
                end = len(HEADER)
                for row_end, row in read_csv(file):
                    if row[5:] != model:
                        raise ScoringError(
                            f"{self.path}: expected rows of the model {' '.join(model)}; got {' '.join(row[5:])}; "
                            "score with that one, or begin anew with --overwrite"
                        )
                    self.outcomes[row.outcome] += 1
                    yield row.path
                    end = row_end
        self._file.truncate(end)
        if not end:
            write_all(self._file.fileno(), HEADER)

    def remaining(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """What of the chunks has no row yet."""
        for chunk in chunks:
            kept = self._done.others(chunk.names)
            if len(kept) == len(chunk.names):
                yield chunk
            elif kept:
                yield chunk.only(kept)

    def append(self, scored: Scored) -> None:
        """Adds rows. Raises OSError."""
        write_all(self._file.fileno(), scored.text)
        self.outcomes += scored.outcomes
        if time.monotonic() > self._synced + SYNC_SECONDS:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.outcomes:
            self.path.unlink(missing_ok=True)
        self._file.close()


def lock(descriptor: int, path: str) -> None:
    """Keeps other runs from what is open, until it is closed. Raises ScoringError if one is at it, and OSError."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ScoringError(f"{path}: expected to write it alone; another run is at it") from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP):  # some network file systems know no locks
            raise


def write_all(descriptor: int, data: bytes) -> None:
    """Writes bytes past any buffer. Raises OSError."""
    written = 0
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])
