import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.accuracy import pages
from benchmarks.accuracy.pages import DIGITS, LINES, SMALLEST, Page, measure, page, write_examples
from digits.recognizer import Recognizer


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "SIZES", ((600, 400), (800, 600)))


@pytest.fixture
def some() -> list[Page]:
    return [page(seed) for seed in range(3)]


def test_page_depends_on_its_seed_alone(some: list[Page]) -> None:
    assert page(0) == some[0] != some[1]


def test_every_digit_has_a_box_inside_the_image(some: list[Page]) -> None:
    for made in some:
        with Image.open(io.BytesIO(made.file)) as image:
            assert 400 <= min(image.size) <= max(image.size) <= 800
            assert 1 <= len(made.lines) <= LINES
            for line, boxes in zip(made.lines, made.boxes, strict=True):
                assert 1 <= len(line) == len(boxes) <= DIGITS
                assert set(line) <= set("0123456789")
                for left, top, width, height in boxes:
                    assert 0 <= left <= left + width <= image.width
                    assert 0 <= top <= top + height <= image.height
                    assert max(width, height) >= SMALLEST / 2


def test_boxes_hold_ink_and_lines_go_down_the_page(some: list[Page]) -> None:
    for made in some:
        with Image.open(io.BytesIO(made.file)) as image:
            pixels = np.asarray(image.convert("L"), dtype=int)
        for boxes in made.boxes:
            assert [box[0] for box in boxes] == sorted(box[0] for box in boxes)
            left, top, width, height = boxes[0]
            part = pixels[top : top + height, left : left + width]
            assert np.ptp(part) > 25
        tops = [np.mean([top + height / 2 for _, top, _, height in boxes]) for boxes in made.boxes]
        assert tops == sorted(tops)


def test_examples_are_written_with_their_truth(tmp_path: Path) -> None:
    write_examples(tmp_path / "pages", count=1)
    made = page(0)
    assert (tmp_path / "pages" / "000.jpg").read_bytes() == made.file
    truth = json.loads((tmp_path / "pages" / "000.json").read_bytes())
    assert truth["lines"] == made.lines
    assert [len(line) for line in truth["boxes"]] == [len(line) for line in made.lines]


def test_largest_photos_have_twelve_megapixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "SIZES", ((4000, 3000),))
    made = page(0)
    with Image.open(io.BytesIO(made.file)) as image:
        assert sorted(image.size) == [3000, 4000]
        left, top, width, height = made.boxes[0][0]
        assert left + width <= image.width
        assert top + height <= image.height


def test_pages_have_a_figure(recognizer: Recognizer) -> None:
    [figure] = measure(recognizer, count=2)
    assert figure.count == 2
    assert figure.value == pytest.approx(0.5, abs=0.5)
