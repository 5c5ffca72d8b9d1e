import numpy as np

from training.datasets.line_drawings import TRAINED
from training.datasets.mnist import load_training
from training.datasets.outliers import line_drawing, random_negative

DIGITS = load_training().part(np.arange(1000))


def test_negatives_are_images_with_ink_all_different() -> None:
    random = np.random.default_rng(0)
    images = [random_negative(DIGITS, random) for _ in range(60)] + [line_drawing(TRAINED, random) for _ in range(60)]
    assert all(image.ndim == 2 and image.dtype == np.uint8 for image in images)
    assert min(image.max() for image in images) > 60
    assert len({image.tobytes() for image in images}) == len(images)


def test_negatives_follow_from_the_random_generator() -> None:
    one, other = (random_negative(DIGITS, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(one, other)
