"""The rows that scoring gives, and their CSV: the form in which they travel between processes and into the journal."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, Self


class ModelIdentity(NamedTuple):
    """A model's name, its version, and the SHA-256 of its ONNX file in hexadecimal."""

    name: str
    version: str
    sha256: str

    def __str__(self) -> str:
        return " ".join(self)


class Row(NamedTuple):
    """One image. If `digit` is None, either `reason` says why it was rejected or `error` why it was not decoded."""

    path: str
    digit: int | None
    confidence: float | None
    reason: str | None
    error: str | None
    model: str
    model_version: str
    model_sha256: str

    @property
    def outcome(self) -> str:
        """`error`, the rejection reason, or the digit."""
        return ERROR if self.error is not None else self.reason or str(self.digit)

    @property
    def identity(self) -> ModelIdentity:
        """The model that gave the row."""
        return ModelIdentity(*self[5:])


COLUMNS = Row._fields
ERROR = "error"
# An error may quote as much of a file as the file contains.
ERROR_LENGTH = 1000


def error_row(path: str, error: object, model: ModelIdentity) -> Row:
    """The row of an image that could not be decoded."""
    return Row(path, None, None, None, str(error)[:ERROR_LENGTH], *model)


@dataclass(frozen=True)
class Scored:
    """The rows of some images as CSV without a header, in UTF-8, and the number of images per outcome.

    A cluster gives a Parquet file instead of the CSV.
    """

    text: bytes
    outcomes: Counter[str]

    @classmethod
    def from_rows(cls, rows: Sequence[Row]) -> Self:
        """The CSV of rows."""
        return cls(write_csv(rows), Counter([row.outcome for row in rows]))


def write_csv(rows: Iterable[Iterable[object]]) -> bytes:
    """Lines of CSV; null is empty. A file name that is not UTF-8 keeps its bytes."""
    rows = list(rows)
    text = _csv(rows, "\n")
    if "\r" in text:
        # Before Python 3.13, a carriage return is quoted only if it is part of the line terminator.
        text = "".join(_csv([row], "\r\n").removesuffix("\r\n") + "\n" for row in rows)
    return text.encode("utf-8", "surrogateescape")


def _csv(rows: list[Iterable[object]], end: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator=end).writerows(rows)
    return text.getvalue()


HEADER = write_csv([COLUMNS])


def read_csv(file: BinaryIO) -> Iterator[tuple[int, Row]]:
    """Each row after the header, with the position of its end in the file; stops at a row that is torn or broken."""
    end, line = file.tell(), b""

    def lines() -> Iterator[str]:
        nonlocal end, line
        for line in file:
            end += len(line)
            yield line.decode("utf-8", "surrogateescape")

    try:
        for values in csv.reader(lines(), strict=True):
            if not line.endswith(b"\n"):
                return
            yield end, _parsed(*values)
    except (csv.Error, TypeError, ValueError):
        return


def _parsed(path: str, digit: str, confidence: str, reason: str, error: str, *model: str) -> Row:
    return Row(
        path,
        int(digit) if digit else None,
        float(confidence) if confidence else None,
        reason or None,
        error or None,
        *model,
    )
