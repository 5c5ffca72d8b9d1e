from dataclasses import fields

from click.testing import CliRunner

from cli.settings import settings
from service.settings import Settings


def test_prints_each_setting_with_its_value_and_source() -> None:
    result = CliRunner().invoke(settings, [], env={"PORT": "9000", "DIGITS_WORKERS": ""})
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert "PORT=9000  (environment) port to listen on" in lines
    assert "DIGITS_PROVIDER=auto  (default) " in result.output
    assert len(lines) == len(fields(Settings))


def test_an_invalid_setting_is_an_error() -> None:
    result = CliRunner().invoke(settings, [], env={"DIGITS_PROVIDR": "cpu"})
    assert result.exit_code == 2
    assert result.output == "error: DIGITS_PROVIDR: no such setting; did you mean DIGITS_PROVIDER?\n"
