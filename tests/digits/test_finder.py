import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from digits.decode import GreyImage, Pixels, decode
from digits.finder import FRAME, Box, Finder, FoundDigit
from digits.session import ModelError, ModelFile
from digits.settings import ModelSettings
from tests.helpers.finding import finder
from tests.helpers.images import example_pixels

RANDOM = np.random.default_rng(0)


def find(pixels: Pixels) -> list[FoundDigit]:
    return finder().find(GreyImage(pixels))


def extent(pixels: Pixels) -> Box:
    """The place of dark ink on light paper."""
    rows, columns = np.nonzero(pixels < 128)
    top, left = int(rows.min()), int(columns.min())
    return Box(left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top)


def difference(one: Box, other: Box) -> int:
    """How far the boxes' edges lie apart, at most."""
    ends = [(box.left, box.top, box.left + box.width, box.top + box.height) for box in (one, other)]
    return max(abs(first - second) for first, second in zip(*ends, strict=True))


def grained(pixels: Pixels) -> Pixels:
    """With noise, so that the paper is not of one shade."""
    return np.clip(pixels * 0.7 + 40 + RANDOM.normal(0, 4, pixels.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("digit", range(10))
def test_ink_and_box_are_the_digits(digit: int) -> None:
    pixels = example_pixels(digit)
    for image in (pixels, 255 - pixels, grained(pixels)):
        [found] = find(image)
        assert difference(found.box, extent(pixels)) <= 10
        truth = Image.fromarray(255 - found.box.of(pixels)).resize(found.ink.shape[::-1], Image.Resampling.BOX)
        assert np.corrcoef(np.asarray(truth).ravel(), found.ink.ravel())[0, 1] > 0.9
        assert found.heat > 0.5


@pytest.mark.parametrize("margin", [0, 1])
def test_digit_may_touch_every_edge(margin: int) -> None:
    pixels = example_pixels(8)
    box = extent(pixels).widened(margin, (280, 280))
    crop = box.of(pixels)
    [found] = find(crop)
    assert difference(found.box, Box(margin, margin, box.width - 2 * margin, box.height - 2 * margin)) <= 4


def test_box_is_in_pixels_of_the_upright_whole_image() -> None:
    page = np.full((1200, 900), 230, np.uint8)
    page[700:980, 300:580] = np.minimum(example_pixels(5), 230)
    rotated = Image.fromarray(np.rot90(page))  # as a camera stores it that was held upright
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    rotated.save(file, "JPEG", exif=exif)
    image = decode(file.getvalue())
    assert image.full is not None
    [found] = finder().find(image)
    assert difference(found.box, extent(page)) <= 12


def test_more_digits_in_one_frame_than_a_byte_counts() -> None:
    page = np.full((256, 256), 255, np.uint8)
    seven = np.asarray(Image.fromarray(example_pixels(7)).resize((6, 14)))
    for top in range(2, 242, 17):
        for left in range(2, 250, 10):
            page[top : top + 14, left : left + 6] = seven
    page[0, ::2] = 200  # not drawn on paper of one shade
    find(page)


def test_every_digit_is_found_the_one_with_most_ink_first() -> None:
    page = np.full((400, 800), 255, np.uint8)
    page[60:340, 60:340] = example_pixels(8)
    page[150:340, 500:690] = np.asarray(Image.fromarray(example_pixels(3)).resize((190, 190)))
    for image in (page, grained(page)):
        large, small = find(image)
        assert large.box.left < 340 < small.box.left
        assert large.mass > small.mass


def test_digit_that_is_tiny_on_its_page_is_found_and_seen_in_full() -> None:
    page = np.full((2000, 1500), 255, np.uint8)
    small = np.asarray(Image.fromarray(example_pixels(6)).resize((60, 60), Image.Resampling.BOX))
    page[1500:1560, 200:260] = small
    for image in (page, np.clip(page - RANDOM.integers(0, 8, page.shape), 0, 255).astype(np.uint8)):
        [found] = find(image)
        assert difference(found.box, extent(page)) <= 4
        assert max(found.ink.shape) > FRAME / 4


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (28, 28), (2000, 1000)])
def test_nothing_is_found_where_nothing_is_written(shape: tuple[int, int]) -> None:
    assert find(np.full(shape, 200, np.uint8)) == []
    assert find(np.clip(RANDOM.normal(180, 3, shape), 0, 255).astype(np.uint8)) == []


def test_file_that_is_no_finder_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected a tensor `images`"):
        Finder(ModelFile.read(ModelSettings().model_path), "cpu")
    (tmp_path / "finder.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match="cannot load"):
        Finder(ModelFile.read(tmp_path / "finder.onnx"), "cpu")
