"""Grades the model on pen strokes of writers it was never trained on: `python -m benchmarks.pen_strokes FILE`.

FILE is pendigits-orig.tra (see training/strokes.py). Every digit of the held-back writers is drawn with a pen, a marker
and a mouse, dark on light, and goes through the service's own preparation and classifier.
"""

from pathlib import Path

import click
import numpy as np

from service.classifier import Classifier
from service.prepare import prepare
from service.settings import Settings
from training.evaluate import share_right
from training.strokes import HELD_BACK_WRITERS, draw, load_pen_digits

# The pen's width by the digit's longer side, and the image's side in pixels.
PENS = {"pen": (0.05, 200), "marker": (0.16, 200), "mouse": (0.02, 400)}


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(file: Path) -> None:
    settings = Settings.from_environment()
    classifier = Classifier(settings.model_path, settings.provider)
    digits = load_pen_digits(file, HELD_BACK_WRITERS)
    labels = np.array([digit.label for digit in digits])
    for name, (pen, size) in PENS.items():
        predictions = classifier.predict([prepare(255 - draw(digit, pen, size)) for digit in digits])
        correct = int(sum(one.digit == label for one, label in zip(predictions, labels, strict=True)))
        click.echo(f"{name:<7} {share_right(correct, len(digits))}, model {classifier.model['version']}")


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.pen_strokes")
