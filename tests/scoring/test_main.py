"""`python -m scoring` as a command."""

import csv
import io
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring.outputs import read_rows
from scoring.rows import IMAGES, Row
from tests.helpers.images import encode, written_page
from tests.helpers.paths import EXAMPLES, ROOT, VERSION
from tests.helpers.scoring import IDX, command, rows_written, score
from training.datasets.mnist import load_test


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 images in folders, including a broken file and a blank image."""
    folder = tmp_path_factory.mktemp("images")
    for number, image in enumerate(load_test().images[:2000]):
        path = folder / f"{number // 100:02d}" / f"{number:04d}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode(image))
    (folder / "07" / "0700.png").write_bytes(b"broken")
    (folder / "09" / "0900.png").write_bytes(encode(np.zeros((28, 28), np.uint8)))
    return folder


@pytest.fixture(scope="module")
def expected(images: Path) -> list[Row]:
    output = images.with_name("expected.csv")
    assert score(images, "--output", output).returncode == 1
    return list(read_rows(output))


def test_folder_to_standard_output() -> None:
    result = score(EXAMPLES, "--output", "-")
    assert result.returncode == 0, result.stderr
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert list(rows[0]) == list(IMAGES.columns)
    assert [row["digit"] for row in rows] == [str(digit) for digit in range(10)]
    assert "10 images: 10 read, 0 rejected, 0 not decoded" in result.stderr


def test_all_formats_hold_the_same_rows(images: Path, expected: list[Row], tmp_path: Path) -> None:
    assert [row.path for row in expected] == sorted(str(path) for path in images.rglob("*.png"))
    for suffix in ("jsonl", "parquet"):
        result = score(images, "--output", tmp_path / f"out.{suffix}")
        assert result.returncode == 1
        assert list(read_rows(tmp_path / f"out.{suffix}")) == expected
        assert "1 not decoded" in result.stderr
        assert "1 blank" not in result.stderr
        assert "blank (1)" in result.stderr
    assert len(list(tmp_path.iterdir())) == 2


def test_all_kinds_of_sources_together(images: Path, tmp_path: Path) -> None:
    parquet = tmp_path / "more.parquet"
    pq.write_table(pa.table({"image": [(EXAMPLES / f"{digit}.png").read_bytes() for digit in (4, 8)]}), parquet)
    result = score(images / "0[01]" / "*5.png", IDX, parquet, EXAMPLES / "3.png", "--output", tmp_path / "out.csv")
    assert result.returncode == 0, result.stderr
    rows = list(read_rows(tmp_path / "out.csv"))
    assert Counter(row.path.partition("#")[0] for row in rows if "#" in row.path) == {IDX: 10_000, str(parquet): 2}
    assert [row.digit for row in rows if row.path.startswith(str(parquet))] == [4, 8]
    labels = load_test().labels
    right = sum(row.digit == labels[int(row.path.partition("#")[2])] for row in rows if row.path.startswith(IDX))
    assert right == 9960
    assert len(rows) == 20 + 10_000 + 2 + 1


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_pages_have_a_row_for_each_digit(suffix: str, tmp_path: Path) -> None:
    folder, output = tmp_path / "pages", tmp_path / f"out.{suffix}"
    folder.mkdir()
    (folder / "blank.png").write_bytes(encode(np.full((90, 60), 255, np.uint8)))
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "page.png").write_bytes(encode(written_page(["314   27", "5"], 60)))
    (folder / "turned.png").write_bytes(encode(np.rot90(written_page(["4672", "3528", "7549"], 60))))
    (folder / "too many.png").write_bytes(encode(written_page(["31415926" * 4] * 24, 30)))
    arguments: list[str | Path] = [folder, "--read", "--output", output]
    assert score(*arguments, "--labels", folder).returncode == 2
    result = score(*arguments)
    assert result.returncode == 1, result.stderr
    assert "5 images: 18 read, 1 rejected, 2 not decoded" in result.stderr
    rows = list(read_rows(output))
    found = [(Path(row.path).stem, row.line, row.position, row.digit, row.turned) for row in rows]
    assert found[:2] == [("blank", None, None, None, 0), ("broken", None, None, None, None)]
    places = [(0, 0), (0, 1), (0, 2), (0, 4), (0, 5), (1, 0)]
    assert found[2:8] == [("page", *place, digit, 0) for place, digit in zip(places, (3, 1, 4, 2, 7, 5), strict=True)]
    assert rows[0].reason == "blank"
    assert "at most 500 digits on a page; found" in str(rows[8].error)
    assert [row.digit for row in rows if row.turned] == [4, 6, 7, 2, 3, 5, 2, 8, 7, 5, 4, 9]
    left, top, width, height = rows[2][10:14]
    assert left is not None and top is not None and width is not None and height is not None  # noqa: PT018 - for mypy
    assert 20 < left < 40 and 20 < top < 60 and 10 < width < 60 and 50 < height < 70  # noqa: PT018 - one box
    other = score(folder, "--output", output)
    assert other.returncode == 2
    assert "expected rows of images; got rows of digits on pages; remove it, or replace it with" in other.stderr


def test_finished_output_is_not_changed(tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    assert score(EXAMPLES / "3.png", "--output", output).returncode == 0
    before = output.read_bytes(), output.stat().st_mtime_ns
    again = score(EXAMPLES, "--output", output)
    assert again.returncode == 0
    assert f"{output}: already complete, with 1 rows of the model digits {VERSION} " in again.stderr
    assert (output.read_bytes(), output.stat().st_mtime_ns) == before
    overwritten = score(EXAMPLES, "--output", output, "--overwrite")
    assert overwritten.returncode == 0
    assert len(list(read_rows(output))) == 10
    assert list(tmp_path.iterdir()) == [output]


def run_until_killed(seconds: float, *arguments: str | Path) -> int:
    """The exit code of a run that is killed after some seconds unless it has ended."""
    process = subprocess.Popen(command(*arguments), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    _, said = process.communicate(timeout=20)  # returns when the last of its processes has ended
    assert "scoring/engines/worker.py" not in said  # only a process that is just starting may print a traceback
    return process.returncode


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_killed_run_resumes_and_gives_one_row_per_image(
    suffix: str, images: Path, expected: list[Row], tmp_path: Path
) -> None:
    output = tmp_path / f"out.{suffix}"
    chance = random.Random(suffix)
    before = 0
    for _ in range(4):
        run_until_killed(chance.uniform(0.2, 0.9), images, "--output", output)
        if output.exists():
            break
        now = rows_written(output)
        assert now >= before
        before = now
    last = score(images, "--output", output)
    assert last.returncode in (0, 1)
    assert list(read_rows(output)) == expected
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.kills
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_killed_a_hundred_times(suffix: str, images: Path, expected: list[Row], tmp_path: Path) -> None:
    chance = random.Random(suffix)
    kills = 0
    while kills < 100:
        output = tmp_path / f"out.{suffix}"
        for _ in range(20):
            if run_until_killed(chance.uniform(0.25, 0.7), images, "--output", output) >= 0:
                break
            kills += 1
        score(images, "--output", output)
        assert list(read_rows(output)) == expected
        assert list(tmp_path.iterdir()) == [output]
        output.unlink()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_prints_a_summary_and_resumes(
    number: int, expected: list[Row], images: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.csv"
    process = subprocess.Popen(
        command(images, IDX, "--output", output), cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not rows_written(output):
        assert process.poll() is None
        time.sleep(0.002)
    os.killpg(process.pid, number)  # as a terminal does
    _, said = process.communicate(timeout=10)
    assert process.returncode == 128 + number
    assert said.startswith("interrupted; re-run the same command to resume\n")
    assert "images/s" in said
    assert "Traceback" not in said
    result = score(images, IDX, "--output", output)
    assert "had been scored before" in result.stderr
    rows = list(read_rows(output))
    assert (rows[: len(expected)], len(rows)) == (expected, len(expected) + 10_000)


def test_interrupted_overwrite_resumes_without_the_option(expected: list[Row], images: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    assert score(EXAMPLES, "--output", output).returncode == 0
    process = subprocess.Popen(
        command(images, IDX, "--output", output, "--overwrite"), cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    while not rows_written(output):
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)
    assert said.startswith("interrupted; re-run the same command without --overwrite to resume\n")
    assert len(list(read_rows(output))) == 10
    assert "had been scored before" in score(images, IDX, "--output", output).stderr
    assert list(read_rows(output))[: len(expected)] == expected


def test_second_ctrl_c_changes_nothing(images: Path, tmp_path: Path) -> None:
    for pause in (0.1, 0.2, 0.3, 0.4):
        process = subprocess.Popen(
            command(images, "--output", tmp_path / "out.csv"),
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        time.sleep(pause)
        for _ in range(2):
            os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=10)
        if said.startswith("interrupted"):  # otherwise the signal came before the command's own code ran
            assert process.returncode == 130
            assert "Traceback" not in said


# A Parquet file stays under the limit: there must be so many rows that SQLite writes some before it commits them.
@pytest.mark.parametrize(
    ("suffix", "limit", "times"), [("csv", 200_000, 1), ("jsonl", 450_000, 1), ("parquet", 100_000, 10)]
)
def test_full_disk_is_a_clear_error_and_keeps_finished_rows(
    suffix: str, limit: int, times: int, images: Path, expected: list[Row], tmp_path: Path
) -> None:
    output, paths = tmp_path / f"out.{suffix}", [images] * times
    result = score(*paths, "--output", output, limit=limit)
    assert result.returncode == 2
    assert re.search(rf"error: {output}.*: cannot be (read or )?written: ", result.stderr)
    assert "Traceback" not in result.stderr
    assert not output.exists()
    result = score(*paths, "--output", output)
    assert "had been scored before" in result.stderr
    assert list(read_rows(output)) == expected * times


def test_files_deleted_during_the_run_become_error_rows(images: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    shutil.copytree(images, folder)
    output = tmp_path / "out.csv"
    process = subprocess.Popen(command(folder, "--output", output), cwd=ROOT, stderr=subprocess.DEVNULL)
    while not rows_written(output):
        assert process.poll() is None
        time.sleep(0.002)
    for path in (folder / "19").iterdir():
        path.unlink()
    assert process.wait(60) == 1
    rows = list(read_rows(output))
    assert 1900 <= len(rows) <= 2000
    assert len({row.path for row in rows}) == len(rows)
    gone = [row for row in rows if "/19/" in row.path and row.error]
    assert {row.error for row in gone} <= {"the file cannot be read: No such file or directory"}


def test_wrong_arguments_change_nothing(tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    cases: list[tuple[list[str | Path], str]] = [
        ([tmp_path / "none", "--output", output], "no such file or folder, and no file matches it"),
        ([EXAMPLES, tmp_path / "*.png", "--output", output], "no such file or folder, and no file matches it"),
        ([tmp_path, "--output", output], "no images found"),
        ([EXAMPLES], "Missing option '--output'"),
        ([EXAMPLES, "--output", tmp_path / "out.xlsx"], "expected a name that ends in .csv, .jsonl, .parquet"),
        ([EXAMPLES, "--output", tmp_path / "none" / "out.csv"], "cannot be written: No such file or directory"),
    ]
    for arguments, message in cases:
        result = score(*arguments)
        assert result.returncode == 2
        assert message in result.stderr
        assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("closed", ["--output - >&-", "--output - | head -n 1; exit ${PIPESTATUS[0]}"])
def test_closed_standard_output_exits_with_2(closed: str) -> None:
    result = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m scoring {IDX} {closed}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_closed_standard_error_is_no_failure(tmp_path: Path) -> None:
    words = f"{sys.executable} -m scoring examples --output {tmp_path / 'out.csv'} 2>&-"
    assert subprocess.run(["bash", "-c", words], cwd=ROOT, check=False).returncode == 0
    assert len(list(read_rows(tmp_path / "out.csv"))) == 10


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_full_disk_behind_standard_output_is_a_clear_error(unbuffered: str) -> None:
    command = f"PYTHONUNBUFFERED={unbuffered} {sys.executable} -m scoring examples --output - > /dev/full"
    result = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "error: standard output: cannot be written: No space left on device" in result.stderr
    assert "Exception ignored" not in result.stderr


def test_reader_that_stops_early_causes_no_traceback() -> None:
    command = f"{sys.executable} -m scoring {IDX} --output - | head -n 2"
    result = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[1].startswith(f"{IDX}#0,7,")
    assert "Traceback" not in result.stderr
