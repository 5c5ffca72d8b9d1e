import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.images import encode, example_pixels, write_idx
from training.datasets import mnist
from training.datasets.mnist import DataError, load_test, load_training, split


def test_mnist_is_complete() -> None:
    train, test = load_training(), load_test()
    assert train.images.shape == (60000, 28, 28)
    assert test.images.shape == (10000, 28, 28)
    assert np.bincount(test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_validation_set_is_fixed_and_disjoint() -> None:
    data = load_test()
    train, validation = split(data)
    assert len(validation) == 833
    assert len(train) + len(validation) == len(data)
    assert split(data)[1].sha256 == validation.sha256
    assert not {one.tobytes() for one in validation.images} & {one.tobytes() for one in train.images}


@pytest.mark.parametrize("damage", ["changed", "cut short", "missing"])
def test_damaged_file_is_named_with_the_remedy(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist, "MNIST", tmp_path)
    for path in (Path(mnist.__file__).parents[1] / "data" / "mnist").glob("*.gz"):
        shutil.copy(path, tmp_path)
    labels = tmp_path / "t10k-labels-idx1-ubyte.gz"
    content = gzip.decompress(labels.read_bytes())
    match damage:
        case "changed":
            labels.write_bytes(gzip.compress(content[:-1] + b"\x00"))
        case "cut short":
            labels.write_bytes(labels.read_bytes()[:-100])
        case "missing":
            labels.unlink()
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte.gz: expected .* got.*git checkout"):
        load_test(tmp_path)


def test_labelled_folders_are_preprocessed(tmp_path: Path) -> None:
    for digit in (3, 7):
        (tmp_path / str(digit)).mkdir()
        for number in range(2):
            (tmp_path / str(digit) / f"{number}.png").write_bytes(encode(example_pixels(digit)))
    (tmp_path / "7" / "blank.png").write_bytes(encode(np.full((50, 50), 255, np.uint8)))
    data = load_training(tmp_path)
    assert data.labels.tolist() == [3, 3, 7, 7]  # the blank image is dropped
    assert data.images.shape == (4, 28, 28)


def test_labelled_images_may_be_at_any_depth_and_what_is_left_out_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("3/writer1/a.png", "3/b.PNG", "7/writer2/page/c.png")
    left_out = ("3/.DS_Store", "3/._b.PNG", "__MACOSX/7/._c.png", "7/notes.txt", "labels.csv", "Thumbs.db")
    for name in (*names, *left_out):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(encode(example_pixels(int(name[0]))) if name in names else b"junk")
    assert load_training(tmp_path).labels.tolist() == [3, 3, 7]
    said = capsys.readouterr().out
    assert "left out 6 files that are no images in a digit's folder: 3/.DS_Store, 3/._b.PNG, 7/notes.txt," in said


def test_other_idx_files_are_preprocessed(tmp_path: Path) -> None:
    digit = np.pad(load_training().images[0], 20)
    write_idx(tmp_path / "train-images-idx3-ubyte", np.stack([digit, 255 - digit]))
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.array([5, 5]))
    data = load_training(tmp_path)
    assert data.images.shape == (2, 28, 28)
    assert np.abs(data.images[0].astype(int) - data.images[1]).mean() < 5


@pytest.mark.parametrize(
    "problem", ["empty", "class names", "no image", "broken image", "labels missing", "label 10", "counts"]
)
def test_unusable_data_is_rejected_with_the_reason(problem: str, tmp_path: Path) -> None:
    match problem:
        case "class names":
            (tmp_path / "seven").mkdir()
        case "no image":
            (tmp_path / "7").mkdir()
        case "broken image":
            (tmp_path / "7").mkdir()
            (tmp_path / "7" / "x.png").write_bytes(b"no image")
        case "labels missing" | "label 10" | "counts":
            write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((2, 28, 28)))
            if problem == "label 10":
                write_idx(tmp_path / "train-labels-idx1-ubyte", np.array([1, 10]))
            if problem == "counts":
                write_idx(tmp_path / "train-labels-idx1-ubyte", np.array([1]))
    with pytest.raises(DataError, match=r"expected .*; got"):
        load_training(tmp_path)
