"""How many pieces an image file is made of: a decoder's time and memory go with them, not with bytes and pixels alone.

All is told by the bytes themselves, before a decoder gets them; what cannot be told is left to the decoder.
"""

import math
import re
import struct
from collections.abc import Callable, Iterator
from io import BytesIO

# Every scan of a JPEG passes over all of its pixels; encoders make 20 at most.
MAXIMUM_SCANS = 50
# Every profile of a PNG is inflated; it may have one. The name may turn up among its pixels by chance.
MAXIMUM_PROFILES = 4
# As many strips as rows; the pixels of a tile, and of all of them, which are decoded however little of them is seen.
MAXIMUM_STRIPS, MAXIMUM_TILE, MAXIMUM_TILED = 65_535, 2**22, 2**26
# Chunks, segments, blocks, runs: each is read by itself.
MAXIMUM_READS = 250_000


class ExcessError(Exception):
    """There is too much of something; the message may be shown to the sender."""


class CountedReader(BytesIO):
    """Bytes that may be read so many times; `read` raises ExcessError after that."""

    left = MAXIMUM_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise ExcessError(f"expected an image file of at most {MAXIMUM_READS} pieces; got more")
        return super().read(size)


def check_structure(data: bytes) -> None:
    """Raises ExcessError."""
    for signature, check in _CHECKS.items():
        if data.startswith(signature):
            check(data)


def _check_jpeg(data: bytes) -> None:
    if (scans := sum(1 for _ in _SCAN.finditer(data))) > MAXIMUM_SCANS:
        raise ExcessError(f"expected a JPEG image in at most {MAXIMUM_SCANS} scans; got {scans}")


def jpeg_scan_components(data: bytes) -> int:
    """How many components the first scan of a JPEG image has; 0 if there is none."""
    position = 2
    while 0 <= (position := data.find(b"\xff", position)) < len(data) - 4:
        marker = data[position + 1]
        if marker == 0xDA:
            return data[position + 4]
        if marker == 0xFF:
            position += 1
        elif marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD9:
            position += 2
        else:
            position += 2 + max(2, int.from_bytes(data[position + 2 : position + 4]))
    return 0


# The marker, the segment's length, and the number of components that it follows from.
_SCAN = re.compile(rb"\xff\xda\x00(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")


def _check_png(data: bytes) -> None:
    if (profiles := data.count(b"iCCP")) > MAXIMUM_PROFILES:
        raise ExcessError(f"expected a PNG image with one colour profile; got {profiles}")


_WIDTH, _LENGTH, _TILE_WIDTH, _TILE_LENGTH = 256, 257, 322, 323
_STRIP_OFFSETS, _TILE_OFFSETS = 273, 324


def _check_tiff(data: bytes) -> None:
    found: dict[int, int] = {}
    for tag, count, value in _entries(data):
        if tag in (_STRIP_OFFSETS, _TILE_OFFSETS) and count > MAXIMUM_STRIPS:
            raise ExcessError(f"expected a TIFF image in at most {MAXIMUM_STRIPS} strips or tiles; got {count}")
        found.setdefault(tag, value)  # the first of several holds
    tile = (found.get(_TILE_WIDTH, 0), found.get(_TILE_LENGTH, 0))
    if not all(tile):
        return
    if math.prod(tile) > MAXIMUM_TILE:
        raise ExcessError(f"expected tiles of at most {MAXIMUM_TILE} pixels; got {tile[0]}×{tile[1]}")
    size = (found.get(_WIDTH, 0), found.get(_LENGTH, 0))
    if math.prod(-(-side // step) * step for side, step in zip(size, tile, strict=True)) > MAXIMUM_TILED:
        got = f"{tile[0]}×{tile[1]} to fill {size[0]}×{size[1]}"
        raise ExcessError(f"expected tiles of at most {MAXIMUM_TILED} pixels in all; got {got}")


def _entries(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Tag, count and value of the first directory's entries, of TIFF or BigTIFF."""
    order = "<" if data[:2] == b"II" else ">"
    offset, count, entry = ("4xI", "H", "HHI4s") if 43 not in data[2:4] else ("8xQ", "Q", "HHQ8s")
    try:
        [start] = struct.unpack_from(order + offset, data)
        [entries] = struct.unpack_from(order + count, data, start)
        start += struct.calcsize(order + count)
        for _ in range(entries):
            tag, kind, number, value = struct.unpack_from(order + entry, data, start)
            start += struct.calcsize(order + entry)
            short = _SHORT_KINDS.get(kind, "I" if len(value) == 4 else "Q")
            yield tag, number, struct.unpack_from(order + short, value)[0]
    except struct.error:
        return


_SHORT_KINDS = {1: "B", 3: "H", 4: "I"}

_CHECKS: dict[bytes, Callable[[bytes], None]] = {
    b"\xff\xd8": _check_jpeg,
    b"\x89PNG": _check_png,
    b"II": _check_tiff,
    b"MM": _check_tiff,
}
