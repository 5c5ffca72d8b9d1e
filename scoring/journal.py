"""The rows of a run that is not done, beside its output: what survives whatever ends the run."""

import errno
import fcntl
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from scoring.errors import ScoringError
from scoring.rows import HEADER, Model, Scored, read_csv
from scoring.sources import Chunk

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
            self._lock()
            if anew:
                self._file.truncate(0)
            self._done = _Names(self._rows(model))
        except BaseException:
            self._file.close()
            raise
        self._synced = time.monotonic()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ScoringError(f"{self.path}: expected to write it alone; another run is at it") from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP):  # some network file systems know no locks
                raise

    def _rows(self, model: Model) -> Iterator[str]:
        """The paths of the rows that are there; what follows the last whole one is cut off."""
        end = 0
        with self.path.open("rb") as file:
            head = file.read(len(HEADER))
            if not HEADER.startswith(head):
                raise ScoringError(f"{self.path}: expected the rows of a run, or no such file; got something else")
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


def write_all(descriptor: int, data: bytes) -> None:
    """Writes bytes past any buffer. Raises OSError."""
    written = 0
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])


class _Names:
    """How often each name was given, in 24 bytes a name: a hash of 16 bytes, and a count."""

    def __init__(self, names: Iterable[str]) -> None:
        digests = bytearray()
        for name in names:
            digests += _digest(name)
        # As text of a fixed length, which NumPy can sort; that it drops zeros at the end makes no difference then.
        self._digests, self._counts = np.unique(np.frombuffer(digests, f"S{_DIGEST}"), return_counts=True)

    def others(self, names: Sequence[str]) -> list[int]:
        """Which of these names, by their places, were not given; each that was counts once, and then no more."""
        if not len(self._digests):
            return list(range(len(names)))
        asked = np.array([_digest(name) for name in names], self._digests.dtype)
        places = np.minimum(np.searchsorted(self._digests, asked), len(self._digests) - 1)
        others = []
        for index, place in enumerate(places):
            if self._digests[place] == asked[index] and self._counts[place]:
                self._counts[place] -= 1
            else:
                others.append(index)
        return others


_DIGEST = 16


def _digest(name: str) -> bytes:
    return blake2b(name.encode("utf-8", "surrogateescape"), digest_size=_DIGEST).digest()
