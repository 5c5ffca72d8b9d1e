import io

import numpy as np
import pytest
from PIL import Image

from benchmarks.accuracy.input_variations import KINDS, enlarged, measure, same_answers
from digits.recognizer import Recognizer
from tests.helpers.images import pixels_of
from training.datasets.mnist import load_training

DIGITS = load_training().images[:6]


@pytest.mark.parametrize("kind", KINDS)
def test_variations_are_seeded(kind: str) -> None:
    one, other, another = (KINDS[kind](DIGITS[0], np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == other != another
    assert np.ptp(pixels_of(one)) > 100


@pytest.mark.parametrize(("kind", "modes"), [("16 bit", {"I;16"}), ("palette", {"P"}), ("opaque RGBA", {"RGBA"})])
def test_files_have_the_mode_of_their_kind(kind: str, modes: set[str]) -> None:
    random = np.random.default_rng(0)
    assert {Image.open(io.BytesIO(KINDS[kind](digit, random))).mode for digit in DIGITS} <= modes


@pytest.mark.parametrize(("kind", "thinner"), [("hair-thin", True), ("marker-thick", False)])
def test_stroke_width_changes(kind: str, thinner: bool) -> None:
    def darkness(data: bytes) -> float:
        return float((255 - pixels_of(data)).mean())

    for digit in DIGITS:
        plain = float(np.asarray(enlarged(np.pad(digit, 4), 200)).mean())
        changed = darkness(KINDS[kind](digit, np.random.default_rng(0)))
        assert 0 < changed < plain if thinner else changed > plain


def test_only_the_digit_of_the_clean_image_is_correct(recognizer: Recognizer) -> None:
    unchanged = {"black on white": KINDS["black on white"]}
    flipped = {"upside down": lambda digit, random: unchanged["black on white"](digit[::-1], random)}
    together, alone = same_answers(recognizer, DIGITS, unchanged, "x")
    assert (together.name, alone.name) == ("xs, all", "x: black on white")
    assert together.value == alone.value == 1
    assert same_answers(recognizer, DIGITS, flipped, "x")[0].value < 1


def test_every_variation_has_a_figure(recognizer: Recognizer) -> None:
    together, *figures = measure(recognizer, count=2)
    assert len(figures) == len(KINDS)
    assert together.count == 2 * len(KINDS)
    assert together.value > 0.9
