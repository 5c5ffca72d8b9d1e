import csv
import json
import os
from pathlib import Path

import pytest

from scoring.engine import Row
from scoring.sinks import OutputError, open_sink

ROWS = [
    Row("a, b.png", 7, 0.998, None, None),
    Row('"c".png', None, 0.1, "blank", None),
    Row("d\n.png", None, None, None, "expected better"),
    Row(os.fsdecode(b"\xff.png"), 1, 1.0, None, None),
]


def write(output: str, overwrite: bool = False) -> None:
    with open_sink(output, overwrite) as sink:
        for row in ROWS:
            sink.write(row)


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    write(str(path))
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["path", "digit", "confidence", "reason", "error"]
    assert rows[1] == ["a, b.png", "7", "0.998", "", ""]
    assert rows[2] == ['"c".png', "", "0.1", "blank", ""]
    assert rows[3] == ["d\n.png", "", "", "", "expected better"]
    assert os.fsencode(rows[4][0]) == b"\xff.png"


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    write(str(path))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == 4
    assert rows[1] == {"path": '"c".png', "digit": None, "confidence": 0.1, "reason": "blank", "error": None}


def test_existing_output_is_kept_unless_overwritten_on_purpose(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("precious")
    with pytest.raises(OutputError, match=r"expected a new file; this one exists; remove it or add --overwrite"):
        write(str(path))
    assert path.read_text() == "precious"
    write(str(path), overwrite=True)
    assert path.read_bytes().startswith(b"path,digit")


def test_output_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with pytest.raises(KeyError), open_sink(str(path)) as sink:
        sink.write(ROWS[0])
        raise KeyError
    assert not path.exists()


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("out.txt", "expected a name that ends in .csv or .jsonl"),
        ("out", "expected a name"),
        ("none/out.csv", "No such file"),
    ],
)
def test_unusable_output_is_refused(output: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=message):
        write(str(tmp_path / output))
