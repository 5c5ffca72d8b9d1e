import numpy as np
import pytest

from benchmarks.accuracy.simulated_photos import EFFECTS, KINDS, Page, measure
from digits.recognizer import Recognizer
from tests.helpers.images import pixels_of
from training.datasets.mnist import load_training

DIGITS = load_training().images[:6]


@pytest.mark.parametrize("kind", KINDS)
def test_photos_are_seeded(kind: str) -> None:
    one, other, another = (KINDS[kind](DIGITS[0], np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == other != another
    assert min(pixels_of(one).shape) >= 80


@pytest.mark.parametrize("effect", EFFECTS)
def test_effect_changes_the_photo_but_not_the_digit(effect: str) -> None:
    plain, changed = (Page(DIGITS[0], np.random.default_rng(1)) for _ in range(2))
    EFFECTS[effect](changed)
    assert np.array_equal(plain.ink, changed.ink)
    assert plain.size == changed.size
    assert plain.shot() != changed.shot()


def test_every_kind_has_a_figure(recognizer: Recognizer) -> None:
    together, *figures = measure(recognizer, count=2)
    assert len(figures) == len(KINDS)
    assert together.count == 2 * len(KINDS)
    assert together.value > 0.8
