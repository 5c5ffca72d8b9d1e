"""Accuracy on MNIST's test set, and how well confidence is calibrated there."""

import numpy as np

from benchmarks.accuracy.figures import Figure, calibration_error, share
from digits.recognizer import Recognizer
from training.datasets.mnist import load_test
from training.evaluate import evaluate

COVERAGE = 0.99


def measure(recognizer: Recognizer) -> list[Figure]:
    """Accuracy, the error rate among the 99 % with the highest confidence, and the calibration error."""
    results = evaluate(recognizer, load_test())
    correct = results.digits == results.labels
    confident = np.argsort(-results.confidences, kind="stable")[: round(COVERAGE * results.count)]
    return [
        share("MNIST test set", correct),
        share("MNIST test set, wrong among the most confident 99 %", ~correct[confident], higher_is_better=False),
        calibration_error("MNIST test set, calibration error", results.confidences, correct),
    ]
