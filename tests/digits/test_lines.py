import math

import numpy as np
import pytest

from digits.finder import Box
from digits.lines import begins_number, lines_of


def row(count: int, top: int, *, left: int = 0, pitch: int = 30, slope: float = 0.0) -> list[Box]:
    """Digits of 20×30 pixels in a line that falls by `slope`."""
    return [Box(left + pitch * one, round(top + slope * pitch * one), 20, 30) for one in range(count)]


def test_nothing() -> None:
    assert lines_of([]) == []
    assert begins_number([], []) == set()


def test_lines_from_the_top_each_from_left_to_right() -> None:
    boxes = [*row(3, 100), *row(4, 50), *row(1, 0)]
    assert lines_of(boxes[::-1]) == [[0], [4, 3, 2, 1], [7, 6, 5]]


@pytest.mark.parametrize("degrees", [-15, -5, 5, 15])
def test_slanted_lines(degrees: int) -> None:
    slope = math.tan(math.radians(degrees))
    boxes = [*row(10, 200, slope=slope), *row(10, 250, slope=slope), *row(6, 300, slope=slope)]
    assert lines_of(boxes) == [list(range(10)), list(range(10, 20)), list(range(20, 26))]


def test_digits_of_uneven_height_and_place() -> None:
    random = np.random.default_rng(0)
    boxes = []
    for top in (0, 60, 120):
        for left in range(0, 300, 30):
            height = int(random.integers(14, 34))
            bottom = top + 34 + int(random.integers(-4, 5))
            boxes.append(Box(left, max(0, bottom - height), 20, height))
    assert lines_of(boxes) == [list(range(10)), list(range(10, 20)), list(range(20, 30))]


def test_column_of_single_digits() -> None:
    assert lines_of([Box(10, 40 * one, 20, 30) for one in range(5)]) == [[one] for one in range(5)]


def test_two_columns_share_their_lines_and_are_parted() -> None:
    boxes = [*row(3, 0), *row(3, 0, left=300), *row(3, 50), *row(3, 50, left=300)]
    lines = lines_of(boxes)
    assert lines == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    assert begins_number(boxes, lines) == {3, 9}


def test_evenly_spaced_digits_are_one_number_however_far_apart() -> None:
    boxes = row(6, 0, pitch=100)
    assert begins_number(boxes, lines_of(boxes)) == set()
