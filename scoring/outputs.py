"""The output of a run: CSV, JSON Lines or Parquet, by its suffix."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from scoring.errors import ScoringError
from scoring.extras import parquet
from scoring.journal import Journal
from scoring.rows import HEADER, ModelIdentity, Row, read_csv

CSV, JSON_LINES, PARQUET = SUFFIXES = (".csv", ".jsonl", ".parquet")


def check_output(output: Path) -> None:
    """Raises ScoringError if the output clearly cannot be written."""
    if output.suffix not in SUFFIXES:
        raise ScoringError(f"{output}: expected a name that ends in {', '.join(SUFFIXES)}, or - for standard output")
    if output.suffix == PARQUET:
        parquet()
    if output.exists() and not output.is_file():
        raise ScoringError(f"{output}: expected a file; got something else of that name")


def count_finished(output: Path) -> Counter[ModelIdentity]:
    """The number of rows per model, empty if the output is missing or unfinished.

    Raises ScoringError if the file holds anything else.
    """
    if not output.exists() or journal_path(output).exists():
        return Counter()
    try:
        rows = Counter(row.identity for row in read_rows(output))
        if rows:
            return rows
        raise ScoringError(f"{output}: expected a file of scored rows; got an empty one")
    except ScoringError as error:
        raise ScoringError(f"{error}; remove it, or replace it with --overwrite") from None


def journal_path(output: Path) -> Path:
    """The file of the rows until all are there."""
    return output.with_name(f"{output.name}.partial")


def finish(output: Path, journal: Journal) -> None:
    """Writes the journal's rows to the output, atomically. Raises OSError and ScoringError."""
    new = output.with_name(f"{output.name}.new")
    try:
        if output.suffix == PARQUET:
            parquet().write_rows(new, journal.rows())
        else:
            lines = chain([HEADER], journal.texts()) if output.suffix == CSV else map(_json_line, journal.rows())
            with new.open("wb") as file:
                file.writelines(lines)
        with new.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(new, output)
    finally:
        new.unlink(missing_ok=True)  # the disk may be full
    journal.remove()


def _json_line(row: Row) -> bytes:
    return f"{json.dumps(row._asdict())}\n".encode()


def read_rows(output: Path) -> Iterator[Row]:
    """The rows of a finished output. Raises ScoringError if the file is something else or damaged."""
    number = 0
    try:
        for row in {PARQUET: _read_parquet, CSV: _read_csv, JSON_LINES: _read_json_lines}[output.suffix](output):
            yield row
            number += 1
    except (OSError, ValueError, TypeError) as error:
        if isinstance(error, OSError) and error.errno:  # PyArrow's own errors have none
            raise ScoringError(f"{output}: cannot be read: {error.strerror}") from error
        got = f"something else after row {number:,}" if number else "something else"
        raise ScoringError(f"{output}: expected a file of scored rows; got {got}") from error


def _read_parquet(path: Path) -> Iterator[Row]:
    return parquet().read_rows(path)


def _read_csv(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        if file.readline() != HEADER:
            raise ValueError(HEADER)
        yield from read_csv(file)


def _read_json_lines(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as file:
        yield from (Row(**json.loads(line)) for line in file)
