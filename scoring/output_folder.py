"""The output of a cluster: a local or remote folder of Parquet files; each file is complete or absent."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import pyarrow as pa
from pyarrow.fs import FileSelector, FileType, LocalFileSystem

from scoring.completed import CompletedSet
from scoring.errors import ScoringError
from scoring.inputs.paths import is_remote
from scoring.journal import lock
from scoring.parquet import read_rows
from scoring.rows import ModelIdentity
from scoring.storage import locate, plain

# Named as other writers of such folders name them; readers skip names that start with an underscore.
FINISHED, NEW = "_SUCCESS", "_new"
_NAME = re.compile(r"rows-([0-9]{6,})\.parquet")
# Here a file appears only when it is complete, so that it needs no temporary name.
_OBJECT_STORES = frozenset(("s3", "gcs", "abfs"))


@contextmanager
def _explained(file: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ScoringError(f"{file}: cannot be read or written: {plain(error).strerror}") from error
    except (pa.ArrowException, TypeError) as error:
        raise ScoringError(
            f"{file}: expected a file of scored rows; got something else; remove it, or start over with --overwrite"
        ) from error


class Folder:
    """One file of rows per shard, and `_SUCCESS` once all are there."""

    def __init__(self, path: str) -> None:
        """Raises ScoringError; so do all methods if the folder cannot be read or written."""
        self.path = path
        self._system, self._inner = locate(path if is_remote(path) else f"file://{os.path.abspath(path)}")
        self._lock: int | None = None

    def __enter__(self) -> Self:
        """Creates the folder if it is missing, and locks it if it is local."""
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

    def __exit__(self, *_error: object) -> None:
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
        """Whether an earlier run scored everything."""
        with _explained(self.path):
            return bool(self._system.get_file_info(self._at(FINISHED)).type == FileType.File)

    def clear(self) -> None:
        """Removes what earlier runs wrote, and nothing else."""
        with _explained(self.path):
            for name in [FINISHED] * self.is_finished() + [name for _, name in self._files]:
                self._system.delete_file(self._at(name))
        self._files = []

    def read(self, model: ModelIdentity) -> CompletedSet:
        """The rows that are there. Raises ScoringError for another model's."""
        completed = CompletedSet(model)
        for _, name in self._files:
            file_name = f"{self.path}/{name}"
            with _explained(file_name), self._system.open_input_file(self._at(name)) as file:
                for row in read_rows(file):
                    completed.add(row, file_name)
        return completed

    def write(self, data: bytes) -> None:
        """Adds a file of rows."""
        number = self._files[-1][0] + 1 if self._files else 0
        name = f"rows-{number:06}.parquet"
        self._write(name, data)
        self._files.append((number, name))

    def finish(self) -> None:
        """Marks the output as complete."""
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
