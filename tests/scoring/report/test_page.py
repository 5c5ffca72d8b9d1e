"""The report and the grades, made by the command."""

import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from scoring.outputs import read_rows
from scoring.report.page import level, share, write_report
from scoring.report.summary import OutputSummary
from scoring.rows import Row
from tests.helpers.images import encode, example, example_pixels, write_idx, written_page
from tests.helpers.paths import EXAMPLES, VERSION
from tests.helpers.scoring import IDX, LABELS, MODEL, score, write_output


class Page(HTMLParser):
    """A page's text and elements."""

    def __init__(self, report: Path) -> None:
        super().__init__()
        self.words: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._style = False
        self.feed(report.read_text(encoding="utf-8"))
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        self._style = tag == "style"

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.words.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images of each digit, a blank one, one of two digits, and a broken file, with odd names."""
    folder = tmp_path_factory.mktemp("report") / "<i>images & more"
    folder.mkdir()
    for digit in range(10):
        (folder / f"{digit}.png").write_bytes(example(digit))
        (folder / f"{digit} again.png").write_bytes(example(digit))
    (folder / "<script>alert(1)<!--.png").write_bytes(encode(np.full((30, 30), 255, np.uint8)))
    (folder / os.fsdecode(b"\xff\"' onload=.png")).write_bytes(
        encode(np.hstack([example_pixels(3), np.full((280, 300), 255), example_pixels(4)]).astype(np.uint8))
    )
    (folder / "broken & <b>bad.png").write_bytes(b"no image")
    (folder / "labels.csv").write_text(
        "file,label\n" + "".join(f"{n}.png,{n % 9}\n" for n in range(10)) + "none.png,1\n"
    )
    return folder


@pytest.fixture(scope="module", params=["csv", "jsonl", "parquet"])
def page(request: pytest.FixtureRequest, folder: Path) -> Page:
    output, report = (folder.with_name(f"out.{suffix}") for suffix in (request.param, "html"))
    result = score(folder, "--output", output, "--report", report, "--labels", folder / "labels.csv")
    assert result.returncode == 1, result.stderr
    assert "10 images with labels: 90.00% accuracy (9 of 10; " in result.stderr
    assert "13 images without a label, 1 labels without an image" in result.stderr
    return Page(report)


def test_page_contents(page: Page, folder: Path) -> None:
    for words in [
        "Digits read in 23 images",
        f"images from {folder} ",
        f"digits, version {VERSION}, SHA-256 ",
        "read 20 87.0 %",
        "blank 1 4.3 %",
        "1 image could not be decoded",
        "expected an image (PNG, JPEG, WebP, BMP, GIF, TIFF or PGM); got 8 bytes of an unknown format",
        "90.00 % (95 % interval 59.58 to 98.21 %)",
        "Images without a label: 13; labels without an image: 1.",
        "The most certain mistakes",
        "The 20 images that were read with the lowest confidence",
        "Read as 9",
        "Several digits",
    ]:
        assert words in page.text


def test_page_has_no_scripts_or_external_resources(page: Page) -> None:
    assert not page.of("script") + page.of("link") + page.of("iframe") + page.of("i") + page.of("b")
    assert all(image["src"].startswith("data:image/") for image in page.of("img") if image["src"])
    assert {str(link["href"])[0] for link in page.of("a")} == {"#"}
    targets = {attributes.get("id") for _, attributes in page.elements}
    assert {str(link["href"])[1:] for link in page.of("a")} <= targets
    assert {name for _, attributes in page.elements for name in attributes if name.startswith("on")} == set()
    assert "default-src 'none'" in str(page.of("meta"))


def test_thumbnails_come_in_pairs_with_alternative_texts(page: Page, folder: Path) -> None:
    names = [str(image["alt"]) for image in page.of("img")]
    assert len(names) == 2 * (1 + 20 + 20 + 2) - (2 if "No thumbnail" in page.text else 0)
    assert names.count(f"{folder}/3.png, as it is") == 2
    assert names.count(f"{folder}/3.png, as the network saw it") == 2
    assert f"{folder}/<script>alert(1)<!--.png, as it is" in names
    # In Parquet, a name that is not UTF-8 is escaped, so that its file is not found again.
    assert any(name.startswith(f"{folder}/\\udcff\"' onload=") for name in names) or "\\xff\"' onload=.png" in page.text


def test_report_of_a_finished_output_does_not_change_it(tmp_path: Path) -> None:
    output, report = tmp_path / "out.csv", tmp_path / "r.html"
    (tmp_path / "images").mkdir()
    for digit in range(3):
        (tmp_path / "images" / f"{digit}.png").write_bytes(example(digit))
    assert score(tmp_path / "images", "--output", output).returncode == 0
    before = output.read_bytes(), output.stat().st_mtime_ns
    (tmp_path / "images" / "1.png").unlink()
    report.write_text("an earlier one")
    result = score(tmp_path / "images", "--output", output, "--report", report)
    assert result.returncode == 0
    assert result.stderr.startswith(f"{output}: already complete, with 3 rows of the model digits {VERSION} ")
    assert result.stderr.count("\n") == 1
    assert (output.read_bytes(), output.stat().st_mtime_ns) == before
    page = Page(report)
    assert page.text.count("No thumbnail: the file cannot be read: No such file or directory") == 2
    assert len(page.of("img")) == 2 * 2 * 2
    assert sorted(tmp_path.iterdir()) == sorted([output, report, tmp_path / "images"])


def test_mnist_grades(tmp_path: Path) -> None:
    result = score(IDX, "--output", tmp_path / "out.csv", "--labels", LABELS, "--report", tmp_path / "r.html")
    assert result.returncode == 0
    assert "10,000 images with labels: 99.60% accuracy (9960 of 10000; 95 % interval 99.46% to 99.71%)" in result.stderr
    assert "0 images without a label, 0 labels without an image" in result.stderr
    assert (tmp_path / "r.html").stat().st_size < 500_000
    page = Page(tmp_path / "r.html")
    assert "No thumbnail" not in page.text
    assert len(page.of("img")) == 2 * (30 + 40 + 100 + 10)


def test_wrong_report_arguments_fail_before_scoring(tmp_path: Path) -> None:
    write_idx(tmp_path / "labels", np.array([7, 0, 9]))
    output = tmp_path / "out.csv"
    cases: list[tuple[list[str | Path], str]] = [
        (["--output", output, "--report", tmp_path / "report.pdf"], "expected a name that ends in .html or .htm"),
        (["--output", output, "--report", tmp_path / "no" / "r.html"], "expected a file in a folder that can be"),
        (["--output", "-", "--report", tmp_path / "r.html"], "--output: expected a file"),
        (["--output", "-", "--labels", tmp_path / "labels"], "--output: expected a file"),
        (["--output", output, "--labels", tmp_path / "none.csv"], "none.csv: cannot be read: No such file"),
        (["--output", output, "--labels", tmp_path / "labels"], "expected one file with as many images"),
    ]
    for arguments, message in cases:
        result = score(EXAMPLES, *arguments)
        assert result.returncode == 2
        assert message in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == [tmp_path / "labels"]


def test_full_disk_leaves_no_partial_page(tmp_path: Path) -> None:
    output, report = tmp_path / "out.csv", tmp_path / "r.html"
    result = score(EXAMPLES, "--output", output, "--report", report, limit=20_000)
    assert result.returncode == 2
    assert f"{report}: cannot be written: File too large" in result.stderr
    assert "10 images: 10 read" in result.stderr
    assert list(tmp_path.iterdir()) == [output]


def test_page_with_only_errors(tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    write_output(output, [Row(f"{index}.png", None, None, None, "broken", *MODEL) for index in range(30)])
    write_report(tmp_path / "r.html", OutputSummary(read_rows(output)), ["scans"], output, None)
    page = Page(tmp_path / "r.html")
    assert "30 images could not be decoded; the first 20, the others are in the output." in page.text
    assert not page.of("img")
    assert "Least certain" not in page.text


def test_report_of_pages(tmp_path: Path) -> None:
    folder, report = tmp_path / "pages", tmp_path / "r.html"
    folder.mkdir()
    (folder / "<b>.png").write_bytes(encode(written_page(["314   27", "5"], 60)))
    (folder / "blank.png").write_bytes(encode(np.full((90, 60), 255, np.uint8)))
    assert score(folder, "--read", "--output", tmp_path / "out.csv", "--report", report).returncode == 0
    page = Page(report)
    for words in (
        "Digits read on 2 pages",
        "digits read 6 85.7 %",
        "314 27 5 <b>.png",
        "The 6 digits that were read with the lowest",
        "Blank",
    ):
        assert words in page.text
    assert [str(image["alt"]).rpartition("/")[2] for image in page.of("img")].count("<b>.png, with what was read") == 1
    [first, *_] = [one["style"] for one in page.of("span") if "left:" in str(one.get("style"))]
    assert re.fullmatch(r"left: [\d.]+%; top: [\d.]+%; width: [\d.]+%; height: [\d.]+%", str(first))


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 0, "0 %"),
        (0, 5, "0 %"),
        (5, 5, "100 %"),
        (1, 3, "33.3 %"),
        (1, 10_000, "0.01 %"),
        (9_999, 10_000, "99.99 %"),
        (1, 1_000_000, "< 0.001 %"),
        (999_999, 1_000_000, "> 99.999 %"),
    ],
)
def test_share_is_0_or_100_only_if_exact(part: int, whole: int, text: str) -> None:
    assert share(part, whole).replace("\xa0", " ") == text


def test_bars_show_one_image_next_to_a_million() -> None:
    assert level(0, 10**6) == 0
    assert level(1, 10**6) > 4
    assert level(10**6, 10**6) == 100
    assert level(1000, 10**6) - level(100, 10**6) == pytest.approx(level(100, 10**6) - level(10, 10**6))
