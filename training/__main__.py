"""`python -m training`: describe, train, export and evaluate."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from training.describe import describe as described
from training.formula import FormulaError, parse

if TYPE_CHECKING:
    from training.datasets.mnist import Dataset

# PyTorch takes seconds to import and `describe` needs none of it, so each command imports what it uses.

RUN = Path("runs/digits")
MODELS = Path("models/digits")


class _Failure(click.ClickException):
    exit_code = 2


@click.group(context_settings={"max_content_width": 120})
def main() -> None:
    """Builds the CNN: from a formula to a trained network to an ONNX file."""


@main.command()
@click.argument("formula")
def describe(formula: str) -> None:
    """Print every layer's volume, parameters and cost for FORMULA."""
    try:
        click.echo(described(parse(formula)))
    except FormulaError as error:
        raise _Failure(str(error)) from error


@main.command()
@click.option("--formula", help="The network; the shipped model's unless given.")
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the data; the shipped model's unless given.")
@click.option(
    "--quick",
    is_flag=True,
    help="Train a smaller network for fewer epochs on the labelled images alone, which takes about a minute.",
)
@click.option(
    "--seed",
    "seeds",
    type=click.IntRange(min=0),
    multiple=True,
    default=[0, 1, 2],
    show_default=True,
    help="One run a seed; give it several times for several.",
)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="IDX files, or a folder with a sub-folder of images a digit; MNIST unless given.",
)
@click.option(
    "--from",
    "start",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An ONNX file of `export` to begin with. With --data it is adapted to those images, and the next version "
    "written beside it; without, it is trained on, with photographs of digits too, a run a seed.",
)
@click.option(
    "--teacher",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An ONNX file of `export` whose answers are learned beside the labels, on photographs of digits too.",
)
@click.option(
    "--strokes",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="pendigits-orig.tra of the UCI Machine Learning Repository, to train on its pen strokes too.",
)
@click.option(
    "--run",
    type=click.Path(file_okay=False, path_type=Path),
    default=RUN,
    show_default=True,
    help="Where the checkpoints go; an interrupted run there is gone on with.",
)
@click.pass_context
def train(
    context: click.Context,
    formula: str | None,
    epochs: int | None,
    quick: bool,
    seeds: tuple[int, ...],
    data: Path | None,
    start: Path | None,
    teacher: Path | None,
    strokes: Path | None,
    run: Path,
) -> None:
    """Train a network, on CUDA if there is a GPU and on the CPU if not."""
    if start and formula:
        raise click.UsageError("expected --formula or --from, whose formula is in its file; got both")
    if quick and (start or strokes or teacher):
        raise click.UsageError("expected --quick, which takes the labelled images alone; got another option for more")
    from training.datasets.mnist import MNIST, DataError, load_training, split
    from training.network import load_network
    from training.recipes import DISTILL, QUICK, RETRAIN, RETRAIN_DISTILL, SHIPPED
    from training.train import Run, default_device

    if start and data:
        _adapt(context, start, data)
        return
    try:
        recipe = QUICK if quick else DISTILL if teacher else SHIPPED
        if start:
            recipe = RETRAIN_DISTILL if teacher else RETRAIN
            formula = load_network(start)[0].formula
        recipe = replace(recipe, formula=formula or recipe.formula, epochs=epochs or recipe.epochs)
        parse(recipe.formula)  # before the images are made, which takes a minute, with photographs several
        images, validation = split(load_training(data or MNIST))
        if not quick:
            images = _with_made_images(images, start is not None or teacher is not None, strokes)
        for seed in seeds:
            one = Run(recipe, seed, images, validation, run / f"seed-{seed}", default_device(), start, teacher)
            one.train()
            accuracy = one.history[-1]["validation_accuracy"]
            click.echo(f"seed {seed}: {accuracy:.2%} of the validation part right; {one.checkpoint}")
    except (DataError, FormulaError) as error:
        raise _Failure(str(error)) from error


def _with_made_images(digits: "Dataset", photographed: bool, strokes: Path | None) -> "Dataset":
    from training.datasets.drawn import make_synthetic_digits
    from training.datasets.outliers import make_negatives
    from training.datasets.pen_strokes import load_strokes
    from training.datasets.photographed import simulate_photos_of_digits, simulate_photos_of_synthetic_digits
    from training.recipes import NEGATIVE_SHARE, PHOTO_SHARE, SYNTHETIC_PHOTO_SHARE, SYNTHETIC_SHARE

    images = digits
    if photographed:  # random weights and labels alone would need many more epochs for those
        images += simulate_photos_of_digits(digits, round(PHOTO_SHARE * len(digits)))
    images += make_synthetic_digits(round(SYNTHETIC_SHARE * len(digits)))
    if photographed:
        images += simulate_photos_of_synthetic_digits(round(SYNTHETIC_PHOTO_SHARE * len(digits)))
    images += make_negatives(digits, round(NEGATIVE_SHARE * len(digits)))
    if strokes:
        images += load_strokes(strokes)
    return images


def _adapt(context: click.Context, start: Path, data: Path) -> None:
    from digits.accuracy import share_right
    from digits.recognizer import Recognizer
    from training.datasets.mnist import DataError, load_test, load_training
    from training.evaluate import evaluate
    from training.export import ExportError
    from training.finetune import fine_tune, hold_out

    options = {"epochs": "epochs", "seeds": "seed", "teacher": "teacher", "strokes": "strokes", "run": "run"}
    for name, option in options.items():
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"expected --from and --data alone; got --{option} too")
    try:
        learned, held_back = hold_out(load_training(data))
        adapted = fine_tune(start, learned, start.parent.parent)
    except (DataError, ExportError) as error:
        raise _Failure(str(error)) from error
    for name, path in (("before", start), ("after", adapted)):
        for title, images in (("images held back", held_back), ("MNIST test set", load_test())):
            results = evaluate(Recognizer(path, "cpu"), images)
            click.echo(f"{name}: {title}: {share_right(results.correct, results.count)}")
    click.echo(f"wrote {adapted}")


@main.command()
@click.option(
    "--run",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=RUN,
    show_default=True,
    help="The checkpoints of `train`; the seed that validates best is exported.",
)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The data it was trained on; MNIST unless given.",
)
@click.option(
    "--models",
    type=click.Path(file_okay=False, path_type=Path),
    default=MODELS,
    show_default=True,
    help="Where <version>/model.onnx is written.",
)
@click.option(
    "--version", type=click.IntRange(min=1), help="The next free one unless given; an existing one is replaced."
)
def export(run: Path, data: Path | None, models: Path, version: int | None) -> None:
    """Write a trained network as an ONNX file, verified, graded on MNIST's test set."""
    from training.datasets.mnist import MNIST, DataError, load_test, load_training, split
    from training.export import ExportError, best_checkpoint, next_version
    from training.export import export as write_model

    try:
        _, validation = split(load_training(data or MNIST))
        checkpoint = best_checkpoint(run)
        click.echo(f"{checkpoint} validates best")
        path = write_model(checkpoint, validation, load_test(), models, version or next_version(models))
    except (DataError, ExportError) as error:
        raise _Failure(str(error)) from error
    click.echo(f"wrote {path}")


@main.command()
@click.argument("models", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="MODEL...")
def explain(models: tuple[Path, ...]) -> None:
    """Write explain.onnx beside each MODEL, as `export` does, so that the service can show its layers."""
    from digits.classifier import EXPLANATION
    from training.export import ExportError, write_explanation

    for model in models:
        try:
            write_explanation(model, model.with_name(EXPLANATION))
        except ExportError as error:
            raise _Failure(str(error)) from error
        click.echo(f"wrote {model.with_name(EXPLANATION)}")


@main.command()
@click.option(
    "--model", type=click.Path(dir_okay=False, path_type=Path), help="The ONNX file; the one served unless given."
)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="IDX files to grade it on, their test part; MNIST unless given.",
)
@click.option(
    "--report", type=click.Path(file_okay=False, path_type=Path), help="Draw the report's pictures into this folder."
)
def evaluate(model: Path | None, data: Path | None, report: Path | None) -> None:
    """Grade an ONNX file through the service's own classifier."""
    from digits.classifier import ModelError
    from digits.recognizer import Recognizer
    from digits.settings import ModelSettings, SettingsError
    from training.datasets.mnist import MNIST, DataError, load_test
    from training.evaluate import evaluate as grade

    try:
        settings = ModelSettings.from_environment()
        path = model or settings.model_path
        dataset = load_test(data or MNIST)
        results = grade(Recognizer(path, settings.provider), dataset)
        click.echo(f"{path}\n{results.summary()}")
        if report:
            from training.figures import write_report

            for written in write_report(path, dataset, results, report):
                click.echo(f"wrote {written}")
    except (DataError, ModelError, SettingsError) as error:
        raise _Failure(str(error)) from error


if __name__ == "__main__":
    main(prog_name="python -m training")
