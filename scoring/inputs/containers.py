"""Files that hold many images: IDX, NumPy, Parquet, CSV, ZIP and TAR; each is read as a stream."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import BinaryIO, cast

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from digits import idx
from digits.decode import MAXIMUM_PIXELS, MAXIMUM_SIDE, ImageError, ImageTooLargeError, Pixels
from digits.folders import IMAGE_SUFFIXES
from digits.formats import format_name
from scoring.errors import ScoringError
from scoring.extras import storage, tables
from scoring.inputs.images import CHUNK, CHUNK_BYTES, Chunk, Content, suffix, unreadable
from scoring.inputs.paths import is_remote

IDX, NUMPY, PARQUET, CSV, ZIP, TAR = "IDX", "NumPy", "Parquet", "CSV", "ZIP", "TAR"
_SUFFIXES = {
    ".parquet": PARQUET,
    ".csv": CSV,
    ".csv.gz": CSV,
    ".npy": NUMPY,
    ".npz": ZIP,
    ".zip": ZIP,
    **dict.fromkeys((".tar", ".tar.gz", ".tgz"), TAR),
}
# Where a file's first bytes say what it is, besides those of `format_name`.
_SIGNATURES = ((0, b"\x93NUMPY", NUMPY), (257, b"ustar", TAR))
# An image has at least so many pixels; a table with fewer columns and no header, or a narrower array, has none.
LEAST_PIXELS = 16

# Pixels, uint8 [N, H, W], or a list of contents.
Contents = Sequence[Content] | Pixels
# The number of the first image, the images' names within the file, and the images.
Batch = tuple[int, Sequence[str] | range, Contents]


class NoImagesError(ImageError):
    """The file's header says that it holds something else than images, such as labels."""


def kind_of(path: str) -> str | None:
    """The kind of a file of many images, by its name or else by its first bytes; None if it is something else."""
    if suffix(path) in IMAGE_SUFFIXES:
        return None
    if kind := kind_of_name(path):
        return kind
    if not (is_remote(path) or os.path.isfile(path)):  # opening a pipe would block
        return None
    try:
        with open_unzipped(path) as file:
            begin = file.read(262)
    except (OSError, ImageError):
        return None
    if (name := format_name(begin)) in (IDX, ZIP):
        return name
    return next((kind for at, sign, kind in _SIGNATURES if begin[at : at + len(sign)] == sign), None)


def kind_of_name(name: str) -> str | None:
    """The kind of a file of many images, by its name."""
    name = os.path.basename(name).lower()
    if "idx3-ubyte" in name:
        return IDX
    return next((kind for end, kind in _SUFFIXES.items() if name.endswith(end)), None)


def holds_images(path: str) -> bool:
    """Whether a file is scored when it is found in a folder; a table or array of something else, as labels, is not."""
    if suffix(path) in IMAGE_SUFFIXES:
        return True
    kind = kind_of_name(path)
    if kind in (CSV, NUMPY):
        try:
            next(_batches(path, kind, 0), None)
        except (NoImagesError, ScoringError):  # or PyArrow is missing, which a folder with labels.csv does not need
            return False
        except (ImageError, OSError):
            return True
    return kind is not None


def read_many(path: str, first: int = 0, stop: int | None = None, transposed: bool = False) -> Iterator[Chunk]:
    """A file's images by number, named `file#0`, `file#1`, … or `file#member`.

    If the file is broken, it follows as an image with an error; a break before `first` or after `stop` gives no error.
    `transposed` swaps the rows and columns of pixels. Raises ScoringError if a package is missing.
    """
    end, kind = 0, kind_of(path)
    failure: ImageError | None = None
    try:
        for start, names, contents in _batches(path, kind, first):
            end = start + len(names)
            part = slice(max(0, first - start), None if stop is None else max(0, stop - start))
            if kept := [f"{path}#{name}" for name in names[part]]:
                yield Chunk(kept, _transposed(contents[part]) if transposed else contents[part])
            if stop is not None and end >= stop:
                return
    except ScoringError:
        raise
    except ImageError as error:
        failure = error
    except Exception as error:  # the libraries raise errors of many kinds for broken files
        broken = ImageError(f"expected a whole {kind} file; got one that is broken or cut short")
        failure = unreadable(error) if isinstance(error, OSError) and error.errno else broken
    if failure and end >= first:
        yield Chunk([path], [failure])


def count_many(path: str) -> int | None:
    """The number of images that `read_many` gives, according to the file's header; None if that does not say."""
    kind = kind_of(path)
    try:
        if kind == PARQUET:
            return int(tables().count_rows(path))
        if kind in (IDX, NUMPY):
            with open_unzipped(path) as file:
                return idx.image_shape(file)[0] if kind == IDX else _npy_header(file)[0][0]
    except Exception:  # as in `read_many`
        return 1
    return None


def open_unzipped(path: str) -> AbstractContextManager[BinaryIO]:
    """A file's content, decompressed if it is gzip. Raises OSError and ImageError."""
    return idx.unzipped(open_file(path))


def open_file(path: str) -> BinaryIO:
    """Opens a file. Raises OSError and ImageError."""
    if is_remote(path):
        return cast(BinaryIO, storage().open_file(path))
    if os.path.exists(path) and not os.path.isfile(path):  # opening a pipe would block
        raise ImageError("expected a file; got something else of that name")
    return open(path, "rb")


def _batches(path: str, kind: str | None, first: int) -> Iterator[Batch]:
    if kind == PARQUET:
        yield from tables().read_parquet(path, first)
    elif kind in (ZIP, TAR):
        from scoring.inputs.archives import read_archive

        yield from read_archive(path, kind)
    else:
        with open_unzipped(path) as file:
            yield from numbered(STREAMED[cast(str, kind)](file))


def numbered(batches: Iterable[Contents], start: int = 0) -> Iterator[Batch]:
    """Names images by their number."""
    for contents in batches:
        end = start + len(contents)
        yield start, range(start, end), contents
        start = end


def _transposed(contents: Contents) -> Contents:
    if isinstance(contents, np.ndarray):
        return np.ascontiguousarray(contents.swapaxes(1, 2))
    return [np.ascontiguousarray(one.T) if isinstance(one, np.ndarray) else one for one in contents]


def _read_idx(file: BinaryIO) -> Iterator[Contents]:
    return idx.read_images(file, CHUNK, CHUNK_BYTES)


def _read_npy(file: BinaryIO) -> Iterator[Contents]:
    (count, *shape), dtype = _npy_header(file)
    image_bytes = math.prod(shape) * dtype.itemsize
    for data in idx.read_blocks(file, count, image_bytes, CHUNK, CHUNK_BYTES, "NumPy images"):
        images = np.frombuffer(data, dtype).reshape(-1, *shape)
        yield images if dtype == np.uint8 else list(map(to_bytes, images))


def _npy_header(file: BinaryIO) -> tuple[tuple[int, int, int], np.dtype[np.generic]]:
    """The number, height and width of images, and the type of pixels. Raises ImageError and ValueError."""
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, is_fortran, dtype = read(file)
    sides = [side for axis, side in enumerate(shape) if axis not in (1, 3) or side != 1 or len(shape) != 4]
    if len(sides) == 2 and sides[0] != sides[1] and math.isqrt(sides[1]) ** 2 == sides[1] >= LEAST_PIXELS:
        sides = [sides[0], math.isqrt(sides[1]), math.isqrt(sides[1])]
    elif len(sides) == 2:
        sides = [1, *sides]
    if len(sides) != 3 or dtype.kind not in "buif" or is_fortran:
        raise NoImagesError(
            "expected a NumPy array of numbers in C order, [N, height, width], [N, pixels of a square] or "
            f"[height, width]; got {dtype} {list(shape)}"
        )
    if not 0 < sides[1] * sides[2] <= MAXIMUM_PIXELS or max(sides[1:]) > MAXIMUM_SIDE:
        raise ImageTooLargeError(
            f"expected images of 1 to {MAXIMUM_PIXELS} pixels, at most {MAXIMUM_SIDE} per side; got {sides[1:]}"
        )
    return (sides[0], sides[1], sides[2]), dtype


def to_bytes(pixels: NDArray[np.generic]) -> Content:
    """Pixels as uint8, or an error if they are something else, such as null."""
    if pixels.size > MAXIMUM_PIXELS:
        return ImageTooLargeError(f"expected at most {MAXIMUM_PIXELS} pixels; got {pixels.size}")
    if pixels.dtype.kind not in "biuf":
        return ImageError("expected numeric pixels; got other values")
    if pixels.max() <= 1:  # on a scale of 255, that would be a black image
        pixels = (pixels.astype(np.float64) * 255).round()
    with np.errstate(invalid="ignore"):
        whole = pixels.astype(np.uint8)
    if (whole != pixels).any():
        return ImageError("expected pixels as whole numbers, 0 to 255, or fractions, 0 to 1; got other values")
    return whole


def _read_csv(file: BinaryIO) -> Iterator[Contents]:
    return cast(Iterator[Contents], tables().read_csv(file))


# Readers of files that are read from beginning to end, also inside an archive.
STREAMED: dict[str, Callable[[BinaryIO], Iterator[Contents]]] = {IDX: _read_idx, NUMPY: _read_npy, CSV: _read_csv}
