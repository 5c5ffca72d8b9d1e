"""ZIP and TAR files, which are read and never unpacked to disk."""

import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import PureWindowsPath
from typing import BinaryIO, NamedTuple, cast
from zipfile import ZipFile

from digits.decode import MAXIMUM_BYTES, MAXIMUM_FILE_BYTES, ImageError, ImageTooLargeError
from digits.folders import IMAGE_SUFFIXES, is_junk
from scoring.errors import ScoringError
from scoring.inputs.containers import (
    STREAMED,
    ZIP,
    Batch,
    NoImagesError,
    kind_of_name,
    numbered,
    open_file,
    open_unzipped,
)
from scoring.inputs.images import CHUNK, CHUNK_BYTES, Content, grouped, size_of, suffix

# How large an archive may be unpacked: so many times its own size, and so many bytes more.
GROWTH, GROWTH_BYTES = 200, 2**26


class _Member(NamedTuple):
    """A file in an archive, with its size unpacked."""

    name: str
    size: int
    open: Callable[[], BinaryIO]


def read_archive(path: str, kind: str) -> Iterator[Batch]:
    """The images of an archive by their names in it; arrays and tables of images are numbered: `x_test.npy/0`.

    A member that cannot be read is an image with an error. Raises ImageError for a hostile archive.
    """
    with open_file(path) as file:
        packed = file.seek(0, os.SEEK_END)
    members = _zip_members(path) if kind == ZIP else _tar_members(path)
    failure: Exception | None = None

    def images() -> Iterator[tuple[str, Content]]:
        nonlocal failure
        try:
            for member in _checked(members, packed):
                yield from _images(member)
        except Exception as error:  # raised after the images before it
            failure = error

    start = 0
    for group in grouped(images(), lambda image: max(size_of(image[1]), CHUNK_BYTES // CHUNK), CHUNK_BYTES):
        yield start, [name for name, _ in group], [content for _, content in group]
        start += len(group)
    if failure:
        raise failure


def _zip_members(path: str) -> Iterator[_Member]:
    with open_file(path) as file, ZipFile(file) as archive:
        files = [one for one in archive.infolist() if not one.is_dir()]
        members = [
            _Member(one.filename, one.file_size, cast(Callable[[], BinaryIO], partial(archive.open, one)))
            for one in files
        ]
        list(_checked(members, archive.start_dir))  # before the first image, so that a hostile archive gives none
        yield from members


def _tar_members(path: str) -> Iterator[_Member]:
    with open_unzipped(path) as file, tarfile.open(fileobj=cast(BinaryIO, _Bounded(file)), mode="r:") as archive:
        for one in archive:
            if one.isreg():
                yield _Member(one.name, one.size, cast(Callable[[], BinaryIO], partial(archive.extractfile, one)))
            archive.members = []  # type: ignore[attr-defined] # they would take a kilobyte each


class _Bounded:
    """A file that refuses to read a hostile header into memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int) -> bytes:
        """Like a file's. Raises ImageError."""
        if size > MAXIMUM_BYTES:
            raise ImageError(f"expected TAR headers of at most {MAXIMUM_BYTES} bytes; got {size}")
        return self._file.read(size)


def _checked(members: Iterable[_Member], packed: int) -> Iterator[_Member]:
    unpacked = 0
    for member in members:
        path = PureWindowsPath(member.name)  # takes both slashes, and drives
        if path.anchor or ".." in path.parts:
            raise ImageError(f"expected an archive of relative paths; got {member.name!r}")
        unpacked += member.size
        if unpacked > GROWTH * packed + GROWTH_BYTES:
            raise ImageError(f"expected an archive that unpacks to at most {GROWTH} times its size; got a larger one")
        yield member


def _images(member: _Member) -> Iterator[tuple[str, Content]]:
    """A member's images; none if it holds something else."""
    read = STREAMED.get(kind_of_name(member.name) or "")
    if is_junk(member.name) or not (read or suffix(member.name) in IMAGE_SUFFIXES):
        return
    try:
        with member.open() as file:
            if read:
                for _, numbers, contents in numbered(read(file)):
                    yield from zip((f"{member.name}/{number}" for number in numbers), contents, strict=True)
            elif member.size > MAXIMUM_FILE_BYTES:
                raise ImageTooLargeError(f"expected at most {MAXIMUM_FILE_BYTES} bytes; got {member.size}")
            else:
                yield member.name, file.read(MAXIMUM_FILE_BYTES)
    except NoImagesError:
        return
    except ScoringError:
        raise
    except ImageError as error:
        yield member.name, error
    except Exception:  # the libraries raise errors of many kinds for broken files
        yield member.name, ImageError("expected a file that can be unpacked without a password; got another")
