import numpy as np
import pytest
from PIL import Image, ImageDraw

from digits.preprocess import BOX, SIZE
from digits.reasons import BLANK, SEVERAL_DIGITS
from tests.helpers.finding import preprocess
from tests.helpers.images import example_pixels
from training.datasets.mnist import load_test


def test_mnist_is_unchanged() -> None:
    images = load_test().images[:2000]
    assert all(np.array_equal(preprocess(image).image, image) for image in images)
    assert all(np.array_equal(preprocess(255 - image).image, image) for image in images[:200])


@pytest.mark.parametrize("digit", range(10))
def test_size_and_centre_match_mnist(digit: int) -> None:
    image = preprocess(example_pixels(digit)).image
    assert image.shape == (SIZE, SIZE)
    assert image.max() == 255
    rows, columns = np.nonzero(image > 20)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == pytest.approx(BOX, abs=1)
    weights = image / image.sum()
    centre = (weights.sum(axis=1) @ np.arange(SIZE), weights.sum(axis=0) @ np.arange(SIZE))
    assert centre == (pytest.approx(14, abs=0.6), pytest.approx(14, abs=0.6))


def test_polarity_position_and_contrast_do_not_matter() -> None:
    pixels = example_pixels(4)
    expected = preprocess(pixels).image.astype(int)
    moved = np.full((500, 600), 255, np.uint8)
    moved[200:480, 10:290] = pixels
    assert np.abs(preprocess(255 - pixels).image - expected).mean() < 4
    assert np.abs(preprocess(100 + pixels // 2).image - expected).mean() < 4
    # At this size the image is reduced before the digit is cropped, which shifts edges by a fraction of a pixel.
    assert np.abs(preprocess(moved).image - expected).mean() < 10


def test_upscaled_mnist_is_recovered() -> None:
    differences = []
    for image in load_test().images[:50]:
        large = Image.fromarray(image).resize((140, 140), Image.Resampling.BICUBIC)
        differences.append(np.abs(preprocess(np.asarray(large)).image.astype(int) - image).mean())
    assert np.median(differences) < 8


def test_hairlines_do_not_vanish() -> None:
    page = Image.new("L", (400, 400), 255)
    ImageDraw.Draw(page).line([(100, 60), (280, 60), (180, 340)])
    assert preprocess(np.asarray(page)).image.sum() >= 19 * 255


@pytest.mark.parametrize("value", [0, 128, 255])
@pytest.mark.parametrize("shape", [(28, 28), (1, 1), (300, 400)])
def test_blank(value: int, shape: tuple[int, ...]) -> None:
    preprocessed = preprocess(np.full(shape, value, np.uint8))
    assert preprocessed.reason == BLANK
    assert not preprocessed.image.any()


def test_several_digits_are_rejected_with_their_image() -> None:
    preprocessed = preprocess(np.hstack([example_pixels(3), example_pixels(8)]))
    assert preprocessed.reason == SEVERAL_DIGITS
    assert preprocessed.image.any()
