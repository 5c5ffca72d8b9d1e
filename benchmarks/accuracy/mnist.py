"""MNIST's test set, and what the model's confidence is worth there."""

import numpy as np

from benchmarks.accuracy.figures import Figure, calibration_error, share
from digits.recognizer import Recognizer
from training.datasets.mnist import load_test
from training.evaluate import evaluate

COVERAGE = 0.99


def measure(recognizer: Recognizer) -> list[Figure]:
    """The part right, the calibration error, and the part wrong among the 99 % that the model is surest of."""
    results = evaluate(recognizer, load_test())
    right = results.digits == results.labels
    surest = np.argsort(-results.confidences, kind="stable")[: round(COVERAGE * results.count)]
    return [
        share("MNIST test set", right),
        share("MNIST test set, wrong of the surest 99 %", ~right[surest], higher_is_better=False),
        calibration_error("MNIST test set, calibration error", results.confidences, right),
    ]
