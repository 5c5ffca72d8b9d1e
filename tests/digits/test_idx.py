import gzip
import io
import struct

import numpy as np
import pytest

from digits.decode import ImageError
from digits.idx import decode_idx, image_shape, read_images, unzipped

IDX = b"\x00\x00\x08\x03" + struct.pack(">III", 2, 3, 4) + bytes(range(24))
LABELS = b"\x00\x00\x08\x01" + struct.pack(">I", 3) + b"\x07\x00\x09"


def header(*shape: int) -> bytes:
    return b"\x00\x00\x08" + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape)


def batches(data: bytes, most_images: int = 2, most_bytes: int = 1000) -> tuple[list[int], str]:
    """The size of each batch, and the error at the end, if any."""
    sizes = []
    try:
        with unzipped(io.BytesIO(data)) as file:
            for images in read_images(file, most_images, most_bytes):
                assert images.shape[1:] == (3, 4)
                sizes.append(len(images))
    except ImageError as error:
        return sizes, str(error)
    return sizes, ""


@pytest.mark.parametrize("data", [IDX, gzip.compress(IDX)], ids=["plain", "gzipped"])
def test_images(data: bytes) -> None:
    images = decode_idx(data)
    assert images.shape == (2, 3, 4)
    assert images[1, 2, 3] == 23
    with unzipped(io.BytesIO(data)) as file:
        np.testing.assert_array_equal(np.concatenate(list(read_images(file, 1, 1))), images)
    with unzipped(io.BytesIO(data)) as file:
        assert image_shape(file) == (2, 3, 4)


def test_labels() -> None:
    assert decode_idx(LABELS).tolist() == [7, 0, 9]
    assert batches(LABELS) == ([], "expected an IDX file of images; got one of labels")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "one that begins with $"),
        (b"\x00\x00", "one that begins with 00 00"),
        (b"\x00\x00\x0d" + IDX[3:], "one that begins with 00 00 0d 03"),
        (b"\x00\x00\x08\x02" + IDX[4:], "with 1 or 3 dimensions; got one that begins with 00 00 08 02"),
        (IDX[:10], "expected an IDX header of 16 bytes; got 10"),
        (IDX[:-1], r"expected 24 bytes after the IDX header \(2, 3, 4\); got 23"),
        (IDX + b"\x00", "got 25"),
        (header(3, 0, 0), "expected IDX images of 1 to 25000000 pixels, at most 65535 per side; got 0×0"),
        (header(1, 70_000, 1) + bytes(70_000), "got 1×70000"),
        (header(2**32 - 1, 2**32 - 1, 2**32 - 1), "got 4294967295×4294967295"),
        (header(2**32 - 1, 1000, 1000), "expected 4294967295000000 bytes"),
        (gzip.compress(IDX, mtime=0)[:-9], "expected a whole gzip file; got one that is broken or cut short"),
        (b"\x1f\x8brubbish", "expected a whole gzip file"),
    ],
)
def test_broken_file(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        decode_idx(data)


def test_batches_are_limited_in_images_and_bytes() -> None:
    data = header(7, 3, 4) + bytes(7 * 12)
    assert batches(data, 3) == ([3, 3, 1], "")
    assert batches(data, 100, 30) == ([2, 2, 2, 1], "")
    assert batches(data, 100, 1) == ([1] * 7, "")


@pytest.mark.parametrize(
    ("size", "sizes", "message"),
    [
        (41, [2, 1], "expected 5 IDX images of 3×4; got 3"),
        (48, [2, 2], "expected 5 IDX images of 3×4; got 4"),
        (61, [2, 2, 1], "expected 5 IDX images of 3×4; got more bytes"),
    ],
)
def test_wrong_length_is_an_error_after_the_images_that_are_there(size: int, sizes: list[int], message: str) -> None:
    assert batches(header(5, 3, 4) + bytes(size)) == (sizes, message)
