import numpy as np
import pytest

from digits.recognizer import Recognizer
from tests.helpers.finding import preprocess
from training.datasets.drawn import (
    BROADEST,
    THINNEST,
    WAYS,
    draw,
    random_digit,
    random_pen,
    smooth,
)


def test_every_digit_has_several_styles_within_its_box() -> None:
    assert sorted(WAYS) == list(range(10))
    for ways in WAYS.values():
        assert len(ways) >= 3
        points = [point.split(",") for way in ways for point in way.replace("|", " ").replace(";", " ").split()]
        assert all(-10 <= int(x) <= 110 and -10 <= int(y) <= 110 for x, y in points)


def test_smooth_curve_passes_through_all_points() -> None:
    points = np.array([[0.0, 0.0], [1.0, 2.0], [3.0, 1.0]])
    curve = smooth(points, steps=8)
    assert np.allclose(curve[[0, 8, 16]], points)
    assert len(curve) == 17


def test_smooth_keeps_a_straight_line_straight() -> None:
    curve = smooth(np.array([[0.0, 0.0], [0.0, 4.0]]))
    assert np.allclose(curve[:, 0], 0)
    assert (np.diff(curve[:, 1]) > 0).all()


def test_pen_widths_cover_the_documented_range() -> None:
    random = np.random.default_rng(0)
    pens = [random_pen(random) for _ in range(1000)]
    assert THINNEST <= min(pens) < 1.1 * THINNEST
    assert 0.9 * BROADEST < max(pens) <= BROADEST


def test_draw_follows_the_path_with_the_pen_width() -> None:
    stroke = np.array([[0.0, 0.0], [10.0, 100.0]])
    thin, broad = draw([stroke], 0.03), draw([stroke], 0.2)
    assert thin.shape == broad.shape == (56, 56)
    assert 4 < broad.sum() / thin.sum() < 9
    assert thin[28, 28] > 0
    assert thin[:, :20].sum() == 0


@pytest.mark.parametrize("label", range(10))
def test_synthetic_digits_are_recognized(label: int, recognizer: Recognizer) -> None:
    random = np.random.default_rng(label)
    images = [preprocess(255 - draw(random_digit(label, random), random_pen(random), 200)) for _ in range(40)]
    assert sum(one.digit == label for one in recognizer.predict(images)) >= 38
