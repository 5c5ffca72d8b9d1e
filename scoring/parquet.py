"""Parquet, a row group at a time: images to score, and scored rows. Needs PyArrow."""

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from digits.decode import MAXIMUM_PIXELS, ImageError, ImageTooLargeError
from scoring.errors import ScoringError
from scoring.inputs.images import CHUNK, CHUNK_BYTES, Chunk, Content, grouped, size_of, unreadable
from scoring.inputs.labels import LABELS
from scoring.inputs.paths import is_remote
from scoring.rows import COLUMNS, Row
from scoring.storage import open_file

_NAME = pa.dictionary(pa.int8(), pa.string())
SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("digit", pa.int8()),
        pa.field("confidence", pa.float64()),
        pa.field("reason", _NAME),
        pa.field("error", pa.string()),
        *(pa.field(name, _NAME, nullable=False) for name in COLUMNS[5:]),
    ]
)
ROW_GROUP = 2**15
# Which column holds the image files or lists of pixels, if several could.
_IMAGE_NAMES = ("image", "images", "img", "bytes", "content", "pixels")
# As in MNIST tables: pixel0 to pixel783, pixel1 to pixel784, 1x1 to 28x28.
_PIXEL_NAME = re.compile(r"(?:pixel|px|p)_?([0-9]+)|([0-9]+)x([0-9]+)")

Contents = Callable[[pa.RecordBatch], list[Content | None]]


def read_images(path: str, first: int = 0) -> Iterator[Chunk]:
    """The images of a Parquet file: a column of image files, a column of lists of pixels, or one column per pixel.

    A row that holds no image is an image with an error. So is the file itself, if it has no such columns or is broken.
    Scored rows give no images. Starts with the row group that holds row `first`; a break before that gives no error.
    """
    end = 0
    failure: ImageError | None = None
    try:
        with _open(path) as file:
            schema = file.schema_arrow
            if tuple(schema.names) == COLUMNS:
                return
            columns, contents = _layout(schema)
            size = _rows_at_once(file)
            for group, end in _groups(file, first):
                for batch in file.iter_batches(size, row_groups=[group], columns=columns, use_threads=False):
                    for images in grouped(map(_present, contents(batch)), size_of, CHUNK_BYTES):
                        start, end = end, end + len(images)
                        yield Chunk([f"{path}#{row}" for row in range(start, end)], images)
    except ImageError as error:
        failure = error
    except Exception as error:  # PyArrow raises errors of many kinds for broken files
        broken = ImageError("expected a whole Parquet file; got one that is broken or cut short")
        failure = unreadable(error) if isinstance(error, OSError) and error.errno else broken
    if failure and end >= first:
        yield Chunk([path], [failure])


def _groups(file: pq.ParquetFile, first: int) -> Iterator[tuple[int, int]]:
    """The row groups from the one that holds row `first`, each with the number of its first row."""
    start = 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if start + rows > first:
            yield group, start
        start += rows


def count_rows(path: str) -> int:
    """The number of images that `read_images` gives, according to the file's footer."""
    try:
        with _open(path) as file:
            if tuple(file.schema_arrow.names) == COLUMNS:
                return 0
            _layout(file.schema_arrow)
            return int(file.metadata.num_rows)
    except Exception:  # as in read_images
        return 1


def _open(path: str) -> pq.ParquetFile:
    if os.path.exists(path) and not os.path.isfile(path):
        raise ImageError("expected a file; got something else of that name")  # opening a pipe would block
    source = open_file(path) if is_remote(path) else path
    # A pre-buffer would hold a whole row group.
    return pq.ParquetFile(source, pre_buffer=False, buffer_size=2**16)


def _rows_at_once(file: pq.ParquetFile) -> int:
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    row_bytes = max((one.total_byte_size / max(1, one.num_rows) for one in groups), default=1)
    return max(1, min(CHUNK, int(CHUNK_BYTES / max(1, row_bytes))))


def _layout(schema: pa.Schema) -> tuple[list[str], Contents]:
    """Which columns hold images, and the function that gets the images from them. Raises ImageError."""
    kinds: list[tuple[Callable[[pa.DataType], bool], Contents]] = [
        (_is_bytes, lambda batch: batch.column(0).to_pylist()),
        (_is_file, lambda batch: [one and one["bytes"] for one in batch.column(0).to_pylist()]),
        (_is_pixels, lambda batch: [_listed(one) for one in batch.column(0)]),
    ]
    if len(set(schema.names)) < len(schema.names):
        raise ImageError("expected Parquet columns with different names; got duplicates")
    for matches, contents in kinds:
        names = [field.name for field in schema if matches(field.type)]
        name = names[0] if len(names) == 1 else next((one for one in _IMAGE_NAMES if one in names), None)
        if name is not None:
            return [name], contents
    found = {field.name: _PIXEL_NAME.fullmatch(field.name) for field in schema if _is_number(field.type)}
    numbered = {name: [int(one) for one in match.groups() if one] for name, match in found.items() if match}
    names = sorted(numbered, key=numbered.__getitem__)
    side = math.isqrt(len(names))
    if names and side * side == len(names) and _follow(list(map(numbered.__getitem__, names)), side):
        return names, lambda batch: _columns(batch.select(names), side)
    raise ImageError(
        "expected a Parquet column of image files, one of lists of pixels, or a square number of columns pixel0, …; "
        f"got {', '.join(schema.names[:10])}{', …' if len(schema.names) > 10 else ''}"
    )


def _follow(numbers: list[list[int]], side: int) -> bool:
    """Whether the pixels' numbers, or rows and columns, make up a square without gaps."""
    places = [(one[0] - numbers[0][0]) * side + one[1] - numbers[0][1] if len(one) == 2 else one[0] for one in numbers]
    return places == list(range(places[0], places[0] + len(places)))


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)


def _is_file(kind: pa.DataType) -> bool:
    """As in datasets of the library `datasets`."""
    return pa.types.is_struct(kind) and any(field.name == "bytes" and _is_bytes(field.type) for field in kind)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _is_pixels(kind: pa.DataType) -> bool:
    """A list of numbers, the pixels of a square image, or a list of rows of pixels."""
    return _is_list(kind) and (
        _is_number(kind.value_type) or (_is_list(kind.value_type) and _is_number(kind.value_type.value_type))
    )


def _present(content: Content | None) -> Content:
    return ImageError("expected an image; got null") if content is None else content


def _listed(pixels: pa.ListScalar) -> Content | None:
    values = pixels.values
    if values is None:
        return None
    if _is_list(values.type):
        widths = pc.unique(pc.list_value_length(values)).to_pylist()
        if len(widths) != 1 or not widths[0]:
            return ImageError(f"expected rows of pixels of equal length; got lengths {widths[:10]}")
        return _bytes(values.flatten().to_numpy(zero_copy_only=False).reshape(len(values), -1))
    side = math.isqrt(len(values))
    if not side or side * side != len(values):
        return ImageError(f"expected the pixels of a square; got {len(values)} pixels")
    return _bytes(values.to_numpy(zero_copy_only=False).reshape(side, side))


def _columns(batch: pa.RecordBatch, side: int) -> list[Content | None]:
    table = np.column_stack([column.to_numpy(zero_copy_only=False) for column in batch.columns])
    return [_bytes(row.reshape(side, side)) for row in table]


def _bytes(pixels: NDArray[np.generic]) -> Content:
    """Pixels as uint8, or an error if they are something else, such as null."""
    if pixels.size > MAXIMUM_PIXELS:
        return ImageTooLargeError(f"expected at most {MAXIMUM_PIXELS} pixels; got {pixels.size}")
    if pixels.dtype.kind not in "iuf":
        return ImageError("expected numeric pixels; got other values")
    if pixels.max() <= 1:  # on a scale of 255, that would be a black image
        pixels = (pixels.astype(np.float64) * 255).round()
    with np.errstate(invalid="ignore"):
        whole = pixels.astype(np.uint8)
    if (whole != pixels).any():
        return ImageError("expected pixels as whole numbers, 0 to 255, or fractions, 0 to 1; got other values")
    return whole


def write_rows(path: Path | BinaryIO, rows: Iterable[Row]) -> None:
    """Writes rows as Parquet. Raises OSError."""
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        while group := list(islice(rows, ROW_GROUP)):
            columns = [_text(column) for column in zip(*group, strict=True)]
            writer.write_table(pa.table(columns, SCHEMA))


def _text(values: tuple[object, ...]) -> list[object]:
    """Text as UTF-8; other bytes, which a file name may contain, are written as \\xff."""
    return [
        one.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") if isinstance(one, str) else one
        for one in values
    ]


def read_rows(path: Path | BinaryIO) -> Iterator[Row]:
    """Scored rows. Raises OSError and TypeError."""
    with pq.ParquetFile(path, pre_buffer=False) as file:
        for batch in file.iter_batches(ROW_GROUP, use_threads=False):
            yield from map(Row._make, zip(*(column.to_pylist() for column in batch.columns), strict=True))


def read_labels(path: Path) -> list[object]:
    """The values of the column of labels. Raises ScoringError and OSError."""
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            names = file.schema_arrow.names
            name = next((one for one in LABELS if one in names), None)
            if name is None:
                raise ScoringError(f"{path}: expected a column {' or '.join(LABELS)}; got {', '.join(names)[:100]}")
            return [one for batch in file.iter_batches(columns=[name]) for one in batch.column(0).to_pylist()]
    except pa.ArrowException as error:
        raise ScoringError(f"{path}: expected a whole Parquet file; got one that is broken or cut short") from error
