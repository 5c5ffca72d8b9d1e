import numpy as np
import pytest

from training.finder.marks import bars, enclosure, letter, punctuation, scribble, symbol, word


@pytest.mark.parametrize("make", [letter, punctuation, scribble, symbol, word])
def test_marks_of_any_size_and_pen(make: type) -> None:
    random = np.random.default_rng(0)
    for size in (4, 20, 150):
        for pen in (0.01, 0.3):
            for _ in range(10):
                ink = make(size, pen, random)
                assert ink.any()
                assert max(ink.shape) < 5 * size + 8


def test_enclosure_leaves_room_inside() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        around = enclosure(40, 30, 0.05, random)
        assert around.shape[0] > 40
        assert around.shape[1] > 30
        assert not around[around.shape[0] // 2 - 5 :][:10, around.shape[1] // 2 - 5 :][:, :10].any()


def test_bars_are_light_and_dark_everywhere() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        ink = bars((60, 90), random)
        assert ink.shape == (60, 90)
        assert set(np.unique(ink)) == {0, 255}
