"""`python -m scoring PATH... --output FILE`"""

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from scoring.errors import ScoringError
from scoring.files import check_paths
from scoring.labels import read_labels
from scoring.local import LocalEngine
from scoring.outputs import check_output, is_finished, read_rows
from scoring.report import check_report, write_report
from scoring.rows import ERROR
from scoring.run import Summary, score_to_descriptor, score_to_file
from scoring.survey import Survey
from service.settings import Settings, SettingsError

STANDARD_OUTPUT = "-"


class Interrupted(BaseException):
    """A signal asked to end; its number."""


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--output", required=True, metavar="FILE", help="FILE.csv, .jsonl or .parquet; - writes CSV to standard output."
)
@click.option("--overwrite", is_flag=True, help="Begin anew, and replace FILE.")
@click.option(
    "--report", type=click.Path(path_type=Path), metavar="FILE.html", help="Make a page with counts and pictures too."
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Grade by labels: CSV with path,label; an IDX file of labels; Parquet with a column label.",
)
def main(paths: tuple[str, ...], output: str, overwrite: bool, report: Path | None, labels: Path | None) -> None:
    """Read the digit in every image of files, folders (of any depth), quoted globs, IDX and Parquet files.

    Writes a row an image: path, digit, confidence, reason, error, and which model it was. Ended at any moment and
    started again, it goes on where it was. The model and its provider are set as for the service, by DIGITS_MODEL and
    DIGITS_PROVIDER.

    Exits with 0 when every image was decoded, with 1 when one could not be, with 2 when the run could not be done.
    """
    summary = Summary()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        _run(paths, output, overwrite, summary, report, labels)
    except (ScoringError, SettingsError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except Interrupted as interruption:
        go_on = "" if output == STANDARD_OUTPUT else "; the same command goes on from here"
        click.echo(f"interrupted{go_on}\n{summary}", err=True)
        sys.exit(128 + interruption.args[0])
    sys.exit(1 if summary.outcomes[ERROR] else 0)


def _run(
    paths: tuple[str, ...], output: str, overwrite: bool, summary: Summary, report: Path | None, labels: Path | None
) -> None:
    check_paths(paths)
    engine = LocalEngine(Settings.from_environment())
    if output == STANDARD_OUTPUT:
        if report or labels:
            raise ScoringError("--output: expected a file, from which --report and --labels tell; got -")
        score_to_descriptor(paths, sys.stdout.fileno(), engine, summary)
        click.echo(summary, err=True)
        return
    file = Path(output)
    check_output(file)
    if report:
        check_report(report)
    known = read_labels(labels, paths) if labels else None
    if not overwrite and is_finished(file):
        nothing = "" if report or known else "; nothing to do"
        click.echo(f"{file}: finished already{nothing} (--overwrite begins anew)", err=True)
    else:
        score_to_file(paths, file, engine, summary, overwrite)
        click.echo(summary, err=True)
    if report or known:
        survey = Survey(read_rows(file), known)
        if survey.grades:
            click.echo(survey.grades, err=True)
        if report:
            write_report(report, survey, paths, file, labels)


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    raise Interrupted(number)


if __name__ == "__main__":
    main(prog_name="python -m scoring")
