"""`python -m benchmarks.accuracy`: measures the figures of the model card."""

import sys
from collections.abc import Callable
from pathlib import Path

import click

from benchmarks.accuracy import (
    corruptions,
    crops,
    empty_pages,
    hard_photos,
    input_variations,
    marks,
    mnist,
    not_a_digit,
    pages,
    pen_strokes,
    reading,
    real_images,
    several,
    simulated_photos,
    symbols,
)
from benchmarks.accuracy.figures import Figure, heading, load
from benchmarks.accuracy.figures import publish as publish_figures
from digits.recognizer import Recognizer
from digits.settings import ModelSettings

MEASURES: dict[str, Callable[..., list[Figure]]] = {
    "mnist": mnist.measure,
    "real_images": real_images.measure,
    "pen_strokes": pen_strokes.measure,
    "input_variations": input_variations.measure,
    "simulated_photos": simulated_photos.measure,
    "hard_photos": hard_photos.measure,
    "crops": crops.measure,
    "marks": marks.measure,
    "several": several.measure,
    "pages": pages.measure,
    "reading": reading.measure,
    "real_pages": reading.measure_real,
    "empty_pages": empty_pages.measure,
    "not_a_digit": not_a_digit.measure,
    "symbols": symbols.measure,
    "corruptions": corruptions.measure,
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(MEASURES)), metavar="[NAME]...")
@click.option(
    "--real-images",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder of images with labels.csv: file,label.",
)
@click.option(
    "--real-pages",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder of photographed pages with labels.csv: file,lines.",
)
@click.option(
    "--pen-strokes",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="pendigits-orig.tra of the UCI Machine Learning Repository.",
)
@click.option("--check", is_flag=True, help="Exit with 1 if a figure is worse than published by a standard error.")
@click.option("--publish", is_flag=True, help="Write the figures into models/figures.json and the model card.")
def main(
    names: tuple[str, ...],
    real_images: Path | None,
    real_pages: Path | None,
    pen_strokes: Path | None,
    check: bool,
    publish: bool,
) -> None:
    """Measure the accuracy of the served model by the benchmarks NAME..., default all whose data is available: mnist,
    real_images, pen_strokes, input_variations, simulated_photos, hard_photos, crops, marks, several, pages,
    reading, real_pages, empty_pages, not_a_digit, symbols, corruptions."""
    data = {"real_images": real_images, "real_pages": real_pages, "pen_strokes": pen_strokes}
    recognizer = Recognizer.from_settings(ModelSettings.from_environment())
    version = recognizer.classifier.version
    _, published = load()
    measured, worse = [], []
    click.echo(heading(version))
    for name in names or MEASURES:
        if name in data and data[name] is None:
            click.echo(f"skipped {name}: needs --{name.replace('_', '-')}", err=True)
            continue
        for figure in MEASURES[name](recognizer, *([data[name]] if name in data else [])):
            click.echo(figure.row())
            measured.append(figure)
            old = published.get(figure.name)
            if old is None or figure.is_worse(old):
                worse.append(
                    f"{figure.name}: {figure.value:.2%}; published: {f'{old.value:.2%}' if old else 'nothing'}"
                )
    if publish:
        publish_figures(version, measured)
    if check and worse:
        click.echo("\n".join(worse), err=True)
        sys.exit(1)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.accuracy")
