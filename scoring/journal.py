"""The rows of an unfinished run, next to its output, in an SQLite database that survives whatever ends the run."""

import errno
import fcntl
import os
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self
from urllib.parse import quote

from scoring.errors import ScoringError
from scoring.inputs.images import Chunk
from scoring.rows import IMAGES, Layout, ModelIdentity, Row, Scored

# Batches that follow each other faster share a transaction, as a commit waits for the disk, or for a file server.
COMMIT_SECONDS = 0.1
_SQLITE = b"SQLite format 3\0"
# Made when a run goes on: the images that have rows. An index of it is only needed then.
_EARLIER = """
DROP TABLE IF EXISTS images;
CREATE TABLE images (id INTEGER PRIMARY KEY, name BLOB NOT NULL);
CREATE INDEX by_name ON images (name);
"""


class Journal:
    """`FILE.partial`: rows as CSV, some images' at a time, in the order in which they were scored.

    It uses SQLite's rollback journal and one lock of its own, as the file may be on NFS or SMB.
    """

    def __init__(self, path: Path, model: ModelIdentity, overwrite: bool = False, layout: Layout = IMAGES) -> None:
        """Opens or creates the file, and reads its rows unless they are to be overwritten.

        All rows are of one model and layout, and only one process has the file open. Raises ScoringError and OSError.
        """
        self.path, self.layout = path, layout
        self.images, self.outcomes = 0, Counter[str]()
        self._file = path.open("ab+", buffering=0)
        try:
            lock(self._file.fileno(), str(path))
            if overwrite:
                path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
                self._file.truncate(0)
            self._check_format()
            address = f"file:{quote(os.fsencode(path.absolute()))}?nolock=1"
            self._database = sqlite3.connect(address, uri=True, isolation_level=None)
            with self._explained():
                self._begin(model)
                self._read_earlier()
        except BaseException:
            self._file.close()
            raise
        self._committed = 0.0

    def _check_format(self) -> None:
        self._file.seek(0)
        begin = self._file.read(len(_SQLITE))
        if begin == IMAGES.header[: len(_SQLITE)]:
            raise ScoringError(
                f"{self.path}: the run was begun by an older version of this program; finish it with that version, or "
                "start over with --overwrite"
            )
        if begin not in (b"", _SQLITE):
            raise ScoringError(f"{self.path}: expected the rows of a run; got something else; move or remove it")

    def _begin(self, model: ModelIdentity) -> None:
        if not self._database.execute("SELECT name FROM sqlite_master").fetchone():
            self._database.execute("BEGIN")
            self._database.execute("CREATE TABLE run (model TEXT, version TEXT, sha256 TEXT, subject TEXT)")
            self._database.execute("INSERT INTO run VALUES (?, ?, ?, ?)", [*model, self.layout.subject])
            self._database.execute("CREATE TABLE scored (id INTEGER PRIMARY KEY, rows BLOB NOT NULL)")
            self._database.commit()
        *found, subject = self._database.execute("SELECT * FROM run").fetchone()
        if subject != self.layout.subject:
            raise ScoringError(
                f"{self.path}: expected rows of {self.layout.subject}; got rows of {subject}; --read must be as it was "
                "when the run was begun; or start over with --overwrite"
            )
        if (other := ModelIdentity(*found)) != model:
            raise ScoringError(
                f"{self.path}: expected rows of the model {model}; got {other}; "
                "score with that model, or start over with --overwrite"
            )

    def _read_earlier(self) -> None:
        def names() -> Iterator[tuple[bytes]]:
            for row in self.rows():
                self.outcomes[row.outcome] += 1
                if row.begins_image:
                    self.images += 1
                    yield (os.fsencode(row.path),)

        self._is_needed = self._database.execute("SELECT id FROM scored LIMIT 1").fetchone() is not None
        if self._is_needed:
            self._database.executescript(_EARLIER)
            self._database.execute("BEGIN")
            self._database.executemany("INSERT INTO images (name) VALUES (?)", names())
            self._database.commit()

    def remaining(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """The images that have no rows yet. Each that has counts for one image of its name, once."""
        found = bytearray(self.images + 1)
        for chunk in chunks:
            missing = self._missing(chunk, found) if self.images else range(len(chunk.names))
            if missing:
                yield chunk if len(missing) == len(chunk.names) else chunk.only(missing)

    def _missing(self, chunk: Chunk, found: bytearray) -> list[int]:
        names = [os.fsencode(name) for name in chunk.names]
        query = f"SELECT name, id FROM images WHERE name IN ({', '.join('?' * len(names))})"  # noqa: S608 - only marks
        records: defaultdict[bytes, list[int]] = defaultdict(list)
        with self._explained():
            for name, record in self._database.execute(query, names):
                if not found[record]:
                    records[name].append(record)
        missing = []
        for index, name in enumerate(names):
            if records[name]:
                found[records[name].pop()] = True
            else:
                missing.append(index)
        return missing

    def append(self, scored: Scored) -> None:
        """Adds rows, all or none of an image's. Raises ScoringError."""
        with self._explained():
            if not self._database.in_transaction:
                self._database.execute("BEGIN")
            self._database.execute("INSERT INTO scored (rows) VALUES (?)", [scored.text])
            self._is_needed = True
            if time.monotonic() > self._committed + COMMIT_SECONDS:
                self._database.commit()
                self._committed = time.monotonic()

    def texts(self) -> Iterator[bytes]:
        """The rows as CSV, some at a time, in order."""
        for [text] in self._database.execute("SELECT rows FROM scored ORDER BY id"):
            yield text

    def rows(self) -> Iterator[Row]:
        """The rows in order."""
        return self.layout.read(self.texts())

    def remove(self) -> None:
        """Removes the file on exit, as its rows are in the output."""
        self._is_needed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        with suppress(sqlite3.Error):  # the disk may be full, which has been reported
            if self._is_needed:
                self._database.commit()
        self._database.close()
        if not self._is_needed:
            self.path.unlink(missing_ok=True)
        self._file.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise ScoringError(f"{self.path}: cannot be read or written: {error}") from error


def lock(descriptor: int, path: str) -> None:
    """Locks out other runs until the file is closed. Raises ScoringError if another run holds the lock, and OSError."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ScoringError(f"{path}: another run is writing it") from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP):  # some network file systems have no locks
            raise
