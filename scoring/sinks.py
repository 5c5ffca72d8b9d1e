"""Where rows go: CSV or JSON Lines."""

import csv
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple, fields
from pathlib import Path
from typing import Protocol, TextIO

from scoring.engine import Row

COLUMNS = tuple(field.name for field in fields(Row))


class Sink(Protocol):
    def write(self, row: Row) -> None: ...


class CsvSink:
    """A header and a line a row; null is empty."""

    def __init__(self, file: TextIO) -> None:
        self.writer = csv.writer(file, lineterminator="\n")
        self.writer.writerow(COLUMNS)

    def write(self, row: Row) -> None:
        self.writer.writerow(astuple(row))


class JsonLinesSink:
    """A JSON object a line."""

    def __init__(self, file: TextIO) -> None:
        self.file = file

    def write(self, row: Row) -> None:
        self.file.write(json.dumps(asdict(row)) + "\n")


SINKS: dict[str, type[CsvSink | JsonLinesSink]] = {".csv": CsvSink, ".jsonl": JsonLinesSink}
STANDARD_OUTPUT = "-"


class OutputError(Exception):
    """The output cannot be written; the message says what was expected and what to do."""


@contextmanager
def open_sink(output: str, overwrite: bool = False) -> Iterator[Sink]:
    """Opens FILE.csv, FILE.jsonl or `-`, CSV on standard output.

    The rows are collected in FILE.partial, which takes FILE's place only when all are written. Raises OutputError.
    """
    if output == STANDARD_OUTPUT:
        # A file name that is not UTF-8 leaves as the bytes it came in as.
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")  # type: ignore[union-attr]
        try:
            yield CsvSink(sys.stdout)
            sys.stdout.flush()
        except BrokenPipeError:
            raise  # whoever read it has enough, which is no error
        except OSError as error:
            # What is still buffered would fail once more at exit, in words of Python's own.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise OutputError(f"standard output: expected to be able to write it; got: {error.strerror}") from error
        return
    path = Path(output)
    if path.suffix not in SINKS:
        raise OutputError(f"{output}: expected a name that ends in {' or '.join(SINKS)}, or - for standard output")
    if path.exists() and not overwrite:
        raise OutputError(f"{output}: expected a new file; this one exists; remove it or add --overwrite")
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            yield SINKS[path.suffix](file)
        os.replace(partial, path)
    except OSError as error:
        raise OutputError(f"{output}: expected to be able to write it; got: {error.strerror}") from error
