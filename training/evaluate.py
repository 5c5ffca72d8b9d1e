"""Grades a model through the pipeline that serves it, so that its figures are the deployed ones."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from digits.accuracy import accuracy_text, confusion_text
from digits.classifier import CLASSES
from digits.recognizer import Recognizer
from training.datasets.mnist import Dataset


@dataclass(frozen=True)
class Results:
    """Labels int64 [N], and what the model read: `digits` int64 [N], -1 for none, and `confidences` float64 [N]."""

    labels: NDArray[np.int64]
    digits: NDArray[np.int64]
    confidences: NDArray[np.float64]

    @property
    def count(self) -> int:
        return len(self.labels)

    @property
    def correct(self) -> int:
        return int((self.labels == self.digits).sum())

    @property
    def accuracy(self) -> float:
        return self.correct / self.count

    @property
    def confusion(self) -> NDArray[np.int64]:
        """Counts [10, 11]: one row per true digit, one column per digit read, the last for none."""
        counts = np.zeros((CLASSES, CLASSES + 1), np.int64)
        np.add.at(counts, (self.labels, self.digits), 1)  # -1 is the last column
        return counts

    def summary(self) -> str:
        """Accuracy with its interval, accuracy per class, and the confusion matrix, as text."""
        lines = [accuracy_text(self.correct, self.count), "", "digit  images  accuracy"]
        confusion = self.confusion
        for digit, row in enumerate(confusion):
            if row.sum():
                lines.append(f"{digit:>5}  {row.sum():>6}  {row[digit] / row.sum():>8.2%}")
        return "\n".join([*lines, "", *confusion_text(confusion)])


def evaluate(recognizer: Recognizer, data: Dataset) -> Results:
    """Preprocesses and predicts every image as the service does."""
    predictions = recognizer.predict([recognizer.preprocess(image) for image in data.images])
    return Results(
        data.labels,
        np.array([-1 if one.digit is None else one.digit for one in predictions]),
        np.array([one.confidence for one in predictions]),
    )
