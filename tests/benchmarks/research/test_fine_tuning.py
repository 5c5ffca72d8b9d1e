from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.research import fine_tuning
from benchmarks.research.fine_tuning import main
from training.datasets.drawn import random_digit
from training.datasets.mnist import Dataset
from training.datasets.pen_strokes import PenDigit


def test_errors_before_and_after_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a writer who labels every 1 as a 7, and fine-tuning that changes nothing."""
    random = np.random.default_rng(0)
    digits = [PenDigit(label, 26, tuple(random_digit(shape, random))) for shape, label in [(1, 7), (4, 4)] * 4]
    learned: list[int] = []

    def fine_tune(start: Path, data: Dataset, models: Path) -> Path:
        learned.append(len(data))
        return start

    monkeypatch.setattr(fine_tuning, "load_pen_digits", lambda *_: digits)
    monkeypatch.setattr(fine_tuning, "fine_tune", fine_tune)
    (tmp_path / "strokes").touch()
    result = CliRunner().invoke(main, [str(tmp_path / "strokes"), "--writer", "26"])
    assert result.exit_code == 0, result.output
    assert learned == [6] * 4
    writer, count, before, after, *_ = result.output.splitlines()[-1].strip("| ").split(" | ")
    assert (writer, count, before, after) == ("26", "8", "4", "4")
