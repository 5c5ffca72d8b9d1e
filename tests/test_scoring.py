"""`python -m scoring`, run as people run it."""

import csv
import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import EXAMPLES, ROOT


def score(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scoring", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_folder_to_standard_output() -> None:
    result = score(EXAMPLES, "--output", "-")
    assert result.returncode == 0, result.stderr
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["digit"] for row in rows] == [str(digit) for digit in range(10)]
    assert "10 images: 10 read, 0 refused, 0 not decoded" in result.stderr


def test_bad_file_is_a_row_and_exit_status_1(tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "3.png", tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes(b"no image")
    shutil.copy(EXAMPLES / "5.png", tmp_path / "3.png")
    result = score(tmp_path, "--output", tmp_path / "out.csv")
    assert result.returncode == 1
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text())))
    assert [row["digit"] for row in rows] == ["3", "", "5"]
    assert "none of these" in rows[1]["error"]
    assert "3 images: 2 read, 0 refused, 1 not decoded" in result.stderr


def test_nothing_is_done_when_something_is_wrong(tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    cases: list[tuple[list[str | Path], str]] = [
        ([tmp_path / "none", "--output", output], "there is none of that name"),
        ([tmp_path, "--output", output], "expected images; found none"),
        ([EXAMPLES], "Missing option '--output'"),
        ([EXAMPLES, "--output", tmp_path / "out.xlsx"], "expected a name that ends in .csv or .jsonl"),
    ]
    for arguments, message in cases:
        result = score(*arguments)
        assert result.returncode == 2
        assert message in result.stderr
        assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_full_disk_is_one_clear_error(unbuffered: str) -> None:
    command = f"PYTHONUNBUFFERED={unbuffered} {sys.executable} -m scoring examples --output - > /dev/full"
    result = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "error: standard output: expected to be able to write it; got: No space left on device" in result.stderr
    assert "Exception ignored" not in result.stderr


def test_reader_that_stops_early_is_no_failure_of_ours() -> None:
    command = f"{sys.executable} -m scoring training/data/mnist/t10k-images-idx3-ubyte.gz --output - | head -n 2"
    result = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[1].startswith("training/data/mnist/t10k-images-idx3-ubyte.gz#0,7,")
    assert "Traceback" not in result.stderr
