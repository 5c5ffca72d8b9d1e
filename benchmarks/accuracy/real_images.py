"""Accuracy on a folder of real images with a `labels.csv`, whose columns are `file`, `label` and any others."""

import csv
from pathlib import Path

import click
import numpy as np

from benchmarks.accuracy.figures import Figure, calibration_error, share
from digits.decode import ImageError
from digits.recognizer import Recognizer

CONFIDENT = 0.99


def measure(recognizer: Recognizer, folder: Path) -> list[Figure]:
    """Accuracy, shares correct and wrong with high confidence, and calibration error; prints every mistake."""
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    right, confidences = [], []
    for row in rows:
        [result] = recognizer.recognize([(folder / row["file"]).read_bytes()])
        if isinstance(result, ImageError):
            answer, digit, confidence = f"not read: {result}", None, 0.0
        else:
            digit, confidence = result.digit, result.confidence
            answer = f"not read: {result.reason}" if digit is None else f"read as {digit} ({confidence:.3f})"
        right.append(digit == int(row["label"]))
        confidences.append(confidence)
        if not right[-1]:
            click.echo(f"{row['file']}: {row['label']} {answer}", err=True)
    correct, confident = np.array(right), np.array(confidences) >= CONFIDENT
    return [
        share("real images", correct),
        share("real images, correct and confident", correct & confident),
        share("real images, wrong and confident", ~correct & confident, higher_is_better=False),
        calibration_error("real images, calibration error", np.array(confidences), correct),
    ]
