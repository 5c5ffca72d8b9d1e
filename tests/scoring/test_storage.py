"""Paths of object stores, by local files and by a fake file system."""

import gzip
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import FileInfo, FileSystem, LocalFileSystem, SubTreeFileSystem

from digits.decode import MAXIMUM_BYTES, ImageError
from scoring import storage
from scoring.errors import ScoringError
from scoring.inputs.paths import check_paths, find_files
from scoring.inputs.search import count_images, find_chunks
from tests.helpers.paths import EXAMPLES, ROOT


class Bucket(SubTreeFileSystem):  # type: ignore[misc]
    """The file system of `shop://bucket/`, where one folder may not be listed."""

    def get_file_info(self, asked: object) -> FileInfo | list[FileInfo]:
        if getattr(asked, "base_dir", None) == "bucket/closed":
            raise OSError("AWS Error ACCESS_DENIED during ListObjectsV2 operation")
        return super().get_file_info(asked)


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    connect = FileSystem.from_uri
    monkeypatch.setattr(
        storage,
        "FileSystem",
        type(
            "Systems",
            (),
            {
                "from_uri": lambda uri: (
                    (Bucket(str(tmp_path), LocalFileSystem()), "bucket") if uri == "shop://bucket/" else connect(uri)
                )
            },
        ),
    )
    storage._connect.cache_clear()
    yield tmp_path / "bucket"
    storage._connect.cache_clear()


@pytest.fixture
def folder(bucket: Path) -> Path:
    shutil.copytree(EXAMPLES, bucket / "a b" / "50%#?")
    (bucket / "closed").mkdir()
    (bucket / "broken.png").write_bytes(b"no image")
    (bucket / "text.txt").write_bytes(b"text")
    (bucket / "large.png").write_bytes(bytes(MAXIMUM_BYTES + 1))
    idx = gzip.decompress((ROOT / "training/data/mnist/t10k-images-idx3-ubyte.gz").read_bytes())[: 16 + 784 * 300]
    idx = idx[:6] + (300).to_bytes(2) + idx[8:]
    (bucket / "a-idx3-ubyte").write_bytes(idx)
    (bucket / "b-idx3-ubyte.gz").write_bytes(gzip.compress(idx))
    pq.write_table(pa.table({"image": [(EXAMPLES / "3.png").read_bytes()] * 4}), bucket / "c.parquet")
    return bucket


def what_is_in(paths: list[str]) -> dict[str, str]:
    images = {}
    for chunk in find_chunks(paths):
        for index, name in enumerate(chunk.names):
            try:
                images[name] = str(chunk.load(index).whole().tobytes())
            except ImageError as error:
                images[name] = str(error)
    return images


@pytest.mark.parametrize("start", ["shop://bucket", "file://{}"])
def test_object_store_gives_the_same_images_as_a_folder(folder: Path, start: str) -> None:
    (folder / "closed").rmdir()
    store = start.format(folder)
    here = what_is_in([str(folder)])
    assert {name.replace(store, str(folder)): image for name, image in what_is_in([store]).items()} == here
    assert len(here) == count_images([store]) == 10 + 2 + 300 + 300 + 4


def test_unreadable_paths_give_errors(folder: Path) -> None:
    images = what_is_in(["shop://bucket/closed", "shop://bucket/none.png", "shop://bucket/text.txt"])
    assert images["shop://bucket/closed"] == "expected a file, or a folder that can be read; got neither"
    assert images["shop://bucket/none.png"] == "the file cannot be read: No such file or directory"
    assert "unknown format" in images["shop://bucket/text.txt"]


def test_globs(folder: Path) -> None:
    (folder / "closed").rmdir()
    found = list(find_files(["shop://bucket/**/[0-2].png", "shop://bucket/*.parquet"], lambda path: True))
    assert found == [f"shop://bucket/a b/50%#?/{digit}.png" for digit in range(3)] + ["shop://bucket/c.parquet"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("shop://bucket/none", "shop://bucket/none: no such file or folder, and no file matches it"),
        ("shop://bucket/*.jpeg", "no such file or folder, and no file matches it"),
        ("nonsense://bucket/1.png", "nonsense://bucket/: expected s3, gs, abfs, hdfs or file"),
    ],
)
def test_missing_paths_fail_at_once(folder: Path, path: str, message: str) -> None:
    check_paths(["shop://bucket", "shop://bucket/*.png"])
    with pytest.raises(ScoringError) as caught:
        check_paths([path])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError("Path does not exist"), "No such file or directory"),
        (PermissionError(13, "Failed to open local file"), "Permission denied"),
        (OSError("When reading 'x': AWS Error ACCESS_DENIED during HeadObject operation"), "Permission denied"),
        (OSError("curlCode: 6, Couldn't resolve host name\nmore"), "curlCode: 6, Couldn't resolve host name"),
    ],
)
def test_errors_are_mapped_to_those_of_the_system(error: OSError, said: str) -> None:
    assert storage.plain(error).strerror == said
