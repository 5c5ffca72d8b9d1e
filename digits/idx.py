"""IDX, the file format of MNIST: images, uint8 [N, H, W], or labels, uint8 [N]; gzipped or not."""

import gzip
import io
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from digits.decode import MAXIMUM_PIXELS, MAXIMUM_SIDE, ImageError, Pixels
from digits.formats import format_name


@contextmanager
def unzipped(file: BinaryIO) -> Iterator[BinaryIO]:
    """The content of a seekable file, decompressed if it is gzip. Closes the file.

    Raises ImageError for broken gzip, also where the content is read.
    """
    with file:
        is_gzip = format_name(file.read(2)) == "gzip"
        file.seek(0)
        try:
            yield cast(BinaryIO, gzip.GzipFile(fileobj=file)) if is_gzip else file
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ImageError("expected a whole gzip file; got one that is broken or cut short") from error


def read_shape(file: BinaryIO) -> tuple[int, ...]:
    """The shape in the header: [N, H, W] or [N]; as many bytes should follow. Raises ImageError."""
    head = file.read(4)
    if len(head) < 4 or format_name(head) != "IDX" or head[3] not in (1, 3):
        raise ImageError(
            f"expected an IDX file of bytes with 1 or 3 dimensions; got one that begins with {head.hex(' ')}"
        )
    sizes = file.read(4 * head[3])
    if len(sizes) < 4 * head[3]:
        raise ImageError(f"expected an IDX header of {4 + 4 * head[3]} bytes; got {4 + len(sizes)}")
    shape = struct.unpack(f">{head[3]}I", sizes)
    if len(shape) == 3 and (not 0 < shape[1] * shape[2] <= MAXIMUM_PIXELS or max(shape[1:]) > MAXIMUM_SIDE):
        raise ImageError(
            f"expected IDX images of 1 to {MAXIMUM_PIXELS} pixels, at most {MAXIMUM_SIDE} per side; "
            f"got {shape[2]}×{shape[1]}"
        )
    return shape


def decode_idx(data: bytes) -> NDArray[np.uint8]:
    """All images or labels of a file. Raises ImageError."""
    with unzipped(io.BytesIO(data)) as file:
        shape, values = read_shape(file), file.read()
    if len(values) != math.prod(shape):
        raise ImageError(f"expected {math.prod(shape)} bytes after the IDX header {shape}; got {len(values)}")
    return np.frombuffer(values, np.uint8).reshape(shape)


def image_shape(file: BinaryIO) -> tuple[int, ...]:
    """The shape in the header of a file of images. Raises ImageError."""
    shape = read_shape(file)
    if len(shape) != 3:
        raise ImageError("expected an IDX file of images; got one of labels")
    return shape


def read_blocks(
    file: BinaryIO, count: int, image_bytes: int, most_images: int, most_bytes: int, what: str
) -> Iterator[bytes]:
    """Blocks of whole images of one size, each with at most so many bytes unless one image has more.

    Raises ImageError if the file holds fewer images, `what` they are, after those that are there.
    """
    found = 0
    while found < count:
        wanted = min(most_images, max(1, most_bytes // image_bytes), count - found)
        data = file.read(wanted * image_bytes)
        complete = len(data) // image_bytes
        if complete:
            yield data[: complete * image_bytes]
        found += complete
        if complete < wanted:
            raise ImageError(f"expected {count} {what}; got {found}")


def read_images(file: BinaryIO, most_images: int, most_bytes: int) -> Iterator[Pixels]:
    """Batches of images, uint8 [N, H, W], with at most so many bytes unless one image has more.

    Raises ImageError if the file holds fewer or more bytes than its header says, after the images that are there.
    """
    count, height, width = image_shape(file)
    what = f"IDX images of {height}×{width}"
    for data in read_blocks(file, count, height * width, most_images, most_bytes, what):
        yield np.frombuffer(data, np.uint8).reshape(-1, height, width)
    if file.read(1):
        raise ImageError(f"expected {count} {what}; got more bytes")
