"""The images that a cluster reads in shards, compared with those that are read in chunks."""

import gzip
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from digits.decode import ImageError
from scoring.inputs import shards
from scoring.inputs.images import Chunk
from scoring.inputs.search import find_chunks
from scoring.inputs.shards import find_shards
from tests.helpers.images import example
from tests.helpers.paths import EXAMPLES

# Broken in the middle, with its footer intact: only shards read what follows the break.
ROTTEN = "rotten.parquet"


def idx(images: int, says: int | None = None, more: bytes = b"") -> bytes:
    header = struct.pack(">IIII", 0x803, images if says is None else says, 4, 4)
    return header + bytes(index % 256 for index in range(images) for _ in range(16)) + more


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Image, IDX and Parquet files, valid and broken."""
    folder = tmp_path / "images"
    shutil.copytree(EXAMPLES, folder / "examples")
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "missing.png").symlink_to("nowhere")
    (folder / "a-idx3-ubyte").write_bytes(idx(600))
    (folder / "none-idx3-ubyte").write_bytes(idx(0))
    (folder / "short-idx3-ubyte").write_bytes(idx(20, says=1000))
    (folder / "half-idx3-ubyte").write_bytes(idx(20)[:-3])
    (folder / "even-idx3-ubyte").write_bytes(idx(256, says=1000))  # breaks off between two chunks
    (folder / "long-idx3-ubyte").write_bytes(idx(14, more=b"!"))
    (folder / "zipped-idx3-ubyte.gz").write_bytes(gzip.compress(idx(300)))
    (folder / "torn-idx3-ubyte.gz").write_bytes(gzip.compress(idx(3000))[:-50])
    (folder / "labels-idx3-ubyte").write_bytes(struct.pack(">II", 0x801, 2) + b"12")
    files = [example(digit) for digit in range(10)]
    pq.write_table(pa.table({"image": [*files, None, b"no image", *files]}), folder / "a.parquet", row_group_size=5)
    pq.write_table(pa.table({"text": ["x"]}), folder / "text.parquet")
    whole = (folder / "a.parquet").read_bytes()
    (folder / "cut.parquet").write_bytes(whole[:-9])
    column = pq.read_metadata(folder / "a.parquet").row_group(1).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    (folder / ROTTEN).write_bytes(whole[:start] + bytes(100) + whole[start + 100 :])
    return folder


def read(chunk: Chunk) -> list[tuple[str, str]]:
    """The names of images, each with its pixels or its error."""
    images = []
    for index, name in enumerate(chunk.names):
        try:
            images.append((name, str(np.asarray(chunk.load(index).whole()).tobytes()[:64])))
        except ImageError as error:
            images.append((name, str(error)))
    return images


@pytest.mark.parametrize("size", [1, 3, 7, 256, 300, 4096])
def test_shards_hold_the_same_images_as_chunks(folder: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD", size)
    paths = [str(folder)]
    expected = [image for chunk in find_chunks(paths) for image in read(chunk)]
    images = [image for shard in find_shards(paths) for one in shard.read() for image in read(one)]
    assert [image for image in images if ROTTEN not in image[0]] == [one for one in expected if ROTTEN not in one[0]]
    rotten = [name for name, _ in images if ROTTEN in name]
    assert rotten.count(str(folder / ROTTEN)) == 1
    assert {name for name, _ in expected if ROTTEN in name} <= set(rotten)
    assert len(set(rotten)) == len(rotten)


def test_names_of_shards_follow_from_their_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD", 50)
    paths = [str(folder), str(folder)]
    names = [shard.name for shard in find_shards(paths)]
    assert len(set(names)) == len(names)
    assert names == [shard.name for shard in find_shards(paths)]
    assert {name[-9:] for name in names} == {"0.parquet", "1.parquet"}
    (folder / "0.png").write_bytes(example(3))
    changed = [shard.name for shard in find_shards(paths)]
    assert changed[0] not in names
    assert set(changed) & set(names)  # those of files of many images


def test_images_of_archives_and_tables_are_in_one_shard(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("3.png", example(3))
        archive.writestr("4.png", example(4))
    np.save(tmp_path / "x.npy", np.ones((2, 3, 4), np.uint8))
    [first, second] = find_shards([str(tmp_path)], transposed=True)
    [chunk] = first.read()
    assert chunk.load(0).pixels.shape == (4, 3)
    assert [name for chunk in second.read() for name in chunk.names] == [f"{tmp_path}/x.zip#{n}.png" for n in (3, 4)]
