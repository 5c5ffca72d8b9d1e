import csv
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.real_images import main as grade_real_images
from tests.conftest import example


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


def test_real_images_are_counted_and_the_mistakes_named(folder: Path) -> None:
    result = CliRunner().invoke(grade_real_images, [str(folder)])
    assert result.exit_code == 0, result.output
    assert "50.00% right (2 of 4;" in result.output
    assert "a/2.png: 3 read as 2" in result.output
    assert "b/3.png: 3 not read: expected an image" in result.output


def test_too_few_right_fails(folder: Path) -> None:
    assert CliRunner().invoke(grade_real_images, [str(folder), "--require", "0.6"]).exit_code == 1
