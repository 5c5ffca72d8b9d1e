"""The rows of an unfinished run, next to its output; they survive whatever ends the run."""

import errno
import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

from scoring.completed import CompletedSet
from scoring.errors import ScoringError
from scoring.inputs.images import Chunk
from scoring.rows import HEADER, ModelIdentity, Scored, read_csv

# Rows survive a killed process at once, and a crash of the machine after this many seconds.
SYNC_SECONDS = 5


class Journal:
    """`FILE.partial`: rows in CSV. A run that is killed can leave the last row torn."""

    def __init__(self, path: Path, model: ModelIdentity, overwrite: bool = False) -> None:
        """Opens or creates the file, and reads its rows unless they are to be overwritten.

        All rows are of one model, and only one process has the file open. Raises ScoringError and OSError.
        """
        self.path = path
        self._completed = CompletedSet(model)
        self._file = path.open("ab+", buffering=0)
        try:
            lock(self._file.fileno(), str(path))
            if overwrite:
                self._file.truncate(0)
            self._read()
        except BaseException:
            self._file.close()
            raise
        self.outcomes = self._completed.outcomes
        self._synced = time.monotonic()

    def _read(self) -> None:
        """Reads the rows, and cuts off what follows the last complete one."""
        end = 0
        with self.path.open("rb") as file:
            head = file.read(len(HEADER))
            if not HEADER.startswith(head):
                raise ScoringError(f"{self.path}: expected the rows of a run; got something else; move or remove it")
            if head == HEADER:
                end = len(HEADER)
                for row_end, row in read_csv(file):
                    self._completed.add(row, self.path)
                    end = row_end
        self._file.truncate(end)
        if not end:
            write_all(self._file.fileno(), HEADER)

    def remaining(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """The images that have no row yet."""
        for chunk in chunks:
            missing = self._completed.missing(chunk.names)
            if len(missing) == len(chunk.names):
                yield chunk
            elif missing:
                yield chunk.only(missing)

    def append(self, scored: Scored) -> None:
        """Adds rows. Raises OSError."""
        write_all(self._file.fileno(), scored.text)
        if time.monotonic() > self._synced + SYNC_SECONDS:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if os.fstat(self._file.fileno()).st_size <= len(HEADER):
            self.path.unlink(missing_ok=True)
        self._file.close()


def lock(descriptor: int, path: str) -> None:
    """Locks out other runs until the file is closed. Raises ScoringError if another run holds the lock, and OSError."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ScoringError(f"{path}: another run is writing it") from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP):  # some network file systems have no locks
            raise


def write_all(descriptor: int, data: bytes) -> None:
    """Writes bytes without a buffer. Raises OSError."""
    written = 0
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])
