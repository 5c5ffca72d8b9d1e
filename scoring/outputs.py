"""What the rows of a run end up in: CSV, JSON Lines or Parquet, by the output's name."""

import json
import os
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


def is_finished(output: Path) -> bool:
    """Whether an earlier run has made it. Raises ScoringError if it holds anything else."""
    if not output.exists() or journal_path(output).exists():
        return False
    try:
        if next(read_rows(output), None):
            return True
        raise ScoringError(f"{output}: expected a file of scored rows, or none; got nothing in it")
    except ScoringError as error:
        raise ScoringError(f"{error}; remove it, or replace it with --overwrite") from None


def journal_path(output: Path) -> Path:
    """Where the rows are, as CSV, until all are there."""
    return output.with_name(f"{output.name}.partial")


def finish(output: Path) -> None:
    """Makes of the journal the output, which is there whole or not at all. Raises OSError."""
    whole = journal = journal_path(output)
    if output.suffix != CSV:
        whole = output.with_name(f"{output.name}.new")
        write = parquet().write_rows if output.suffix == PARQUET else _write_json_lines
        write(whole, _read_csv(journal))
    with whole.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(whole, output)
    journal.unlink(missing_ok=True)


def read_rows(output: Path) -> Iterator[Row]:
    """The rows of a finished output. Raises ScoringError if it is something else."""
    try:
        if output.suffix == PARQUET:
            yield from parquet().read_rows(output)
        else:
            yield from (_read_csv if output.suffix == CSV else _read_json_lines)(output)
    except (ValueError, TypeError) as error:
        raise ScoringError(f"{output}: expected a file of scored rows, or none; got something else") from error


def _read_csv(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        if file.readline() != HEADER:
            raise ValueError(HEADER)
        yield from (row for _, row in read_csv(file))


def _write_json_lines(path: Path, rows: Iterator[Row]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row._asdict()) + "\n" for row in rows)


def _read_json_lines(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as file:
        yield from (Row(**json.loads(line)) for line in file)
