"""`digits read`"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from cli.model import load_recognizer


@click.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print lines, digits and model as `POST /read` does.")
def read(image: Path, as_json: bool) -> None:
    """Print all digits on a page, line by line.

    A digit that is uncertain is printed as `?`; a wide gap between two numbers as a blank. Nothing is printed if IMAGE
    shows no digit.

    Uses the model and thresholds of the settings DIGITS_MODEL, DIGITS_PROVIDER, DIGITS_MINIMUM_IS_DIGIT and
    DIGITS_MINIMUM_CONFIDENCE.

    Exit codes: 0 if the image was read, also without a digit; 1 if it could not be read or decoded; 2 for usage errors
    or a model that cannot be loaded.

    \b
    Examples:
      digits read page.jpg
      digits read --json page.jpg
    """
    from digits.decode import MAXIMUM_FILE_BYTES, ImageError  # here, so that --help does not load Pillow

    recognizer = load_recognizer()
    try:
        with image.open("rb") as file:
            reading = recognizer.read(file.read(MAXIMUM_FILE_BYTES + 1))
    except (OSError, ImageError) as error:
        problem = error.strerror if isinstance(error, OSError) else error
        click.echo(f"error: {click.format_filename(image)}: {problem}", err=True)
        sys.exit(1)
    if as_json:
        click.echo(json.dumps({**asdict(reading), "model": recognizer.model}))
    else:
        for line in reading.lines:
            click.echo(line)
