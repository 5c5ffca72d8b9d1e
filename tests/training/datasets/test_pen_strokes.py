import gzip
import hashlib
from pathlib import Path

import pytest

from training.datasets import pen_strokes as strokes
from training.datasets.mnist import DataError
from training.datasets.pen_strokes import load_pen_digits

CONTENT = """
.SEGMENT DIGIT    0 ? "1"
.COMMENT 1 7  224
.PEN_DOWN
 100  300
 140  340
 140  200
.PEN_UP
.DT 100
.SEGMENT DIGIT    4 ? "7"
.COMMENT 7 27  225
.PEN_DOWN
 100  300
 200  300
 120  100
.PEN_UP
.DT 100
.PEN_DOWN
 110  200
 190  200
.PEN_UP
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of the same format with two writers."""
    path = tmp_path / "pendigits-orig.tra.gz"
    path.write_bytes(gzip.compress(CONTENT.encode()))
    monkeypatch.setattr(strokes, "SHA256", hashlib.sha256(CONTENT.encode()).hexdigest())
    return path


def test_pen_strokes_are_parsed(path: Path) -> None:
    one, seven = load_pen_digits(path, range(1, 31))
    assert (one.label, one.writer) == (1, 7)
    assert one.strokes[0].tolist() == [[100, -300], [140, -340], [140, -200]]  # y points down
    assert (seven.label, seven.writer, len(seven.strokes)) == (7, 27, 2)
    assert load_pen_digits(path, [27])[0].label == 7
    path.write_bytes(gzip.decompress(path.read_bytes()))
    assert len(load_pen_digits(path, range(1, 31))) == 2


def test_another_file_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "pendigits.tra"
    with pytest.raises(DataError, match="No such file"):
        load_pen_digits(path, [1])
    path.write_bytes(b"something else")
    with pytest.raises(DataError, match=r"expected pendigits-orig.tra, sha256 a66225d.*; got .*archive.ics.uci.edu"):
        load_pen_digits(path, [1])
