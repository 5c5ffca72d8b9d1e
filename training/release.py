"""Makes everything that ships, from random weights and the data in this repository: `make train`.

Every stage has a folder. It is skipped if its results are there and nothing that decides them has changed since: its
recipe, its code, the stages before it. An interrupted stage resumes.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np

from digits.accuracy import accuracy_text
from digits.classifier import Classifier
from digits.session import ModelFile
from digits.system import usable_cores
from digits.version import FINDER
from training.datasets.generated import Sources, generate
from training.datasets.mnist import DataError, load_test, load_training, split
from training.datasets.pen_strokes import PEN_STROKES, TRAINING_WRITERS, load_pen_digits
from training.export import ExportError, best_checkpoint, export
from training.finder.export import export as export_finder
from training.finder.pages import make_pages
from training.finder.train import Recipe as FinderRecipe
from training.finder.train import train as train_finder
from training.recipes import GENERATED, SHIPPED, VERSION, Recipe
from training.train import Run, default_device

ROOT = Path(__file__).resolve().parents[1]
RUN, MODELS = Path("runs/release"), Path("models/digits")
# The code that decides a stage's results, besides the code of the stages before it.
CODE = {
    "pages": ("training/datasets/*.py", "training/finder/[!ent]*.py"),  # all but export, network and train
    "finder": ("training/finder/*.py",),
    "images": ("digits/preprocess.py", "digits/finder.py"),
    "seed": ("training/augment.py", "training/formula.py", "training/network.py", "training/train.py"),
}


@dataclass(frozen=True)
class Plan:
    """How much is made of everything; the defaults are what ships."""

    pages: int = 90_000  # to train the finder on
    validation_pages: int = 3_000
    finder: FinderRecipe = FinderRecipe()
    images: dict[str, int] = field(default_factory=lambda: GENERATED)  # how many of each kind are tried
    classifier: Recipe = SHIPPED
    seeds: int = 1  # networks; the one that validates best is exported


class Stages:
    """The stages' folders in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.keys: list[str] = []

    def run(self, name: str, recipe: Any, make: Callable[[Path], object]) -> Path:  # noqa: ANN401 - anything in JSON
        """Makes a stage in its folder, or resumes it; returns the folder."""
        folder = self.directory / name
        code = [path for pattern in CODE[name.partition("-")[0]] for path in sorted(ROOT.glob(pattern))]
        hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in code]
        key = hashlib.sha256(json.dumps([recipe, hashes, self.keys]).encode()).hexdigest()
        self.keys.append(key)
        begun, done = folder / "begun", folder / "done"
        if not begun.exists() or begun.read_text() != key:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            _write(begun, key)
        if done.exists():
            click.echo(f"{name}: made before, {done.read_text()}")
            return folder
        started = time.monotonic()
        make(folder)
        _write(done, f"{(time.monotonic() - started) / 60:.1f} minutes")
        click.echo(f"{name}: {done.read_text()}")
        return folder


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    os.replace(partial, path)  # a kill leaves a whole file or none


def make_everything(plan: Plan, directory: Path, models: Path, version: int) -> Path:
    """Writes all files of `models/<version>`; returns model.onnx. Raises DataError and ExportError."""
    stages, processes = Stages(directory), usable_cores()
    digits, validation = split(load_training())
    pages = stages.run(
        "pages",
        [plan.pages, plan.validation_pages],
        lambda folder: make_pages(folder, plan.pages, plan.validation_pages, processes),
    )
    found = stages.run(
        "finder",
        asdict(plan.finder),
        lambda folder: export_finder(train_finder(pages, folder, recipe=plan.finder), folder / FINDER),
    )
    finder = ModelFile.read(found / FINDER)
    sources = Sources(digits, load_pen_digits(PEN_STROKES, TRAINING_WRITERS), finder)
    images = stages.run(
        "images", plan.images, lambda folder: generate(plan.images, sources, folder / "files", processes)
    )
    data = digits + generate(plan.images, sources, images / "files")
    for seed in range(plan.seeds):

        def train(folder: Path, seed: int = seed) -> None:
            Run(plan.classifier, seed, data, validation, folder, default_device()).train()

        stages.run(f"seed-{seed}", asdict(plan.classifier), train)
    test, accuracies = load_test(), []
    for seed in range(plan.seeds):
        checkpoint = directory / f"seed-{seed}" / "checkpoint.pt"
        metadata = Classifier(export(checkpoint, validation, test, directory / "seeds", seed, finder), "cpu").metadata
        correct, count = int(metadata["test_correct"]), int(metadata["test_images"])
        click.echo(f"seed {seed}: MNIST test set: {accuracy_text(correct, count)}")
        accuracies.append(correct / count)
    best = best_checkpoint(directory)
    click.echo(f"mean: {np.mean(accuracies):.2%}; {best.parent.name} validates best and is exported")
    return export(best, validation, test, models, version, finder)


@click.command()
@click.option("--seeds", type=click.IntRange(min=1), default=Plan.seeds, show_default=True)
def main(seeds: int) -> None:
    """Make everything that ships in models/digits. Re-run the same command to resume."""
    try:
        path = make_everything(Plan(seeds=seeds), RUN, MODELS, VERSION)
    except (DataError, ExportError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"wrote {path.parent}")


if __name__ == "__main__":
    main(prog_name="python -m training.release")
