"""`digits settings`"""

import sys
from dataclasses import fields

import click

from digits.settings import SettingsError
from service.settings import Settings


@click.command()
def settings() -> None:
    """Print every setting and its value.

    Settings are environment variables; each line shows the value, its source and the meaning.

    Exit codes: 0 if the settings are valid, 2 if one is not.

    \b
    Example:
      PORT=9000 digits settings
    """
    try:
        current = Settings.from_environment()
    except SettingsError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    for field in fields(Settings):
        value = getattr(current, field.name)
        source = "default" if value == field.default else "environment"
        text = "" if value is None else value
        click.echo(f"{field.metadata['variable']}={text}  ({source}) {field.metadata['help']}")
