import numpy as np
import pytest

from benchmarks.accuracy.crops import FORMS, SIDES, crop, crops, measure
from benchmarks.accuracy.drawing import redrawn
from digits.recognizer import Recognizer
from tests.helpers.images import pixels_of
from training.datasets.mnist import load_training

DIGITS = [redrawn(digit) for digit in load_training().images[:24]]


@pytest.mark.parametrize("form", FORMS)
def test_crops_are_the_same_each_time(form: str) -> None:
    assert list(crops(DIGITS, 28, form)) == list(crops(DIGITS, 28, form))


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("margin", [0, 1])
def test_digit_has_its_size_and_its_margin(side: int, margin: int) -> None:
    random = np.random.default_rng(0)
    for digit in DIGITS:
        pixels = crop(digit, side, 4, margin, random, binarised=True)
        assert max(pixels.shape) - 2 * margin == pytest.approx(side, abs=1)
        assert margin == 1 or all((edge == 0).any() for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))


def test_as_many_edges_as_asked_for_are_touched() -> None:
    random = np.random.default_rng(0)
    for touched in (1, 2, 3, 4):
        pixels = crop(DIGITS[0], 64, touched, 0, random, binarised=True)
        edges = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
        assert sum(bool((edge == 0).any()) for edge in edges) == touched


def test_half_of_the_crops_are_inverted_and_some_are_cut() -> None:
    pixels = [pixels_of(one) for one in crops(DIGITS, 64, "binarised")]
    assert sum(float(np.median(one)) == 0 for one in pixels) == pytest.approx(12, abs=6)
    assert {value for one in pixels for value in np.unique(one)} == {0, 255}


def test_every_size_and_form_has_a_figure(recognizer: Recognizer) -> None:
    figures = measure(recognizer, count=2)
    assert len({one.name for one in figures}) == len(SIDES) * len(FORMS)
    assert {one.count for one in figures} == {2}
