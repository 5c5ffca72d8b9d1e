import numpy as np

from digits.preprocess import Preprocessed
from digits.recognizer import Recognizer
from tests.helpers.finding import finder
from training.datasets.mnist import NO_DIGIT, load_training
from training.datasets.outliers import make_negatives

DIGITS = load_training().part(np.arange(1000))


def test_negatives_are_preprocessed_and_labelled_no_digit() -> None:
    negatives = make_negatives(DIGITS, 60, finder())
    assert negatives.images.shape == (60, 28, 28)
    assert negatives.images.dtype == np.uint8
    assert (negatives.labels == NO_DIGIT).all()
    assert (negatives.images.max(axis=(1, 2)) > 200).all()
    assert len(np.unique(negatives.images, axis=0)) == 60


def test_negatives_are_deterministic() -> None:
    assert make_negatives(DIGITS, 12, finder()).sha256 == make_negatives(DIGITS, 12, finder()).sha256


def test_shipped_model_rejects_most_negatives(recognizer: Recognizer) -> None:
    _, is_digit = recognizer.classifier.classify(make_negatives(DIGITS, 200, finder()).images)
    assert (is_digit < 0.5).mean() > 0.5


def test_negatives_are_too_wide_to_be_a_one() -> None:
    for image in make_negatives(DIGITS, 60, finder()).images:
        rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
        assert columns[-1] - columns[0] + 1 >= 0.4 * (rows[-1] - rows[0] + 1)


def test_rejected_negative_has_a_reason(recognizer: Recognizer) -> None:
    predictions = recognizer.predict([Preprocessed(image) for image in make_negatives(DIGITS, 60, finder()).images])
    rejected = [one for one in predictions if one.digit is None]
    assert rejected
    assert {one.reason for one in rejected} <= {"not a digit", "uncertain"}
