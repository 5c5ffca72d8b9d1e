"""Inputs as people have them: every row of the table gives the same images, and its labels if it has any."""

import gzip
import io
import json
import sys
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from scoring.inputs.images import CHUNK, CHUNK_BYTES, size_of
from scoring.inputs.labels import NONE, read_labels
from scoring.inputs.search import count_images, find_chunks
from tests.helpers.images import encode, write_idx
from tests.helpers.paths import EXAMPLES
from tests.helpers.scoring import load_all, load_error, score
from training.datasets.mnist import load_test

IMAGES, LABELS = load_test().images[:300], load_test().labels[:300]
FLAT = IMAGES.reshape(len(IMAGES), -1)
NUMBERS = [str(number) for number in range(len(IMAGES))]


def csv(header: bool, labels: bool, delimiter: str = ",", names: str = "pixel{}") -> bytes:
    lines = [",".join(["label"] * labels + [names.format(pixel) for pixel in range(784)])] if header else []
    for label, pixels in zip(LABELS, FLAT, strict=True):
        lines.append(",".join(map(str, [int(label)] * labels + pixels.tolist())))
    return "".join(f"{line}\r\n" for line in lines).replace(",", delimiter).encode()


def npy(array: NDArray[np.generic]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def members() -> dict[str, bytes]:
    images = {f"{LABELS[n]}/w{n}/{n}.png": encode(image) for n, image in enumerate(IMAGES)}
    junk = {"__MACOSX/3/._0.png": b"x", "3/.DS_Store": b"x", "labels.csv": b"path,label\n", "notes.txt": b"x"}
    return {**junk, **images}


def zipped(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("empty")
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def tarred(files: dict[str, bytes], mode: Literal["w", "w:gz"] = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(None, mode, file) as archive:
        for name, data in files.items():
            information = tarfile.TarInfo(name)
            information.size = len(data)
            archive.addfile(information, io.BytesIO(data))
        link = tarfile.TarInfo("3/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return file.getvalue()


def parquet(table: dict[str, object]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(table), file)
    return file.getvalue()


MEMBERS = [name for name in members() if name.endswith(".png") and "MACOSX" not in name]
COLUMNS = {"label": LABELS, **{f"pixel{n}": FLAT[:, n] for n in range(784)}}
# A file's name, what makes it, the names of the images in it, and whether its labels are used.
TABLE: list[tuple[str, Callable[[], bytes], list[str], bool]] = [
    ("train.csv", lambda: csv(header=True, labels=True), NUMBERS, True),
    ("test.csv", lambda: csv(header=True, labels=False), NUMBERS, False),
    ("mnist_test.csv", lambda: csv(header=False, labels=True), NUMBERS, True),
    ("pixels.csv", lambda: csv(header=False, labels=False), NUMBERS, False),
    ("semicolons.csv", lambda: b"\xef\xbb\xbf" + csv(header=True, labels=True, delimiter=";"), NUMBERS, True),
    ("train.csv.gz", lambda: gzip.compress(csv(header=True, labels=True)), NUMBERS, True),
    ("x_test.npy", lambda: npy(IMAGES), NUMBERS, False),
    ("channels.npy", lambda: npy(IMAGES[..., np.newaxis].astype(np.float32) / 255), NUMBERS, False),
    ("first.npy", lambda: npy(IMAGES[:, np.newaxis].astype(np.int64)), NUMBERS, False),
    ("flat.npy", lambda: npy(FLAT.astype(np.float64)), NUMBERS, False),
    ("mnist.npz", lambda: npz(x_test=IMAGES, y_test=LABELS), [f"x_test.npy/{n}" for n in NUMBERS], True),
    ("scans.zip", lambda: zipped(members()), MEMBERS, True),
    ("kaggle.zip", lambda: zipped({"train.csv": csv(True, True)}), [f"train.csv/{n}" for n in NUMBERS], False),
    ("scans.tar", lambda: tarred(members()), MEMBERS, True),
    ("scans.tgz", lambda: tarred(members(), "w:gz"), MEMBERS, True),
    ("columns.parquet", lambda: parquet(COLUMNS), NUMBERS, True),
]


@pytest.mark.parametrize(("name", "make", "names", "labelled"), TABLE, ids=[row[0] for row in TABLE])
def test_what_people_have(
    name: str, make: Callable[[], bytes], names: list[str], labelled: bool, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(make())
    for where in (path, tmp_path):
        found = load_all(where)
        assert list(found) == [f"{path}#{one}" for one in names]
        for image, expected in zip(found.values(), IMAGES, strict=True):
            assert not isinstance(image, str), image
            np.testing.assert_array_equal(image.pixels, expected)
        assert count_images([str(where)]) in (None, len(IMAGES))
    if labelled:
        labels = read_labels(path, [str(tmp_path)])
        assert labels.find([f"{path}#{one}" for one in names]).tolist() == LABELS.tolist()
        assert labels.unused == 0


@pytest.mark.parametrize("name", ["train.csv", "x.npy", "x.npz", "x.zip", "x.tar.gz"])
def test_file_that_is_cut_short_gives_the_images_that_are_there_and_an_error(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    data = {
        "train.csv": lambda: csv(True, True),
        "x.npy": lambda: npy(IMAGES),
        "x.npz": lambda: npz(x=IMAGES),
        "x.zip": lambda: zipped(members()),
        "x.tar.gz": lambda: tarred(members(), "w:gz"),
    }[name]()
    path.write_bytes(data[: len(data) // 2])
    found = load_all(path)
    errors = {name: one for name, one in found.items() if isinstance(one, str)}
    assert list(found)[-1] == str(path)
    assert len(errors) <= 2  # a member of a TAR file may be cut in two
    assert errors[str(path)].startswith("expected ")
    assert (len(found) > 1) == (name in ("train.csv", "x.npy", "x.tar.gz"))


def test_line_that_is_no_image_ends_a_csv_file(tmp_path: Path) -> None:
    lines = csv(True, True).split(b"\r\n")[:3]
    (tmp_path / "x.csv").write_bytes(b"\n".join([*lines, lines[1].replace(b",0,", b",x,", 1)]))
    said = str(load_all(tmp_path / "x.csv")[str(tmp_path / "x.csv")])
    assert said.startswith("expected 785 columns and pixels as numbers in every line; got: ")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("absolute.zip", lambda: zipped({"3.png": b"x", "/etc/3.png": b"x"}), "expected an archive of relative paths"),
        ("up.zip", lambda: zipped({"3.png": b"x", "../3.png": b"x"}), "expected an archive of relative paths"),
        ("drive.zip", lambda: zipped({"c:/3.png": b"x"}), "expected an archive of relative paths; got 'c:/3.png'"),
        ("absolute.tar", lambda: tarred({"/etc/3.png": b"x"}), "expected an archive of relative paths"),
        ("bomb.zip", lambda: zipped({f"{n}.bmp": bytes(2**24) for n in range(8)}), "unpacks to at most 200 times"),
        ("bomb.tgz", lambda: tarred({f"{n}.png": bytes(2**24) for n in range(8)}, "w:gz"), None),
        ("header.tar", lambda: tarred({"x" * 2**24 + "x.png": b""}), "expected TAR headers of at most"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value else "",
)
def test_hostile_archive_is_one_error_row(
    name: str, data: Callable[[], bytes], message: str | None, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(data())
    found = load_all(path)
    if message:
        assert list(found) == [str(path)]
    assert (message or "unpacks to at most 200 times") in str(found[str(path)])


def test_member_that_cannot_be_read_is_one_error_row(tmp_path: Path) -> None:
    data = bytearray(zipped({"1.png": encode(IMAGES[0]), "2.png": encode(IMAGES[1]), "large.png": bytes(2**24 + 1)}))
    place = data.index(b"2.png")
    data[place + 30 : place + 40] = b"x" * 10
    (tmp_path / "x.zip").write_bytes(data)
    found = {name.partition("#")[2]: one for name, one in load_all(tmp_path / "x.zip").items()}
    assert list(found) == ["1.png", "2.png", "large.png"]
    assert not isinstance(found["1.png"], str)
    assert "expected" in str(found["2.png"])
    assert found["large.png"] == "expected at most 16777216 bytes; got 16777217"


@pytest.mark.parametrize(
    "array", [LABELS, np.array([{}]), np.zeros((3, 2, 2, 2, 2)), np.asfortranarray(IMAGES), np.array(["x"])]
)
def test_array_of_something_else_is_one_error_row_if_named(array: NDArray[np.generic], tmp_path: Path) -> None:
    path = tmp_path / "y.npy"
    np.save(path, array, allow_pickle=True)
    assert "expected a NumPy array of numbers in C order" in load_error(path)
    assert not load_all(tmp_path)


def test_chunks_are_limited(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((9, 1000, 1000), np.float32))
    (tmp_path / "x.zip").write_bytes(zipped({f"{n}.png": bytes(2**20) for n in range(9)}))
    for chunk in find_chunks([str(tmp_path)]):
        assert len(chunk.names) <= CHUNK
        assert sum(map(size_of, chunk.contents)) <= CHUNK_BYTES


def test_folder_with_labels_needs_no_optional_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "labels.csv").write_text("path,label\n3.png,3\n")
    (tmp_path / "3.png").write_bytes(encode(IMAGES[0]))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "scoring.inputs.tables")
    assert list(load_all(tmp_path)) == [str(tmp_path / "3.png")]


def test_junk_is_skipped_and_counted(tmp_path: Path) -> None:
    for name in (".DS_Store", "Thumbs.db", "3/._x.png", "__MACOSX/3/x.png", ".ipynb_checkpoints/x.png", "3/x.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(encode(IMAGES[0]))
    skipped: list[str] = []
    for where in (tmp_path, tmp_path / "**"):
        skipped.clear()
        [chunk] = find_chunks([str(where)], skip=skipped.append)
        assert chunk.names == [str(tmp_path / "3" / "x.png")]
        junk = Counter(Path(path).name for path in skipped)
        assert junk == Counter([".DS_Store", "Thumbs.db", "._x.png", "__MACOSX", ".ipynb_checkpoints"])
    assert len(load_all(tmp_path / "3" / "._x.png")) == 1  # whoever names it wants it


def test_labels_from_folder_names(tmp_path: Path) -> None:
    labels = read_labels(tmp_path, [])
    names = [tmp_path / "train/3/writer/x.png", tmp_path / "7/1/x.png", tmp_path / "x.zip#4/y.png", tmp_path / "9.png"]
    assert labels.find([*map(str, names), "3/x.png"]).tolist() == [3, 7, NONE, NONE, NONE]


def test_transposed_images_are_recognized_and_hinted_at(tmp_path: Path) -> None:
    write_idx(tmp_path / "idx3-ubyte", IMAGES.swapaxes(1, 2))
    (tmp_path / ".DS_Store").touch()
    [image, *_] = (one for chunk in find_chunks([str(tmp_path)], transposed=True) for one in chunk.contents)
    np.testing.assert_array_equal(image, IMAGES[0])
    output = tmp_path / "out.jsonl"
    first = score(tmp_path, "--output", output)
    assert "--transposed" in first.stderr
    assert "1 junk files, such as .DS_Store, skipped" in first.stderr
    again = score(tmp_path, "--output", output, "--overwrite", "--transposed")
    assert "--transposed" not in again.stderr
    digits = [json.loads(line)["digit"] for line in output.read_text().splitlines()]
    assert np.mean(digits == LABELS) > 0.97


def test_no_hint_for_images_that_are_rejected_either_way(tmp_path: Path) -> None:
    write_idx(tmp_path / "idx3-ubyte", np.zeros((300, 28, 28)))
    assert "--transposed" not in score(tmp_path, EXAMPLES / "3.png", "--output", tmp_path / "out.csv").stderr
