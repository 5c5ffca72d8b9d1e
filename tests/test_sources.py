import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from scoring.sources import count_images, find_images
from service.decode import ImageError
from tests.conftest import encode, example
from tests.test_mnist import write_idx


def names(*paths: Path) -> list[str]:
    found = [source.path for source in find_images(paths)]
    assert count_images(paths) == len(found)
    return found


def test_folders_are_searched_to_the_bottom_in_a_fixed_order(tmp_path: Path) -> None:
    for name in (
        "b.png",
        "a/2.jpg",
        "a/1.JPEG",
        "a/deep/er/x.webp",
        "a/notes.txt",
        "labels.csv",
        "z.heic",
        ".DS_Store",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(example(1))
    assert [Path(one).relative_to(tmp_path).as_posix() for one in names(tmp_path)] == [
        "b.png",
        "z.heic",
        "a/1.JPEG",
        "a/2.jpg",
        "a/deep/er/x.webp",
    ]


def test_a_file_that_is_named_is_taken_whatever_it_is_called(tmp_path: Path) -> None:
    path = tmp_path / "scan"
    path.write_bytes(example(4))
    [source] = find_images([path])
    assert source.path == str(path)
    assert source.load().pixels.shape == (280, 280)


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_file_gives_each_of_its_images(zipped: bool, tmp_path: Path) -> None:
    images = np.arange(2 * 5 * 4).reshape(2, 5, 4)
    path = tmp_path / "some-images-idx3-ubyte"
    write_idx(path, images)
    if zipped:
        path.with_suffix(".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
        path = path.with_suffix(".gz")
    for where in (path, tmp_path):
        sources = list(find_images([where]))
        assert [source.path for source in sources] == [f"{path}#0", f"{path}#1"]
        np.testing.assert_array_equal(sources[1].load().pixels, images[1])
        assert count_images([where]) == 2


def load_error(path: Path) -> str:
    [source] = find_images([path])
    assert count_images([path]) == 1
    with pytest.raises(ImageError) as caught:
        source.load()
    return str(caught.value)


def test_what_cannot_be_read_is_one_source_with_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(encode(np.zeros((5, 5), np.uint8))[:30])
    assert "PNG" in load_error(path)
    path.write_bytes(b"\x00" * (16 * 2**20 + 1))
    assert "expected at most 16777216 bytes; got 16777217" in load_error(path)
    path.unlink()
    assert "No such file" in load_error(path)
    path.symlink_to("nowhere")
    assert "No such file" in load_error(path)


def test_what_is_no_regular_file_is_one_source_with_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe-idx3-ubyte")
    assert "got neither" in load_error(tmp_path / "pipe.png")
    assert "got neither" in load_error(tmp_path / "pipe-idx3-ubyte")


def test_folder_that_cannot_be_searched_is_one_source_with_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(example(1))
    scandir = os.scandir

    def forbidden(path: str) -> object:  # root, who runs some tests, may search every folder
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidden)
    assert [Path(one).name for one in names(tmp_path)] == ["1.png", "b", "1.png"]


def test_broken_idx_files_are_one_source_with_an_error(tmp_path: Path) -> None:
    path = tmp_path / "labels-idx1-ubyte"
    write_idx(path, np.arange(7))
    assert "got one of labels" in load_error(path)
    path.write_bytes(gzip.compress(b"\x00\x00\x08\x03" + bytes([0, 0, 0, 1] * 3) + b"\x00")[:-5])
    assert "broken or cut short" in load_error(path)


def test_file_names_need_not_be_utf8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff.png")
    path.write_bytes(example(1))
    [source] = find_images([tmp_path])
    assert source.path == str(path)
    assert source.load().pixels.size
