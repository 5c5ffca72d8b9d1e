import csv
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from benchmarks.accuracy import __main__ as module
from benchmarks.accuracy.__main__ import main, published_values
from benchmarks.accuracy.figures import area_under_roc, calibration_error, share
from tests.helpers.images import example


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four images, one of them under a wrong label and one broken."""
    rows = [
        ("a/1.png", 1, example(1)),
        ("a/2.png", 3, example(2)),
        ("b/3.png", 3, b"no image"),
        ("b/4.png", 4, example(4)),
    ]
    for name, _, content in rows:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "label", "source"), *((name, label, "x") for name, label, _ in rows)])
    return tmp_path


def grade(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["real_images", "--real-images", str(folder), *arguments])


def test_real_images_are_counted_and_the_mistakes_named(folder: Path) -> None:
    result = grade(folder)
    assert result.exit_code == 0, result.output
    assert "| real images | 50.00% (" in result.output
    assert "| real images, wrong and sure | 25.00% (" in result.output
    assert "a/2.png: 3 read as 2" in result.output
    assert "b/3.png: 3 not read: expected an image" in result.output


def test_figure_below_the_model_card_fails_the_check(folder: Path) -> None:
    result = grade(folder, "--check")
    assert result.exit_code == 1
    assert "real images: 50.00%; the card says 9" in result.output


def test_figure_that_the_model_card_lacks_fails_the_check(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CARD", tmp_path / "card.md")
    (tmp_path / "card.md").write_text("| real images | 60.0 % (1 to 99) | 189 |\n")
    result = grade(folder, "--check")
    assert result.exit_code == 1
    assert "real images: " not in result.output  # within a standard error
    assert "real images, right and sure: 50.00%; the card says nothing" in result.output


def test_benchmark_without_its_data_is_left_out_and_named() -> None:
    result = CliRunner().invoke(main, ["pen_strokes"])
    assert result.exit_code == 0
    assert "left out pen_strokes: give --pen-strokes" in result.output


def test_shipped_model_is_as_good_as_its_card_says() -> None:
    """The figures on MNIST here; the others take minutes and are checked by `.ci/run`."""
    result = CliRunner().invoke(main, ["mnist", "--check"])
    assert result.exit_code == 0, result.output


def test_card_gives_its_figures() -> None:
    card = "| set | right | n |\n|---|---|---|\n| MNIST test set | 99.62 % (99.5 to 99.7) | 10,000 |\n| cost | `x` |\n"
    assert published_values(card) == {"MNIST test set": pytest.approx(0.9962)}


def test_share_has_the_interval_of_wilson() -> None:
    figure = share("x", np.array([True] * 97 + [False] * 3))
    assert (figure.value, figure.count) == (0.97, 100)
    assert figure.low == pytest.approx(0.9155, abs=1e-4)
    assert figure.high == pytest.approx(0.9897, abs=1e-4)
    assert figure.row() == "| x | 97.00% (91.55% to 98.97%) | 100 |"
    assert not figure.is_below(0.98)
    assert figure.is_below(0.99)


def test_area_under_roc_counts_pairs_in_order_and_ties_half() -> None:
    figure = area_under_roc("x", np.array([0.5, 0.9], np.float32), np.array([0.1, 0.5, 0.7, 0.2], np.float32))
    assert figure.value == pytest.approx((2 + 0.5 + 0 + 4) / 8)


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    confidences = np.array([0.95] * 10 + [0.55] * 10)
    right = np.array([True] * 9 + [False] + [True] * 5 + [False] * 5)
    assert calibration_error("x", confidences, right).value == pytest.approx(0.05)
    assert calibration_error("x", np.array([1.0, 0.0]), np.array([True, False])).value == 0


def test_lower_is_better_for_an_error() -> None:
    figure = calibration_error("x", np.array([0.95] * 10), np.array([True] * 9 + [False]))
    assert not figure.is_below(0.5)
    assert figure.is_below(0.0) is (figure.value > figure.standard_error)
