import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from digits.decode import ImageError, Pixels
from digits.finder import Box, SeenDigit
from digits.page import SeenOnPage, distinct, look_at_page
from digits.recognizer import MOST_DIGITS, Recognizer
from tests.helpers.finding import finder
from tests.helpers.images import encode, example, written_page

ROWS = ["31", "4159", "26535"]


@pytest.mark.parametrize("height", [20, 50, 100])
def test_every_digit_is_found_once(height: int) -> None:
    page = written_page(ROWS, height)
    looks = look_at_page(page, finder())
    found = [looks[one] for one in distinct(looks, [3] * len(looks), [1.0] * len(looks))]
    assert len(found) == sum(map(len, ROWS))
    for digit in found:
        assert digit.ink.max() <= 1
        box = digit.box
        assert box.of(page).min() < 100
        assert 0 <= box.left < box.left + box.width <= page.shape[1]
        assert 0 <= box.top < box.top + box.height <= page.shape[0]


@pytest.mark.parametrize("pixels", [np.full((300, 400), 255, np.uint8), np.zeros((1, 1), np.uint8)])
def test_blank_page(pixels: Pixels) -> None:
    assert look_at_page(pixels, finder()) == []
    assert distinct([], [], []) == []


def seen(box: Box, side: int = 40, darkness: float = 100.0) -> SeenOnPage:
    return SeenOnPage(np.ones((side, side), np.float32), box, 0.9, side, darkness)


def test_of_several_looks_the_one_that_is_read_most_surely_counts() -> None:
    looks = [seen(Box(0, 0, 40, 60)), seen(Box(2, 1, 42, 58)), seen(Box(60, 0, 40, 60))]
    assert distinct(looks, [3, 3, 5], [0.6, 0.9, 0.3]) == [1, 2]


def test_of_looks_at_which_a_digit_is_read_alike_the_best_size_counts() -> None:
    assert distinct([seen(Box(0, 0, 40, 60), side) for side in (12, 40, 90)], [3] * 3, [1.0] * 3) == [1]


def test_bar_of_a_digit_is_no_digit_unless_the_whole_is_none() -> None:
    looks = [seen(Box(0, 0, 100, 150)), seen(Box(60, 50, 15, 95))]
    assert distinct(looks, [4, 1], [0.9, 1.0]) == [0]
    assert distinct(looks, [4, 1], [0.2, 1.0]) == [1]


def test_two_digits_are_no_pieces_of_one_unless_they_may_be_its_strokes() -> None:
    looks = [seen(Box(0, 0, 60, 130), side=90), seen(Box(0, 0, 60, 60)), seen(Box(0, 70, 60, 60))]
    assert sorted(distinct(looks, [8, 0, 2], [1.0, 0.9, 0.9])) == [1, 2]
    assert distinct(looks, [7, 1, 1], [1.0, 0.9, 0.9]) == [0]


def test_what_shows_through_is_no_digit_but_faint_writing_is() -> None:
    written = [seen(Box(100 * number, 0, 40, 60)) for number in range(5)]
    behind = seen(Box(0, 200, 40, 60), darkness=15.0)
    assert distinct([*written, behind], [3] * 6, [1.0] * 6) == [0, 1, 2, 3, 4]
    assert distinct([behind], [3], [1.0]) == [0]


def test_contrast_is_that_to_the_paper_around() -> None:
    for paper, ink in ((200, 50), (50, 200)):
        page = np.where(written_page(["4"], 60) > 128, paper, ink).astype(np.uint8)
        darkness = max((one.darkness for one in look_at_page(page, finder())), key=abs)
        assert darkness == pytest.approx(paper - ink, abs=40)


def test_contrast_is_known_at_every_edge_of_a_page() -> None:
    page = written_page(["1234567890" * 3] * 12, 40)
    looks = look_at_page(page, finder())
    assert len(looks) > 12 * 30
    assert all(one.darkness > 100 for one in looks)


@pytest.mark.parametrize("ink", ["dark", "light"])
def test_ruled_lines_and_edges_are_no_marks_to_look_at_closer(ink: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = np.full((1500, 2000), 210, np.uint8)
    page[:, 1700:] = 30  # a table
    for at in range(60, 1500, 90):
        page[at : at + 4] = 40
    digits = written_page(["31"], 100)
    page[400 : 400 + len(digits), 300 : 300 + digits.shape[1]][digits < 128] = 40
    frames = 0
    own = finder()
    look = own.look_at

    def counted(images: Pixels) -> list[list[SeenDigit]]:
        nonlocal frames
        frames += len(images)
        return look(images)

    monkeypatch.setattr(own, "look_at", counted)
    look_at_page(page if ink == "dark" else 255 - page, own)
    assert frames < 70  # 600 with all lines and edges


def test_page_is_read_line_by_line(recognizer: Recognizer) -> None:
    reading = recognizer.read(encode(written_page([*ROWS, "27 18"], 60)))
    assert reading.lines == [*ROWS, "27 18"]
    assert [one.line for one in reading.digits] == [0] * 2 + [1] * 4 + [2] * 5 + [3] * 4


@pytest.mark.parametrize(("rows", "columns"), [(40, 5), (60, 6), (40, 12)])
def test_columns_and_tables_of_small_digits_are_read(recognizer: Recognizer, rows: int, columns: int) -> None:
    line = ("1234567890" * 2)[:columns]
    read = recognizer.read(encode(written_page([line] * rows, 60))).lines
    assert len(read) == rows
    assert sum(one == line for one in read) >= 0.8 * rows


def test_large_digit_hides_no_small_ones(recognizer: Recognizer) -> None:
    page = np.full((3508, 2480), 255, np.uint8)
    small, large = written_page(["27345"] * 5, 45), written_page(["3"], 300)
    page[1200 : 1200 + len(small), 300 : 300 + small.shape[1]] = small
    page[200 : 200 + len(large), 1000 : 1000 + large.shape[1]] = large
    assert recognizer.read(encode(page)).lines == ["3", *["27345"] * 5]


@pytest.mark.parametrize("digit", range(10))
def test_digit_that_fills_the_page_is_read_as_one(recognizer: Recognizer, digit: int) -> None:
    assert recognizer.read(example(digit)).lines == [str(digit)]


def test_box_at_the_edge_is_in_the_image(recognizer: Recognizer) -> None:
    page = np.full((674, 3000), 255, np.uint8)
    page[-468:, 1000:1100] = 0
    [one] = recognizer.read(encode(page)).digits
    assert one.box.top + one.box.height <= 674


@pytest.mark.parametrize("turned", [90, 180, 270])
def test_turned_page_is_read_upright_with_boxes_in_the_image(recognizer: Recognizer, turned: int) -> None:
    page = written_page(["0123456789", "6789234567"], 60)
    upright = recognizer.read(encode(page))
    as_sent = np.ascontiguousarray(np.rot90(page, turned // 90))  # counter-clockwise
    reading = recognizer.read(encode(as_sent))
    assert (upright.turned, reading.turned) == (0, turned)
    assert reading.lines == upright.lines == ["0123456789", "6789234567"]
    for one, other in zip(reading.digits, upright.digits, strict=True):
        alone = np.zeros(as_sent.shape, bool)
        one.box.of(alone)[:] = True
        rows, columns = np.rot90(alone, -turned // 90).nonzero()
        found = np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1])
        box = other.box
        assert np.abs(found - [box.top, box.left, box.top + box.height, box.left + box.width]).max() <= 4


def test_page_with_few_digits_is_read_as_it_comes(recognizer: Recognizer) -> None:
    page = np.rot90(written_page(["3145"], 60))
    assert recognizer.read(encode(np.ascontiguousarray(page))).turned == 0


def test_image_without_digits_has_no_lines(recognizer: Recognizer) -> None:
    reading = recognizer.read(encode(np.full((200, 300), 255, np.uint8)))
    assert reading.lines == []
    assert reading.digits == []


def test_uncertain_digit_is_a_question_mark() -> None:
    from service.settings import Settings

    unsure = Recognizer(Settings().model_path, "cpu", minimum_confidence=1.0)
    assert unsure.read(encode(written_page(["314"], 60))).lines == ["???"]


def test_too_many_digits(recognizer: Recognizer) -> None:
    assert len(recognizer.read(encode(written_page(["12345678901234567890"] * 25, 100))).lines) == 25
    page = encode(written_page(["31415926" * 4] * 24, 30))
    with pytest.raises(ImageError, match=f"expected at most {MOST_DIGITS} digits on a page; found [67]"):
        recognizer.read(page)
    eights = np.tile(written_page(["8"], 12)[6:21, 6:18], (90, 110))
    with pytest.raises(ImageError, match=f"expected at most {MOST_DIGITS} digits on a page; found far more"):
        recognizer.read(encode(eights))


def test_words_are_no_digits_and_numbers_beside_them_are(recognizer: Recognizer) -> None:
    face = ImageFont.load_default(size=46)
    page = np.full((560, 900), 255, np.uint8)
    numbers = written_page(["314", "926", "358", "979"], 46)
    page[20 : 20 + len(numbers), 560 : 560 + numbers.shape[1]] = numbers
    image = Image.fromarray(page)
    for line, word in enumerate(["Kaffee", "Wurm", "Milch", "Pfeffer"]):
        ImageDraw.Draw(image).text((40, 36 + round(1.6 * 46 * line)), word, fill=0, font=face)
    digits = [one for one in recognizer.read(encode(np.asarray(image))).digits if one.line is not None]
    assert [one.digit for one in digits if one.box.left > 500] == [3, 1, 4, 9, 2, 6, 3, 5, 8, 9, 7, 9]
    assert len(digits) <= 14
