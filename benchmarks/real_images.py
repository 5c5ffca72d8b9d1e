"""Grades the model on a folder of real images: `python -m benchmarks.real_images FOLDER`.

The folder holds `labels.csv` with the columns file, label and, if you like, source. The images go through the service's
own code, as if they had been posted.
"""

import csv
import sys
from collections import defaultdict
from pathlib import Path

import click

from service.classifier import Classifier, Prediction
from service.settings import Settings
from training.evaluate import share_right


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--require", type=float, default=0.0, help="Exit with 1 if fewer than this part are right.")
def main(folder: Path, require: float) -> None:
    settings = Settings.from_environment()
    classifier = Classifier(settings.model_path, settings.provider)
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    results = [classifier.read([(folder / row["file"]).read_bytes()])[0] for row in rows]
    right_of: dict[str, list[bool]] = defaultdict(list)
    for row, result in zip(rows, results, strict=True):
        right = isinstance(result, Prediction) and result.digit == int(row["label"])
        right_of[Path(row["file"]).parts[0]].append(right)
        if not right:
            read = (
                f"read as {result.digit} ({result.confidence:.3f})"
                if isinstance(result, Prediction)
                else f"not read: {result}"
            )
            click.echo(f"{row['file']}: {row['label']} {read}")
    for name, rights in right_of.items():
        click.echo(f"{name:<12} {sum(rights):>4} of {len(rights)}")
    correct, count = sum(sum(rights) for rights in right_of.values()), len(rows)
    click.echo(f"{share_right(correct, count)}, model {classifier.model['version']}")
    sys.exit(correct / count < require)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.real_images")
