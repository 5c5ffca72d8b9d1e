from pathlib import Path

import numpy as np
import pytest

from training.datasets.mnist import load_training
from training.finder import pages
from training.finder.layouts import FRAME, LAYOUTS, Canvas, dense, none
from training.finder.pages import CELL, CELLS, page, write_shards
from training.finder.writing import Glyph, Writers

SQUARE = Glyph(np.full((20, 20), 255, np.uint8), np.full((20, 20), 255, np.uint8), 0)


@pytest.mark.parametrize("kind", range(len(LAYOUTS)), ids=[layout.__name__ for layout in LAYOUTS])
def test_offsets_lead_from_ink_to_its_own_centre(kind: int, writers: Writers) -> None:
    random = np.random.default_rng(0)
    places = (np.arange(CELLS) + 0.5) * CELL
    for _ in range(20):
        one = page(writers, random, kind)
        centres = one["centres"][: one["count"]].astype(float)
        assert (one["count"] == 0) == (LAYOUTS[kind] is none) or LAYOUTS[kind] is dense
        assert not one["centres"][one["count"] :].any()
        assert (one["ink"].max() > 0) == (one["count"] > 0)
        rows, columns = np.nonzero(one["sizes"])
        for row, column in zip(rows, columns, strict=True):
            reached = (places[row] + one["offsets"][0, row, column], places[column] + one["offsets"][1, row, column])
            assert np.abs(centres[:, :2] - reached).max(axis=1).min() <= 1
        for down, right, _ in centres:
            assert one["heat"][min(int(down) // CELL, CELLS - 1), min(int(right) // CELL, CELLS - 1)] > 180


def test_digit_fills_a_tight_page(writers: Writers) -> None:
    random = np.random.default_rng(0)
    touched = 0
    for _ in range(40):
        ink = page(writers, random, 0)["ink"]
        touched += bool(ink[[0, -1]].any() or ink[:, [0, -1]].any())
    assert touched > 20


def test_digit_of_which_less_than_half_is_visible_is_a_mark() -> None:
    canvas = Canvas(100, 100)
    canvas.place(SQUARE, -12, 50)
    assert canvas.marks.any()
    assert not canvas.found.any()
    canvas.place(SQUARE, -8, 20)
    assert canvas.boxes == [(2.0, 30.0, 20)]


def test_nothing_is_written_beside_the_paper() -> None:
    canvas = Canvas(100, 100)
    canvas.table[:, 60:] = True
    canvas.place(SQUARE, 40, 50)
    assert not canvas.ink.any()


def test_each_pixel_belongs_to_one_of_two_digits_that_overlap() -> None:
    canvas = Canvas(FRAME, FRAME)
    canvas.place(SQUARE, 40, 40)
    canvas.place(SQUARE, 40, 56)
    assert (canvas.owners[50, 40:60] == 1).all()
    assert (canvas.owners[50, 60:76] == 2).all()


def test_same_pages_every_time(writers: Writers) -> None:
    one, other = (page(writers, np.random.default_rng(3)) for _ in range(2))
    assert one == other


def test_interrupted_shards_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "SHARD", 5)
    first, second = (tmp_path / f"{number:04}.npy" for number in range(2))
    first.write_bytes(b"kept")
    write_shards(tmp_path, 10, load_training().part(np.arange(1000)), [], seed=0)
    assert first.read_bytes() == b"kept"
    assert len(np.load(second, mmap_mode="r")) == 5
    assert not list(tmp_path.glob("*.partial"))
