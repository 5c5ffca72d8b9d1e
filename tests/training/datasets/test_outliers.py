import numpy as np

from digits.preprocess import Preprocessed
from digits.recognizer import Recognizer
from training.datasets.mnist import NO_DIGIT, load_training
from training.datasets.outliers import random_outliers

DIGITS = load_training().part(np.arange(1000))


def test_outliers_are_prepared_images_without_a_digit() -> None:
    outliers = random_outliers(DIGITS, 60)
    assert outliers.images.shape == (60, 28, 28)
    assert outliers.images.dtype == np.uint8
    assert (outliers.labels == NO_DIGIT).all()
    assert (outliers.images.max(axis=(1, 2)) > 200).all()
    assert len(np.unique(outliers.images, axis=0)) == 60


def test_same_outliers_every_time() -> None:
    assert random_outliers(DIGITS, 12).sha256 == random_outliers(DIGITS, 12).sha256


def test_shipped_model_knows_most_of_them(recognizer: Recognizer) -> None:
    _, is_digit = recognizer.classifier.classify(random_outliers(DIGITS, 200).images)
    assert (is_digit < 0.5).mean() > 0.7


def test_none_is_so_narrow_that_it_may_be_a_one() -> None:
    for image in random_outliers(DIGITS, 60).images:
        rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
        assert columns[-1] - columns[0] + 1 >= 0.4 * (rows[-1] - rows[0] + 1)


def test_refused_outlier_says_why(recognizer: Recognizer) -> None:
    predictions = recognizer.predict([Preprocessed(image) for image in random_outliers(DIGITS, 60).images])
    refused = [one for one in predictions if one.digit is None]
    assert refused
    assert {one.reason for one in refused} <= {"not a digit", "uncertain"}
