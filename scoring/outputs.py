"""What the rows of a run end up in: CSV, JSON Lines or Parquet, by the output's name."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from scoring.errors import ScoringError
from scoring.extras import parquet
from scoring.rows import HEADER, Row, read_csv

CSV, JSON_LINES, PARQUET = SUFFIXES = (".csv", ".jsonl", ".parquet")


def check_output(output: Path) -> None:
    """Raises ScoringError if it is clear beforehand that this cannot be written."""
    if output.suffix not in SUFFIXES:
        raise ScoringError(f"{output}: expected a name that ends in {', '.join(SUFFIXES)}, or - for standard output")
    if output.suffix == PARQUET:
        parquet()
    if output.exists() and not output.is_file():
        raise ScoringError(f"{output}: expected a file, or none; got something else of that name")


def count_finished(output: Path) -> Counter[tuple[str, ...]]:
    """How many rows of which model an earlier run has made it of; none if it is not finished, or not there.

    Raises ScoringError if it holds anything else.
    """
    if not output.exists() or journal_path(output).exists():
        return Counter()
    try:
        rows: Counter[tuple[str, ...]] = Counter(row[5:] for row in read_rows(output))
        if rows:
            return rows
        raise ScoringError(f"{output}: expected a file of scored rows, or none; got nothing in it")
    except ScoringError as error:
        raise ScoringError(f"{error}; remove it, or replace it with --overwrite") from None


def journal_path(output: Path) -> Path:
    """Where the rows are, as CSV, until all are there."""
    return output.with_name(f"{output.name}.partial")


def finish(output: Path) -> None:
    """Makes of the journal the output, which is there whole or not at all. Raises OSError and ScoringError."""
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
    """The rows of a finished output. Raises ScoringError where it is something else, or no longer whole."""
    number = 0
    try:
        reader = {PARQUET: _read_parquet, CSV: _read_csv, JSON_LINES: _read_json_lines}[suffix or output.suffix]
        for row in reader(output):
            yield row
            number += 1
    except (OSError, ValueError, TypeError) as error:
        if isinstance(error, OSError) and error.errno:  # PyArrow's own have none
            raise ScoringError(f"{output}: expected to be able to read it; got: {error.strerror}") from error
        got = f"something else after row {number:,}" if number else "something else"
        raise ScoringError(f"{output}: expected a file of scored rows, or none; got {got}") from error


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
