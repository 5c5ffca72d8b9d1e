"""Tables of images, Parquet and CSV: which columns hold the images, and which the labels. Needs PyArrow."""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from digits.decode import MAXIMUM_PIXELS, ImageError
from scoring.errors import ScoringError
from scoring.inputs.containers import LEAST_PIXELS, Batch, Contents, NoImagesError, open_file, open_unzipped, to_bytes
from scoring.inputs.images import CHUNK, CHUNK_BYTES, Content, grouped, size_of
from scoring.rows import LAYOUTS

# Which column holds the image files or lists of pixels, if several could.
_IMAGE_NAMES = ("image", "images", "img", "bytes", "content", "pixels")
_LABEL_NAMES = ("label", "digit")
# As in MNIST tables: pixel0 to pixel783, pixel1 to pixel784, 1x1 to 28x28.
_PIXEL_NAME = re.compile(r"(?:pixel|px|p)_?([0-9]+)|([0-9]+)x([0-9]+)")
# How much of a CSV file is parsed at a time, unless lines are longer. If a line is broken, those before it are lost.
CSV_BYTES = 2**18

Columns = Callable[[pa.RecordBatch], list[Content | None]]


def read_parquet(path: str, first: int = 0) -> Iterator[Batch]:
    """The images of a Parquet file from the row group that holds row `first`; scored rows give none.

    Raises ImageError for other columns, and errors of many kinds for a broken file.
    """
    with _parquet(path) as file:
        if tuple(file.schema_arrow.names) in LAYOUTS:
            return
        columns, contents = _layout(file.schema_arrow)
        size, end = _rows_at_once(file), 0
        for group in range(file.num_row_groups):
            start, end = end, end + file.metadata.row_group(group).num_rows
            if end <= first:
                continue
            yield start, [], []  # says where the file breaks, if it does
            for batch in file.iter_batches(size, row_groups=[group], columns=columns, use_threads=False):
                for images in _grouped(contents(batch)):
                    yield start, range(start, start + len(images)), images
                    start += len(images)


def count_rows(path: str) -> int:
    """The number of images in a Parquet file, by its footer. Raises as `read_parquet` does."""
    with _parquet(path) as file:
        if tuple(file.schema_arrow.names) in LAYOUTS:
            return 0
        _layout(file.schema_arrow)
        return int(file.metadata.num_rows)


@contextmanager
def _parquet(path: str) -> Iterator[pq.ParquetFile]:
    # A pre-buffer would hold a whole row group.
    with open_file(path) as file, pq.ParquetFile(file, pre_buffer=False, buffer_size=2**16) as table:
        yield table


def _rows_at_once(file: pq.ParquetFile) -> int:
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    row_bytes = max((one.total_byte_size / max(1, one.num_rows) for one in groups), default=1)
    return max(1, min(CHUNK, int(CHUNK_BYTES / max(1, row_bytes))))


def _grouped(contents: list[Content | None]) -> Iterator[list[Content]]:
    null = ImageError("expected an image; got null")
    return grouped((null if one is None else one for one in contents), size_of, CHUNK_BYTES)


def read_csv(file: BinaryIO) -> Iterator[Contents]:
    """The images of a CSV file, one per line: a column per pixel, and others such as a label.

    Without a header, the columns are pixels, after a label if there is one more. Raises ImageError.
    """
    names, options = _csv_columns(file)
    columns, contents = _layout(
        pa.schema([(one, pa.float32() if _PIXEL_NAME.fullmatch(one) else pa.null()) for one in names])
    )
    try:
        for table in _open_csv(file, options, dict.fromkeys(columns, pa.float32())):
            for start in range(0, len(table), CHUNK):
                yield from _grouped(contents(table.slice(start, CHUNK)))
    except pa.ArrowException as error:
        reason = str(error).removeprefix("CSV parse error: ")[:200]
        raise ImageError(f"expected {len(names)} columns and pixels as numbers in every line; got: {reason}") from error


def _csv_columns(file: BinaryIO) -> tuple[list[str], dict[str, Any]]:
    """The names of the columns, and PyArrow's options to read them."""
    first = file.readline(MAXIMUM_PIXELS)
    size, line = len(first), first.decode("utf-8-sig", "replace").strip()
    file.seek(0)
    delimiter = max(",;\t", key=line.count)
    names = [name.strip(" \"'") for name in line.split(delimiter)]
    is_headless = len(names) >= LEAST_PIXELS and all(name.replace(".", "", 1).isdecimal() for name in names)
    if is_headless:
        pixels = [f"pixel{number}" for number in range(math.isqrt(len(names)) ** 2)]
        names = ["label"] * (len(names) - len(pixels)) + pixels
    reading = pa.csv.ReadOptions(
        use_threads=False, block_size=max(CSV_BYTES, 2 * size), column_names=names, skip_rows=0 if is_headless else 1
    )
    return names, {"read_options": reading, "parse_options": pa.csv.ParseOptions(delimiter=delimiter)}


def _open_csv(file: BinaryIO, options: dict[str, Any], types: dict[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    converting = pa.csv.ConvertOptions(column_types=types, include_columns=list(types))
    return iter(pa.csv.open_csv(file, convert_options=converting, **options))


def read_labels(path: str, is_csv: bool) -> list[object]:
    """The column of labels of a table of images, in order. Raises ScoringError, ImageError and OSError."""
    try:
        if is_csv:
            with open_unzipped(path) as file:
                names, options = _csv_columns(file)
                name = _label_name(path, names)
                batches = _open_csv(file, options, {name: pa.string()})
                return [one for batch in batches for one in batch.column(0).to_pylist()]
        with _parquet(path) as table:
            name = _label_name(path, table.schema_arrow.names)
            return [one for batch in table.iter_batches(columns=[name]) for one in batch.column(0).to_pylist()]
    except pa.ArrowException as error:
        raise ScoringError(f"{path}: expected a whole table; got one that is broken or cut short") from error


def _label_name(path: str, names: Sequence[str]) -> str:
    for name in names:
        if name.lower() in _LABEL_NAMES:
            return name
    raise ScoringError(f"{path}: expected a column {' or '.join(_LABEL_NAMES)}; got {', '.join(names)[:100]}")


def _layout(schema: pa.Schema) -> tuple[list[str], Columns]:
    """Which columns hold images, and the function that gets the images from them. Raises ImageError."""
    kinds: list[tuple[Callable[[pa.DataType], bool], Columns]] = [
        (_is_bytes, lambda batch: batch.column(0).to_pylist()),
        (_is_file, lambda batch: [one and one["bytes"] for one in batch.column(0).to_pylist()]),
        (_is_pixels, lambda batch: [_listed(one) for one in batch.column(0)]),
    ]
    if len(set(schema.names)) < len(schema.names):
        raise ImageError("expected columns with different names; got duplicates")
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
    raise NoImagesError(
        "expected a column of image files, one of lists of pixels, or a square number of columns pixel0, …; "
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


def _listed(pixels: pa.ListScalar) -> Content | None:
    values = pixels.values
    if values is None:
        return None
    if _is_list(values.type):
        widths = pc.unique(pc.list_value_length(values)).to_pylist()
        if len(widths) != 1 or not widths[0]:
            return ImageError(f"expected rows of pixels of equal length; got lengths {widths[:10]}")
        return to_bytes(values.flatten().to_numpy(zero_copy_only=False).reshape(len(values), -1))
    side = math.isqrt(len(values))
    if not side or side * side != len(values):
        return ImageError(f"expected the pixels of a square; got {len(values)} pixels")
    return to_bytes(values.to_numpy(zero_copy_only=False).reshape(side, side))


def _columns(batch: pa.RecordBatch, side: int) -> list[Content | None]:
    table = np.column_stack([column.to_numpy(zero_copy_only=False) for column in batch.columns])
    return [to_bytes(row.reshape(side, side)) for row in table]
