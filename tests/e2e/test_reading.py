"""Reading several digits on the page, in a real browser, and the samples that it opens with."""

import base64
import io
import re
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

from benchmarks.accuracy.pages import page as photographed
from tests.helpers.browser import SIZES, assert_accessible, draw_strokes
from tests.helpers.images import encode, written_page
from training.datasets.pen_strokes import HELD_OUT_WRITERS, PEN_STROKES, load_pen_digits

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("network")]

# Of the numbers 10 to 99, drawn with pen paths, so many are read right.
LEAST_RIGHT = 84
Strokes = tuple[NDArray[np.float64], ...]
# Its digits are plain and large, so that a test of the page does not test the model.
PAGE = encode(written_page(["12 345", "6789"], 90))


def show(page: Page, data: bytes = PAGE, name: str = "page.png") -> None:
    page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": data})


def expect_lines(page: Page, *lines: str) -> None:
    expect(page.locator("#lines")).to_have_text("\n".join(lines))
    expect(page.locator("#boxes")).to_be_visible()
    expect(page.locator("#found")).to_be_hidden()


def expect_selected(page: Page, digit: int) -> None:
    """Whether the digit, its image and its probabilities are shown."""
    expect(page.locator("#selected")).to_contain_text(f"{digit} with a confidence of")
    expect(page.locator("#digit")).to_have_text(str(digit))
    expect(page.locator("#seen")).to_have_attribute("aria-label", f"What the network saw, recognized as {digit}")
    expect(page.locator("#bars li.best")).to_contain_text(str(digit))


def pixels(page: Page, canvas: str) -> NDArray[np.uint8]:
    """The pixels of a canvas's PNG file, in grey."""
    url = page.locator(canvas).first.evaluate("canvas => canvas.toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("L"))


def test_page_opens_with_the_first_sample_read(browser: Browser, port: int) -> None:
    page = browser.new_page()
    page.goto(f"http://localhost:{port}/")
    expect(page.locator("#digit")).to_have_text("5")
    expect(page.locator("#layers li").first).to_be_visible()
    expect(page.locator("#invitation")).to_be_visible()
    draw_strokes(page, [[(0.5, 0.2), (0.5, 0.8)]])
    expect(page.locator("#digit")).to_have_text("1")
    expect(page.locator("#invitation")).to_be_hidden()
    page.click("#undo")
    expect(page.locator("#digit")).to_have_text("?")
    assert (pixels(page, "#paper") == 255).all()
    page.close()


@pytest.mark.parametrize(("sample", "digit"), [("A digit", "5"), ("A tight crop", "8"), ("Not a digit", "–")])
def test_samples_of_one_digit(page: Page, sample: str, digit: str) -> None:
    page.click(f"#samples >> text={sample}")
    expect(page.locator("#digit")).to_have_text(digit)
    expect(page.locator("#boxes")).to_be_hidden()


@pytest.mark.parametrize(
    ("sample", "lines"),
    [
        ("A number", ["733356123"]),
        ("A page", ["71879", "1846994", "99944", "58292", "131394", "9552956", "99003"]),
    ],
)
def test_samples_of_several_digits(page: Page, sample: str, lines: list[str]) -> None:
    page.click(f"#samples >> text={sample}")
    expect_lines(page, *lines)


def test_drawing_a_second_digit_reads_both(page: Page) -> None:
    draw_strokes(page, [[(0.3, 0.2), (0.3, 0.8)]])
    expect(page.locator("#digit")).to_have_text("1")
    expect(page.get_by_role("button", name="One digit")).to_have_attribute("aria-pressed", "true")
    draw_strokes(page, [[(0.55, 0.2), (0.85, 0.2), (0.65, 0.8)]])
    expect_lines(page, "17")
    expect(page.locator("#verdict")).to_have_text("2 digits in 1 line.")
    expect(page.get_by_role("button", name="All digits")).to_have_attribute("aria-pressed", "true")
    page.click("#undo")
    expect(page.locator("#verdict")).to_contain_text("Recognized with a confidence")
    expect(page.locator("#boxes")).to_be_hidden()
    page.click("#clear")
    expect(page.locator("#verdict")).to_have_text("Draw a digit.")


def test_chosen_mode_stays_until_another_image(page: Page) -> None:
    draw_strokes(page, [[(0.5, 0.2), (0.5, 0.8)]])
    page.get_by_role("button", name="All digits").click()
    expect_lines(page, "1")
    draw_strokes(page, [[(0.55, 0.8), (0.6, 0.8)]])
    expect(page.locator("#boxes")).to_be_visible()
    show(page)
    expect_lines(page, "12 345", "6789")
    page.get_by_role("button", name="One digit").click()
    expect(page.locator("#verdict")).to_contain_text("several digits")
    expect(page.locator("#boxes")).to_be_hidden()


def test_image_without_digits(page: Page) -> None:
    show(page, encode(np.full((60, 80), 255, np.uint8)))
    expect(page.locator("#verdict")).to_contain_text("blank")
    page.get_by_role("button", name="All digits").click()
    expect(page.locator("#verdict")).to_have_text("No digits found.")
    expect(page.locator("#lines")).to_be_hidden()


def test_page_on_its_side(page: Page) -> None:
    show(page, encode(np.ascontiguousarray(np.rot90(written_page(["0123456789", "6789234567"], 90)))))
    page.get_by_role("button", name="All digits").click()
    expect(page.locator("#verdict")).to_have_text("20 digits in 2 lines. The page was turned by 90° to be read.")
    expect_lines(page, "0123456789", "6789234567")


def test_photographed_page(page: Page) -> None:
    """Most digits of a generated photo are read, each in the box where it was written."""
    made = photographed(1019)
    show(page, made.file, "page.jpg")
    expect(page.locator("#verdict")).to_contain_text("digits in")
    read = page.locator("#lines").inner_text().splitlines()
    assert sum(line in read for line in made.lines) >= 0.8 * len(made.lines)
    boxes = page.locator("#boxes [role=option]")
    assert abs(boxes.count() - sum(map(len, made.lines))) <= 3
    middle = boxes.nth(20)
    middle.hover()
    expect(middle).to_have_attribute("aria-selected", "true")
    expect_selected(page, int(middle.inner_text()))


def test_pointing_at_a_box_shows_its_image_and_probabilities(page: Page) -> None:
    show(page)
    expect_lines(page, "12 345", "6789")
    expect_selected(page, 1)
    before = pixels(page, "#seen")
    boxes = page.locator("#boxes [role=option]")
    boxes.nth(6).hover()
    expect_selected(page, 7)
    assert (pixels(page, "#seen") != before).any()
    expect(boxes.nth(6)).to_have_attribute("aria-selected", "true")
    expect(page.locator("[aria-selected=true]")).to_have_count(1)
    frame = boxes.nth(3).bounding_box()
    assert frame
    page.mouse.move(frame["x"] + frame["width"] / 2, frame["y"] - 15)  # near it
    expect_selected(page, 4)


def test_boxes_with_the_keyboard(page: Page) -> None:
    show(page)
    expect_lines(page, "12 345", "6789")
    page.focus("#boxes")
    for key, digit in (
        ("ArrowRight", 2),
        ("ArrowDown", 7),
        ("ArrowUp", 2),
        ("ArrowUp", 2),
        ("End", 9),
        ("ArrowRight", 9),
        ("ArrowLeft", 8),
        ("Home", 1),
    ):
        page.keyboard.press(key)
        expect_selected(page, digit)
    active = page.locator("#boxes").get_attribute("aria-activedescendant")
    expect(page.locator(f"#{active}")).to_have_accessible_name(re.compile(r"^1 with a confidence of .* Line 1\.$"))


def test_uncertain_digits_and_other_marks_are_shown_as_such(page: Page) -> None:
    def doctored(route: Route) -> None:
        response = route.fetch()
        body: dict[str, Any] = response.json()
        body["lines"] = ["?2 345", "678"]
        body["digits"][0] |= {"digit": None, "reason": "uncertain"}
        body["digits"][8] |= {"digit": None, "reason": "not a digit", "line": None}
        route.fulfill(response=response, json=body)

    page.route("**/read*", doctored)
    show(page)
    expect_lines(page, "?2 345", "678")
    expect(page.locator("#verdict")).to_have_text("8 digits in 2 lines, 1 uncertain, 1 mark that is no digit.")
    expect(page.locator("#selected")).to_contain_text("Uncertain, perhaps 1 or")
    expect(page.locator("#legend-of-boxes")).to_be_visible()
    boxes = page.locator("#boxes [role=option]")
    expect(boxes).to_have_text([*"?2345678×"])
    boxes.nth(8).hover()
    expect(page.locator("#selected")).to_have_text("Not a digit.")
    expect(page.locator("#digit")).to_have_text("–")
    page.focus("#boxes")
    page.keyboard.press("ArrowUp")
    expect(page.locator("#selected")).to_have_text("Not a digit.")


def test_lines_are_copied(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    show(page)
    expect_lines(page, "12 345", "6789")
    page.click("#copy-lines")
    expect(page.locator("#copy-lines")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "12 345\n6789"


def test_format_that_the_browser_cannot_decode(page: Page) -> None:
    show(page, encode(written_page(["12", "34"], 90), "TIFF"), "page.tiff")
    expect_lines(page, "12", "34")
    page.locator("#boxes [role=option]").nth(2).hover()
    expect_selected(page, 3)


def test_layers_and_corrections_are_of_the_selected_digit(page: Page) -> None:
    show(page)
    expect_lines(page, "12 345", "6789")
    page.locator("#boxes [role=option]").nth(4).hover()
    expect_selected(page, 5)
    seen = pixels(page, "#seen")
    page.wait_for_function(
        "url => document.querySelector('#layers canvas')?.toDataURL() === url",
        arg=page.locator("#seen").evaluate("canvas => canvas.toDataURL()"),
    )
    page.click("#labels button >> text=6")
    expect(page.locator("#kept")).to_contain_text("Saved as 6")
    with page.expect_download() as download:
        page.click("#download")
    with zipfile.ZipFile(download.value.path()) as archive:
        kept = Image.open(io.BytesIO(archive.read("corrections/6/0001.png"))).convert("L")
    assert (np.asarray(kept) == seen).all()


def test_code_reads_the_file_of_a_page(page: Page, tmp_path: Path) -> None:
    show(page)
    expect_lines(page, "12 345", "6789")
    (tmp_path / "page.jpg").write_bytes(PAGE)
    for language, command in (("curl", ["bash", "-c"]), ("Python", ["python3", "-c"])):
        code = page.locator(".snippet", has_text=language).locator("code").inner_text()
        result = subprocess.run([*command, code], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert "12 345" in result.stdout
        assert "6789" in result.stdout
    code = page.locator("#snippets code").nth(2).inner_text()
    lines = page.evaluate(
        f"""async (bytes) => {{
            const file = new Blob([Uint8Array.from(bytes)]);
            {code.replace("console.log(", "return (")}
        }}""",
        list(PAGE),
    )
    assert lines == ["12 345", "6789"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_accessibility(browser: Browser, port: int, scheme: str, size: str) -> None:
    width, height = SIZES[size]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(f"http://localhost:{port}/")
    page.click("#samples button[value$='page.jpg']")
    expect(page.locator("#boxes")).to_be_visible()
    expect(page.locator("#layers li").first).to_be_visible()
    assert_accessible(page)
    page.close()


def test_numbers_drawn_with_real_pen_paths(page: Page) -> None:
    """10 to 99 in the writing of five people whom no training has seen."""
    written: dict[tuple[int, int], list[Strokes]] = {}
    for one in load_pen_digits(PEN_STROKES, HELD_OUT_WRITERS):
        written.setdefault((one.writer, one.label), []).append(one.strokes)
    wrong = {}
    for number in range(10, 100):
        tens, units = divmod(number, 10)
        writer = HELD_OUT_WRITERS[(tens + units) % len(HELD_OUT_WRITERS)]
        for digit, left, index in ((tens, 0.08, number), (units, 0.54, number + 1)):
            examples = written[writer, digit]
            strokes = fitted(examples[index % len(examples)], left)
            draw_strokes(page, [[*stroke[:-1:2].tolist(), stroke[-1].tolist()] for stroke in strokes], steps=1)
        expect(page.locator("#answer")).to_have_attribute("aria-busy", "false", timeout=30_000)
        read = page.locator("#lines" if page.locator("#lines").is_visible() else "#digit").inner_text()
        if read != str(number):
            wrong[number] = read
        page.click("#clear")
    assert 90 - len(wrong) >= LEAST_RIGHT, str(wrong)


def fitted(strokes: Strokes, left: float) -> list[NDArray[np.float64]]:
    """A digit's strokes in parts of the canvas, 0.38 wide and 0.55 high at most, from `left`."""
    points = np.concatenate(strokes)
    low, size = points.min(axis=0), np.ptp(points, axis=0)
    scale = min(0.38 / size[0], 0.55 / size[1])
    return [(one - low) * scale + (left + (0.38 - size[0] * scale) / 2, 0.22) for one in strokes]
