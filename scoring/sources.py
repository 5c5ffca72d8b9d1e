"""Where images come from: files, folders and IDX files."""

import gzip
import os
import stat
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from service.decode import MAXIMUM_BYTES, ImageError, ImageTooLargeError, decode, decode_idx
from service.picture import Picture

# What is looked at in a folder. HEIC and AVIF cannot be decoded, but whoever has them there is told so, a row each.
SUFFIXES = frozenset(
    f".{name}" for name in ("png", "jpg", "jpeg", "jfif", "webp", "bmp", "gif", "tif", "tiff", "heic", "heif", "avif")
)


@dataclass(frozen=True)
class Source:
    """One image: how it is called in the output, and how to decode it (raises ImageError)."""

    path: str
    load: Callable[[], Picture]


def find_images(paths: Iterable[Path]) -> Iterator[Source]:
    """Every image of the files, folders (recursive) and IDX files, in a fixed order.

    An IDX file's images are called `file#0`, `file#1`, …. One that cannot be read is one source, whose `load` raises.
    """
    for path in _find_files(paths):
        yield from _idx_sources(path) if _is_idx(path) else [Source(str(path), partial(_load, path))]


def count_images(paths: Iterable[Path]) -> int:
    """As many as `find_images` gives, by the headers of IDX files, which are not read further."""
    return sum(_idx_length(path) if _is_idx(path) else 1 for path in _find_files(paths))


def _find_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Files as given; below folders those that look like images, by their names, and folders that cannot be read."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        unreadable: list[OSError] = []
        for directory, folders, files in os.walk(path, onerror=unreadable.append):
            yield from (Path(error.filename) for error in unreadable)
            unreadable.clear()
            folders.sort()
            for name in sorted(files):
                found = Path(directory, name)
                if found.suffix.lower() in SUFFIXES or "idx3-ubyte" in name:
                    yield found
        yield from (Path(error.filename) for error in unreadable)


def _is_idx(path: Path) -> bool:
    return path.suffix.lower() not in SUFFIXES and _head(path)[:3] == b"\x00\x00\x08"


def _head(path: Path) -> bytes:
    """The first 16 bytes, unzipped."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            head = file.read(16)
        if head[:2] == b"\x1f\x8b":
            with gzip.open(path) as file:
                head = file.read(16)
        return head
    except (OSError, EOFError):
        return b""


def _idx_length(path: Path) -> int:
    head = _head(path)
    return int(struct.unpack(">I", head[4:8])[0]) if len(head) == 16 and head[3] == 3 else 1


def _idx_sources(path: Path) -> Iterator[Source]:
    try:
        images = decode_idx(path.read_bytes())
        if images.ndim != 3:
            raise ImageError("expected an IDX file of images; got one of labels")
    except (OSError, ImageError) as error:
        failure = error if isinstance(error, ImageError) else _unreadable(error)
        yield Source(str(path), partial(_fail, failure))
        return
    for index, pixels in enumerate(images):
        yield Source(f"{path}#{index}", partial(Picture, pixels))


def _fail(error: ImageError) -> Picture:
    raise error


def _unreadable(error: OSError) -> ImageError:
    return ImageError(f"expected a file that can be read; got: {error.strerror or 'it cannot be'}")


def _load(path: Path) -> Picture:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            # A folder comes here only if it could not be searched.
            raise ImageError("expected a file, or a folder that can be read; got neither")
        if status.st_size > MAXIMUM_BYTES:
            raise ImageTooLargeError(f"expected at most {MAXIMUM_BYTES} bytes; got {status.st_size}")
        return decode(path.read_bytes())
    except OSError as error:
        raise _unreadable(error) from error
