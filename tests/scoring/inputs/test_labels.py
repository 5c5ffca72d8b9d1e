import gzip
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring.errors import ScoringError
from scoring.inputs.labels import NONE, Labels, read_labels
from tests.helpers.images import example, write_idx


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def found(labels: Labels, *names: str | Path) -> list[int]:
    return labels.find([str(name) for name in names]).tolist()


def test_paths_are_as_in_the_output_or_relative_to_the_labels_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scans").mkdir()
    text = f"path,label\nscans/a.png,1\nb.png,2\n{tmp_path}/scans/c.png,3\n./d/../e.png,4\nfiles.gz#7,5\nf.png,6\n"
    labels = read_labels(written(Path("scans/labels.csv"), text), ["scans"])
    assert found(labels, "scans/a.png", "scans/b.png", "scans/c.png", "scans/e.png", "scans/files.gz#7") == [
        1,
        2,
        3,
        4,
        5,
    ]
    assert labels.unused == 1
    # The folder may be spelled in several ways, and images may be looked up again.
    assert found(labels, tmp_path / "scans" / "b.png", "scans//f.png", "scans/../scans/c.png") == [2, 6, 3]
    assert found(labels, "c.png", "other/b.png", "scans/files.gz#8", "scans") == [NONE] * 4
    assert labels.unused == 0


def test_path_as_in_the_output_takes_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    labels = read_labels(written(Path("a/labels.csv"), "path,label\na/1.png,1\n1.png,7\n"), ["a"])
    assert found(labels, "a/1.png") == [1]


@pytest.mark.parametrize(
    "text",
    [
        "file,label\n1.png,7\n2.png,\n",
        "\ufeffLabel, Path,who\r\n7,1.png,me\r\n,2.png,me\r\n",
        "path,digit,file\n1.png,7,x\n\n2.png, ,x\n",
        'digit,file\n7,"1.png"\n',
        "filename;label\n1.png;7.0\n.\\2.png;\n",
        "image\tclass\n1.png\t7\n1.png\t7\n",
    ],
)
def test_column_names_order_and_missing_labels(text: str, tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path / "labels.csv", text), [str(tmp_path)])
    assert labels.unused == 1
    assert found(labels, tmp_path / "1.png", tmp_path / "2.png") == [7, NONE]
    assert labels.unused == 0


def test_names_that_are_not_utf_8_also_match_their_spelling_in_parquet(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path / "labels.csv", b"file,label\n\xff.png,7\n"), [str(tmp_path)])
    assert found(labels, os.fsdecode(b"\xff.png"), "\\xff.png", "\ufffd.png") == [7, 7, NONE]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "1.png,7\n",
            "first line names the columns path, file, filename, file_name, image, name and label",
        ),
        ("", "got nothing"),
        ("path,label\n", "expected labels; got none"),
        ("path,label\n1.png,7\n2.png,ten\n", "line 3: 2.png: expected labels 0 to 9; got 'ten'"),
        ("path,label\n1.png,7\n2.png\n", "line 3: expected 2 CSV columns; got others"),
        ('path,label\n1.png,7\n"2.png,3\n', "expected 2 CSV columns"),
        ("path,label\n1.png,7\n2.png,3\n./1.png,8\n", "got 7 in line 2 and 8 in line 4 for 1.png"),
        (b"\x00\x00\x08\x01\x00\x00", "expected an IDX header of 8 bytes; got 6"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x02\x03\x0a", "expected labels 0 to 9; got '10'"),
        (b"\x00\x00\x08\x03" + 3 * b"\x00\x00\x00\x01" + b"\x07", "expected an IDX file of labels; got one of images"),
        (gzip.compress(b"path,label\n", mtime=0), "expected an IDX file"),
        (b"\x1f\x8b\x08", "expected a whole gzip file; got one that is broken or cut short"),
        (b"PAR1, as it is not", "expected a whole table; got one that is broken or cut short"),
    ],
)
def test_bad_labels_are_clear_errors(content: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ScoringError) as raised:
        read_labels(written(tmp_path / "labels", content), [str(tmp_path)])
    assert message in str(raised.value)
    assert str(raised.value).startswith(str(tmp_path / "labels"))


def test_missing_labels_file(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match="No such file"):
        read_labels(tmp_path / "none.csv", [])


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_labels_belong_to_the_file_with_as_many_images(zipped: bool, tmp_path: Path) -> None:
    images = tmp_path / "some-idx3-ubyte"
    write_idx(images, np.zeros((3, 5, 5)))
    write_idx(tmp_path / "more-idx3-ubyte", np.zeros((4, 5, 5)))
    file = tmp_path / "labels"
    write_idx(file, np.array([7, 0, 9]))
    if zipped:
        file.write_bytes(gzip.compress(file.read_bytes()))
    labels = read_labels(file, [str(tmp_path), str(images)])
    assert found(labels, f"{images}#2", f"{images}#0", f"{images}#3", str(images), "else#1") == [9, 7, NONE, NONE, NONE]
    assert labels.unused == 1


def test_idx_labels_that_match_no_file_or_two_files(tmp_path: Path) -> None:
    write_idx(tmp_path / "labels", np.array([7, 0, 9]))
    (tmp_path / "3.png").write_bytes(example(3))
    with pytest.raises(ScoringError, match="file with as many images, 3, among the inputs; got none"):
        read_labels(tmp_path / "labels", [str(tmp_path)])
    for name in "ab":
        write_idx(tmp_path / f"{name}-idx3-ubyte", np.zeros((3, 5, 5)))
    with pytest.raises(ScoringError, match=r"got .*a-idx3-ubyte, .*b-idx3-ubyte"):
        read_labels(tmp_path / "labels", [str(tmp_path)])


def test_parquet_may_hold_labels_next_to_the_images(tmp_path: Path) -> None:
    file = tmp_path / "images.parquet"
    pq.write_table(pa.table({"image": [example(3), example(4), b"no image"], "label": [3, None, 9]}), file)
    labels = read_labels(file, [str(tmp_path)])
    assert labels.unused == 2
    assert found(labels, *(f"{file}#{index}" for index in range(3))) == [3, NONE, 9]
    assert labels.unused == 0
    for column, message in [
        ({"image": [example(3)]}, "expected a column label or digit; got image"),
        ({"image": [example(3)], "digit": ["x"]}, "expected labels 0 to 9; got 'x'"),
    ]:
        pq.write_table(pa.table(column), file)
        with pytest.raises(ScoringError, match=message):
            read_labels(file, [str(tmp_path)])
