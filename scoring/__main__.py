"""`python -m scoring PATH... --output FILE`"""

import os
import sys
from collections import Counter
from pathlib import Path

import click
from tqdm import tqdm

from scoring.engine import score
from scoring.sinks import OutputError, open_sink
from scoring.sources import count_images, find_images
from service.classifier import Classifier, ModelError
from service.settings import Settings, SettingsError


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH...")
@click.option(
    "--output", required=True, metavar="FILE", help="FILE.csv or FILE.jsonl; - writes CSV to standard output."
)
@click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
def main(paths: tuple[Path, ...], output: str, overwrite: bool) -> None:
    """Read the digit in every image of files, folders (recursive) and IDX files.

    Writes a row an image: path, digit, confidence, reason, error. Exits with 1 if an image could not be decoded, with 2
    if the run could not be done. The model and its provider are set as for the service, by DIGITS_MODEL and
    DIGITS_PROVIDER.
    """
    try:
        for path in paths:
            if not os.path.lexists(path):  # a dangling link among many files costs one row, a mistyped name the run
                raise OutputError(f"{path}: expected a file or a folder; there is none of that name")
        settings = Settings.from_environment()
        classifier = Classifier.from_settings(settings)
        total = count_images(paths)
        if total == 0:
            raise OutputError(f"{', '.join(map(str, paths))}: expected images; found none")
        with open_sink(output, overwrite) as sink:
            counts: Counter[str] = Counter()
            for row in tqdm(score(find_images(paths), classifier), total=total, unit="image", disable=None):
                sink.write(row)
                counts["error" if row.error else "refused" if row.digit is None else "digit"] += 1
    except (OutputError, SettingsError, ModelError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    click.echo(
        f"{counts.total()} images: {counts['digit']} read, {counts['refused']} refused, {counts['error']} not decoded",
        err=True,
    )
    sys.exit(1 if counts["error"] else 0)


if __name__ == "__main__":
    main(prog_name="python -m scoring")
