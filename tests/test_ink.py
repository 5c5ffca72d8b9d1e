from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.ink import connected, find_ink


def page(height: int = 300, width: int = 200, paper: float = 210, noise: float = 2) -> NDArray[np.float64]:
    return paper + np.random.default_rng(0).normal(0, noise, (height, width))


def photo(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.clip(values, 0, 255).astype(np.uint8)


def with_bar(values: NDArray[np.float64], darkness: float = 120) -> NDArray[np.float64]:
    """A vertical stroke of 100 × 12 pixels."""
    values[100:200, 94:106] -= darkness
    return values


def size(values: NDArray[np.float64]) -> Any:
    ink = find_ink(photo(values))
    assert ink is not None
    return ink.shape


def reduced(height: int, width: int, factor: int = 2) -> Any:
    """What the size must be, within a pixel or two, after the reduction to working size."""
    return pytest.approx(height / factor, abs=2.5), pytest.approx(width / factor, abs=2.5)


def test_dark_ink_and_light_ink() -> None:
    assert size(with_bar(page())) == reduced(100, 12)
    assert size(255 - with_bar(page())) == reduced(100, 12)


def test_faint_pencil() -> None:
    assert size(with_bar(page(), darkness=30)) == reduced(100, 12)


def test_light_falling_off_is_not_ink() -> None:
    rows, columns = np.mgrid[-1:1:300j, -1:1:200j]
    assert size(with_bar(page()) * (1 - 0.3 * (rows**2 + columns**2))) == reduced(100, 12)


def test_hard_shadow_is_not_ink() -> None:
    values = with_bar(page())
    values[:150] *= 0.6
    assert size(values) == reduced(100, 12)


def test_edge_of_the_paper_is_not_ink() -> None:
    values = with_bar(page())
    values[:, 185:] = 60
    assert size(values) == reduced(100, 12)


def test_broad_stroke_is_not_hollowed_out() -> None:
    values = page()
    values[80:220, 80:115] -= 120
    ink = find_ink(photo(values))
    assert ink is not None
    assert ink.shape == reduced(140, 35)
    assert np.median(ink) > 200


def test_specks_are_left_out_and_a_second_stroke_is_kept() -> None:
    values = with_bar(page())
    values[20:23, 20:23] -= 120
    values[100:108, 112:150] -= 120  # a bar beside the stroke, as of a 5
    assert size(values) == reduced(100, 56)


def test_small_digit_on_a_large_page_is_looked_at_closer() -> None:
    values = page(1600, 1200)
    values[400:440, 900:906] -= 120
    assert size(values) == (pytest.approx(40, abs=3), pytest.approx(6, abs=3))


def test_border_around_a_canvas_is_not_ink() -> None:
    values = with_bar(page(noise=0))
    values[:4] = values[-4:] = values[:, :4] = values[:, -4:] = 0
    assert size(values) == reduced(100, 12)


@pytest.mark.parametrize("ground", [30, 120])
def test_sheet_on_a_darker_ground_is_not_the_digit(ground: float) -> None:
    values = np.full((440, 400), float(ground))
    values[50:350, 50:250] = with_bar(page(noise=0))
    assert size(values) == reduced(100, 12)


def test_thick_digit_that_fills_its_image() -> None:
    rows, columns = np.mgrid[-30:30, -30:30]
    values = np.where(rows**2 + columns**2 < 28**2, 0.0, 255.0)
    values[18:42, 25:35] = 255  # a 0 with a small hole
    assert size(values) == (55, 55)


@pytest.mark.parametrize("noise", [0, 1, 5, 10])
def test_blank_paper_has_no_ink(noise: float) -> None:
    gradient = np.linspace(1, 0.6, 300)[:, None]
    assert find_ink(photo(page(noise=noise))) is None
    assert find_ink(photo(page(noise=noise) * gradient)) is None


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (2, 3), (5, 2000)])
def test_any_shape_is_survived(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for image in (random, np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)):
        ink = find_ink(image)
        assert ink is None or (ink.size > 0 and ink.max() <= 255)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_any_pattern_is_survived(height: int, width: int, seed: int) -> None:
    """Rectangles over and beside each other: sheets, borders, bars, dots, of any share of the image."""
    random = np.random.default_rng(seed)
    values = np.full((height, width), random.integers(256), np.uint8)
    for _ in range(random.integers(1, 6)):
        top, left = random.integers(height), random.integers(width)
        values[top : random.integers(top, height) + 1, left : random.integers(left, width) + 1] = random.integers(256)
    ink = find_ink(np.kron(values, np.ones((random.integers(1, 12),) * 2, np.uint8)))
    assert ink is None or (ink.size > 0 and ink.max() > 0)


def test_connected_parts() -> None:
    mask = np.array([[1, 0, 0, 1, 1], [0, 1, 0, 0, 0], [0, 0, 0, 1, 0], [1, 1, 0, 1, 0], [0, 1, 1, 0, 0]], bool)
    labels, count = connected(mask)
    assert count == 3
    groups = {frozenset(map(tuple, np.argwhere(labels == label).tolist())) for label in (1, 2, 3)}
    assert groups == {
        frozenset({(0, 0), (1, 1)}),
        frozenset({(0, 3), (0, 4)}),
        frozenset({(2, 3), (3, 3), (3, 0), (3, 1), (4, 1), (4, 2)}),
    }


def test_connected_parts_of_noise_agree_with_a_flood_fill() -> None:
    mask = np.random.default_rng(1).random((40, 50)) < 0.35
    labels, count = connected(mask)
    seen = np.zeros_like(mask)
    found = 0
    for start in np.argwhere(mask):
        if seen[tuple(start)]:
            continue
        found += 1
        stack = [tuple(start)]
        while stack:
            row, column = stack.pop()
            if not (0 <= row < 40 and 0 <= column < 50) or not mask[row, column] or seen[row, column]:
                continue
            seen[row, column] = True
            assert labels[row, column] == labels[tuple(start)]
            stack += [(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    assert found == count
