import io
from collections import Counter

import pytest

from scoring.rows import COLUMNS, ERROR_LENGTH, Scored, error_row, read_csv, write_csv
from tests.helpers.scoring import MODEL, ROWS


def test_columns() -> None:
    assert COLUMNS[:5] == ("path", "digit", "confidence", "reason", "error")
    assert COLUMNS[5:] == ("model", "model_version", "model_sha256")


def test_scored_holds_csv_and_outcomes() -> None:
    result = Scored.from_rows(ROWS)
    assert result.texts == write_csv(ROWS)
    assert result.names == [row.path for row in ROWS]
    assert result.outcomes == Counter(["7", "blank", "error", "1"])


def test_csv_round_trip() -> None:
    lines = write_csv(ROWS)
    assert b"\xff" in lines[3]
    assert list(read_csv(io.BytesIO(b"".join(lines)))) == ROWS


def test_long_errors_are_cut() -> None:
    row = error_row("a", "x" * 200_000, MODEL)
    assert row.error == "x" * ERROR_LENGTH
    assert row.outcome == "error"
    assert row.identity == MODEL


def test_null_is_an_empty_field() -> None:
    assert write_csv([("a\rb", None), ("c", None)]) == [b'"a\rb",\n', b"c,\n"]


def test_anything_else_is_an_error() -> None:
    for rest in (b"\0" * 4096, b"x,y\n", b'1,"2,3\n', b"a,seven,,,,digits,3,ab\n", b"\n"):
        rows = read_csv([*write_csv(ROWS), rest])
        assert [next(rows) for _ in ROWS] == ROWS
        with pytest.raises((ValueError, TypeError)):
            next(rows)
