"""Accuracy on pen strokes of writers not trained on, drawn dark on light with a pen, a marker and a mouse."""

from pathlib import Path

import numpy as np

from benchmarks.accuracy.figures import Figure, share
from digits.recognizer import Recognizer
from training.datasets.drawn import draw
from training.datasets.pen_strokes import HELD_OUT_WRITERS, load_pen_digits

# The pen's width relative to the digit's longer side, and the image's side in pixels.
PENS = {"pen": (0.05, 200), "marker": (0.16, 200), "mouse": (0.02, 400)}


def measure(recognizer: Recognizer, file: Path) -> list[Figure]:
    """Accuracy for each pen; `file` is pendigits-orig.tra, see training/datasets/pen_strokes.py."""
    digits = load_pen_digits(file, HELD_OUT_WRITERS)
    labels = np.array([digit.label for digit in digits])
    figures = []
    for name, (pen, size) in PENS.items():
        predictions = recognizer.predict(
            [recognizer.preprocess(255 - draw(digit.strokes, pen, size)) for digit in digits]
        )
        figures.append(
            share(
                f"pen strokes of 5 unseen writers, drawn by {name}",
                np.array([one.digit for one in predictions]) == labels,
            )
        )
    return figures
