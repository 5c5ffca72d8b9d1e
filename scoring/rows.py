"""The rows that scoring gives, and their CSV: the form in which they travel between processes and into the journal."""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self


class ModelIdentity(NamedTuple):
    """A model's name, its version, and the SHA-256 of its ONNX files in hexadecimal."""

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
    """Some inputs' names, each one's rows as CSV without a header, and the number of images per outcome."""

    names: Sequence[str]
    texts: Sequence[bytes]
    outcomes: Counter[str]

    @classmethod
    def from_rows(cls, rows: Sequence[Row]) -> Self:
        """Inputs that have one row each."""
        return cls([row.path for row in rows], write_csv(rows), Counter([row.outcome for row in rows]))


class _Returned:
    """A file that returns what is written to it."""

    write = staticmethod(str)


def write_csv(rows: Iterable[Iterable[object]]) -> list[bytes]:
    """Lines of CSV; null is empty. A file name that is not UTF-8 keeps its bytes."""
    # A carriage return in a value is quoted only if it is part of the line terminator (before Python 3.13).
    write = csv.writer(_Returned, lineterminator="\r\n").writerow
    return [f"{write(row)[:-2]}\n".encode("utf-8", "surrogateescape") for row in rows]


[HEADER] = write_csv([COLUMNS])


def read_csv(lines: Iterable[bytes]) -> Iterator[Row]:
    """The rows of lines of CSV without a header. Raises ValueError and TypeError for anything else."""
    line = b""

    def texts() -> Iterator[str]:
        nonlocal line
        for line in lines:
            yield line.decode("utf-8", "surrogateescape")

    try:
        for values in csv.reader(texts(), strict=True):
            if not line.endswith(b"\n"):
                raise ValueError(line)
            yield _parsed(*values)
    except csv.Error as error:
        raise ValueError(line) from error


def _parsed(path: str, digit: str, confidence: str, reason: str, error: str, *model: str) -> Row:
    return Row(
        path,
        int(digit) if digit else None,
        float(confidence) if confidence else None,
        reason or None,
        error or None,
        *ModelIdentity(*model),
    )
