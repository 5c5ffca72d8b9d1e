import io
from collections import Counter
from itertools import accumulate

from scoring.rows import COLUMNS, ERROR_LENGTH, HEADER, Scored, error_row, read_csv, write_csv
from tests.helpers.scoring import MODEL, ROWS


def test_columns() -> None:
    assert COLUMNS[:5] == ("path", "digit", "confidence", "reason", "error")
    assert COLUMNS[5:] == ("model", "model_version", "model_sha256")


def test_scored_holds_csv_and_outcomes() -> None:
    result = Scored.from_rows(ROWS)
    assert result.text == write_csv(ROWS)
    assert result.outcomes == Counter(["7", "blank", "error", "1"])


def test_csv_round_trip() -> None:
    text = HEADER + write_csv(ROWS)
    assert b"\xff" in text
    file = io.BytesIO(text)
    file.seek(len(HEADER))
    read = list(read_csv(file))
    assert [row for _, row in read] == ROWS
    assert read[-1][0] == len(text)


def test_long_errors_are_cut() -> None:
    row = error_row("a", "x" * 200_000, MODEL)
    assert row.error == "x" * ERROR_LENGTH
    assert row.outcome == "error"
    assert row.identity == MODEL


def test_null_is_an_empty_field() -> None:
    assert write_csv([("a\rb", None), ("c", None)]) == b'"a\rb",\nc,\n'


def test_reading_stops_at_a_torn_row() -> None:
    lines = [write_csv([row]) for row in ROWS]
    text, ends = b"".join(lines), [0, *accumulate(map(len, lines))]
    for length in range(len(text)):
        read = list(read_csv(io.BytesIO(text[:length])))
        whole = max(count for count, end in enumerate(ends) if end <= length)
        assert [row for _, row in read] == ROWS[:whole]
        assert [end for end, _ in read] == ends[1 : whole + 1]


def test_reading_stops_at_garbage() -> None:
    for rest in (b"\0" * 4096, b"x,y\n", b'1,"2,3\n', b"a,seven,,,,digits,3,ab\n"):
        assert [row for _, row in read_csv(io.BytesIO(write_csv(ROWS) + rest + write_csv(ROWS)))] == ROWS
