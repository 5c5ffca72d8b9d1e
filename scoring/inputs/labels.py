"""The true digits of images: by path in CSV or by folder, or in the images' order in IDX, NumPy, Parquet or CSV."""

import csv
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from digits.decode import ImageError
from digits.formats import format_name
from digits.idx import decode_idx
from scoring.errors import ScoringError
from scoring.extras import tables
from scoring.inputs.containers import CSV, PARQUET, TAR, ZIP, count_many, holds_images, kind_of
from scoring.inputs.paths import find_files

# The accepted names of a CSV file's columns.
PATHS, LABELS = ("path", "file", "filename", "file_name", "image", "name"), ("label", "digit", "class")
# Stands for a missing label.
NONE = -1
_DIGITS = {f"{digit}{end}": digit for digit in range(10) for end in ("", ".0")}

# A path or the name of an image, its label or NONE, and the line or number to report.
Label = tuple[str, int, int]


class Labels(Protocol):
    """The labels of images."""

    @property
    def unused(self) -> int:
        """How many labels have not been looked up."""

    def find(self, names: Sequence[str]) -> NDArray[np.int8]:
        """The labels of images by their names in the output; NONE if one is missing."""


class FolderLabels:
    """The label of an image is the first folder named 0 to 9 on the way to it, below a folder or in an archive."""

    unused = 0

    def __init__(self, folder: Path) -> None:
        self._start = os.path.join(os.path.abspath(folder), "") if folder.is_dir() else f"{os.path.abspath(folder)}#"

    def find(self, names: Sequence[str]) -> NDArray[np.int8]:
        """The labels of images by their names in the output; NONE if one is missing."""
        return np.array([self._label(os.path.abspath(name)) for name in names], np.int8)

    def _label(self, path: str) -> int:
        folders = path[len(self._start) :].split("/")[:-1] if path.startswith(self._start) else []
        return next((_DIGITS[one] for one in folders if one in _DIGITS), NONE)


class ListedLabels:
    """Labels by path, as in the output or relative to the folder of the labels' file; 10 bytes per label."""

    def __init__(self, file: Path, labels: Callable[[], Iterable[Label]]) -> None:
        self._folder = os.path.join(os.path.abspath(file.parent), "")
        keys, digits = bytearray(), bytearray()
        for path, digit, _ in labels():
            if digit != NONE:
                keys += _key(_normal(path))
                digits.append(digit)
        if not digits:
            raise ScoringError(f"{file}: expected labels; got none")
        given = np.frombuffer(digits, np.int8)
        self._keys, first, places = np.unique(np.frombuffer(keys, np.uint64), return_index=True, return_inverse=True)
        self._digits = given[first]
        for one in np.flatnonzero(self._digits[places] != given)[:1]:
            again = [label for label in labels() if label[1] != NONE]
            (path, *earlier), (_, *later) = again[first[places[one]]], again[one]
            raise ScoringError(
                f"{file}: expected one label per path; got {earlier[0]} in line {earlier[1]} and {later[0]} in line "
                f"{later[1]} for {path}"
            )
        self._found = np.zeros(len(self._keys), np.bool_)

    @property
    def unused(self) -> int:
        return int((~self._found).sum())

    def find(self, names: Sequence[str]) -> NDArray[np.int8]:
        """The labels of images by their names in the output; NONE if one is missing."""
        labels = np.full(len(names), NONE, np.int8)
        for spelled in (_normal, os.path.abspath, self._relative):
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


def _normal(path: str) -> str:
    return os.path.normpath(path.replace("\\", "/"))


def _key(path: str) -> bytes:
    # As in Parquet output, where bytes that are not UTF-8 are escaped.
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").replace("\\", "/")
    return blake2b(text.encode(), digest_size=8).digest()


def read_labels(file: Path, inputs: Sequence[str]) -> Labels:
    """The labels in a file, or in the folders' names of a folder or an archive, for the inputs. Raises ScoringError."""
    try:
        if file.is_dir():
            return FolderLabels(file)
        with file.open("rb") as opened:
            is_text = (begin := format_name(opened.read(4))) is None
        kind = kind_of(str(file))
        if kind == ZIP:
            pairs = _npz_labels(file)
            return ListedLabels(file, lambda: pairs) if pairs else FolderLabels(file)
        if kind == TAR:
            return FolderLabels(file)
        if kind == PARQUET or begin == "Parquet":
            return _in_order(file, tables().read_labels(str(file), False), inputs)
        if begin in ("gzip", "IDX") and kind != CSV:
            labels = decode_idx(file.read_bytes())
            if labels.ndim != 1:
                raise ScoringError(f"{file}: expected an IDX file of labels; got one of images")
            return _in_order(file, labels.tolist(), inputs)
        if kind == "NumPy":
            return _in_order(file, np.load(file, allow_pickle=False).ravel().tolist(), inputs)
        if kind == CSV and (not is_text or holds_images(str(file))):
            return _in_order(file, tables().read_labels(str(file), True), inputs)
        return ListedLabels(file, lambda: _csv_labels(file))
    except OSError as error:
        raise ScoringError(f"{file}: cannot be read: {error.strerror or error}") from error
    except (ImageError, ValueError) as error:
        raise ScoringError(f"{file}: {error}") from error


def _in_order(file: Path, labels: Sequence[object], inputs: Sequence[str]) -> Labels:
    """Labels of the file itself, or of the only input that has as many images."""
    digits = [_digit(label, f"{file}: ") for label in labels]
    files = list(dict.fromkeys(path for path in find_files(inputs, holds_images) if kind_of(path)))
    fitting = [path for path in files if os.path.abspath(path) == os.path.abspath(file)]
    fitting = fitting or [path for path in files if count_many(path) == len(digits)]
    if len(fitting) != 1:
        raise ScoringError(
            f"{file}: expected one file with as many images, {len(digits)}, among the inputs; "
            f"got {', '.join(fitting) or 'none'}"
        )
    return ListedLabels(file, lambda: ((f"{fitting[0]}#{one}", digit, one) for one, digit in enumerate(digits)))


def _npz_labels(file: Path) -> list[Label]:
    """The labels of the arrays of images that have as many images as one array has labels."""
    counts: dict[str, int] = {}
    labels: dict[int, NDArray[np.generic]] = {}
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            if name.endswith(".npy"):
                with archive.open(name) as array:
                    npy.read_magic(array)
                    shape, _, _ = npy.read_array_header_1_0(array)
                if len(shape) > 1:
                    counts[name] = shape[0]
                else:
                    with archive.open(name) as array:
                        labels[shape[0]] = cast(NDArray[np.generic], npy.read_array(array, allow_pickle=False))
    return [
        (f"{file}#{name}/{number}", _digit(label, f"{file}: "), number)
        for name, count in counts.items()
        for number, label in enumerate(labels.get(count, np.empty(0)).tolist())
    ]


def _csv_labels(file: Path) -> Iterator[Label]:
    """Paths, labels or NONE for an empty one, and line numbers."""
    with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as opened:
        delimiter = max(",;\t", key=opened.readline().count)
        opened.seek(0)
        lines = csv.reader(opened, delimiter=delimiter, strict=True)
        try:
            header = [name.strip().lower() for name in next(lines, [])]
            path, label = (
                next((header.index(one) for one in names if one in header), None) for names in (PATHS, LABELS)
            )
            if path is None or label is None:
                raise ScoringError(
                    f"{file}: expected a table of images, or CSV whose first line names the columns "
                    f"{', '.join(PATHS)} and {', '.join(LABELS)} (one of each); "
                    f"got {', '.join(header)[:100] or 'nothing'}"
                )
            for values in lines:
                if values:
                    where = f"{file}: line {lines.line_num}: {values[path]}: "
                    yield values[path], _digit(values[label], where), lines.line_num
        except (csv.Error, IndexError) as error:
            raise ScoringError(
                f"{file}: line {lines.line_num}: expected {len(header)} CSV columns; got others"
            ) from error


def _digit(value: object, where: str) -> int:
    text = "" if value is None else str(value).strip()
    if text and text not in _DIGITS:
        raise ScoringError(f"{where}expected labels 0 to 9; got {text[:40]!r}")
    return _DIGITS.get(text, NONE)
