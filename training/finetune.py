"""Adapts a model to one hand or one camera: their labelled images, and MNIST mixed in so that little is lost."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from training.datasets.mnist import DataError, Dataset, load_test, load_training, split
from training.datasets.outliers import random_outliers
from training.export import export, next_version
from training.network import load_network
from training.train import Recipe, Run, continued, default_device

# One in so many of each digit's images is held back to see what the rest has brought.
HELD_BACK = 4
# What an epoch holds: the images as often as it takes to be this many, and so many of MNIST and of no digit.
LEARNED, MNIST_IMAGES, OUTLIERS = 5_000, 8_000, 2_000
EPOCHS = 10


def adapt(start: Path, learned: Dataset, models: Path) -> Path:
    """Trains the ONNX file `start` on with labelled images and writes it as the next version in `models`.

    Raises DataError and ExportError.
    """
    architecture, _ = load_network(start)
    mnist, validation = split(load_training())
    data = learned.part(np.resize(np.arange(len(learned)), max(LEARNED, len(learned))))
    data += mnist.part(np.random.default_rng(0).choice(len(mnist), MNIST_IMAGES, replace=False))
    data += random_outliers(mnist, OUTLIERS)
    recipe = replace(continued(Recipe(architecture.formula)), epochs=EPOCHS)
    with tempfile.TemporaryDirectory() as directory:
        run = Run(recipe, 0, data, validation, Path(directory), default_device(), start)
        run.train()
        return export(run.checkpoint, validation, load_test(), models, next_version(models))


def hold_back(data: Dataset, turn: int = 0) -> tuple[Dataset, Dataset]:
    """The images to learn from and those held back, one in four of each digit's; each turn, 0 to 3, others.

    Raises DataError if they are too few.
    """
    order = np.random.default_rng(0).permutation(len(data))
    # Among those with the same label, each image's place in the random order decides.
    place = np.empty(len(data), np.int64)
    for label in range(10):
        of_label = order[data.labels[order] == label]
        place[of_label] = np.arange(1, len(of_label) + 1)
    held_back = (place + turn) % HELD_BACK == 0
    if not held_back.any():
        raise DataError(
            f"expected at least {HELD_BACK} images of a digit, one of which is held back; got {len(data)} images"
        )
    return data.part(np.flatnonzero(~held_back)), data.part(np.flatnonzero(held_back))
