"""The output of a run: CSV, JSON Lines or Parquet, by its suffix."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from scoring.errors import ScoringError
from scoring.extras import parquet
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
    """The CSV of the rows until all are there."""
    return output.with_name(f"{output.name}.partial")


def finish(output: Path) -> None:
    """Turns the journal into the output, atomically. Raises OSError and ScoringError."""
    whole = journal = journal_path(output)
    if output.suffix != CSV:
        whole = output.with_name(f"{output.name}.new")
        write = parquet().write_rows if output.suffix == PARQUET else _write_json_lines
        try:
            write(whole, read_rows(journal, CSV))
        except BaseException:
            whole.unlink(missing_ok=True)  # the disk may be full
            raise
    with whole.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(whole, output)
    journal.unlink(missing_ok=True)


def read_rows(output: Path, suffix: str | None = None) -> Iterator[Row]:
    """The rows of a finished output. Raises ScoringError if the file is something else or damaged."""
    number = 0
    try:
        reader = {PARQUET: _read_parquet, CSV: _read_csv, JSON_LINES: _read_json_lines}[suffix or output.suffix]
        for row in reader(output):
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
        end = len(HEADER)
        for row_end, row in read_csv(file):
            yield row
            end = row_end
        if end != path.stat().st_size:
            raise ValueError(end)


def _write_json_lines(path: Path, rows: Iterator[Row]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row._asdict()) + "\n" for row in rows)


def _read_json_lines(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as file:
        yield from (Row(**json.loads(line)) for line in file)
