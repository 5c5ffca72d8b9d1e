from collections.abc import Callable, Sequence
from pathlib import Path

import click
import matplotlib
import numpy as np
import pytest
from numpy.random import Generator

import benchmarks.accuracy.not_a_digit
from benchmarks.accuracy.not_a_digit import (
    Pixels,
    Predictions,
    blank,
    load_letters,
    measure,
    noise,
    predict,
    texture,
)
from digits.classifier import Images, Probabilities
from digits.preprocess import Preprocessed
from digits.recognizer import Prediction, Recognizer
from tests.helpers.finding import finder
from tests.helpers.images import example_pixels, write_idx
from training.datasets.mnist import load_test

FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
DIGITS = load_test().part(np.arange(20))


class Credulous(Recognizer):
    """Reads a 0 in everything but blank paper; the score grows with the amount of ink."""

    def __init__(self) -> None:
        self.classifier = self  # type: ignore[assignment]
        self.finder = finder()

    def classify(self, images: Images) -> tuple[Probabilities, np.ndarray]:
        return np.full((len(images), 10), 0.1, np.float32), images.mean(axis=(1, 2), dtype=np.float32)

    def predict(self, preprocessed: Sequence[Preprocessed]) -> list[Prediction]:
        return [prediction(None if one.reason else 0, one.reason) for one in preprocessed]


def prediction(digit: int | None, reason: str | None) -> Prediction:
    return Prediction(digit, 0.1, (0.1,) * 10, reason)


def empty(random: Generator) -> Pixels:
    return np.full((40, 30), 200, np.uint8)


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A font and three images in place of Debian's packages."""
    (tmp_path / "hand.ttf").symlink_to(FONT)
    monkeypatch.setattr(benchmarks.accuracy.not_a_digit, "HANDWRITING", {"fonts-hand": {"hand.ttf": "AOX"}})
    write_idx(tmp_path / "t10k-images-idx3-ubyte.gz", DIGITS.images[:3])
    monkeypatch.setattr(benchmarks.accuracy.not_a_digit, "load_test", lambda: DIGITS)
    return tmp_path


def test_image_rejected_by_preprocessing_scores_zero() -> None:
    predicted = predict(Credulous(), [example_pixels(3), np.full((50, 50), 255, np.uint8)])
    assert predicted.scores[0] > 0
    assert predicted.scores[1] == 0
    assert predicted.rejected().tolist() == [False, True]


def test_rejections_are_counted_by_reason() -> None:
    predictions = [prediction(None, "blank"), prediction(None, "not a digit"), prediction(7, None)]
    predicted = Predictions(predictions, np.zeros(3, np.float32))
    assert predicted.rejected().tolist() == [True, True, False]
    assert predicted.rejected("not a digit").tolist() == [False, True, False]
    assert predicted.rejected("blank", "not a digit").tolist() == [True, True, False]


def test_figures_of_a_model_that_rejects_nothing(stand_ins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks.accuracy.not_a_digit, "blank", empty)
    figures = {one.name: one for one in measure(Credulous(), 4, stand_ins, stand_ins)}
    assert figures["MNIST test digits not rejected"].value == 1
    assert figures["blank images rejected as such"].value == 1
    assert figures["noise rejected as such"].count == 4
    # Both sides are the same images.
    assert figures["Fashion-MNIST: area under ROC curve"].value == pytest.approx(0.5, abs=0.3)
    assert figures["Fashion-MNIST: rejected"].value == 0
    letters, digit_like = (one for name, one in figures.items() if name.endswith("q: rejected"))
    assert (letters.count, digit_like.count) == (8, 4)


@pytest.mark.parametrize(
    ("missing", "package"), [("hand.ttf", "fonts-hand"), ("t10k-images-idx3-ubyte.gz", "dataset-fashion-mnist")]
)
def test_missing_package_is_named(missing: str, package: str, stand_ins: Path) -> None:
    (stand_ins / missing).unlink()
    with pytest.raises(click.ClickException, match=f"{missing}: expected .* `apt install {package}`"):
        measure(Credulous(), 4, stand_ins, stand_ins)


@pytest.mark.parametrize("draw", [blank, noise, texture])
def test_generated_images_are_seeded_and_vary_in_size(draw: Callable[[Generator], Pixels]) -> None:
    images, again = ([draw(random) for _ in range(20)] for random in map(np.random.default_rng, (1, 1)))
    assert {one.dtype for one in images} == {np.dtype(np.uint8)}
    assert min(min(one.shape) for one in images) >= 28
    assert len({one.shape for one in images}) > 10
    assert all(np.array_equal(one, other) for one, other in zip(images, again, strict=True))


def test_letters_are_dark_on_light(stand_ins: Path) -> None:
    letters = load_letters(stand_ins)
    assert sorted({letter for letter, _ in letters}) == ["A", "O", "X"]
    for _, image in letters:
        assert np.median(image) > 180
        assert 0.02 < np.mean(image < 150) < 0.4
