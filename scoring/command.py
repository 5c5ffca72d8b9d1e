"""`digits score`"""

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
from scoring.extras import local_engine, ray_engine
from scoring.inputs.paths import check_paths
from scoring.outputs import check_output, count_finished, read_rows
from scoring.rows import ERROR, IMAGES, PAGES, Layout
from scoring.run import Summary, score_to_descriptor, score_to_file

STANDARD_OUTPUT, STANDARD_OUTPUT_DESCRIPTOR = "-", 1
# Concurrent requests that keep a service on two cores busy.
CONCURRENCY = 8


class Interrupted(BaseException):
    """A signal, by its number, asked the run to end."""


@dataclass(frozen=True)
class Options:
    """The command line."""

    paths: tuple[str, ...]
    output: str
    read: bool
    overwrite: bool
    report: Path | None
    labels: Path | None
    transposed: bool
    url: str | None
    concurrency: int | None
    engine: str
    address: str | None

    @property
    def layout(self) -> Layout:
        return PAGES if self.read else IMAGES


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--output",
    required=True,
    metavar="FILE",
    help="FILE.csv, .jsonl or .parquet, or - for CSV on standard output. With --engine ray, a folder.",
)
@click.option("--read", is_flag=True, help="Read every digit on pages: a row for each digit, with its place.")
@click.option("--overwrite", is_flag=True, help="Start over; an existing FILE is replaced once the run is complete.")
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    help="Also write a page with counts and thumbnails.",
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Measure accuracy by labels: CSV with path,label; IDX, NumPy, Parquet or CSV with labels in the images' "
    "order; or a folder or archive with folders named 0 to 9.",
)
@click.option("--transposed", is_flag=True, help="Swap rows and columns of pixels, as EMNIST needs it.")
@click.option("--url", help="Send the images to a running service, such as http://localhost:8000.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 256),
    metavar="N",
    help=f"Concurrent requests with --url.  [default: {CONCURRENCY}]",
)
@click.option(
    "--engine",
    type=click.Choice(("local", "ray")),
    default="local",
    show_default=True,
    help="All cores of this machine, or a Ray cluster.",
)
@click.option("--address", help="The Ray cluster: auto or HOST:PORT.  [default: Ray on this machine]")
def score(**options: Any) -> None:  # noqa: ANN401 - Options' fields
    """Recognize the digit in every image of files, folders (at any depth), quoted globs, archives and datasets.

    Datasets are IDX, NumPy, Parquet and CSV files with many images; archives are ZIP and TAR.

    Writes one row per image: path, digit, confidence, reason, error, and the model; with --read, one row per digit on
    a page. Re-run the same command to resume an interrupted run. DIGITS_MODEL and DIGITS_PROVIDER select the model and
    where it runs; with --url the service's own settings apply.

    Exit codes: 0 if every image was decoded or the output was already complete; 1 if an image could not be decoded; 2
    for usage errors and runs that failed; 130 or 143 if the run was interrupted.

    \b
    Examples:
      digits score scans/ --output digits.csv
      digits score "scans/**/*.png" --output digits.jsonl --report report.html
      digits score scans/ --output digits.csv --url http://localhost:8000
      digits score pages/ --read --output digits.csv --report report.html
    """
    _fill_standard_streams()
    asked, summary = Options(**options), Summary()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        check_paths(asked.paths)
        if asked.read and asked.labels:
            raise ScoringError("--read: expected no --labels with it, which are of images with one digit")
        if asked.engine == "ray":
            _to_folder(asked, summary)
        elif asked.address is not None:
            raise ScoringError("--address: expected --engine ray with it; got none")
        elif asked.output == STANDARD_OUTPUT:
            _to_standard_output(asked, summary)
        else:
            _to_file(asked, Path(asked.output), summary)
    except (ScoringError, SettingsError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except Interrupted as interruption:
        click.echo(f"interrupted{_how_to_resume(asked)}\n{summary}", err=True)
        sys.exit(128 + interruption.args[0])
    except BrokenPipeError:  # the reader has enough
        sys.exit(2)
    except Exception:  # a bug must not exit with 1, as an undecodable image does
        traceback.print_exc()
        sys.exit(2)
    sys.exit(1 if summary.outcomes[ERROR] else 0)


def _fill_standard_streams() -> None:
    """If one is closed, the next file opened would receive what this and other processes write to it."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number


def _how_to_resume(asked: Options) -> str:
    if asked.output == STANDARD_OUTPUT:
        return ""
    return f"; re-run the same command{' without --overwrite' * asked.overwrite} to resume"


def _engine(asked: Options) -> Engine:
    """Imports only what is needed: ONNX Runtime, or an HTTP client."""
    if asked.url is None:
        if asked.concurrency:
            raise ScoringError("--concurrency: expected --url with it; got none")
        engine: Engine = local_engine().LocalEngine(ModelSettings.from_environment(), layout=asked.layout)
        return engine
    from scoring.engines.remote import RemoteEngine

    return RemoteEngine(asked.url, asked.concurrency or CONCURRENCY, asked.layout)


def _to_standard_output(asked: Options, summary: Summary) -> None:
    if asked.report or asked.labels:
        raise ScoringError("--output: expected a file, which --report and --labels need; got -")
    if sys.stdout is None:
        raise ScoringError("standard output is closed")
    score_to_descriptor(asked.paths, STANDARD_OUTPUT_DESCRIPTOR, _engine(asked), summary, asked.transposed)
    click.echo(summary, err=True)


def _to_file(asked: Options, output: Path, summary: Summary) -> None:
    check_output(output)
    examine = _examiner(asked, output) if asked.report or asked.labels else None
    if not asked.overwrite and (rows := count_finished(output, asked.layout)):
        models = ", ".join(f"{count:,} rows of the model {' '.join(model)}" for model, count in rows.items())
        click.echo(f"{output}: already complete, with {models}; --overwrite starts over", err=True)
    else:
        score_to_file(asked.paths, output, _engine(asked), summary, asked.overwrite, asked.transposed)
        click.echo(summary, err=True)
    if examine:
        examine()


def _examiner(asked: Options, output: Path) -> Callable[[], None]:
    """Checks --report and --labels; returns what writes them once the output is finished. Raises ScoringError."""
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
            write_report(asked.report, summary, asked.paths, output, asked.labels, asked.transposed, asked.layout)

    return examine


def _to_folder(asked: Options, summary: Summary) -> None:
    if asked.report or asked.labels or asked.url or asked.concurrency:
        raise ScoringError("--engine ray: expected no --report, --labels, --url or --concurrency with it")
    ray = ray_engine()
    engine = ray.RayEngine(ModelSettings.from_environment(), asked.paths, asked.address, layout=asked.layout)
    if ray.score_to_folder(asked.paths, asked.output, engine, summary, asked.overwrite, asked.transposed):
        click.echo(summary, err=True)
    else:
        click.echo(f"{asked.output}: already complete; nothing to do (--overwrite starts over)", err=True)


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    for again in (signal.SIGINT, signal.SIGTERM):
        signal.signal(again, signal.SIG_IGN)  # already ending
    raise Interrupted(number)
