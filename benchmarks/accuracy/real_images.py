"""A folder of real images, with `labels.csv` in it: the columns file and label, and others if you like.

They go through the service's own code as if they had been posted.
"""

import csv
from pathlib import Path

import click
import numpy as np

from benchmarks.accuracy.figures import Figure, calibration_error, share
from digits.decode import ImageError
from digits.recognizer import Recognizer

SURE = 0.99


def measure(recognizer: Recognizer, folder: Path) -> list[Figure]:
    """The part right, right and wrong among the sure ones, and the calibration error; prints every mistake."""
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
    rights, sure = np.array(right), np.array(confidences) >= SURE
    return [
        share("real images", rights),
        share("real images, right and sure", rights & sure),
        share("real images, wrong and sure", ~rights & sure, higher_is_better=False),
        calibration_error("real images, calibration error", np.array(confidences), rights),
    ]
