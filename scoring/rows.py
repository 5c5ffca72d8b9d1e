"""The rows that scoring gives, and their CSV: the form in which they travel between processes and into the journal."""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import Any, NamedTuple, Self

from digits.reasons import BLANK, NOT_A_DIGIT


class ModelIdentity(NamedTuple):
    """A model's name, its version, and the SHA-256 of its ONNX files in hexadecimal."""

    name: str
    version: str
    sha256: str

    def __str__(self) -> str:
        return " ".join(self)


class Row(NamedTuple):
    """An image, or a digit on a page. If `digit` is None, either `reason` or `error` says why.

    A digit on a page has its line, from 0, its place in the line's text, its box in pixels of the upright image, and
    the degrees clockwise by which the page was turned to be read. A page without digits has one row without them.
    """

    path: str
    digit: int | None
    confidence: float | None
    reason: str | None
    error: str | None
    model: str
    model_version: str
    model_sha256: str
    line: int | None = None
    position: int | None = None
    left: int | None = None
    top: int | None = None
    width: int | None = None
    height: int | None = None
    turned: int | None = None

    @property
    def outcome(self) -> str:
        """`error`, the rejection reason, or the digit."""
        return ERROR if self.error is not None else self.reason or str(self.digit)

    @property
    def identity(self) -> ModelIdentity:
        """The model that gave the row."""
        return ModelIdentity(self.model, self.model_version, self.model_sha256)

    @property
    def begins_image(self) -> bool:
        """Whether it is an image's only row, or the first of several."""
        return not self.line and not self.position


ERROR = "error"
# An error may quote as much of a file as the file contains.
ERROR_LENGTH = 1000


def error_row(path: str, error: object, model: ModelIdentity) -> Row:
    """The row of an image that could not be decoded."""
    return Row(path, None, None, None, str(error)[:ERROR_LENGTH], *model)


def row_without_digits(path: str, has_marks: bool, turned: int, model: ModelIdentity) -> Row:
    """The row of a page that shows no digits: either marks that are none, or nothing."""
    return Row(path, None, None, NOT_A_DIGIT if has_marks else BLANK, None, *model, turned=turned)


@dataclass(frozen=True)
class Layout:
    """The columns of an output, and what its rows are about."""

    subject: str
    columns: tuple[str, ...]

    @cached_property
    def values(self) -> Callable[[Row], tuple[object, ...]]:
        """What gives a row's values in these columns."""
        return itemgetter(*map(Row._fields.index, self.columns))

    @cached_property
    def header(self) -> bytes:
        """The first line of a CSV file."""
        return write_csv([self.columns])

    def write(self, rows: Iterable[Row]) -> bytes:
        """Rows as CSV without the header."""
        return write_csv(map(self.values, rows))

    def read(self, texts: Iterable[bytes]) -> Iterator[Row]:
        """The rows of CSV without the header, given by lines or several lines. Raises ValueError for anything else."""
        parsers = [_PARSERS.get(column, str) for column in self.columns]
        for values in _read_csv(line for text in texts for line in text.splitlines(keepends=True)):
            yield self.row([parse(one) if one else None for parse, one in zip(parsers, values, strict=True)])

    def row(self, values: Iterable[Any]) -> Row:
        """The row with these values in these columns. Raises ValueError if there are more or fewer."""
        return Row(**dict(zip(self.columns, values, strict=True)))


_PARSERS: dict[str, Callable[[str], object]] = {
    "confidence": float,
    **dict.fromkeys(("digit", "line", "position", "left", "top", "width", "height", "turned"), int),
}
_MODEL = ("model", "model_version", "model_sha256")
IMAGES = Layout("images", ("path", "digit", "confidence", "reason", "error", *_MODEL))
_PLACE = ("left", "top", "width", "height", "turned")
PAGES = Layout("digits on pages", ("path", "line", "position", *IMAGES.columns[1:4], *_PLACE, "error", *_MODEL))
LAYOUTS = {layout.columns: layout for layout in (IMAGES, PAGES)}


@dataclass(frozen=True)
class Scored:
    """All rows of some images as CSV without a header, the number of images, and that of rows per outcome."""

    text: bytes
    images: int
    outcomes: Counter[str]

    @classmethod
    def from_rows(cls, rows: Sequence[Row], layout: Layout = IMAGES) -> Self:
        return cls(layout.write(rows), sum(row.begins_image for row in rows), Counter([row.outcome for row in rows]))


class _Returned:
    """A file that returns what is written to it."""

    write = staticmethod(str)


def write_csv(rows: Iterable[Iterable[object]]) -> bytes:
    """Lines of CSV; null is empty. A file name that is not UTF-8 keeps its bytes."""
    # A carriage return in a value is quoted only if it is part of the line terminator (before Python 3.13).
    write = csv.writer(_Returned, lineterminator="\r\n").writerow
    return "".join([f"{write(row)[:-2]}\n" for row in rows]).encode("utf-8", "surrogateescape")


def _read_csv(lines: Iterable[bytes]) -> Iterator[list[str]]:
    line = b""

    def texts() -> Iterator[str]:
        nonlocal line
        for line in lines:
            yield line.decode("utf-8", "surrogateescape")

    try:
        for values in csv.reader(texts(), strict=True):
            if not line.endswith(b"\n"):
                raise ValueError(line)
            yield values
    except csv.Error as error:
        raise ValueError(line) from error
