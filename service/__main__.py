"""`python -m service settings`; gunicorn, not this, starts the service."""

import sys
from dataclasses import fields

import click

from digits.settings import SettingsError
from service.settings import Settings


@click.group()
def main() -> None:
    """What there is to know of the service without starting it."""


@main.command("settings")
def show_settings() -> None:
    """Print every setting with its value and where that comes from; exit with 2 if one is wrong."""
    try:
        settings = Settings.from_environment()
    except SettingsError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    for field in fields(Settings):
        value = getattr(settings, field.name)
        source = "default" if value == field.default else "environment"
        text = "" if value is None else value
        click.echo(f"{field.metadata['variable']}={text}  ({source}) {field.metadata['help']}")


if __name__ == "__main__":
    main(prog_name="python -m service")
