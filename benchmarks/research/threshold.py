"""Plots the effect of DIGITS_MINIMUM_IS_DIGIT: `python -m benchmarks.research.threshold`."""

from pathlib import Path

import click
import matplotlib
import numpy as np
from matplotlib import pyplot

from benchmarks.accuracy.not_a_digit import FASHION, FONTS, load_fashion, load_letters, predict
from digits.recognizer import Recognizer
from digits.settings import ModelSettings
from training.datasets.mnist import load_test


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), default=Path("models/threshold.png"))
def main(file: Path) -> None:
    """Plot the share of digits, letters and garments rejected at every threshold into FILE."""
    settings = ModelSettings.from_environment()
    recognizer = Recognizer.from_settings(settings)
    sets = {
        "MNIST test digits (the cost)": list(load_test().images),
        "letters in handwriting fonts": [image for _, image in load_letters(FONTS)],
        "Fashion-MNIST": load_fashion(FASHION),
    }
    matplotlib.use("agg")
    figure, axes = pyplot.subplots(figsize=(7, 4))
    thresholds = np.linspace(0, 1, 501)
    for name, images in sets.items():
        scores = np.sort(predict(recognizer, images).scores)
        axes.plot(
            thresholds, 100 * np.searchsorted(scores, thresholds) / len(scores), label=f"{name}, n = {len(scores):,}"
        )
    axes.axvline(settings.minimum_is_digit, color="grey", linewidth=0.8, label="setting")
    axes.set_yscale("symlog", linthresh=0.1)
    axes.set_yticks([0, 0.1, 1, 10, 100], ["0", "0.1", "1", "10", "100"])
    axes.set(xlabel="DIGITS_MINIMUM_IS_DIGIT", ylabel="rejected, %", xlim=(0, 1), ylim=(0, 110))
    axes.set_title(f"Share rejected by model version {recognizer.classifier.version}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center right")
    figure.savefig(file, dpi=120, bbox_inches="tight")
    click.echo(f"wrote {file}")


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.research.threshold")
