"""Images that are scored, a chunk at a time, and the files that they are read from."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self, TypeVar, cast

import numpy as np

from digits.decode import MAXIMUM_FILE_BYTES, GreyImage, ImageError, ImageTooLargeError, Pixels, decode
from scoring.extras import storage
from scoring.inputs.paths import is_folder, is_remote

# The most images in a chunk, and the most bytes, if the images are already read, unless one image has more.
CHUNK, CHUNK_BYTES = 256, 4 * 2**20

# A file's path, a file's bytes, pixels, or the reason why there is none of these.
Content = str | bytes | Pixels | ImageError
Item = TypeVar("Item")


@dataclass(frozen=True)
class Chunk:
    """Some images: their names in the output, and what they are decoded from; pixels are uint8 [N, H, W]."""

    names: Sequence[str]
    contents: Sequence[Content] | Pixels

    def load(self, index: int) -> GreyImage:
        """Decodes one image. Raises ImageError."""
        content = self.contents[index]
        if isinstance(content, str):
            return decode(read(content))
        if isinstance(content, np.ndarray):
            return GreyImage(content)
        if isinstance(content, ImageError):
            raise content
        return decode(content)

    def part(self, start: int, stop: int) -> Self:
        """A slice of the images."""
        return replace(self, names=self.names[start:stop], contents=self.contents[start:stop])

    def only(self, kept: Sequence[int]) -> Self:
        """The images with these indices."""
        contents = self.contents
        return replace(
            self,
            names=[self.names[one] for one in kept],
            contents=contents[kept] if isinstance(contents, np.ndarray) else [contents[one] for one in kept],
        )


def size_of(content: Content) -> int:
    """About how many bytes the content has when it is sent to another process."""
    return (
        content.nbytes if isinstance(content, np.ndarray) else len(content) if isinstance(content, str | bytes) else 0
    )


def grouped(items: Iterable[Item], size: Callable[[Item], int], most: int) -> Iterator[list[Item]]:
    """Groups of consecutive items, each of at most this total size unless a single item is larger."""
    group: list[Item] = []
    total = 0
    for item in items:
        if group and total + size(item) > most:
            yield group
            group, total = [], 0
        group.append(item)
        total += size(item)
    if group:
        yield group


def suffix(path: str) -> str:
    """The file name's suffix, in lower case."""
    return path[path.rfind(".") :].lower()


def read(path: str) -> bytes:
    """An image file's bytes. Raises ImageError."""
    if is_remote(path):
        return _read_remote(path)
    try:
        # Opening a pipe would block until somebody writes to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ImageError("expected a file, or a folder that can be read; got neither")
            _check_size(status.st_size)
            return os.read(descriptor, status.st_size)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise unreadable(error) from error


def _read_remote(path: str) -> bytes:
    try:
        with storage().open_file(path) as file:
            _check_size(file.size())
            return cast(bytes, file.read())
    except OSError as error:
        if is_folder(path):
            raise ImageError("expected a file, or a folder that can be read; got neither") from error
        raise unreadable(error) from error


def _check_size(size: int) -> None:
    if size > MAXIMUM_FILE_BYTES:
        raise ImageTooLargeError(f"expected at most {MAXIMUM_FILE_BYTES} bytes; got {size}")


def unreadable(error: OSError) -> ImageError:
    """The error for the row of an unreadable file."""
    return ImageError(f"the file cannot be read: {error.strerror or 'unknown error'}")
