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
from scoring.rows import IMAGES, LAYOUTS, Layout, ModelIdentity, Row

CSV, JSON_LINES, PARQUET = SUFFIXES = (".csv", ".jsonl", ".parquet")


def check_output(output: Path) -> None:
    """Raises ScoringError if the output clearly cannot be written."""
    if output.suffix not in SUFFIXES:
        raise ScoringError(f"{output}: expected a name that ends in {', '.join(SUFFIXES)}, or - for standard output")
    if output.suffix == PARQUET:
        parquet()
    if output.exists() and not output.is_file():
        raise ScoringError(f"{output}: expected a file; got something else of that name")


def count_finished(output: Path, layout: Layout = IMAGES) -> Counter[ModelIdentity]:
    """The number of rows per model, empty if the output is missing or unfinished.

    Raises ScoringError if the file holds anything else.
    """
    if not output.exists() or journal_path(output).exists():
        return Counter()
    try:
        found = layout_of(output)
        if found != layout:
            raise ScoringError(f"{output}: expected rows of {layout.subject}; got rows of {found.subject}")
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
            parquet().write_rows(new, journal.rows(), journal.layout)
        else:
            with new.open("wb") as file:
                file.writelines(
                    chain([journal.layout.header], journal.texts()) if output.suffix == CSV else _json(journal)
                )
        with new.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(new, output)
    finally:
        new.unlink(missing_ok=True)  # the disk may be full
    journal.remove()


def _json(journal: Journal) -> Iterator[bytes]:
    for row in journal.rows():
        yield f"{json.dumps(dict(zip(journal.layout.columns, journal.layout.values(row), strict=True)))}\n".encode()


def layout_of(output: Path) -> Layout:
    """The layout of a finished output. Raises ScoringError if the file is something else or damaged."""
    try:
        if output.suffix == PARQUET:
            columns = parquet().columns(output)
        else:
            with output.open("rb") as file:
                line = file.readline().decode()
            columns = tuple(json.loads(line)) if output.suffix == JSON_LINES else tuple(line.rstrip("\n").split(","))
        if columns not in LAYOUTS:
            raise ValueError(columns)
    except (OSError, ValueError, TypeError) as error:
        raise _explained(error, output) from error
    return LAYOUTS[columns]


def read_rows(output: Path) -> Iterator[Row]:
    """The rows of a finished output. Raises ScoringError if the file is something else or damaged."""
    read, number = {PARQUET: _read_parquet, CSV: _read_csv, JSON_LINES: _read_json_lines}[output.suffix], 0
    layout = layout_of(output)
    try:
        for row in read(output, layout):
            yield row
            number += 1
    except (OSError, ValueError, TypeError) as error:
        raise _explained(error, output, number) from error


def _explained(error: Exception, output: Path, number: int = 0) -> ScoringError:
    if isinstance(error, OSError) and error.errno:  # PyArrow's own errors have none
        return ScoringError(f"{output}: cannot be read: {error.strerror}")
    got = f"something else after row {number:,}" if number else "something else"
    return ScoringError(f"{output}: expected a file of scored rows; got {got}")


def _read_parquet(path: Path, layout: Layout) -> Iterator[Row]:
    return parquet().read_rows(path, layout)


def _read_csv(path: Path, layout: Layout) -> Iterator[Row]:
    with path.open("rb") as file:
        file.readline()
        yield from layout.read(file)


def _read_json_lines(path: Path, layout: Layout) -> Iterator[Row]:
    with path.open(encoding="utf-8") as file:
        for values in map(json.loads, file):
            if tuple(values) != layout.columns:
                raise ValueError(values)
            yield Row(**values)
