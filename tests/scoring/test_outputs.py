import csv
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring import parquet
from scoring.errors import ScoringError
from scoring.outputs import check_output, count_finished, journal_path, read_rows
from scoring.rows import IMAGES
from tests.helpers.scoring import MODEL, ROWS, write_output

SUFFIXES = ("csv", "jsonl", "parquet")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_output_replaces_its_journal(suffix: str, tmp_path: Path) -> None:
    output = tmp_path / f"out.{suffix}"
    output.write_text("an earlier one")
    write_output(output)
    assert list(tmp_path.iterdir()) == [output]
    assert count_finished(output) == {MODEL: len(ROWS)}
    rows = list(read_rows(output))
    assert rows[:3] == ROWS[:3]
    assert rows[3][1:] == ROWS[3][1:]


def test_csv(tmp_path: Path) -> None:
    write_output(tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.reader(file))
    assert rows[0] == list(IMAGES.columns)
    assert rows[1] == ["a, b.png", "7", "0.998", "", "", *MODEL]
    assert rows[2] == ['"c".png', "", "0.1", "blank", "", *MODEL]
    assert os.fsencode(rows[4][0]) == b"\xff\r.png"


def test_json_lines(tmp_path: Path) -> None:
    write_output(tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(rows) == 4
    model = {"model": "digits", "model_version": "3", "model_sha256": "ab" * 32}
    assert rows[1] == {"path": '"c".png', "digit": None, "confidence": 0.1, "reason": "blank", "error": None, **model}
    assert os.fsencode(rows[3]["path"]) == b"\xff\r.png"


def test_parquet_is_typed_and_written_in_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP", 3)
    write_output(tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.schema.names == list(IMAGES.columns)
    assert table.schema.field("digit").type == pa.int8()
    assert table.schema.field("confidence").type == pa.float64()
    assert table.to_pylist()[2] == dict(zip(IMAGES.columns, ROWS[2], strict=False))
    assert table.to_pylist()[3]["path"] == r"\xff" + "\r.png"  # text in Parquet is UTF-8
    assert [pq.ParquetFile(tmp_path / "out.parquet").metadata.row_group(one).num_rows for one in (0, 1)] == [3, 1]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_other_content_is_an_error_and_not_changed(suffix: str, tmp_path: Path) -> None:
    output = tmp_path / f"out.{suffix}"
    for text in ("precious", "", '{"a": 1}\n', "path,digit\n1,2\n"):
        output.write_text(text)
        with pytest.raises(ScoringError, match=r"expected a file of scored rows; .* with --overwrite"):
            count_finished(output)
        assert output.read_text() == text


def test_output_with_a_journal_is_not_finished(tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    write_output(output)
    journal_path(output).touch()
    assert not count_finished(output)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_output_is_an_error(suffix: str, tmp_path: Path) -> None:
    output = tmp_path / f"out.{suffix}"
    write_output(output)
    whole = output.read_bytes()
    said = {
        "csv": "something else after row [34]; remove it",
        "jsonl": "after row 3",
        "parquet": "something else; remove",
    }
    for data in (whole[:-20], whole[:-20] + b"garbage\n" + whole[-20:]):
        output.write_bytes(data)
        with pytest.raises(ScoringError, match=said[suffix]):
            count_finished(output)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_interrupted_finish_changes_nothing(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / f"out.{suffix}"
    output.write_text("an earlier one")
    monkeypatch.setattr(os, "replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_output(output)
    assert output.read_text() == "an earlier one"
    assert sorted(tmp_path.iterdir()) == [output, journal_path(output)]
    monkeypatch.undo()
    write_output(output, [])
    assert count_finished(output) == {MODEL: len(ROWS)}


def test_output_must_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    for name in ("folder.csv", "pipe.csv"):
        with pytest.raises(ScoringError, match="expected a file; got something else of that name"):
            check_output(tmp_path / name)


def test_output_suffixes_and_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("out.txt", "out", "out.csv.gz"):
        with pytest.raises(ScoringError, match=r"expected a name that ends in \.csv, \.jsonl, \.parquet, or -"):
            check_output(tmp_path / name)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    monkeypatch.delitem(__import__("sys").modules, "scoring.parquet")
    with pytest.raises(ScoringError, match=r"Parquet: the package pyarrow is missing; pip install '\.\[parquet\]'"):
        check_output(tmp_path / "out.parquet")
