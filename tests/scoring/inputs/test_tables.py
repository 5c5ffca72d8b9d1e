import os
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring.inputs.containers import count_many, read_many
from scoring.inputs.images import CHUNK_BYTES
from scoring.inputs.search import find_chunks
from scoring.rows import LAYOUTS
from tests.helpers.images import example, example_pixels
from tests.helpers.scoring import load_all, load_error, write_output

IMAGES = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4)


def table(path: Path, columns: dict[str, object]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def pixels_of(path: Path) -> list[object]:
    """The pixels, or the error, of each row."""
    found = load_all(path)
    assert list(found) == [f"{path}#{index}" for index in range(len(found))]
    assert count_many(str(path)) == len(found)
    return [one if isinstance(one, str) else one.pixels for one in found.values()]


@pytest.mark.parametrize(
    "kind", [pa.binary(), pa.large_binary(), pa.struct({"bytes": pa.binary(), "path": pa.string()})]
)
def test_columns_of_image_files(kind: pa.DataType, tmp_path: Path) -> None:
    files = [example(3), None, b"no image", example(5)]
    values = [one and {"bytes": one, "path": "x"} for one in files] if pa.types.is_struct(kind) else files
    path = table(tmp_path / "x.parquet", {"label": [3, 3, 3, 5], "image": pa.array(values, kind)})
    three, null, broken, five = pixels_of(path)
    np.testing.assert_array_equal(three, example_pixels(3))
    np.testing.assert_array_equal(five, example_pixels(5))
    assert null == "expected an image; got null"
    assert "unknown format" in str(broken)


@pytest.mark.parametrize("kind", [pa.uint8(), pa.int64(), pa.float64()])
@pytest.mark.parametrize("nested", [False, True])
def test_columns_of_lists_of_pixels(kind: pa.DataType, nested: bool, tmp_path: Path) -> None:
    rows = [image.tolist() if nested else image.ravel().tolist() for image in IMAGES]
    array = pa.array([*rows, None], pa.list_(pa.list_(kind)) if nested else pa.list_(kind))
    *images, null = pixels_of(table(tmp_path / "x.parquet", {"pixels": array}))
    np.testing.assert_array_equal(images, IMAGES)
    assert null == "expected an image; got null"


@pytest.mark.parametrize("names", [[f"pixel{n}" for n in range(16)], [f"{r}x{c}" for r in range(4) for c in range(4)]])
def test_one_column_per_pixel(names: list[str], tmp_path: Path) -> None:
    columns = dict(zip(names, IMAGES.reshape(3, 16).T, strict=True))
    path = table(tmp_path / "x.parquet", {"label": [1, 2, 3], **dict(sorted(columns.items()))})
    np.testing.assert_array_equal(pixels_of(path), IMAGES)  # pixel10 follows pixel9, whatever the order of the columns


def test_invalid_pixels_give_errors(tmp_path: Path) -> None:
    lists = [[1, 2, 3], [], [1, 2, 3, 256], [0.5, 0, 0, 2], [-1, 0, 0, 0], [0, 0, 0, float("nan")], [0, 1, 2, 255]]
    *errors, image = pixels_of(table(tmp_path / "x.parquet", {"image": pa.array(lists, pa.list_(pa.float64()))}))
    assert errors[:2] == [f"expected the pixels of a square; got {count} pixels" for count in (3, 0)]
    assert set(errors[2:]) == {"expected pixels as whole numbers, 0 to 255, or fractions, 0 to 1; got other values"}
    np.testing.assert_array_equal(image, [[0, 1], [2, 255]])
    ragged = pa.array([[[1, 2], [3]], [], [[]]])
    assert all("of equal length" in str(one) for one in pixels_of(table(tmp_path / "y.parquet", {"image": ragged})))


@pytest.mark.parametrize("scale", [1, 255])
def test_pixels_from_0_to_1_are_scaled(scale: int, tmp_path: Path) -> None:
    lists: list[list[float]] = [[0, 1, 1, 0], [0, 0.2, 0.4, 1]]
    scaled = pa.array([[value * scale for value in one] for one in lists], pa.list_(pa.float64()))
    images = pixels_of(table(tmp_path / "x.parquet", {"image": scaled}))
    np.testing.assert_array_equal(images, [[[0, 255], [255, 0]], [[0, 51], [102, 255]]])


def test_columns_that_make_up_no_square(tmp_path: Path) -> None:
    when = pa.array([1], pa.timestamp("s"))
    kinds: list[dict[str, object]] = [
        {"pixel0": [1], "pixel1": [2], "pixel2": [3], "pixel900": [4]},
        {"1x1": [1], "1x2": [1], "2x1": [1], "3x2": [1]},
        {"pixel0": [1], "pixel1": [2], "pixel2": [3], "pixel3": when},
    ]
    for columns in kinds:
        assert "square number of columns" in load_error(table(tmp_path / "x.parquet", columns))


def test_duplicate_column_names_are_an_error(tmp_path: Path) -> None:
    same = pa.Table.from_arrays([pa.array(["/etc/hostname"]), pa.array([example(3)])], names=["image", "image"])
    pq.write_table(same, tmp_path / "x.parquet")
    assert "different names" in load_error(tmp_path / "x.parquet")


def test_any_error_of_the_reader_becomes_an_error_row(tmp_path: Path) -> None:
    path = table(tmp_path / "x.parquet", {"image": [example(3)]})
    path.write_bytes(path.read_bytes().replace(b"image", b"im\xffge"))
    assert load_error(path) == "expected a whole Parquet file; got one that is broken or cut short"


def test_files_without_images_are_one_image_with_an_error(tmp_path: Path) -> None:
    path = table(tmp_path / "x.parquet", {"name": ["a", "b"], "pixel0": [1, 2], "pixel1": [1, 2]})
    assert "expected a column of image files" in load_error(path)
    assert "got name, pixel0, pixel1" in load_error(path)
    path.write_bytes(path.read_bytes()[:-5])
    assert load_error(path) == "expected a whole Parquet file; got one that is broken or cut short"
    path.unlink()
    assert "No such file" in load_error(path)


def test_pipes_are_one_image_with_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.parquet")
    assert "something else" in load_error(tmp_path / "pipe.parquet")


def test_several_candidate_columns(tmp_path: Path) -> None:
    columns = {"hash": pa.array([b"x"]), "image": pa.array([example(3)])}
    [pixels] = pixels_of(table(tmp_path / "x.parquet", columns))
    np.testing.assert_array_equal(pixels, example_pixels(3))
    assert "got hash, signature" in load_error(table(tmp_path / "x.parquet", {"hash": [b"x"], "signature": [b"y"]}))


def test_scored_rows_are_not_images(tmp_path: Path) -> None:
    write_output(tmp_path / "out.parquet")
    assert list(find_chunks([str(tmp_path)])) == []
    assert count_many(str(tmp_path / "out.parquet")) == 0
    assert tuple(pq.read_schema(tmp_path / "out.parquet").names) in LAYOUTS


def test_chunks_are_limited_in_bytes(tmp_path: Path) -> None:
    path = table(tmp_path / "x.parquet", {"image": [b"x" * 1_000_000] * 20 + [b"y"] * 20})
    chunks = list(read_many(str(path)))
    assert sum(len(chunk.names) for chunk in chunks) == 40
    for chunk in chunks:
        assert len(b"".join(cast(list[bytes], chunk.contents))) <= CHUNK_BYTES
