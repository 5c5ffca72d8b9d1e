import numpy as np

from digits.recognizer import Recognizer
from tests.helpers.finding import preprocess
from training.datasets.drawn import draw, random_digit, random_pen
from training.datasets.mnist import load_training
from training.datasets.photographed import redrawn, simulate_photo

DIGITS = load_training().part(np.arange(200))


def test_simulated_photos_vary_in_size_brightness_and_polarity() -> None:
    random = np.random.default_rng(0)
    pages = [simulate_photo(digit, random) for digit in DIGITS.images[:60]]
    assert all(page.dtype == np.uint8 and page.ndim == 2 for page in pages)
    assert min(page.size for page in pages) < 50**2
    assert max(page.size for page in pages) > 200**2
    brightness = [float(np.median(page)) for page in pages]
    assert min(brightness) < 60
    assert max(brightness) > 200


def test_simulated_photos_are_deterministic() -> None:
    one, other = (simulate_photo(DIGITS.images[0], np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(one, other)


def test_shipped_model_reads_most_simulated_photos(recognizer: Recognizer) -> None:
    random = np.random.default_rng(0)
    labels = np.arange(150) % 10
    pages = [simulate_photo(draw(random_digit(int(one), random), random_pen(random), 160), random) for one in labels]
    read = [one.digit for one in recognizer.predict([preprocess(page) for page in pages])]
    assert np.mean(np.array(read) == labels) > 0.8


def test_redrawn_digits_vary_in_stroke_width_and_stay_recognizable(recognizer: Recognizer) -> None:
    random = np.random.default_rng(0)
    images = [redrawn(digit, random) for digit in DIGITS.images]
    read = [one.digit for one in recognizer.predict([preprocess(image) for image in images])]
    assert np.mean(np.array(read) == DIGITS.labels) > 0.9
    ink = [image.mean() / digit.mean() for image, digit in zip(images, DIGITS.images, strict=True)]
    assert min(ink) < 0.5
    assert max(ink) > 1.2
