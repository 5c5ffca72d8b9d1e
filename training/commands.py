"""The subcommands of `digits` that make models, and the group of them that `python -m training` runs."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from training.describe import describe as table
from training.formula import FormulaError, parse

if TYPE_CHECKING:
    from training.datasets.mnist import Dataset

# PyTorch takes seconds to import and `describe` does not need it, so each command imports what it uses.

RUN = Path("runs/digits")
MODELS = Path("models/digits")
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


class _Failure(click.ClickException):
    exit_code = 2


@click.group(context_settings={"max_content_width": 120})
def main() -> None:
    """Make the CNN: from a formula to a trained network to an ONNX file."""


@main.command()
@click.argument("formula")
def describe(formula: str) -> None:
    """Print every layer's volume, parameters and cost for FORMULA.

    Exit codes: 0, or 2 if the formula is invalid.

    \b
    Example:
      digits describe "INPUT 28x28x1 -> CONV 5x5x6 -> RELU -> POOL 2x2 -> FC 10"
    """
    try:
        click.echo(table(parse(formula)))
    except FormulaError as error:
        raise _Failure(str(error)) from error


@main.command()
@click.option("--formula", help="The network.  [default: the shipped model's]")
@click.option(
    "--epochs", type=click.IntRange(min=1), help="Passes over the training set.  [default: the shipped model's]"
)
@click.option(
    "--quick",
    is_flag=True,
    help="Train a smaller network for fewer epochs on the labelled images only; takes about a minute.",
)
@click.option(
    "--seed",
    "seeds",
    type=click.IntRange(min=0),
    multiple=True,
    default=[0, 1, 2],
    show_default=True,
    help="Train once per seed; can be repeated.",
)
@click.option(
    "--data",
    type=FOLDER,
    help="IDX files, or a folder with one subfolder of images per digit, named 0 to 9.  [default: MNIST]",
)
@click.option(
    "--teacher",
    type=FILE,
    help="An ONNX file of `digits export` to distill.",
)
@click.option(
    "--run",
    type=click.Path(file_okay=False, path_type=Path),
    default=RUN,
    show_default=True,
    help="Folder of the checkpoints; an interrupted run in it resumes.",
)
def train(
    formula: str | None,
    epochs: int | None,
    quick: bool,
    seeds: tuple[int, ...],
    data: Path | None,
    teacher: Path | None,
    run: Path,
) -> None:
    """Train a network, with CUDA if there is a GPU, otherwise on the CPU.

    Generated images are added to the labelled ones and kept in the folder of the checkpoints.

    MNIST is part of the repository, not of an installed package; outside a checkout, use --data.

    Exit codes: 0, or 2 for usage errors and data that cannot be trained on.

    \b
    Examples:
      digits train --quick --seed 0
      digits train --data letters/ --run runs/mine
    """
    if quick and teacher:
        raise click.UsageError("expected --quick, which uses the labelled images only, or --teacher; got both")
    from digits.session import ModelError
    from digits.settings import SettingsError
    from training.datasets.mnist import MNIST, DataError, load_training, split
    from training.recipes import DISTILL, QUICK, SHIPPED
    from training.train import Run, default_device

    try:
        recipe = QUICK if quick else DISTILL if teacher else SHIPPED
        recipe = replace(recipe, formula=formula or recipe.formula, epochs=epochs or recipe.epochs)
        parse(recipe.formula)  # before the images are made, which takes minutes
        images, validation = split(load_training(data or MNIST))
        click.echo(f"checkpoints are written to {run.resolve()}, and an interrupted run there is resumed")
        if not quick:
            images += _generated(images, run / "images")
        for seed in seeds:
            one = Run(recipe, seed, images, validation, run / f"seed-{seed}", default_device(), teacher=teacher)
            one.train()
            accuracy = one.history[-1]["validation_accuracy"]
            click.echo(f"seed {seed}: validation accuracy {accuracy:.2%}; {one.checkpoint}")
    except (DataError, FormulaError, ModelError, SettingsError) as error:
        raise _Failure(str(error)) from error


def _generated(digits: "Dataset", directory: Path) -> "Dataset":
    from digits.system import usable_cores
    from training.datasets.generated import Sources, generate, numbers_for
    from training.datasets.pen_strokes import PEN_STROKES, TRAINING_WRITERS, load_pen_digits
    from training.served import served_finder

    # An installed package has no pen strokes.
    pen_digits = load_pen_digits(PEN_STROKES, TRAINING_WRITERS) if PEN_STROKES.exists() else []
    sources = Sources(digits, pen_digits, served_finder().file)
    return generate(numbers_for(sources), sources, directory, usable_cores())


@main.command()
@click.argument("model", type=FILE)
@click.option(
    "--data",
    type=FOLDER,
    required=True,
    help="A folder with one subfolder of images per digit, named 0 to 9, or IDX files.",
)
def finetune(model: Path, data: Path) -> None:
    """Fine-tune MODEL, an ONNX file of `digits export`, on the images of one writer or camera.

    Writes the next version next to MODEL's and prints the accuracy before and after, on a quarter of the images, which
    is held out, and on MNIST. MNIST is mixed into the training set, so this runs in a checkout only.

    Exit codes: 0, or 2 for usage errors and data that cannot be trained on.

    \b
    Example:
      digits finetune models/digits/4/model.onnx --data corrections/
    """
    _fine_tune(model, data)


def _fine_tune(start: Path, data: Path) -> None:
    from digits.accuracy import accuracy_text
    from digits.finder import Finder
    from digits.recognizer import Recognizer
    from digits.session import ModelError
    from training.datasets.mnist import DataError, load_test, load_training
    from training.evaluate import evaluate
    from training.export import ExportError
    from training.finetune import fine_tune, hold_out
    from training.network import load_network

    try:
        load_network(start)  # before the images are preprocessed, which takes longer
        finder = Finder.next_to(start)
        learned, held_out = hold_out(load_training(data, finder))
        tuned = fine_tune(start, learned, start.parent.parent)
    except (DataError, ExportError, ModelError) as error:
        raise _Failure(str(error)) from error
    for name, path in (("before", start), ("after", tuned)):
        for title, images in (("images held out", held_out), ("MNIST test set", load_test())):
            results = evaluate(Recognizer(path, "cpu"), images)
            click.echo(f"{name}: {title}: {accuracy_text(results.correct, results.count)}")
    click.echo(f"wrote {tuned}")


@main.command()
@click.option(
    "--run",
    type=FOLDER,
    default=RUN,
    show_default=True,
    help="Folder of the checkpoints of `digits train`; the seed with the best validation accuracy is exported.",
)
@click.option("--data", type=FOLDER, help="The data it was trained on.  [default: MNIST]")
@click.option(
    "--models",
    type=click.Path(file_okay=False, path_type=Path),
    default=MODELS,
    show_default=True,
    help="Where <version>/model.onnx is written.",
)
@click.option("--version", type=click.IntRange(min=1), help="An existing version is replaced.  [default: the next]")
def export(run: Path, data: Path | None, models: Path, version: int | None) -> None:
    """Write a trained network as an ONNX file, verified, with its accuracy on MNIST's test set if that is at hand.

    Also writes explain.onnx, and config.pbtxt for Triton Inference Server.

    Exit codes: 0, or 2 for usage errors and networks that cannot be exported.

    \b
    Examples:
      digits export
      digits export --run runs/mine --data letters/ --models models/mine
    """
    from digits.session import ModelError
    from digits.settings import SettingsError
    from training.datasets.mnist import MNIST, DataError, load_test, load_training, split
    from training.export import ExportError, best_checkpoint, next_version
    from training.export import export as write_model
    from training.served import served_finder

    try:
        _, validation = split(load_training(data or MNIST))
        checkpoint = best_checkpoint(run)
        click.echo(f"{checkpoint} has the best validation accuracy")
        test = load_test() if MNIST.is_dir() else None
        path = write_model(checkpoint, validation, test, models, version or next_version(models), served_finder().file)
    except (DataError, ExportError, ModelError, SettingsError) as error:
        raise _Failure(str(error)) from error
    click.echo(f"wrote {path}; to serve it: DIGITS_MODEL={models} digits serve")


@main.command()
@click.argument("models", nargs=-1, required=True, type=FILE, metavar="MODEL...")
def explain(models: tuple[Path, ...]) -> None:
    """Write explain.onnx next to each MODEL, from which the service shows the activations.

    `digits export` does this too; this is for models of other versions.

    Exit codes: 0, or 2 if MODEL is not an ONNX file of `digits export`.

    \b
    Example:
      digits explain models/digits/4/model.onnx
    """
    from digits.version import EXPLANATION
    from training.export import ExportError, write_explanation

    for model in models:
        try:
            write_explanation(model, model.with_name(EXPLANATION))
        except ExportError as error:
            raise _Failure(str(error)) from error
        click.echo(f"wrote {model.with_name(EXPLANATION)}")


@main.command()
@click.option(
    "--model", type=click.Path(dir_okay=False, path_type=Path), help="The ONNX file.  [default: the one served]"
)
@click.option("--data", type=FOLDER, help="IDX files, whose test set is used.  [default: MNIST]")
@click.option(
    "--report",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also draw the report's figures into this folder.",
)
def evaluate(model: Path | None, data: Path | None, report: Path | None) -> None:
    """Measure a model's accuracy on a test set, through the pipeline that serves it.

    Exit codes: 0, or 2 for usage errors, and a model or data that cannot be loaded.

    \b
    Examples:
      digits evaluate
      digits evaluate --model models/digits/4/model.onnx --report report/
    """
    from digits.recognizer import Recognizer
    from digits.session import ModelError
    from digits.settings import ModelSettings, SettingsError
    from training.datasets.mnist import MNIST, DataError, load_test
    from training.evaluate import evaluate as measure

    if report:
        from training.figures import write_report  # before the work, since Matplotlib may be missing

    try:
        settings = ModelSettings.from_environment()
        path = model or settings.model_path
        dataset = load_test(data or MNIST)
        results = measure(Recognizer(path, settings.provider), dataset)
        click.echo(f"{path}\n{results.summary()}")
        if report:
            for written in write_report(path, dataset, results, report):
                click.echo(f"wrote {written}")
    except (DataError, ModelError, SettingsError) as error:
        raise _Failure(str(error)) from error
