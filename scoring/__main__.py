"""`python -m scoring PATH... --output FILE`"""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from digits.settings import ModelSettings, SettingsError
from scoring.engines import Engine
from scoring.errors import ScoringError
from scoring.extras import ray_engine
from scoring.inputs.paths import check_paths
from scoring.outputs import check_output, count_finished, read_rows
from scoring.rows import ERROR
from scoring.run import Summary, score_to_descriptor, score_to_file

STANDARD_OUTPUT, STANDARD_OUTPUT_DESCRIPTOR = "-", 1
# Requests at a time that keep a service on two cores busy.
CONCURRENCY = 8


class Interrupted(BaseException):
    """A signal asked to end; its number."""


@dataclass(frozen=True)
class Options:
    """What is asked for on the command line."""

    paths: tuple[str, ...]
    output: str
    overwrite: bool
    report: Path | None
    labels: Path | None
    url: str | None
    concurrency: int | None
    engine: str
    address: str | None


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--output",
    required=True,
    metavar="FILE",
    help="FILE.csv, .jsonl or .parquet; - writes CSV to standard output. With --engine ray a folder.",
)
@click.option("--overwrite", is_flag=True, help="Begin anew; what is there of FILE is replaced in the end.")
@click.option(
    "--report", type=click.Path(path_type=Path), metavar="FILE.html", help="Make a page with counts and pictures too."
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Grade by labels: CSV with path,label; an IDX file of labels; Parquet with a column label.",
)
@click.option("--url", help="Ask the service that runs there, such as http://localhost:8000, and decode nothing here.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 256),
    metavar="N",
    help=f"With --url, requests at a time; {CONCURRENCY} unless given.",
)
@click.option(
    "--engine", type=click.Choice(("local", "ray")), default="local", help="Processes here, or a Ray cluster."
)
@click.option("--address", help="Of the Ray cluster: auto, or HOST:PORT; without it, Ray on this machine.")
def main(**options: Any) -> None:  # noqa: ANN401 - Options' fields
    """Read the digit in every image of files, folders (of any depth), quoted globs, IDX and Parquet files.

    Writes a row an image: path, digit, confidence, reason, error, and which model it was. Ended at any moment and
    started again, it goes on where it was. The model and its provider are set as for the service, by DIGITS_MODEL and
    DIGITS_PROVIDER; with --url they are the service's.

    Exits with 0 when every image was decoded or the output was finished already, with 1 when an image could not be
    decoded, with 2 when the run could not be done, with 130 or 143 when it was interrupted.
    """
    _fill_standard_streams()
    asked, summary = Options(**options), Summary()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        check_paths(asked.paths)
        if asked.engine == "ray":
            _to_folder(asked, summary)
        elif asked.address is not None:
            raise ScoringError("--address: expected it with --engine ray only")
        elif asked.output == STANDARD_OUTPUT:
            _to_standard_output(asked, summary)
        else:
            _to_file(asked, Path(asked.output), summary)
    except (ScoringError, SettingsError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except Interrupted as interruption:
        click.echo(f"interrupted{_how_to_go_on(asked)}\n{summary}", err=True)
        sys.exit(128 + interruption.args[0])
    except BrokenPipeError:  # whoever read it has enough
        sys.exit(2)
    except Exception:  # a fault of ours must not look like that of an image
        traceback.print_exc()
        sys.exit(2)
    sys.exit(1 if summary.outcomes[ERROR] else 0)


def _fill_standard_streams() -> None:
    """Where one was closed, what is opened next would be taken for it by whatever writes there, other processes too."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # as the lowest that is free


def _how_to_go_on(asked: Options) -> str:
    if asked.output == STANDARD_OUTPUT:
        return ""
    return f"; the same command{' without --overwrite' * asked.overwrite} goes on from here"


def _engine(asked: Options) -> Engine:
    """Imports only what it takes: ONNX Runtime here, or an HTTP client."""
    if asked.url is None:
        if asked.concurrency:
            raise ScoringError("--concurrency: expected --url beside it; got none")
        from scoring.engines.local import LocalEngine

        return LocalEngine(ModelSettings.from_environment())
    from scoring.engines.remote import RemoteEngine

    return RemoteEngine(asked.url, asked.concurrency or CONCURRENCY)


def _to_standard_output(asked: Options, summary: Summary) -> None:
    if asked.report or asked.labels:
        raise ScoringError("--output: expected a file, from which --report and --labels tell; got -")
    if sys.stdout is None:
        raise ScoringError("standard output: expected to be able to write it; it is closed")
    score_to_descriptor(asked.paths, STANDARD_OUTPUT_DESCRIPTOR, _engine(asked), summary)
    click.echo(summary, err=True)


def _to_file(asked: Options, output: Path, summary: Summary) -> None:
    check_output(output)
    examine = _examiner(asked, output) if asked.report or asked.labels else None
    if not asked.overwrite and (rows := count_finished(output)):
        models = ", ".join(f"{count:,} rows of the model {' '.join(model)}" for model, count in rows.items())
        click.echo(f"{output}: finished already, with {models}; --overwrite begins anew", err=True)
    else:
        score_to_file(asked.paths, output, _engine(asked), summary, asked.overwrite)
        click.echo(summary, err=True)
    if examine:
        examine()


def _examiner(asked: Options, output: Path) -> Callable[[], None]:
    """Checks what is asked for beyond the output, and gives what does it when that is finished. Raises ScoringError."""
    from scoring.inputs.labels import read_labels
    from scoring.report.page import check_report, write_report
    from scoring.report.summary import OutputSummary

    if asked.report:
        check_report(asked.report)
    labels = read_labels(asked.labels, asked.paths) if asked.labels else None

    def examine() -> None:
        summary = OutputSummary(read_rows(output), labels)
        if summary.grades:
            click.echo(summary.grades, err=True)
        if asked.report:
            write_report(asked.report, summary, asked.paths, output, asked.labels)

    return examine


def _to_folder(asked: Options, summary: Summary) -> None:
    if asked.report or asked.labels or asked.url or asked.concurrency:
        raise ScoringError("--engine ray: expected it without --report, --labels, --url and --concurrency")
    ray = ray_engine()
    engine = ray.RayEngine(ModelSettings.from_environment(), asked.paths, asked.address)
    if ray.score_to_folder(asked.paths, asked.output, engine, summary, asked.overwrite):
        click.echo(summary, err=True)
    else:
        click.echo(f"{asked.output}: finished already; nothing to do (--overwrite begins anew)", err=True)


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    for again in (signal.SIGINT, signal.SIGTERM):
        signal.signal(again, signal.SIG_IGN)  # it is ending
    raise Interrupted(number)


if __name__ == "__main__":
    main(prog_name="python -m scoring")
