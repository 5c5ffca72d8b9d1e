from pathlib import Path

import matplotlib
import numpy as np
import pytest

from benchmarks.accuracy import symbols
from benchmarks.accuracy.symbols import SYMBOLS, measure, printed, scribble, symbol
from digits.recognizer import Recognizer
from tests.helpers.images import pixels_of, write_idx
from training.datasets.mnist import load_training

FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A font and images in place of Debian's packages."""
    (tmp_path / "print.ttf").symlink_to(FONT)
    monkeypatch.setattr(symbols, "PRINT", {"fonts-print": ["print.ttf"]})
    write_idx(tmp_path / "t10k-images-idx3-ubyte.gz", load_training().images[:5])
    return tmp_path


@pytest.mark.parametrize("name", SYMBOLS)
def test_symbols_are_drawn_whole_and_differently(name: str) -> None:
    one, again, another = (symbol(name, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == again != another
    assert np.ptp(pixels_of(one)) > 80


def test_scribbles_are_seeded() -> None:
    files = [[scribble(random) for _ in range(10)] for random in map(np.random.default_rng, (1, 1))]
    assert files[0] == files[1]
    assert len(set(files[0])) == 10


def test_letters_are_printed_in_turn(stand_ins: Path) -> None:
    files = printed("AO", stand_ins, 4, np.random.default_rng(0))
    assert len(files) == len(set(files)) == 4


def test_mix_counts_confident_readings(recognizer: Recognizer, stand_ins: Path) -> None:
    *figures, mix = measure(recognizer, 20, stand_ins, stand_ins)
    assert {one.count for one in figures} == {20}
    assert 150 < mix.count <= 200
    assert not mix.higher_is_better
    assert mix.value < 0.15
