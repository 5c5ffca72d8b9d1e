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
def test_clothes_are_the_same_for_the_same_seed(kind: str) -> None:
    one, other, another = (KINDS[kind](DIGITS[0], np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == other != another
    assert np.ptp(pixels_of(one)) > 100


@pytest.mark.parametrize(("kind", "modes"), [("16 bit", {"I;16"}), ("palette", {"P"}), ("opaque RGBA", {"RGBA"})])
def test_files_are_what_their_kind_says(kind: str, modes: set[str]) -> None:
    random = np.random.default_rng(0)
    assert {Image.open(io.BytesIO(KINDS[kind](digit, random))).mode for digit in DIGITS} <= modes


@pytest.mark.parametrize(("kind", "thinner"), [("hair-thin", True), ("marker-thick", False)])
def test_strokes_are_thinner_or_thicker_but_not_gone(kind: str, thinner: bool) -> None:
    def darkness(data: bytes) -> float:
        return float((255 - pixels_of(data)).mean())

    for digit in DIGITS:
        plain = float(np.asarray(enlarged(np.pad(digit, 4), 200)).mean())
        changed = darkness(KINDS[kind](digit, np.random.default_rng(0)))
        assert 0 < changed < plain if thinner else changed > plain


def test_only_the_clean_image_s_answer_is_right(recognizer: Recognizer) -> None:
    as_it_is = {"black on white": KINDS["black on white"]}
    turned = {"upside down": lambda digit, random: as_it_is["black on white"](digit[::-1], random)}
    together, alone = same_answers(recognizer, DIGITS, as_it_is, "x")
    assert (together.name, alone.name) == ("x, all", "x: black on white")
    assert together.value == alone.value == 1
    assert same_answers(recognizer, DIGITS, turned, "x")[0].value < 1


def test_every_kind_has_its_figure(recognizer: Recognizer) -> None:
    together, *figures = measure(recognizer, count=2)
    assert len(figures) == len(KINDS)
    assert together.count == 2 * len(KINDS)
    assert together.value > 0.9
