"""Image files and their pixels."""

import base64
import io
import struct
import zlib
from pathlib import Path
from typing import Literal

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


def written_page(rows: list[str], height: int, gap: float = 0.3) -> Pixels:
    """Rows of the examples' digits, so many pixels high, black on white; blanks part numbers."""
    inks = {str(digit): _ink(digit, height) for digit in range(10)} | {" ": np.zeros((height, height), np.uint8)}
    page = np.zeros((round(1.6 * height * (len(rows) + 0.5)), round((1 + gap) * height * (max(map(len, rows)) + 1))))
    for number, text in enumerate(rows):
        top, left = round(1.6 * height * (number + 0.4)), height // 2
        for ink in map(inks.__getitem__, text):
            page[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
            left += round(gap * height) + ink.shape[1]
    return (255 - page).astype(np.uint8)


def _ink(digit: int, height: int) -> Pixels:
    """An example's ink, white on black, cropped, so many pixels high."""
    ink = 255 - example_pixels(digit)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    image = Image.fromarray(ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    return np.asarray(image.resize((round(image.width * height / image.height), height), Image.Resampling.BOX))


def write_idx(path: Path, values: np.ndarray) -> None:
    header = b"\x00\x00\x08" + bytes([values.ndim]) + b"".join(side.to_bytes(4, "big") for side in values.shape)
    path.write_bytes(header + values.astype(np.uint8).tobytes())


def photo(width: int, height: int, digit: int = 3, **options: object) -> bytes:
    """A JPEG of a sheet of paper with an example in its middle, a third as large as the short side."""
    page = Image.new("L", (width, height), 200)
    side = min(width, height) // 3
    shade = np.minimum(example_pixels(digit), 200)
    page.paste(Image.fromarray(shade).resize((side, side)), ((width - side) // 2, (height - side) // 2))
    return encode(page, "JPEG", quality=60, **options)


def padded_jpeg(data: bytes, size: int) -> bytes:
    """The JPEG with comments that make it a file of this size."""
    length = size - len(data)
    full, rest = divmod(length - 4, 65_537)
    comments = [b"\xff\xfe\xff\xff" + bytes(65_533)] * full + [b"\xff\xfe" + struct.pack(">H", rest + 2) + bytes(rest)]
    return data[:2] + b"".join(comments) + data[2:]


def heic() -> bytes:
    return iso_media(b"heic", b"mif1")


def iso_media(*brands: bytes) -> bytes:
    """The start of a file in ISO's base format, such as HEIC, with its main brand first."""
    return struct.pack(">I", 16 + 4 * len(brands)) + b"ftyp" + brands[0] + bytes(4) + b"".join(brands) + bytes(100)


def tiff(pixels: NDArray[np.generic], order: Literal["<", ">"] = "<", compression: int = 1) -> bytes:
    """A TIFF of grey pixels of any type, most of which Pillow cannot write; with `compression` 8, deflated."""
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    data = zlib.compress(data) if compression == 8 else data
    data += bytes(len(data) % 2)
    height, width = pixels.shape
    form = {"u": 1, "i": 2, "f": 3, "c": 6}[pixels.dtype.kind]
    entries = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, 8 * pixels.itemsize),
        (259, 3, compression),
        (262, 3, 1),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, height),
        (279, 4, len(data)),
        (339, 3, form),
    ]
    values = [
        struct.pack(f"{order}HHI", tag, kind, 1) + struct.pack(f"{order}{'HH' if kind == 3 else 'I'}", *more)
        for tag, kind, value in entries
        for more in [(value, 0) if kind == 3 else (value,)]
    ]
    head = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(data))
    return head + data + struct.pack(f"{order}H", len(values)) + b"".join(values) + bytes(4)


def netpbm(kind: int, pixels: NDArray[np.uint8], maximum: int = 255) -> bytes:
    """Grey pixels as PBM (`kind` 1 and 4), PGM (2 and 5) or PPM (3 and 6), plain (1 to 3) or binary."""
    head = b"P%d\n# a comment\n%d %d\n" % (kind, *pixels.shape[::-1])
    if kind == 1:
        return head + b"\n".join(b"".join(b"%d" % (one < 128) for one in row) for row in pixels)
    if kind == 4:
        return head + np.packbits(pixels < 128, axis=1).tobytes()
    values = np.round(pixels / 255.0 * maximum).astype(">u2" if maximum > 255 else "u1")
    values = values.repeat(3) if kind in (3, 6) else values
    head += b"%d\n" % maximum
    return head + (values.tobytes() if kind in (5, 6) else b" ".join(b"%d" % one for one in values.flat))


# An 8×8 image in formats that Pillow cannot write, made by imagecodecs 2026.10.10 and tifffile 2026.3.3.
JPEG_12_BITS = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABALDA4MChAODQ4SERATGCgaGBYWGDEjJR0oOjM9PDkzODdASFxOQERXRTc4UG1RV19iZ2hnPk1xeXBk"
    "eFxlZ2P/wQALDAAIAAgBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAACv/EAB8QAAADCQAAAAAAAAAAAAAAAAAWGBopNTdmaYOElf/aAAgBAQAAPwAf"
    "zvJnquaKqqCUJU4se38A/9k="
)
JPEG_LS = base64.b64decode(
    "/9j/6AAgU1BJRkYAAgAAAQAAAAgAAAAICggGAQAAASwAAAEs/+gACAAAAAH/2P/3AAsIAAgACAEBEQD/2gAIAQEAAAAA/1ydyS6rq+D/2Q=="
)
WEBP_IN_TIFF = base64.b64decode(
    "SUkqAAgAAAANAAABBAABAAAACAAAAAEBBAABAAAACAAAAAIBAwADAAAAqgAAAAMBAwABAAAAUcMAAAYBAwABAAAAAgAAABEBBAABAAAAwAAAABUB"
    "AwABAAAAAwAAABYBBAABAAAACAAAABcBBAABAAAAKAAAABoBBQABAAAAsAAAABsBBQABAAAAuAAAABwBAwABAAAAAQAAACgBAwABAAAAAQAAAAAA"
    "AAAIAAgACAABAAAAAQAAAAEAAAABAAAAUklGRiAAAABXRUJQVlA4TBQAAAAvB8ABAA8w//M///MfeBiMiP4HDw=="
)


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
