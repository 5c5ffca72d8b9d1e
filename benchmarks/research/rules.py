"""Ablation of the preprocessing rules: `python -m benchmarks.research.rules FOLDER`.

Disables one rule at a time and counts the correct images by source: the real images of FOLDER by sub-folder (see
benchmarks/accuracy/real_images.py) and renderings of MNIST's training digits.
"""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import numpy as np
from PIL import Image

from benchmarks.accuracy import input_variations, not_a_digit, simulated_photos
from benchmarks.accuracy.input_variations import enlarged, file_of
from digits import decode, ink, preprocess
from digits.recognizer import Prediction, Recognizer
from digits.settings import ModelSettings
from training.datasets.mnist import load_training
from training.datasets.photographed import ENLARGED, simulate_photo

# Values that disable a rule.
NEVER, ALWAYS = float("inf"), 0.0
# Simulated training photos per rendering of a kind.
PHOTOS = 20
OFF: dict[str, list[tuple[Any, str, Any]]] = {
    "grey by a colour difference": [(decode, "COLOUR_ADVANTAGE", NEVER)],
    "strokes thickened": [(preprocess, "MINIMUM_STROKE", 0)],
    "looked for in a smaller image first": [(ink, "FIRST_SIZE", ink.WORKING_SIZE)],
    "paper of one shade": [(ink, "FLAT_SHARE", NEVER)],
    "paper of one shade assumed": [(ink, "FLAT_SHARE", ALWAYS)],
    "polarity by more than one window": [(ink, "POLARITY_WINDOWS", (0.16,))],
    "contrast relative to the paper": [(ink, "DARKEST_PAPER", 255)],
    "readings by narrower windows": [(ink, "PAPER_WINDOWS", (0.22,))],
    "no narrower windows where the digit is alone": [(ink, "ALONE", NEVER)],
    "narrower windows not in small images": [(ink, "NARROWEST_WINDOW", 0)],
    "soft edges are no ink": [(ink, "SOFTEST", ALWAYS)],
    "even ink is likelier": [(ink, "EVEN_INK", 1e9)],
    "slopes at the frame are no ink": [(ink, "SLOPE_INSIDE", ALWAYS)],
    "ink at the frame is unlikely the digit": [(ink, "FRAME_PENALTY", 1)],
    "cut by the frame is not joined to it": [(ink, "FRAME_CONTACT", ALWAYS)],
    "weak ink joined to strong": [(ink, "WEAK_SHARES", (1.0, 1.4))],
    "joined to the frame: stricter thresholds": [(ink, "WEAK_SHARES", (0.5,))],
    "joined to the frame: without rules": [(ink, "_without_rules", lambda image: image)],
    "second strokes": [(ink, "PART_MASS", NEVER)],
    "sheets and boxes looked into": [(ink, "RECTANGULAR", NEVER)],
    "boxes looked into": [(ink, "BOXED_HEIGHT", NEVER)],
    "several digits": [(ink, "OTHER_MASS", NEVER), (ink, "BROADEST", NEVER)],
    "specks and nets are no digit": [(ink, "DIGIT_SHARE", ALWAYS), (ink, "MOST_HOLES", NEVER)],
    "noise is no ink": [(ink, "PEAK_NOISE", ALWAYS), (ink, "CERTAIN_NOISE", ALWAYS), (ink, "FLOOR_NOISE", ALWAYS)],
}

Source = Callable[[Recognizer], int]


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--count", default=25, show_default=True, help="Renderings of each kind.")
def main(folder: Path, count: int) -> None:
    """Print the correct images of each source with all rules, and the change without each."""
    recognizer = Recognizer.from_settings(ModelSettings.from_environment())
    sources = real_sources(folder) | rendered_sources(count)
    click.echo("| without | " + " | ".join(f"{name} ({len(images)})" for name, images in sources.items()) + " |")
    click.echo("|---" * (len(sources) + 1) + "|")
    before = [count_correct(recognizer, images) for images in sources.values()]
    click.echo(f"| (all rules) | {' | '.join(str(count) for count in before)} |")
    for name, places in OFF.items():
        patches = [patch.object(*place) for place in places]
        for one in patches:
            one.start()
        after = [count_correct(recognizer, images) for images in sources.values()]
        for one in patches:
            one.stop()
        changes = (f"{one - other:+d}" if one != other else "" for one, other in zip(after, before, strict=True))
        click.echo(f"| {name} | {' | '.join(changes)} |")


# Image files with the correct digit, or None.
Images = list[tuple[bytes, int | None]]


def real_sources(folder: Path) -> dict[str, Images]:
    """The real images by sub-folder."""
    sources: dict[str, Images] = {}
    with (folder / "labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            image = (folder / row["file"]).read_bytes()
            sources.setdefault(row["file"].rpartition("/")[0], []).append((image, int(row["label"])))
    return sources


def rendered_sources(count: int) -> dict[str, Images]:
    """Renderings of MNIST's training digits, and images without a digit, `count` of each kind."""
    data = load_training()
    chosen = np.linspace(0, len(data) - 1, count).astype(int)
    sources: dict[str, Images] = {}
    for title, kinds in (
        ("input variations", input_variations.KINDS),
        ("simulated photos", simulated_photos.KINDS),
    ):
        random = np.random.default_rng(0)
        sources[title] = [
            (render(data.images[one], random), int(data.labels[one])) for render in kinds.values() for one in chosen
        ]
    random = np.random.default_rng(0)
    some = np.linspace(0, len(data) - 1, PHOTOS * count).astype(int)
    sources["simulated training photos"] = [
        (file_of(Image.fromarray(simulate_photo(ink, random))), int(label))
        for label, ink in zip(
            data.labels[some],
            (np.asarray(enlarged(image, ENLARGED)) for image in data.images[some]),
            strict=True,
        )
    ]
    random = np.random.default_rng(0)
    for name, draw in not_a_digit.generated_sets(data.images).items():
        sources[name] = [(file_of(Image.fromarray(draw[0](random))), None) for _ in range(count)]
    return sources


def count_correct(recognizer: Recognizer, images: Images) -> int:
    """The number of images read correctly, or rejected if there is no digit."""
    answers = recognizer.recognize([image for image, _ in images])
    return sum(
        isinstance(answer, Prediction) and answer.digit == digit
        for answer, (_, digit) in zip(answers, images, strict=True)
    )


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.research.rules")
