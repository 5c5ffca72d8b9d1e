"""Scored rows in Parquet, a row group at a time. Needs PyArrow."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from scoring.rows import COLUMNS, Row

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
