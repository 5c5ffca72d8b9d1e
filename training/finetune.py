"""Fine-tunes a model on the labelled images of one writer or camera, with MNIST mixed in so that little is lost."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from digits.classifier import CLASSES
from digits.session import ModelFile
from digits.version import FINDER
from training.datasets.generated import generate_negatives
from training.datasets.mnist import DataError, Dataset, load_test, load_training, split
from training.export import export, next_version
from training.network import load_network
from training.recipes import FINE_TUNE, WRITER_IMAGES, WRITER_MNIST, WRITER_NEGATIVES
from training.train import Run, default_device

# One in this many of each digit's images is held out to measure the effect on.
HELD_OUT = 4


def fine_tune(start: Path, images: Dataset, models: Path) -> Path:
    """Trains the ONNX file `start` on labelled images and writes the next version into `models`.

    Raises DataError, ExportError and ModelError.
    """
    architecture, _ = load_network(start)
    mnist, validation = split(load_training())
    data = images.part(np.resize(np.arange(len(images)), max(WRITER_IMAGES, len(images))))
    data += mnist.part(np.random.default_rng(0).choice(len(mnist), WRITER_MNIST, replace=False))
    finder = ModelFile.read(start.with_name(FINDER))
    data += generate_negatives(mnist, finder, WRITER_NEGATIVES)
    recipe = replace(FINE_TUNE, formula=architecture.formula)
    with tempfile.TemporaryDirectory() as directory:
        run = Run(recipe, 0, data, validation, Path(directory), default_device(), start)
        run.train()
        return export(run.checkpoint, validation, load_test(), models, next_version(models), finder)


def hold_out(data: Dataset, fold: int = 0) -> tuple[Dataset, Dataset]:
    """Splits the images into those to train on and those held out: one in four of each digit, by fold, 0 to 3.

    Raises DataError if there are too few.
    """
    order = np.random.default_rng(0).permutation(len(data))
    # Each image's rank in the random order among those with its label.
    rank = np.empty(len(data), np.int64)
    for label in range(CLASSES):
        of_label = order[data.labels[order] == label]
        rank[of_label] = np.arange(1, len(of_label) + 1)
    held_out = (rank + fold) % HELD_OUT == 0
    if not held_out.any():
        raise DataError(f"expected at least {HELD_OUT} images of one digit, to hold one out; got {len(data)} images")
    return data.part(np.flatnonzero(~held_out)), data.part(np.flatnonzero(held_out))
