"""The true digits of images: CSV with paths and labels, or IDX or Parquet with the labels in the images' order."""

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from digits.decode import ImageError
from digits.formats import format_name
from digits.idx import decode_idx
from scoring.errors import ScoringError
from scoring.extras import parquet
from scoring.inputs.images import count_images, holds_images, is_idx, is_parquet
from scoring.inputs.paths import find_files

# The accepted names of a CSV file's columns.
PATHS, LABELS = ("path", "file"), ("label", "digit")
# Stands for a missing label.
NONE = -1
_DIGITS = {str(digit): digit for digit in range(10)}


class Labels:
    """Labels by path, as in the output or relative to the folder of the labels' file; 10 bytes per label."""

    def __init__(self, file: Path, labels: Iterable[tuple[str, int]]) -> None:
        self._folder = os.path.join(os.path.abspath(file.parent), "")
        keys, digits = bytearray(), bytearray()
        for path, digit in labels:
            if digit != NONE:
                keys += _key(os.path.normpath(path))
                digits.append(digit)
        if not digits:
            raise ScoringError(f"{file}: expected labels; got none")
        given = np.frombuffer(digits, np.int8)
        self._keys, first, places = np.unique(np.frombuffer(keys, np.uint64), return_index=True, return_inverse=True)
        self._digits = given[first]
        for one in np.flatnonzero(self._digits[places] != given)[:1]:
            other = first[places[one]]
            raise ScoringError(
                f"{file}: expected one label per path; got {given[other]} and {given[one]} for the same path "
                f"(labels {other + 1} and {one + 1})"
            )
        self._found = np.zeros(len(self._keys), np.bool_)

    @property
    def unused(self) -> int:
        """How many labels have not been looked up."""
        return int((~self._found).sum())

    def find(self, names: Sequence[str]) -> NDArray[np.int8]:
        """The labels of images by their names in the output; NONE if one is missing."""
        labels = np.full(len(names), NONE, np.int8)
        for spelled in (os.path.normpath, os.path.abspath, self._relative):
            missing = np.flatnonzero(labels == NONE)
            if not len(missing):
                break
            asked = np.frombuffer(b"".join([_key(spelled(names[index])) for index in missing.tolist()]), np.uint64)
            places = np.minimum(np.searchsorted(self._keys, asked), len(self._keys) - 1)
            known = self._keys[places] == asked
            labels[missing[known]] = self._digits[places[known]]
            self._found[places[known]] = True
        return labels

    def _relative(self, path: str) -> str:
        return os.path.abspath(path).removeprefix(self._folder)


def _key(path: str) -> bytes:
    # As in Parquet output, where bytes that are not UTF-8 are escaped.
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return blake2b(text.encode(), digest_size=8).digest()


def read_labels(file: Path, inputs: Iterable[str]) -> Labels:
    """The labels in a file for the images of the inputs. Raises ScoringError."""
    try:
        with file.open("rb") as opened:
            kind = format_name(opened.read(4))
        if kind == "Parquet":
            return _in_order(file, parquet().read_labels(file), inputs)
        if kind in ("gzip", "IDX"):
            labels = decode_idx(file.read_bytes())
            if labels.ndim != 1:
                raise ScoringError(f"{file}: expected an IDX file of labels; got one of images")
            return _in_order(file, labels.tolist(), inputs)
        return Labels(file, _csv_labels(file))
    except OSError as error:
        raise ScoringError(f"{file}: cannot be read: {error.strerror or error}") from error
    except ImageError as error:
        raise ScoringError(f"{file}: {error}") from error


def _in_order(file: Path, labels: Sequence[object], inputs: Iterable[str]) -> Labels:
    """Labels of the only IDX or Parquet file that has as many images."""
    digits = [_digit(label, file) for label in labels]
    fitting = [
        path
        for path in dict.fromkeys(find_files(inputs, holds_images))
        if (is_parquet(path) or is_idx(path)) and count_images([path]) == len(digits)
    ]
    if len(fitting) != 1:
        raise ScoringError(
            f"{file}: expected one IDX or Parquet file with as many images, {len(digits)}, among the inputs; "
            f"got {', '.join(fitting) or 'none'}"
        )
    return Labels(file, ((f"{fitting[0]}#{number}", digit) for number, digit in enumerate(digits)))


def _csv_labels(file: Path) -> Iterator[tuple[str, int]]:
    """Paths and labels, or NONE for an empty label."""
    with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as opened:
        lines = csv.reader(opened, strict=True)
        try:
            header = [name.strip().lower() for name in next(lines, [])]
            path, label = (
                next((header.index(one) for one in names if one in header), None) for names in (PATHS, LABELS)
            )
            if path is None or label is None:
                raise ScoringError(
                    f"{file}: expected IDX, Parquet, or CSV whose first line names the columns "
                    f"{' or '.join(PATHS)} and {' or '.join(LABELS)}; got {', '.join(header)[:100] or 'nothing'}"
                )
            for values in lines:
                if values:
                    yield values[path], _digit(values[label], file, f" in line {lines.line_num}")
        except (csv.Error, IndexError) as error:
            raise ScoringError(
                f"{file}: expected {len(header)} CSV columns; got others in line {lines.line_num}"
            ) from error


def _digit(value: object, file: Path, where: str = "") -> int:
    text = "" if value is None else str(value).strip()
    if text and text not in _DIGITS:
        raise ScoringError(f"{file}: expected labels 0 to 9; got {text[:40]!r}{where}")
    return _DIGITS.get(text, NONE)
