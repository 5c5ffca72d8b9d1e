"""Accuracy on one writer before and after fine-tuning: `python -m benchmarks.research.fine_tuning FILE`.

4-fold cross-validation on each of the pen strokes' writers that the model was not trained on.
"""

import tempfile
from pathlib import Path

import click
import numpy as np

from benchmarks.accuracy.pen_strokes import PENS
from digits.preprocess import preprocess
from digits.recognizer import Recognizer
from digits.settings import ModelSettings
from training.datasets.drawn import draw
from training.datasets.mnist import Dataset, load_test
from training.datasets.pen_strokes import HELD_OUT_WRITERS, load_pen_digits
from training.evaluate import evaluate
from training.finetune import HELD_OUT, fine_tune, hold_out
from training.served import served_finder


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--writer", "writers", type=int, multiple=True, default=list(HELD_OUT_WRITERS), show_default=True)
@click.option("--pen", "pens", type=click.Choice(list(PENS)), multiple=True, default=["mouse"], show_default=True)
def main(file: Path, writers: tuple[int, ...], pens: tuple[str, ...]) -> None:
    """Print the errors before and after; FILE is pendigits-orig.tra (see training/datasets/pen_strokes.py)."""
    start = ModelSettings.from_environment().model_path
    click.echo("| writer | digits | wrong before | wrong after | MNIST test set before | after, on average |")
    click.echo("|---|---|---|---|---|---|")
    mnist = load_test()
    mnist_before = evaluate(Recognizer(start), mnist).accuracy
    for writer in writers:
        data = written(file, writer, pens)
        before = wrong(start, data)
        after, mnist_after = 0, []
        for fold in range(HELD_OUT):
            kept, held_out = hold_out(data, fold)
            with tempfile.TemporaryDirectory() as models:
                tuned = fine_tune(start, kept, Path(models))
                after += wrong(tuned, held_out)
                mnist_after.append(evaluate(Recognizer(tuned), mnist).accuracy)
        click.echo(f"| {writer} | {len(data)} | {before} | {after} | {mnist_before:.2%} | {np.mean(mnist_after):.2%} |")


def written(file: Path, writer: int, pens: tuple[str, ...]) -> Dataset:
    """A writer's digits drawn with the pens, preprocessed."""
    digits = load_pen_digits(file, [writer])
    images = [
        preprocess(255 - draw(digit.strokes, *PENS[pen]), served_finder()).image for pen in pens for digit in digits
    ]
    return Dataset(np.stack(images), np.tile([digit.label for digit in digits], len(pens)))


def wrong(model: Path, data: Dataset) -> int:
    """The number of digits misread or rejected."""
    results = evaluate(Recognizer(model), data)
    return results.count - results.correct


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.research.fine_tuning")
