"""Scored rows in Parquet, a row group at a time. Needs PyArrow."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from scoring.rows import IMAGES, Layout, Row

_NAME = pa.dictionary(pa.int8(), pa.string())
_TYPES = {
    "path": pa.string(),
    "digit": pa.int8(),
    "confidence": pa.float64(),
    "error": pa.string(),
    **dict.fromkeys(("reason", "model", "model_version", "model_sha256"), _NAME),
    **dict.fromkeys(("line", "position", "turned"), pa.int16()),
    **dict.fromkeys(("left", "top", "width", "height"), pa.int32()),
}
_NEVER_NULL = frozenset(("path", "model", "model_version", "model_sha256"))
ROW_GROUP = 2**15


def schema(layout: Layout) -> pa.Schema:
    """The types of the columns."""
    return pa.schema([pa.field(name, _TYPES[name], nullable=name not in _NEVER_NULL) for name in layout.columns])


def write_rows(path: Path | BinaryIO, rows: Iterable[Row], layout: Layout = IMAGES) -> None:
    """Writes rows as Parquet. Raises OSError."""
    values, types = map(layout.values, rows), schema(layout)
    with pq.ParquetWriter(path, types, compression="zstd") as writer:
        while group := list(islice(values, ROW_GROUP)):
            writer.write_table(pa.table([_text(column) for column in zip(*group, strict=True)], types))


def _text(values: tuple[object, ...]) -> list[object]:
    """Text as UTF-8; other bytes, which a file name may contain, are written as \\xff."""
    return [
        one.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") if isinstance(one, str) else one
        for one in values
    ]


def columns(path: Path | BinaryIO) -> tuple[str, ...]:
    """The names of a file's columns. Raises OSError."""
    with pq.ParquetFile(path, pre_buffer=False) as file:
        return tuple(file.schema_arrow.names)


def read_rows(path: Path | BinaryIO, layout: Layout = IMAGES) -> Iterator[Row]:
    """Scored rows. Raises OSError, and ValueError for another layout's."""
    with pq.ParquetFile(path, pre_buffer=False) as file:
        for batch in file.iter_batches(ROW_GROUP, use_threads=False):
            yield from map(layout.row, zip(*(column.to_pylist() for column in batch.columns), strict=True))
