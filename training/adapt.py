"""Adapts a model to one hand or one camera: a folder of labelled images, and MNIST mixed in so that nothing is lost."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from service.classifier import Classifier
from service.prepare import Prepared
from training.evaluate import evaluate, share_right
from training.export import export, next_version
from training.mnist import DataError, Dataset, load_test, load_training, split
from training.network import load_network
from training.outliers import random_outliers
from training.train import Recipe, Run, continued, default_device

# The part of each digit's images that is held back to see what the rest has brought.
HELD_BACK_PART = 0.25
# What an epoch holds: the folder's images as often as it takes to be this many, and so many of MNIST and of no digit.
FOLDER_IMAGES, MNIST_IMAGES, OUTLIERS = 5_000, 8_000, 2_000
EPOCHS = 10


def adapt(start: Path, folder: Path, models: Path, tell: Callable[[str], None]) -> Path:
    """Trains the ONNX file `start` on with a folder of labelled images and writes it as the next version in `models`.

    Tells what was right before and after, of the images held back and of MNIST's test set. Raises DataError.
    """
    learned, held_back = hold_back(load_training(folder))
    mnist, validation = split(load_training())
    random = np.random.default_rng(0)
    data = learned.part(np.resize(np.arange(len(learned)), max(FOLDER_IMAGES, len(learned))))
    data += mnist.part(random.choice(len(mnist), MNIST_IMAGES, replace=False))
    data += random_outliers(mnist, OUTLIERS)
    architecture, _ = load_network(start)
    recipe = replace(continued(Recipe(architecture.formula)), epochs=EPOCHS)
    with tempfile.TemporaryDirectory() as directory:
        run = Run(recipe, 0, data, validation, Path(directory), default_device(), start)
        run.train()
        path = export(run.checkpoint, validation, load_test(), models, next_version(models))
    before, after = Classifier(start, "cpu"), Classifier(path, "cpu")
    for name, model in (("before", before), ("after", after)):
        tell(f"{name}: {len(held_back)} images held back: {_share_right(model, held_back)}")
        tell(f"{name}: MNIST test set: {evaluate(model, load_test()).summary().splitlines()[0]}")
    return path


def hold_back(data: Dataset) -> tuple[Dataset, Dataset]:
    """The images to learn from and those held back, a part of each digit's. Raises DataError if they are too few."""
    order = np.random.default_rng(0).permutation(len(data))
    # Among those with the same label, each image's place in the random order decides.
    place = np.empty(len(data), np.int64)
    for label in range(10):
        of_label = order[data.labels[order] == label]
        place[of_label] = np.arange(len(of_label))
    held_back = place % round(1 / HELD_BACK_PART) == round(1 / HELD_BACK_PART) - 1
    if not held_back.any():
        raise DataError(
            f"expected at least {round(1 / HELD_BACK_PART)} images of a digit, one of which is held back; "
            f"got {len(data)} images"
        )
    return data.part(np.flatnonzero(~held_back)), data.part(np.flatnonzero(held_back))


def _share_right(classifier: Classifier, data: Dataset) -> str:
    predictions = classifier.predict([Prepared(image) for image in data.images])
    right = sum(one.digit == label for one, label in zip(predictions, data.labels, strict=True))
    return share_right(right, len(data))
