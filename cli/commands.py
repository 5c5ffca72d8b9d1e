"""The subcommands of `digits`, each imported when it is run."""

from importlib import import_module
from typing import Any

import click

from cli.health import check_health
from digits import __version__

# Each subcommand's place, and its line in `digits --help`.
COMMANDS = {
    "predict": ("cli.predict:predict", "Print the digit in each image file."),
    "read": ("cli.read:read", "Print all digits on a page, line by line."),
    "serve": ("cli.serve:serve", "Serve digit recognition over HTTP."),
    "score": ("scoring.command:score", "Recognize the digits in folders, archives and datasets."),
    "train": ("training.commands:train", "Train a network."),
    "export": ("training.commands:export", "Write a trained network as an ONNX file."),
    "evaluate": ("training.commands:evaluate", "Measure a model's accuracy on a test set."),
    "describe": ("training.commands:describe", "Print the layers, parameters and cost of a network."),
    "explain": ("training.commands:explain", "Write a model's explain.onnx."),
    "finetune": ("training.commands:finetune", "Fine-tune a model on your own images."),
    "settings": ("cli.settings:settings", "Print every setting and its value."),
    "health": ("cli.commands:health", "Check that the service on this machine is ready."),
}
# The extra that brings a package which is not always installed.
EXTRAS = {"onnxruntime": "cpu", "torch": "training", "onnx": "training", "matplotlib": "training"}


class LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as click's own
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package == "training":  # the container has none
                raise click.UsageError("this installation does not include training") from error
            if package not in EXTRAS:
                raise
            raise click.UsageError(f"the package {package} is missing; pip install '.[{EXTRAS[package]}]'") from error


@click.group(cls=LazyGroup, context_settings={"max_content_width": 120})
@click.version_option(__version__)
def digits() -> None:
    """Recognize handwritten digits in images.

    \b
    Examples:
      digits predict photo.jpg                    the digit in one image
      digits serve                                an HTTP service on http://localhost:8000
      digits score scans/ --output digits.csv     a folder of any size

    DIGITS_MODEL selects the model, DIGITS_PROVIDER whether it runs on the CPU or with CUDA; `digits settings` lists
    all settings. `digits COMMAND --help` describes a command.

    Exit codes: 0 on success, 1 if an image could not be read or the service is not ready, 2 for usage errors and
    commands that could not run.
    """


@click.command()
def health() -> None:
    """Check that the service on this machine is ready to answer.

    Asks 127.0.0.1 at PORT, 8000 unless set, below the path SCRIPT_NAME if that is set.

    Exit codes: 0 if the service is ready, 1 if it is not ready within 3 seconds.
    """
    check_health()
