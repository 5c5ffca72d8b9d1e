"""The output of a cluster: a folder of Parquet files, here or in an object store, each there whole or not at all."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import pyarrow as pa
from pyarrow.fs import FileSelector, FileType, LocalFileSystem

from scoring.completed import Names
from scoring.errors import ScoringError
from scoring.inputs.paths import is_remote
from scoring.journal import lock
from scoring.parquet import read_rows
from scoring.rows import Model
from scoring.storage import locate, plain

# As other programs that write such folders call it; readers pass over names that begin so.
FINISHED, NEW = "_SUCCESS", "_new"
_NAME = re.compile(r"rows-([0-9]{6,})\.parquet")
# In which what is written is there whole or not at all anyway.
_OBJECT_STORES = frozenset(("s3", "gcs", "abfs"))


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        got = plain(error).strerror
        raise ScoringError(f"{what}: expected to be able to read and to write it; got: {got}") from error
    except (pa.ArrowException, TypeError) as error:
        raise ScoringError(
            f"{what}: expected a file of scored rows; got something else; remove it, or begin anew with --overwrite"
        ) from error


class Folder:
    """Files of rows, a shard each, and `_SUCCESS` when that is all."""

    def __init__(self, path: str) -> None:
        """Makes it if need be. Raises ScoringError; so do its methods, where it cannot be read or written."""
        self.path = path
        self.outcomes: Counter[str] = Counter()
        self._system, self._inner = locate(path if is_remote(path) else f"file://{os.path.abspath(path)}")
        self._lock: int | None = None

    def __enter__(self) -> Self:
        with _explained(self.path):
            self._system.create_dir(self._inner)
            if isinstance(self._system, LocalFileSystem):
                self._lock = os.open(self._inner, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    lock(self._lock, self.path)
                except BaseException:
                    os.close(self._lock)
                    raise
            self._files = sorted(self._names())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            os.close(self._lock)

    def _names(self) -> Iterator[tuple[int, str]]:
        for found in self._system.get_file_info(FileSelector(self._inner)):
            match = _NAME.fullmatch(found.base_name)
            if match and found.type == FileType.File:
                yield int(match[1]), found.base_name

    def _at(self, name: str) -> str:
        return f"{self._inner.rstrip('/')}/{name}"

    def is_finished(self) -> bool:
        """Whether an earlier run has done it all."""
        with _explained(self.path):
            return bool(self._system.get_file_info(self._at(FINISHED)).type == FileType.File)

    def clear(self) -> None:
        """Removes what earlier runs have written, and nothing else."""
        with _explained(self.path):
            for name in [FINISHED] * self.is_finished() + [name for _, name in self._files]:
                self._system.delete_file(self._at(name))
        self._files = []

    def read(self, model: Model) -> Names:
        """The names of the images that have rows, which it counts. Raises ScoringError for another model's."""
        return Names(self._rows(model))

    def _rows(self, model: Model) -> Iterator[str]:
        for _, name in self._files:
            with _explained(f"{self.path}/{name}"), self._system.open_input_file(self._at(name)) as file:
                for row in read_rows(file):
                    if row[5:] != model:
                        raise ScoringError(
                            f"{self.path}/{name}: expected rows of the model {' '.join(model)}; got "
                            f"{' '.join(row[5:])}; score with that one, or begin anew with --overwrite"
                        )
                    self.outcomes[row.outcome] += 1
                    yield row.path

    def write(self, data: bytes) -> None:
        """Adds a file of rows."""
        number = self._files[-1][0] + 1 if self._files else 0
        name = f"rows-{number:06}.parquet"
        self._write(name, data)
        self._files.append((number, name))

    def finish(self) -> None:
        """Says that this is all."""
        self._write(FINISHED, b"")

    def _write(self, name: str, data: bytes) -> None:
        with _explained(self.path):
            if self._system.type_name in _OBJECT_STORES:
                self._put(name, data)
                return
            self._put(NEW, data)
            self._system.move(self._at(NEW), self._at(name))

    def _put(self, name: str, data: bytes) -> None:
        with self._system.open_output_stream(self._at(name), compression=None) as file:
            file.write(data)
        if isinstance(self._system, LocalFileSystem):
            descriptor = os.open(self._at(name), os.O_RDONLY | os.O_CLOEXEC)
            os.fsync(descriptor)
            os.close(descriptor)
