"""Real handwriting as pen strokes, by writers who are not in MNIST, drawn with any pen.

"Pen-Based Recognition of Handwritten Digits" (E. Alpaydin and F. Alimoglu, 1998; UCI Machine Learning Repository,
https://archive.ics.uci.edu/dataset/81, CC BY 4.0), the training part in its original UNIPEN format,
pendigits-orig.tra: 7,494 digits by 30 writers in Turkey. Nearly every 1 has a flag and most 7s a bar, rare in MNIST.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from digits.decode import ImageError
from digits.idx import unzipped
from training.datasets.mnist import DataError

PEN_STROKES = Path(__file__).resolve().parents[1] / "data" / "pen-strokes" / "pendigits-orig.tra.gz"
SHA256 = "a66225d68d7d68591e62944df1ad33b3f5aa608e2df2505844b41f5568a80da4"
TRAINING_WRITERS = range(1, 26)
HELD_OUT_WRITERS = range(26, 31)


@dataclass(frozen=True)
class PenDigit:
    """A digit as written: each stroke float64 [n, 2], x to the right and y down, in the tablet's units."""

    label: int
    writer: int
    strokes: tuple[NDArray[np.float64], ...]


def load_pen_digits(path: Path, writers: Iterable[int]) -> list[PenDigit]:
    """Reads the writers' digits from pendigits-orig.tra, gzipped or not. Raises DataError unless it is that file."""
    try:
        with unzipped(path.open("rb")) as file:
            content = file.read()
    except (OSError, ImageError) as error:
        raise DataError(f"{path}: expected pendigits-orig.tra; got: {error}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise DataError(
            f"{path}: expected pendigits-orig.tra, sha256 {SHA256} uncompressed; got {found}; "
            "it is in the UCI Machine Learning Repository, https://archive.ics.uci.edu/dataset/81"
        )
    digits = [_pen_digit(segment) for segment in content.decode("ascii").split(".SEGMENT DIGIT")[1:]]
    chosen = set(writers)
    return [digit for digit in digits if digit.writer in chosen]


def _pen_digit(segment: str) -> PenDigit:
    label, writer, _ = re.findall(r"\.COMMENT\s+(\d+)\s+(\d+)\s+(\d+)", segment)[0]
    strokes = []
    for stroke in segment.split(".PEN_DOWN")[1:]:
        points = np.array(stroke.split(".PEN_UP")[0].split(), dtype=np.float64).reshape(-1, 2)
        strokes.append(points * (1, -1))  # the tablet's y points up
    return PenDigit(int(label), int(writer), tuple(strokes))
