"""Image files and their pixels."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from digits.decode import Pixels, decode
from tests.helpers.paths import EXAMPLES


def pixels_of(data: bytes) -> Pixels:
    """The decoded pixels of an image file."""
    return decode(data).whole()


def encode(pixels: NDArray[np.generic] | Image.Image, format: str = "PNG", **options: object) -> bytes:
    """The pixels as an image file."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def example(digit: int) -> bytes:
    return (EXAMPLES / f"{digit}.png").read_bytes()


def example_pixels(digit: int) -> NDArray[np.uint8]:
    """An example as grey pixels, black ink on white, [280, 280]."""
    return np.asarray(Image.open(io.BytesIO(example(digit))).convert("L"))


def write_idx(path: Path, values: np.ndarray) -> None:
    header = b"\x00\x00\x08" + bytes([values.ndim]) + b"".join(side.to_bytes(4, "big") for side in values.shape)
    path.write_bytes(header + values.astype(np.uint8).tobytes())


def heic() -> bytes:
    return b"\x00\x00\x00\x18ftypheic" + bytes(100)


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its data does not have."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"")) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def runs_bmp(width: int, height: int, runs: bytes, bits: int = 8) -> bytes:
    """A run-length encoded BMP, which Pillow cannot write."""
    colours = bytes(4 * 2**bits)
    start = 14 + 40 + len(colours)
    head = b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start)
    coding = {8: 1, 4: 2}[bits]
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, coding, len(runs), 0, 0, 2**bits, 0)
    return head + info + colours + runs


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk with its length and its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_valid_checksums(png: bytes) -> bytes:
    """The PNG with the checksums of its complete chunks corrected."""
    found, position = bytearray(png), 8
    while position + 12 <= len(found):
        end = position + 8 + int.from_bytes(found[position : position + 4], "big")
        if end + 4 > len(found):
            break
        found[end : end + 4] = zlib.crc32(found[position + 4 : end]).to_bytes(4, "big")
        position = end + 4
    return bytes(found)
