import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from digits.classifier import Classifier
from digits.settings import ModelSettings
from tests.helpers.finding import finder
from training import finetune as module
from training.commands import main
from training.datasets.generated import generate_negatives
from training.datasets.mnist import DataError, Dataset, load_training
from training.finetune import hold_out
from training.recipes import FINE_TUNE

SHIPPED = ModelSettings().model_path


def dataset(labels: list[int]) -> Dataset:
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None].repeat(28, axis=1).repeat(28, axis=2)
    return Dataset(images, np.array(labels))


def test_a_quarter_of_each_digit_is_held_out() -> None:
    data = dataset([1] * 8 + [7] * 12 + [3] * 2)
    kept, held_out = hold_out(data)
    assert np.bincount(held_out.labels, minlength=8).tolist() == [0, 2, 0, 0, 0, 0, 0, 3]
    assert sorted([*kept.images[:, 0, 0], *held_out.images[:, 0, 0]]) == list(range(22))


def test_every_image_is_held_out_in_one_fold() -> None:
    data = dataset([1] * 8 + [7] * 13)
    held_out = [image for fold in range(4) for image in hold_out(data, fold)[1].images[:, 0, 0]]
    assert sorted(held_out) == list(range(21))


def test_too_few_images_are_rejected() -> None:
    with pytest.raises(DataError, match=r"expected at least 4 images of one digit.*got 3 images"):
        hold_out(dataset([1, 2, 3]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A writer whose 7 is a mirrored 3."""
    mnist = load_training()
    for digit, shape, mirror in [(7, 3, True), (3, 3, False), (1, 1, False)]:
        directory = tmp_path / "writer" / str(digit)
        directory.mkdir(parents=True)
        for index in np.flatnonzero(mnist.labels == shape)[:24]:
            image = mnist.images[index]
            Image.fromarray(np.fliplr(image) if mirror else image).save(directory / f"{index}.png")
    return tmp_path / "writer"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FINE_TUNE", replace(FINE_TUNE, epochs=8))
    for name, value in {"WRITER_IMAGES": 2500, "WRITER_MNIST": 500, "WRITER_NEGATIVES": 64}.items():
        monkeypatch.setattr(module, name, value)


@pytest.mark.usefixtures("quick")
def test_model_learns_a_writer_and_is_written_as_the_next_version(tmp_path: Path, folder: Path) -> None:
    models = tmp_path / "models" / "digits"
    start = models / "4" / "model.onnx"
    shutil.copytree(SHIPPED.parent, start.parent)
    result = CliRunner().invoke(main, ["finetune", str(start), "--data", str(folder)])
    assert result.exit_code == 0, result.output
    shares = {
        tuple(line.split(": ")[:2]): float(line.split(": ")[2].split("%")[0])
        for line in result.output.splitlines()
        if "% accuracy (" in line
    }
    assert shares["before", "images held out"] < 75 < shares["after", "images held out"]
    assert shares["before", "MNIST test set"] > 99
    assert ("after", "MNIST test set") in shares
    tuned = Classifier(models / "5" / "model.onnx", "cpu")
    assert tuned.metadata["version"] == "5"
    assert (models / "5" / "finder.onnx").read_bytes() == SHIPPED.with_name("finder.onnx").read_bytes()
    assert tuned.metadata["formula"] == Classifier(start, "cpu").metadata["formula"]
    # It still rejects images without a digit.
    negatives = generate_negatives(load_training().part(np.arange(500)), finder().file, 60).images
    before, after = (float((one.classify(negatives)[1] < 0.5).mean()) for one in (Classifier(start, "cpu"), tuned))
    assert after > 0.4 * before > 0.2


def test_foreign_file_is_rejected(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model")
    result = CliRunner().invoke(main, ["finetune", str(path), "--data", str(folder)])
    assert result.exit_code == 2
    assert "expected an ONNX file of `digits export`" in result.output
