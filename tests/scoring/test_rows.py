import io
from collections import Counter

import pytest

from scoring.rows import ERROR_LENGTH, IMAGES, PAGES, Row, Scored, error_row, row_without_digits, write_csv
from tests.helpers.scoring import MODEL, ROWS


def test_columns() -> None:
    assert IMAGES.header == b"path,digit,confidence,reason,error,model,model_version,model_sha256\n"
    assert PAGES.header == (
        b"path,line,position,digit,confidence,reason,left,top,width,height,turned,error,model,model_version,model_sha256\n"
    )


def test_scored_holds_csv_and_outcomes() -> None:
    result = Scored.from_rows(ROWS)
    assert result.text == IMAGES.write(ROWS)
    assert result.images == len(ROWS)
    assert result.outcomes == Counter(["7", "blank", "error", "1"])


def test_csv_round_trip() -> None:
    text = IMAGES.write(ROWS)
    assert b"\xff" in text
    assert list(IMAGES.read(io.BytesIO(text))) == list(IMAGES.read([text])) == ROWS


def test_digits_on_pages() -> None:
    page = [Row("a", 7, 0.9, None, None, *MODEL, 0, one, 10, 20, 30, 40, 90) for one in (0, 1)]
    page += [Row("a", None, 0.3, "uncertain", None, *MODEL, 1, 0, 10, 80, 30, 40, 90)]
    others = [
        row_without_digits("b", True, 0, MODEL),
        row_without_digits("c", False, 0, MODEL),
        error_row("d", "x", MODEL),
    ]
    result = Scored.from_rows(page + others, PAGES)
    assert list(PAGES.read([result.text])) == page + others
    assert result.images == 4
    assert result.outcomes == Counter(["7", "7", "uncertain", "not a digit", "blank", "error"])


def test_long_errors_are_cut() -> None:
    row = error_row("a", "x" * 200_000, MODEL)
    assert row.error == "x" * ERROR_LENGTH
    assert row.outcome == "error"
    assert row.identity == MODEL


def test_null_is_an_empty_field() -> None:
    assert write_csv([("a\rb", None), ("c", None)]) == b'"a\rb",\nc,\n'


def test_anything_else_is_an_error() -> None:
    for rest in (b"\0" * 4096, b"x,y\n", b'1,"2,3\n', b"a,seven,,,,digits,3,ab\n", b"\n"):
        rows = IMAGES.read([IMAGES.write(ROWS), rest])
        assert [next(rows) for _ in ROWS] == ROWS
        with pytest.raises((ValueError, TypeError)):
            next(rows)
