import numpy as np

from training.datasets.mnist import load_training
from training.datasets.outliers import random_thing, random_writing

DIGITS = load_training().part(np.arange(1000))


def test_negatives_are_images_with_ink_all_different() -> None:
    random = np.random.default_rng(0)
    images = [random_writing(DIGITS, random) for _ in range(60)] + [random_thing(random) for _ in range(60)]
    assert all(image.ndim == 2 and image.dtype == np.uint8 for image in images)
    assert min(image.max() for image in images) > 30
    assert len({image.tobytes() for image in images}) == len(images)


def test_negatives_follow_from_the_random_generator() -> None:
    one, other = (random_writing(DIGITS, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(one, other)
