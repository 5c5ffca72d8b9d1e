import gzip
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from digits.decode import GreyImage
from scoring.inputs.containers import read_many
from scoring.inputs.images import CHUNK, Chunk
from scoring.inputs.search import count_images
from tests.helpers.images import encode, example, write_idx
from tests.helpers.scoring import load_all, load_error


def test_folders_give_the_files_with_image_suffixes(tmp_path: Path) -> None:
    for name in ("1.jpg", "2.JPEG", "3.webp", "notes.txt", "labels.csv", "z.heic", ".DS_Store", "out.csv.partial"):
        (tmp_path / name).write_bytes(example(1))
    assert list(load_all(tmp_path)) == [str(tmp_path / name) for name in ("1.jpg", "2.JPEG", "3.webp", "z.heic")]
    assert count_images([str(tmp_path)]) == 4


def test_named_file_may_have_any_name(tmp_path: Path) -> None:
    path = tmp_path / "scan"
    path.write_bytes(example(4))
    [picture] = load_all(path).values()
    assert isinstance(picture, GreyImage)
    assert picture.pixels.shape == (280, 280)


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_file_gives_all_of_its_images(zipped: bool, tmp_path: Path) -> None:
    count = CHUNK + 3
    images = np.arange(count * 5 * 4).reshape(count, 5, 4) % 251
    path = tmp_path / "some-images-idx3-ubyte"
    write_idx(path, images)
    if zipped:
        path.with_suffix(".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
        path = path.with_suffix(".gz")
    for where in (path, tmp_path):
        found = load_all(where)
        assert list(found) == [f"{path}#{index}" for index in range(count)]
        for picture, expected in zip(found.values(), images, strict=True):
            assert isinstance(picture, GreyImage)
            np.testing.assert_array_equal(picture.pixels, expected)
        assert count_images([str(where)]) == count


def test_images_of_all_kinds_are_in_order(tmp_path: Path) -> None:
    for number in range(CHUNK + 5):
        (tmp_path / f"{number:04d}.png").write_bytes(b"")
    write_idx(tmp_path / "0100-idx3-ubyte", np.zeros((3, 2, 2)))
    names = [Path(name).name for name in load_all(tmp_path)]
    assert names == sorted(names)
    assert len(names) == count_images([str(tmp_path)]) == CHUNK + 8


def test_part_and_selection_of_a_chunk() -> None:
    for contents in (["a", "b", "c"], np.arange(12, dtype=np.uint8).reshape(3, 2, 2)):
        chunk = Chunk(["x", "y", "z"], contents)
        for some, names in [(chunk.part(1, 9), ["y", "z"]), (chunk.only([0, 2]), ["x", "z"])]:
            assert some.names == names
            assert len(some.contents) == 2
            assert pickle.loads(pickle.dumps(some)).names == names


def test_unreadable_files_are_one_image_with_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(encode(np.zeros((5, 5), np.uint8))[:30])
    assert "PNG" in load_error(path)
    path.write_bytes(b"\x00" * (16 * 2**20 + 1))
    assert "expected at most 16777216 bytes; got 16777217" in load_error(path)
    os.truncate(path, 32 * 2**20 + 1)
    assert "expected at most 33554432 bytes; got 33554433" in load_error(path)
    path.unlink()
    assert "No such file" in load_error(path)
    path.symlink_to("nowhere")
    assert "No such file" in load_error(path)


def test_pipes_are_one_image_with_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe-idx3-ubyte")
    assert "got neither" in load_error(tmp_path / "pipe.png")
    assert "something else" in load_error(tmp_path / "pipe-idx3-ubyte")


def test_idx_files_without_images_are_one_image_with_an_error(tmp_path: Path) -> None:
    path = tmp_path / "labels-idx1-ubyte"
    write_idx(path, np.arange(7))
    assert "got one of labels" in load_error(path)
    path.write_bytes(b"\x00\x00\x08\x03" + struct.pack(">III", 1, 0, 5))
    assert "expected IDX images of 1 to 25000000 pixels" in load_error(path)
    path.write_bytes(b"\x00\x00\x08\x03" + struct.pack(">III", 1, 70_000, 1) + bytes(70_000))
    assert "at most 65535 per side; got 1×70000" in load_error(path)


def test_broken_idx_file_gives_the_images_that_are_there_and_an_error(tmp_path: Path) -> None:
    path = tmp_path / "images-idx3-ubyte"
    write_idx(path, np.ones((5, 3, 3)))
    whole = path.read_bytes()
    for data, images, said in [
        (whole[:-10], 3, "expected 5 IDX images of 3×3; got 3"),
        (whole + b"x", 5, "expected 5 IDX images of 3×3; got more bytes"),
        (gzip.compress(whole)[:-9], 5, "got one that is broken or cut short"),
        (gzip.compress(whole)[:20], 0, "got one that is broken or cut short"),
    ]:
        path.write_bytes(data)
        found = load_all(path)
        assert list(found) == [*(f"{path}#{index}" for index in range(images)), str(path)]
        assert said in str(found[str(path)])


def test_chunks_are_limited_in_bytes(tmp_path: Path) -> None:
    path = tmp_path / "images-idx3-ubyte"
    write_idx(path, np.ones((5, 1500, 2000)))
    assert [len(chunk.names) for chunk in read_many(str(path))] == [1] * 5


def test_file_names_that_are_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff.png")
    path.write_bytes(example(1))
    [(name, picture)] = load_all(tmp_path).items()
    assert name == str(path)
    assert isinstance(picture, GreyImage)
