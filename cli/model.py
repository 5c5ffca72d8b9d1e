"""The model that the settings select."""

import sys
from typing import TYPE_CHECKING

import click

from digits.settings import ModelSettings, SettingsError

if TYPE_CHECKING:
    from digits.recognizer import Recognizer


def load_recognizer() -> "Recognizer":
    """The recognizer; prints why it cannot be loaded and exits with 2."""
    from digits.recognizer import Recognizer
    from digits.session import ModelError  # here, so that --help does not load ONNX Runtime

    try:
        return Recognizer.from_settings(ModelSettings.from_environment())
    except (ModelError, SettingsError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
