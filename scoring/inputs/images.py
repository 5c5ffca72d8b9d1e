"""Where images come from: files, and the many images of IDX and Parquet files, a chunk at a time."""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import BinaryIO, Self, cast

import numpy as np

from digits import idx
from digits.decode import MAXIMUM_BYTES, ImageError, ImageTooLargeError, decode
from digits.picture import Picture, Pixels
from scoring.extras import parquet, storage
from scoring.inputs.paths import find_files, is_folder, is_remote

# What is looked at in a folder. HEIC and AVIF cannot be decoded, but whoever has them there is told so, a row each.
IMAGES = frozenset(
    f".{name}" for name in ("png", "jpg", "jpeg", "jfif", "webp", "bmp", "gif", "tif", "tiff", "heic", "heif", "avif")
)
PARQUET = ".parquet"
# Images that are found at once; of their bytes, where these are read meanwhile, so many at most, or one image's.
CHUNK, CHUNK_BYTES = 256, 4 * 2**20

# The path of a file, a file's bytes, pixels, or why there is none of these.
Content = str | bytes | Pixels | ImageError


@dataclass(frozen=True)
class Chunk:
    """Some images: how they are called in the output, and what they are decoded from; pixels are uint8 [N, H, W]."""

    names: Sequence[str]
    contents: Sequence[Content] | Pixels

    def load(self, index: int) -> Picture:
        """Decodes one image. Raises ImageError."""
        content = self.contents[index]
        if isinstance(content, str):
            return decode(read(content))
        if isinstance(content, np.ndarray):
            return Picture(content)
        if isinstance(content, ImageError):
            raise content
        return decode(content)

    @property
    def size(self) -> int:
        """About how many bytes it takes to hand it over."""
        contents = self.contents
        return contents.nbytes if isinstance(contents, np.ndarray) else sum(map(size_of, contents))

    def part(self, start: int, stop: int) -> Self:
        """Images that follow each other."""
        return replace(self, names=self.names[start:stop], contents=self.contents[start:stop])

    def only(self, kept: Sequence[int]) -> Self:
        """Some of the images."""
        contents = self.contents
        return replace(
            self,
            names=[self.names[one] for one in kept],
            contents=contents[kept] if isinstance(contents, np.ndarray) else [contents[one] for one in kept],
        )


def size_of(content: Content) -> int:
    """About how many bytes it takes to hand it over."""
    return (
        content.nbytes if isinstance(content, np.ndarray) else len(content) if isinstance(content, str | bytes) else 0
    )


def find_chunks(paths: Iterable[str]) -> Iterator[Chunk]:
    """Every image of files, folders, globs, IDX and Parquet files, in a fixed order, as it is needed.

    The images of an IDX or Parquet file are called `file#0`, `file#1`, …. A file that cannot be read is one image that
    cannot be loaded. Raises ScoringError for a Parquet file without PyArrow.
    """
    for found in find(paths):
        yield from [found] if isinstance(found, Chunk) else read_many(found)


def find(paths: Iterable[str]) -> Iterator[Chunk | str]:
    """Image files, a chunk at a time, and the paths of IDX and Parquet files, in a fixed order."""
    images: list[str] = []
    for path in find_files(paths, holds_images):
        if suffix(path) in IMAGES or not (is_parquet(path) or is_idx(path)):
            images.append(path)
            if len(images) == CHUNK:
                yield Chunk(images, images)
                images = []
            continue
        if images:
            yield Chunk(images, images)
            images = []
        yield path
    if images:
        yield Chunk(images, images)


def count_images(paths: Iterable[str]) -> int:
    """As many as `find_chunks` gives, by the headers of IDX and Parquet files, which are not read further."""
    return sum(len(found.names) if isinstance(found, Chunk) else count_many(found) for found in find(paths))


def read_many(path: str, first: int = 0) -> Iterator[Chunk]:
    """The images of an IDX or Parquet file: those from one on, and perhaps some before it."""
    return parquet().read_images(path, first) if is_parquet(path) else read_idx(path, first)


def count_many(path: str) -> int:
    """As many as `read_many` gives, by the file's header."""
    return int(parquet().count_rows(path)) if is_parquet(path) else _count_idx(path)


def holds_images(path: str) -> bool:
    """Whether a file is named as one of images."""
    return suffix(path) in IMAGES or is_parquet(path) or "idx3-ubyte" in os.path.basename(path)


def suffix(path: str) -> str:
    """The end of a file's name from its last dot on, in small letters."""
    return path[path.rfind(".") :].lower()


def is_parquet(path: str) -> bool:
    """Whether a file is named as Parquet."""
    return suffix(path) == PARQUET


def is_idx(path: str) -> bool:
    """Whether a file that is not named as an image is IDX, zipped or not, by its first bytes."""
    if suffix(path) in IMAGES or not (is_remote(path) or os.path.isfile(path)):  # a pipe would block
        return False
    try:
        with _open(path) as file:
            return idx.is_idx(file)
    except (OSError, ImageError):
        return False


def read(path: str) -> bytes:
    """An image file's bytes. Raises ImageError."""
    if is_remote(path):
        return _read_remote(path)
    try:
        # A pipe would be waited for until somebody writes into it.
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
    """What the row of a file says that the system does not let us read."""
    return ImageError(f"expected a file that can be read; got: {error.strerror or 'it cannot be'}")


def read_idx(path: str, first: int = 0) -> Iterator[Chunk]:
    """The images of an IDX file, gzipped or not; if it is broken, the file itself follows as an image with an error.

    Starts with the chunk that holds the image `first`; nothing is said of a break before that.
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
            return idx.count_images(file)
    except (OSError, ImageError):
        return 1
