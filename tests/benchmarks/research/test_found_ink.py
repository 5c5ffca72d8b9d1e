from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from benchmarks.research import found_ink
from benchmarks.research.found_ink import COLUMNS, ROWS, SIDE, Example, chosen, main, picture
from digits.finder import Box, Ink
from digits.recognizer import Prediction


def example(kind: str, label: int, box: Box | None = None, ink: Ink | None = None) -> Example:
    """An image that is read as 1."""
    return Example(kind, label, np.full((300, 200), 255, np.uint8), box, ink, Prediction(1, 1.0, (0.1,) * 10, None))


def test_misread_examples_come_first_and_kinds_take_turns() -> None:
    right, wrong = [example(kind, 1) for kind in "aab"], [example(kind, 7) for kind in "bbc"]
    assert [(one.kind, one.label) for one in chosen(right + wrong)] == [
        ("b", 7), ("c", 7), ("b", 7), ("a", 1), ("b", 1), ("a", 1)
    ]  # fmt: skip
    many = chosen([example("a", 7)] * 50 + [example("a", 1)] * 50)
    assert [one.is_right for one in many] == [False] * 12 + [True] * 12


def test_found_ink_is_tinted_where_it_is() -> None:
    box, ink = Box(100, 150, 50, 150), np.ones((30, 10), np.float32)
    red, _, blue = np.moveaxis(np.asarray(picture(example("a", 1, box, ink))).astype(int), 2, 0)
    rows, columns = np.nonzero(red > blue + 100)
    assert SIDE / 2 <= rows.min() < rows.max() < SIDE
    assert SIDE / 2 <= columns.min() < columns.max() < SIDE * 0.8
    assert (np.asarray(picture(example("a", 1))) == 255).all()


def test_main_draws_a_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(found_ink, "examples", lambda *_: [example("a", 1), example("b", 7)])
    result = CliRunner().invoke(main, [str(tmp_path / "sheet.jpg")])
    assert "1 of 2 images were misread" in result.output
    with Image.open(tmp_path / "sheet.jpg") as image:
        assert image.width > COLUMNS * SIDE
        assert image.height > ROWS * SIDE
