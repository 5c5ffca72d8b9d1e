"""What is said of each image, and its CSV, in which it travels between processes and is kept until the run is done."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple


class Model(NamedTuple):
    """Which model answered: its name, its version, and its ONNX file's SHA-256 in hexadecimal."""

    name: str
    version: str
    sha256: str


class Row(NamedTuple):
    """One image. `digit` is None where none was read; then `reason` says why, or `error` why it was not decoded."""

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
        """`error`, the reason of a refusal, or the digit."""
        return _outcome(*self[1:5])


COLUMNS = Row._fields
ERROR = "error"
# What an error quotes of a file may be as long as the file makes it.
ERROR_LENGTH = 1000


@dataclass(frozen=True)
class Scored:
    """The rows of some images as CSV without a header, in UTF-8, and how many of them had which outcome.

    From a cluster, they are a Parquet file.
    """

    text: bytes
    outcomes: Counter[str]


Answer = tuple[int | None, float | None, str | None, str | None]


def scored(names: Sequence[str], answers: Iterable[Answer], model: Model) -> Scored:
    """The rows of images, by each one's digit, confidence, reason and error."""
    answers = [(*answer[:3], answer[3] and answer[3][:ERROR_LENGTH]) for answer in answers]
    rows = [(name, *answer, *model) for name, answer in zip(names, answers, strict=True)]
    return Scored(write_csv(rows), Counter([_outcome(*answer) for answer in answers]))


def _outcome(digit: int | None, _confidence: float | None, reason: str | None, error: str | None) -> str:
    return ERROR if error is not None else reason or str(digit)


def write_csv(rows: Iterable[Iterable[object]]) -> bytes:
    """Lines of CSV; null is empty. A file name that is not UTF-8 leaves as the bytes it came in as."""
    rows = list(rows)
    text = _csv(rows, "\n")
    if "\r" in text:
        # Until Python 3.13 that is quoted, and so can be read, only where it ends lines.
        text = "".join(_csv([row], "\r\n").removesuffix("\r\n") + "\n" for row in rows)
    return text.encode("utf-8", "surrogateescape")


def _csv(rows: list[Iterable[object]], end: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator=end).writerows(rows)
    return text.getvalue()


HEADER = write_csv([COLUMNS])


def read_csv(file: BinaryIO) -> Iterator[tuple[int, Row]]:
    """Every row behind the header, and where in the file it ends, as far as rows are whole: a last one may be torn."""
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
