import csv
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from benchmarks.accuracy import figures
from benchmarks.accuracy.__main__ import main
from benchmarks.accuracy.figures import Figure, area_under_roc, calibration_error, load, publish, share
from digits.classifier import Classifier
from tests.helpers.images import example


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four images, one with a wrong label and one unreadable."""
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


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of figures.json, next to a copy of the model card."""
    for name in ("STORE", "CARD"):
        copy = tmp_path / getattr(figures, name).name
        copy.write_bytes(getattr(figures, name).read_bytes())
        monkeypatch.setattr(figures, name, copy)


def grade(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["real_images", "--real-images", str(folder), *arguments])


def test_real_images_are_counted_and_mistakes_listed(folder: Path) -> None:
    result = grade(folder)
    assert result.exit_code == 0, result.output
    assert "| real images | 50.00% (" in result.output
    assert "| real images, wrong and confident | 25.00% (" in result.output
    assert "a/2.png: 3 read as 2" in result.output
    assert "b/3.png: 3 not read: expected an image" in result.output


def test_figure_worse_than_published_fails_the_check(folder: Path) -> None:
    result = grade(folder, "--check")
    assert result.exit_code == 1
    assert "real images: 50.00%; published: 9" in result.output


@pytest.mark.usefixtures("store")
def test_unpublished_figure_fails_the_check(folder: Path) -> None:
    publish("1", [Figure("real images", 0.6, 0.01, 0.99, 189)])
    result = grade(folder, "--check")
    assert result.exit_code == 1
    assert "real images: " not in result.output  # within a standard error
    assert "real images, correct and confident: 50.00%; published: nothing" in result.output


@pytest.mark.usefixtures("store")
def test_publish_replaces_measured_figures_and_keeps_the_others(folder: Path) -> None:
    _, before = load()
    assert grade(folder, "--publish").exit_code == 0
    _, after = load()
    assert list(after) == list(before)
    changed = {name for name, figure in after.items() if figure != before[name]}
    assert "real images" in changed
    assert all(name.startswith("real images") for name in changed)
    assert "| real images | 50.00% (" in figures.CARD.read_text(encoding="utf-8")


@pytest.mark.usefixtures("store")
def test_figures_of_another_version_are_dropped() -> None:
    figure = Figure("new", 0.7, 0.6, 0.8, 10)
    publish("another", [figure])
    assert load() == ("another", {"new": figure})


def test_benchmark_without_its_data_is_skipped() -> None:
    result = CliRunner().invoke(main, ["pen_strokes"])
    assert result.exit_code == 0
    assert "skipped pen_strokes: needs --pen-strokes" in result.output


def test_shipped_model_reaches_its_published_figures() -> None:
    """On MNIST; the other benchmarks take minutes and run in `.ci/run`."""
    result = CliRunner().invoke(main, ["mnist", "--check"])
    assert result.exit_code == 0, result.output


@pytest.mark.usefixtures("store")
def test_published_figures_are_the_shipped_models_and_in_its_card(classifier: Classifier) -> None:
    version, _ = load()
    assert version == classifier.version
    card = figures.CARD.read_text(encoding="utf-8")
    assert card.startswith(f"# Model card: digits, version {version}\n")
    publish(version, [])
    assert figures.CARD.read_text(encoding="utf-8") == card


def test_share_has_wilsons_interval() -> None:
    figure = share("x", np.array([True] * 97 + [False] * 3))
    assert (figure.value, figure.count) == (0.97, 100)
    assert figure.low == pytest.approx(0.9155, abs=1e-4)
    assert figure.high == pytest.approx(0.9897, abs=1e-4)
    assert figure.row() == "| x | 97.00% (91.55% to 98.97%) | 100 |"
    assert not figure.is_worse(Figure("x", 0.98, 0, 1, 100))
    assert figure.is_worse(Figure("x", 0.99, 0, 1, 100))


def test_area_under_roc_counts_ties_half() -> None:
    figure = area_under_roc("x", np.array([0.5, 0.9], np.float32), np.array([0.1, 0.5, 0.7, 0.2], np.float32))
    assert figure.value == pytest.approx((2 + 0.5 + 0 + 4) / 8)


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    confidences = np.array([0.95] * 10 + [0.55] * 10)
    right = np.array([True] * 9 + [False] + [True] * 5 + [False] * 5)
    assert calibration_error("x", confidences, right).value == pytest.approx(0.05)
    assert calibration_error("x", np.array([1.0, 0.0]), np.array([True, False])).value == 0


def test_lower_error_is_better() -> None:
    figure = calibration_error("x", np.array([0.95] * 10), np.array([True] * 9 + [False]))
    assert not figure.is_worse(Figure("x", 0.5, 0, 1, 10))
    assert figure.is_worse(Figure("x", 0.0, 0, 1, 10)) is (figure.value > figure.standard_error)
