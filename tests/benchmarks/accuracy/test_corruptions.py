import numpy as np
import pytest
from numpy.typing import NDArray

import benchmarks.accuracy.corruptions
from benchmarks.accuracy.corruptions import CORRUPTIONS, corrupt, measure
from digits.recognizer import Recognizer
from training.datasets.mnist import load_test
from training.evaluate import evaluate

DIGITS = load_test().images[:20]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_image_is_changed_and_the_same_by_the_same_seed(name: str) -> None:
    before = DIGITS.copy()
    corrupted = corrupt(name, DIGITS, seed=1)
    assert corrupted.shape == DIGITS.shape
    assert corrupted.dtype == np.uint8
    assert np.any(corrupted != DIGITS, axis=(1, 2)).all()
    np.testing.assert_array_equal(corrupted, corrupt(name, DIGITS, seed=1))
    np.testing.assert_array_equal(DIGITS, before)


@pytest.mark.parametrize("name", sorted(set(CORRUPTIONS) - {"scale", "brightness", "stripe", "canny_edges"}))
def test_corruption_depends_on_the_seed(name: str) -> None:
    assert np.any(corrupt(name, DIGITS, seed=1) != corrupt(name, DIGITS, seed=2))


def _ink(images: NDArray[np.uint8]) -> float:
    return float(images.mean())


def test_corruptions_have_their_known_effects() -> None:
    square = np.zeros((1, 28, 28), np.uint8)
    square[0, 8:20, 8:20] = 255
    assert corrupt("brightness", square).min() == 127
    assert sorted(np.argwhere(corrupt("translate", square)[0])[0]) in ([5, 5], [5, 11], [11, 11])
    assert _ink(corrupt("scale", square)) == pytest.approx(0.7**2 * _ink(square), rel=0.1)
    assert _ink(corrupt("rotate", square)) == pytest.approx(_ink(square), rel=0.01)
    assert _ink(corrupt("motion_blur", square)) == pytest.approx(_ink(square), rel=0.02)
    assert _ink(corrupt("canny_edges", square)) < _ink(square) / 2
    assert np.ptp(corrupt("fog", square)[0, 10:18, 10:18]) < 255 * 3 / 4
    np.testing.assert_array_equal(corrupt("stripe", square)[0, :, :7], 255)


def test_figures_count_correct_predictions(recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_test()
    accuracy = evaluate(recognizer, data.part(np.linspace(0, len(data) - 1, 10).astype(np.int64))).accuracy
    harmless = {name: lambda images, random: images for name in ("one", "other_way")}
    monkeypatch.setattr(
        benchmarks.accuracy.corruptions, "CORRUPTIONS", {**harmless, "erased": lambda images, random: 0 * images}
    )
    one, other, erased, mean, worst = measure(recognizer, count=10)
    assert (one.name, other.name, erased.name) == ("MNIST-C, one", "MNIST-C, other way", "MNIST-C, erased")
    assert (one.value, other.value, erased.value) == (accuracy, accuracy, 0)
    assert mean.value == pytest.approx(accuracy * 2 / 3)
    assert (worst.name, worst.value, worst.count) == ("MNIST-C, worst", 0, 10)
