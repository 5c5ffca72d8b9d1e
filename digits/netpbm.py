"""PBM, PGM and PPM files, binary and plain; Pillow reads most of them in Python, pixel by pixel.

https://netpbm.sourceforge.net/doc/pnm.html
"""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# White space and comments, which possessive quantifiers keep from being tried again.
_GAP = rb"(?:\s|#[^\r\n]*+[\r\n])++"
_HEADER = re.compile(rb"P([1-6])%b(\d{1,10})%b(\d{1,10})(?=\s|#)" % (_GAP, _GAP))
_MAXIMUM = re.compile(rb"%b(\d{1,5})(?=\s)" % _GAP)
_COMMENT = re.compile(rb"#[^\r\n]*+")


@dataclass(frozen=True)
class Netpbm:
    """A file whose header has been read; `maximum` stands for white (in PBM, 1 for black)."""

    data: bytes
    kind: int
    width: int
    height: int
    maximum: int
    start: int

    @classmethod
    def open(cls, data: bytes) -> "Netpbm":
        """Reads the header. Raises ValueError."""
        header = _HEADER.match(data)
        if not header:
            raise ValueError("no header")
        kind, width, height = map(int, header.groups())
        maximum = None if kind in (1, 4) else _MAXIMUM.match(data, header.end())
        if not width * height or (kind not in (1, 4) and not (maximum and 0 < int(maximum[1]) < 65536)):
            raise ValueError("no size or no maximum")
        start = (maximum or header).end()
        return cls(data, kind, width, height, int(maximum[1]) if maximum else 1, start)

    def pixels(self) -> NDArray[np.uint8]:
        """The pixels from 0 to 255, [H, W], of PPM [H, W, 3]. Raises ValueError."""
        shape = (self.height, self.width, 3) if self.kind in (3, 6) else (self.height, self.width)
        count = int(np.prod(shape))
        if self.kind == 4:
            row = -(-self.width // 8)
            packed = np.frombuffer(self.data, np.uint8, row * self.height, self.start + 1).reshape(self.height, row)
            return 255 - 255 * np.unpackbits(packed, axis=1, count=self.width)
        if self.kind in (5, 6):
            values = np.frombuffer(self.data, np.uint8 if self.maximum < 256 else ">u2", count, self.start + 1)
        else:
            values = self._plain(count)
        if values.max() > self.maximum:
            raise ValueError("a pixel above the maximum")
        shades = (np.arange(self.maximum + 1) * 255 // self.maximum).astype(np.uint8)
        return (shades[::-1] if self.kind == 1 else shades)[values].reshape(shape)

    def _plain(self, count: int) -> NDArray[np.generic]:
        """The first numbers of a file whose pixels are text."""
        if len(self.data) - self.start < count:
            raise ValueError("too few pixels")
        text = _COMMENT.sub(b"", self.data[self.start :])
        if self.kind == 1:  # where each digit is a pixel
            digits = text.translate(None, b" \t\n\r\v\f")
            return np.frombuffer(digits, np.uint8, count) - np.uint8(ord("0"))
        values = np.fromstring(text.decode("ascii"), np.uint32, sep=" ")[:count]
        if len(values) < count:
            raise ValueError("too few pixels")
        return values
