"""Structural limits that bound decoding time and memory, which bytes and pixels alone do not.

They are checked on the file's bytes before it is decoded; what the bytes do not show is left to the decoder.
"""

import re
import struct
from collections.abc import Iterator
from io import BytesIO

# Every scan of a JPEG passes over all of its pixels; encoders write 20 at most.
MAXIMUM_SCANS = 50
# Every profile of a PNG is decompressed; one is allowed, but its name may occur among the pixels by chance.
MAXIMUM_PROFILES = 4
# One strip per row of the tallest image; pixels per tile, and of all tiles, which are decoded even outside the image.
MAXIMUM_STRIPS, MAXIMUM_TILE, MAXIMUM_TILED = 65_535, 2**22, 2**26
# Chunks, segments, blocks, runs: the decoder reads each one separately.
MAXIMUM_READS = 250_000


class ExcessError(Exception):
    """A limit is exceeded; the message may be shown to the client."""


class CountedReader(BytesIO):
    """Bytes that can be read MAXIMUM_READS times; after that, `read` raises ExcessError."""

    left = MAXIMUM_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise ExcessError(f"expected an image file of at most {MAXIMUM_READS} chunks; got more")
        return super().read(size)


def check_structure(data: bytes) -> None:
    """Raises ExcessError."""
    # More of the signature than this would miss variants that Pillow accepts.
    if data.startswith(b"\xff\xd8") and (scans := sum(1 for _ in _SCAN.finditer(data))) > MAXIMUM_SCANS:
        raise ExcessError(f"expected a JPEG image in at most {MAXIMUM_SCANS} scans; got {scans}")
    if data.startswith(b"\x89PNG") and (profiles := data.count(b"iCCP")) > MAXIMUM_PROFILES:
        raise ExcessError(f"expected a PNG image with one colour profile; got {profiles}")
    if data.startswith((b"II", b"MM")):
        _check_tiff(data)


# The marker, the segment's length, and the number of components that determines it.
_SCAN = re.compile(rb"\xff\xda\x00(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")


_MARKER = re.compile(rb"\xff([^\xff])")  # fill bytes may precede it


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """The marker of each segment before the first scan, and of that scan, and where its content begins."""
    position = 2
    while found := _MARKER.search(data, position):
        marker, position = found[1][0], found.end()
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD9:
            continue
        yield marker, position + 2
        if marker == 0xDA:
            return
        position += max(2, int.from_bytes(data[position : position + 2]))


def jpeg_scan_components(data: bytes) -> int:
    """The number of components in the first scan of a JPEG image; 0 if there is none."""
    return next((data[start] for marker, start in jpeg_segments(data) if marker == 0xDA and start < len(data)), 0)


_WIDTH, _LENGTH, _TILE_WIDTH, _TILE_LENGTH = 256, 257, 322, 323
_STRIP_OFFSETS, _TILE_OFFSETS = 273, 324


def _check_tiff(data: bytes) -> None:
    found: dict[int, int] = {}
    for tag, count, value in tiff_entries(data):
        if tag in (_STRIP_OFFSETS, _TILE_OFFSETS) and count > MAXIMUM_STRIPS:
            raise ExcessError(f"expected a TIFF image in at most {MAXIMUM_STRIPS} strips or tiles; got {count}")
        found.setdefault(tag, value)  # the first of several counts
    width, length, tile_width, tile_length = (found.get(tag, 0) for tag in (_WIDTH, _LENGTH, _TILE_WIDTH, _TILE_LENGTH))
    if not tile_width * tile_length:
        return
    if tile_width * tile_length > MAXIMUM_TILE:
        raise ExcessError(f"expected tiles of at most {MAXIMUM_TILE} pixels; got {tile_width}×{tile_length}")
    across, down = -(-width // tile_width), -(-length // tile_length)
    if across * down * tile_width * tile_length > MAXIMUM_TILED:
        got = f"{tile_width}×{tile_length} to fill {width}×{length}"
        raise ExcessError(f"expected tiles of at most {MAXIMUM_TILED} pixels in all; got {got}")


def tiff_entries(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Tag, count and first value of each entry in the first directory of a TIFF or BigTIFF."""
    order = "<" if data[:2] == b"II" else ">"
    offset, count, entry, wide = ("4xI", "H", "HHI4s", "I") if 43 not in data[2:4] else ("8xQ", "Q", "HHQ8s", "Q")
    try:
        [start] = struct.unpack_from(order + offset, data)
        [entries] = struct.unpack_from(order + count, data, start)
        first, size = start + struct.calcsize(order + count), struct.calcsize(order + entry)
        for place in range(first, first + entries * size, size):
            tag, kind, number, value = struct.unpack_from(order + entry, data, place)
            form = order + {1: "B", 3: "H", 4: "I"}.get(kind, wide)
            if number * struct.calcsize(form) > len(value):  # then it is where the values are
                [first_value] = struct.unpack(order + wide, value)
                value = data[first_value : first_value + len(value)].ljust(len(value), b"\0")
            yield tag, number, struct.unpack_from(form, value)[0]
    except (struct.error, OverflowError):  # a BigTIFF's offsets can be beyond any memory
        return
