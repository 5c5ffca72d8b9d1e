"""The output of a cluster: a local or remote folder of Parquet files, each of which is complete or absent."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import pyarrow as pa
from pyarrow.fs import FileSelector, FileType, LocalFileSystem

from scoring.errors import ScoringError
from scoring.inputs.paths import is_remote
from scoring.journal import lock
from scoring.parquet import columns, read_rows
from scoring.rows import IMAGES, LAYOUTS, Layout, ModelIdentity
from scoring.storage import locate, plain

# Named as other writers of such folders name them; readers skip names that start with an underscore.
FINISHED, NEW = "_SUCCESS", "_new"
_NAME = re.compile(r"rows-[0-9a-f-]+\.parquet")
# Here a file appears only when it is complete, so that it needs no temporary name.
_OBJECT_STORES = frozenset(("s3", "gcs", "abfs"))


@contextmanager
def _explained(file: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ScoringError(f"{file}: cannot be read or written: {plain(error).strerror}") from error
    except (pa.ArrowException, ValueError) as error:
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
            found = self._system.get_file_info(FileSelector(self._inner))
            self.names = {
                one.base_name for one in found if one.type == FileType.File and _NAME.fullmatch(one.base_name)
            }
        return self

    def __exit__(self, *_error: object) -> None:
        if self._lock is not None:
            os.close(self._lock)

    def _at(self, name: str) -> str:
        return f"{self._inner.rstrip('/')}/{name}"

    def is_finished(self) -> bool:
        """Whether an earlier run scored everything."""
        with _explained(self.path):
            return bool(self._system.get_file_info(self._at(FINISHED)).type == FileType.File)

    def delete(self, names: set[str]) -> None:
        """Removes files of rows, and the mark that the output is complete."""
        with _explained(self.path):
            for name in [FINISHED] * self.is_finished() + sorted(names):
                self._system.delete_file(self._at(name))
        self.names = self.names - names

    def check(self, layout: Layout) -> None:
        """Raises ScoringError if the files have rows of another layout."""
        for name in sorted(self.names)[:1]:
            with _explained(f"{self.path}/{name}"), self._system.open_input_file(self._at(name)) as file:
                found = LAYOUTS.get(columns(file))
            if found and found != layout:
                raise ScoringError(
                    f"{self.path}: expected rows of {layout.subject}; got rows of {found.subject}; start over with "
                    "--overwrite, or choose another folder"
                )

    def read(self, name: str, model: ModelIdentity, layout: Layout = IMAGES) -> tuple[int, Counter[str]]:
        """The number of images in a file of rows, and the rows' outcomes. Raises ScoringError for another model's."""
        with _explained(f"{self.path}/{name}"), self._system.open_input_file(self._at(name)) as file:
            rows = list(read_rows(file, layout))
        for other in {row.identity for row in rows} - {model}:
            raise ScoringError(
                f"{self.path}/{name}: expected rows of the model {model}; got {other}; "
                "score with that model, or start over with --overwrite"
            )
        return sum(row.begins_image for row in rows), Counter(row.outcome for row in rows)

    def finish(self) -> None:
        """Marks the output as complete."""
        self.write(FINISHED, b"")

    def write(self, name: str, data: bytes) -> None:
        """Adds a file, atomically."""
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
