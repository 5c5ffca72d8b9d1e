"""`python -m benchmarks`: every figure of the model card, as rows of its table."""

import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from benchmarks.accuracy import (
    corruptions,
    input_variations,
    mnist,
    not_a_digit,
    pen_strokes,
    real_images,
    simulated_photos,
)
from benchmarks.accuracy.figures import Figure
from digits.recognizer import Recognizer
from digits.settings import ModelSettings

CARD = Path("models/README.md")
NAMES = ["mnist", "real_images", "pen_strokes", "clothes", "paper", "not_a_digit", "corruptions"]


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(NAMES), metavar="[NAME]...")
@click.option(
    "--real-images",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder of images with labels.csv: file,label.",
)
@click.option(
    "--pen-strokes",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="pendigits-orig.tra of the UCI Machine Learning Repository.",
)
@click.option("--check", is_flag=True, help="Exit with 1 if a figure is below the model card's by a standard error.")
def main(names: tuple[str, ...], folder: Path | None, file: Path | None, check: bool) -> None:
    """Grade the served model by the benchmarks NAME..., or by all whose data there are: mnist, real_images,
    pen_strokes, clothes, paper, not_a_digit, corruptions."""
    measures: dict[str, Callable[[Recognizer], list[Figure]] | None] = {
        "mnist": mnist.measure,
        "real_images": partial(real_images.measure, folder=folder) if folder else None,
        "pen_strokes": partial(pen_strokes.measure, file=file) if file else None,
        "clothes": input_variations.measure,
        "paper": simulated_photos.measure,
        "not_a_digit": not_a_digit.measure,
        "corruptions": corruptions.measure,
    }
    recognizer = Recognizer.from_settings(ModelSettings.from_environment())
    published = published_values(CARD.read_text(encoding="utf-8"))
    below = []
    click.echo(f"| model {recognizer.classifier.version} | value (95 % interval) | n |\n|---|---|---|")
    for name in names or NAMES:
        measure = measures[name]
        if measure is None:
            click.echo(f"left out {name}: give --{name.replace('_', '-')}", err=True)
            continue
        for figure in measure(recognizer):
            click.echo(figure.row())
            value = published.get(figure.name)
            if check and (value is None or figure.is_below(value)):
                said = "nothing" if value is None else f"{value:.2%}"
                below.append(f"{figure.name}: {figure.value:.2%}; the card says {said}")
    for line in below:
        click.echo(line, err=True)
    sys.exit(bool(below))


def published_values(card: str) -> dict[str, float]:
    """The figures in the model card's table: the first cell is the name, the second the value in percent."""
    rows = re.findall(r"^\| ([^|]+) \| ([0-9.]+) ?% \(", card, re.MULTILINE)
    return {name: float(value) / 100 for name, value in rows}


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
