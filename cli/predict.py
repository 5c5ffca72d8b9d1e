"""`digits predict`"""

import json
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.model import load_recognizer

if TYPE_CHECKING:
    from digits.recognizer import Prediction, Recognizer


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE...")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON object per image: path, digit, confidence, probabilities, reason, error and model.",
)
def predict(images: tuple[Path, ...], as_json: bool) -> None:
    """Print the digit in each IMAGE, one line per image.

    For one image, prints the digit; for several, `PATH: DIGIT`. If no digit is recognized, prints `none` and the
    reason: blank, several digits, not a digit or uncertain. Errors go to standard error, or into the JSON object with
    --json. Folders and large archives are read by `digits score`.

    Uses the model and thresholds of the settings DIGITS_MODEL, DIGITS_PROVIDER, DIGITS_MINIMUM_IS_DIGIT and
    DIGITS_MINIMUM_CONFIDENCE.

    Exit codes: 0 if every image was read, also without a digit; 1 if a file could not be read or decoded; 2 for usage
    errors or a model that cannot be loaded.

    \b
    Examples:
      digits predict photo.jpg
      digits predict *.png
      digits predict --json photo.jpg
    """
    from digits.recognizer import Prediction  # here, so that --help does not load ONNX Runtime

    recognizer = load_recognizer()
    failed = False
    for path in images:
        result, problem = _recognize(recognizer, path)
        failed |= result is None
        name = click.format_filename(path)
        if as_json:
            values = asdict(result) if result else dict.fromkeys(field.name for field in fields(Prediction))
            click.echo(json.dumps({"path": str(path), **values, "error": problem, "model": recognizer.model}))
        elif result is None:
            click.echo(f"error: {name}: {problem}", err=True)
        else:
            digit = f"none ({result.reason})" if result.digit is None else str(result.digit)
            click.echo(f"{name}: {digit}" if len(images) > 1 else digit)
    sys.exit(failed)


def _recognize(recognizer: "Recognizer", path: Path) -> tuple["Prediction | None", str | None]:
    """The prediction for a file, or why the file could not be read or decoded."""
    from digits.decode import MAXIMUM_FILE_BYTES, ImageError

    try:
        with path.open("rb") as file:
            [result] = recognizer.recognize([file.read(MAXIMUM_FILE_BYTES + 1)])
    except OSError as error:
        return None, error.strerror
    return (None, str(result)) if isinstance(result, ImageError) else (result, None)
