from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from digits.ink import BLANK, NOT_A_DIGIT, SEVERAL_DIGITS, Ink, find_ink


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
    assert ink.reason is None
    return ink.pixels.shape


def is_sound(ink: Ink) -> bool:
    return ink.reason == BLANK or (ink.pixels.size > 0 and 0 < ink.pixels.max() <= 255)


def reduced(height: int, width: int, factor: int = 3) -> Any:
    """The expected size after reduction, within a few pixels."""
    return pytest.approx(height / factor, abs=3), pytest.approx(width / factor, abs=3)


def test_dark_ink_and_light_ink() -> None:
    assert size(with_bar(page())) == reduced(100, 12)
    assert size(255 - with_bar(page())) == reduced(100, 12)


def test_faint_pencil() -> None:
    assert size(with_bar(page(), darkness=30)) == reduced(100, 12, factor=2)


def test_vignetting_is_not_ink() -> None:
    rows, columns = np.mgrid[-1:1:300j, -1:1:200j]
    assert size(with_bar(page()) * (1 - 0.3 * (rows**2 + columns**2))) == reduced(100, 12)


def test_hard_shadow_is_not_ink() -> None:
    values = with_bar(page())
    values[:150] *= 0.6
    assert size(values) == reduced(100, 12)


def test_finger_shadow_is_not_ink() -> None:
    columns = np.arange(200)
    values = with_bar(page()) * np.linspace(1, 0.8, 200)
    values[80:] *= 1 - 0.5 * np.clip((40 - np.abs(columns - 100)) / 20, 0, 1)
    assert size(values) == reduced(100, 12)


def test_digit_cut_by_the_frame_is_kept() -> None:
    values = page(200, 200)
    values[20:140, 40:60] = values[120:140, 40:160] = values[60:, 140:160] = 60  # a 4 whose foot is cut off
    assert size(values) == (pytest.approx(180, abs=3), pytest.approx(120, abs=3))


def test_paper_edge_is_not_ink() -> None:
    values = with_bar(page())
    values[:, 185:] = 60
    assert size(values) == reduced(100, 12)


def test_thick_stroke_stays_solid() -> None:
    values = page()
    values[80:220, 80:115] -= 120
    ink = find_ink(photo(values)).pixels
    assert ink.shape == reduced(140, 35)
    assert np.median(ink) > 200


def test_specks_are_dropped_and_second_stroke_is_kept() -> None:
    values = with_bar(page())
    values[20:23, 20:23] -= 120
    values[100:108, 112:150] -= 120  # a bar next to the stroke, as in a 5
    assert size(values) == reduced(100, 56)


def test_small_digit_on_large_page_keeps_its_resolution() -> None:
    values = page(1600, 1200)
    values[400:440, 900:906] -= 120
    assert size(values) == (pytest.approx(40, abs=3), pytest.approx(6, abs=3))


def test_small_thick_digit_on_large_page_is_not_a_sheet() -> None:
    rows, columns = np.mgrid[-20:20, -14:14]
    distance = np.hypot(rows / 20, columns / 14)
    values = page(2000, 1600, noise=0)
    values[400:440, 900:928] -= 120 * ((distance < 1) & (distance > 0.3))  # a 0 of a few solid pixels after reduction
    assert size(values) == (pytest.approx(40, abs=3), pytest.approx(28, abs=3))


def test_border_around_a_canvas_is_not_ink() -> None:
    values = with_bar(page(noise=0))
    values[:4] = values[-4:] = values[:, :4] = values[:, -4:] = 0
    assert size(values) == reduced(100, 12)


@pytest.mark.parametrize("background", [30, 120])
def test_sheet_on_dark_background_is_not_ink(background: float) -> None:
    values = np.full((440, 400), float(background))
    values[50:350, 50:250] = with_bar(page(noise=0))
    assert size(values) == reduced(100, 12)


@pytest.mark.parametrize("angle", [-0.15, 0.1])
def test_rotated_sheet_on_dark_background_is_not_ink(angle: float) -> None:
    rows, columns = np.mgrid[-150:150, -150:150]
    down = rows * np.cos(angle) - columns * np.sin(angle)
    right = rows * np.sin(angle) + columns * np.cos(angle)
    values = np.where((np.abs(down) < 90) & (np.abs(right) < 80), 210.0, 60.0)
    values[100:200, 144:156] = 60
    assert size(values) == reduced(100, 12, factor=2)


@pytest.mark.parametrize("thickness", [3, 8])
def test_box_around_the_digit_is_not_ink(thickness: int) -> None:
    values = page()
    values[60:240, 40:160] -= 120
    values[60 + thickness : 240 - thickness, 40 + thickness : 160 - thickness] += 120
    assert size(with_bar(values)) == reduced(100, 12, factor=2)


def test_rectangular_zero_is_not_a_box() -> None:
    values = page()
    values[60:240, 40:160] -= 120
    values[75:225, 55:145] += 120
    assert size(values) == reduced(180, 120)


def test_thick_digit_filling_the_image() -> None:
    rows, columns = np.mgrid[-30:30, -30:30]
    values = np.where(rows**2 + columns**2 < 28**2, 0.0, 255.0)
    values[18:42, 25:35] = 255  # a 0 with a small hole
    assert size(values) == (55, 55)


@pytest.mark.parametrize("noise", [0, 1, 5, 10])
def test_blank_paper_has_no_ink(noise: float) -> None:
    gradient = np.linspace(1, 0.6, 300)[:, None]
    assert find_ink(photo(page(noise=noise))).reason == BLANK
    assert find_ink(photo(page(noise=noise) * gradient)).reason == BLANK


@pytest.mark.parametrize("size", [(30, 28), (95, 62), (200, 300), (500, 200)])
@pytest.mark.parametrize("fall", [0.2, -0.2])
def test_uneven_light_is_blank(size: tuple[int, int], fall: float) -> None:
    rows, columns = (np.linspace(-1, 1, side) for side in size)
    light = 1 - 0.15 * (rows[:, None] ** 2 + columns**2) + fall * columns
    assert find_ink(photo(page(*size, paper=180, noise=1) * light)).reason == BLANK


@pytest.mark.parametrize("side", [28, 60, 300])
@pytest.mark.parametrize("kind", ["uniform", "normal", "strong", "salt and pepper"])
def test_noise_is_not_a_digit(kind: str, side: int) -> None:
    random = np.random.default_rng(side)
    values = {
        "uniform": random.uniform(0, 255, (side, side)),
        "normal": random.normal(128, 40, (side, side)),
        "strong": random.normal(128, 80, (side, side)),
        "salt and pepper": np.where(random.random((side, side)) < 0.2, 255 * random.integers(0, 2, (side, side)), 128),
    }[kind]
    assert find_ink(photo(values)).reason in (BLANK, NOT_A_DIGIT)


def test_grid_is_not_a_digit() -> None:
    values = page(noise=0)
    for start in range(20, 180, 16):
        values[20:180, start : start + 4] = values[start : start + 4, 20:180] = 60
    assert find_ink(photo(values)).reason == NOT_A_DIGIT


@pytest.mark.parametrize(("rows", "columns"), [((100, 200), (40, 52)), ((220, 290), (94, 106)), ((20, 80), (150, 165))])
def test_separate_second_stroke_is_another_digit(rows: tuple[int, int], columns: tuple[int, int]) -> None:
    values = with_bar(page())
    values[slice(*rows), slice(*columns)] -= 120
    assert find_ink(photo(values)).reason == SEVERAL_DIGITS


def test_very_wide_ink_is_several_digits() -> None:
    values = page()
    values[140:150, 20:180] -= 120
    for left in (20, 100, 170):
        values[110:150, left : left + 10] -= 120
    assert find_ink(photo(np.clip(values, 60, 255))).reason == SEVERAL_DIGITS


def test_neighbour_cut_by_the_frame_is_ignored() -> None:
    values = with_bar(page())
    values[100:200, 190:] -= 120
    assert size(values) == reduced(100, 12)


@pytest.mark.parametrize("darkness", [30, 60])
def test_ruled_lines_are_not_ink(darkness: float) -> None:
    values = with_bar(page())
    values[20::40] -= darkness
    values[21::40] -= darkness
    assert size(values) == reduced(100, 12)


def test_fading_ruled_line_is_not_ink() -> None:
    values = with_bar(page(noise=0))
    values[150:152] -= np.linspace(70, 20, 200)
    assert size(values) == reduced(100, 12)


def test_graph_paper_is_not_ink() -> None:
    values = with_bar(page())
    values[20::40] -= 40
    values[:, 10::40] -= 40
    assert size(values) == reduced(100, 12)


@pytest.mark.parametrize("angle", [0.2, 2.0, 2.8])
def test_polarity_under_a_hard_shadow(angle: float) -> None:
    values = with_bar(page())
    rows, columns = np.indices(values.shape)
    values[(rows - 150) * np.sin(angle) + (columns - 130) * np.cos(angle) > 0] *= 0.4
    assert size(values) == reduced(100, 12)


def test_tiny_speck_is_blank() -> None:
    values = page(noise=0)
    values[100:104, 100:103] = 0
    assert find_ink(photo(values)).reason == BLANK


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (2, 3), (5, 2000)])
def test_any_image_size(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for image in (random, np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)):
        assert is_sound(find_ink(image))


@settings(max_examples=300)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_any_pattern(height: int, width: int, seed: int) -> None:
    """Overlapping and adjacent rectangles: sheets, borders, bars and dots of any size."""
    random = np.random.default_rng(seed)
    values = np.full((height, width), random.integers(256), np.uint8)
    for _ in range(random.integers(1, 6)):
        top, left = random.integers(height), random.integers(width)
        values[top : random.integers(top, height) + 1, left : random.integers(left, width) + 1] = random.integers(256)
    assert is_sound(find_ink(np.kron(values, np.ones((random.integers(1, 12),) * 2, np.uint8))))
