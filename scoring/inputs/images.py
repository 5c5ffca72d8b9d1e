"""Where images come from: files, and IDX and Parquet files of many images; a chunk at a time."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import BinaryIO, Self, TypeVar, cast

import numpy as np

from digits import idx
from digits.decode import MAXIMUM_BYTES, GreyImage, ImageError, ImageTooLargeError, Pixels, decode
from digits.formats import format_name
from scoring.extras import parquet, storage
from scoring.inputs.paths import find_files, is_folder, is_remote

# The files of a folder that are scored. HEIC and AVIF cannot be decoded: each such file becomes an error row.
IMAGES = frozenset(
    f".{name}" for name in ("png", "jpg", "jpeg", "jfif", "webp", "bmp", "gif", "tif", "tiff", "heic", "heif", "avif")
)
PARQUET = ".parquet"
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

    @property
    def size(self) -> int:
        """About how many bytes the chunk has when it is sent to another process."""
        contents = self.contents
        return contents.nbytes if isinstance(contents, np.ndarray) else sum(map(size_of, contents))

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


def find_chunks(paths: Iterable[str]) -> Iterator[Chunk]:
    """Every image of files, folders, globs, IDX and Parquet files, lazily and in a fixed order.

    The images of an IDX or Parquet file are named `file#0`, `file#1`, …. A file that cannot be read is one image that
    cannot be loaded. Raises ScoringError for a Parquet file if PyArrow is not installed.
    """
    for found in find(paths):
        yield from [found] if isinstance(found, Chunk) else read_many(found)


def find(paths: Iterable[str]) -> Iterator[Chunk | str]:
    """Chunks of image files, and the paths of IDX and Parquet files, in a fixed order."""
    for has_many, files in groupby(find_files(paths, holds_images), lambda path: is_parquet(path) or is_idx(path)):
        if has_many:
            yield from files
        while not has_many and (names := list(islice(files, CHUNK))):
            yield Chunk(names, names)


def count_images(paths: Iterable[str]) -> int:
    """The number of images that `find_chunks` gives, according to the headers of IDX and Parquet files."""
    return sum(len(found.names) if isinstance(found, Chunk) else count_many(found) for found in find(paths))


def read_many(path: str, first: int = 0) -> Iterator[Chunk]:
    """The images of an IDX or Parquet file, from the chunk that holds the image `first`."""
    return parquet().read_images(path, first) if is_parquet(path) else read_idx(path, first)


def count_many(path: str) -> int:
    """The number of images that `read_many` gives, according to the file's header."""
    return int(parquet().count_rows(path)) if is_parquet(path) else _count_idx(path)


def holds_images(path: str) -> bool:
    """Whether a file is scored when it is found in a folder, by its name."""
    return suffix(path) in IMAGES or is_parquet(path) or "idx3-ubyte" in os.path.basename(path)


def suffix(path: str) -> str:
    """The file name's suffix, in lower case."""
    return path[path.rfind(".") :].lower()


def is_parquet(path: str) -> bool:
    """Whether a file is Parquet, by its name."""
    return suffix(path) == PARQUET


def is_idx(path: str) -> bool:
    """Whether a file is IDX, gzipped or not, by its first bytes; False if its name says that it is an image."""
    if suffix(path) in IMAGES or not (is_remote(path) or os.path.isfile(path)):  # opening a pipe would block
        return False
    try:
        with _open(path) as file:
            return format_name(file.read(3)) == "IDX"
    except (OSError, ImageError):
        return False


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
    if size > MAXIMUM_BYTES:
        raise ImageTooLargeError(f"expected at most {MAXIMUM_BYTES} bytes; got {size}")


def unreadable(error: OSError) -> ImageError:
    """The error for the row of an unreadable file."""
    return ImageError(f"the file cannot be read: {error.strerror or 'unknown error'}")


def read_idx(path: str, first: int = 0) -> Iterator[Chunk]:
    """The images of an IDX file, gzipped or not; if it is broken, the file itself follows as an image with an error.

    Starts with the chunk that holds the image `first`. A break before that gives no error.
    """
    end = 0
    failure: ImageError | None = None
    try:
        with _open(path) as file:
            for images in idx.read_images(file, CHUNK, CHUNK_BYTES):
                start, end = end, end + len(images)
                if end > first:
                    yield Chunk([f"{path}#{number}" for number in range(start, end)], images)
    except OSError as error:
        failure = unreadable(error)
    except ImageError as error:
        failure = error
    if failure and end >= first:
        yield Chunk([path], [failure])


def _open(path: str) -> AbstractContextManager[BinaryIO]:
    """A file's content, decompressed if it is gzip. Raises OSError and ImageError."""
    return idx.unzipped(cast(BinaryIO, storage().open_file(path) if is_remote(path) else open(path, "rb")))


def _count_idx(path: str) -> int:
    try:
        with _open(path) as file:
            return idx.image_shape(file)[0]
    except (OSError, ImageError):
        return 1
