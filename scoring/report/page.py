"""A page of a finished output, for people: one HTML file that needs nothing else."""

import math
import os
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from digits.accuracy import wilson_interval
from scoring.errors import ScoringError
from scoring.report.summary import BINS, Survey
from scoring.report.thumbnails import load_views
from scoring.rows import ERROR

SUFFIXES = (".html", ".htm")
# Below these confidences it is said in words how many images lie.
BOUNDS = (0.5, 0.9, 0.99)


def check_report(report: Path) -> None:
    """Raises ScoringError if it is clear beforehand that this cannot be written."""
    if report.suffix.lower() not in SUFFIXES:
        raise ScoringError(f"{report}: expected a name that ends in {' or '.join(SUFFIXES)}")
    if report.is_dir() or not os.access(report.parent, os.W_OK | os.X_OK):
        raise ScoringError(f"{report}: expected a file in a folder that can be written to")


def write_report(report: Path, survey: Survey, inputs: Sequence[str], output: Path, labels: Path | None) -> None:
    """Writes a page about a finished output, which is there whole or not at all. Raises ScoringError."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"number": "{:,}".format, "share": share, "level": level}
    samples = {outcome: survey.samples(outcome) for outcome in [*map(str, survey.digits), *survey.reasons]}
    shown = [picked.row.path for some in (survey.uncertain, survey.mistakes, *samples.values()) for picked in some]
    unfinished = report.with_name(f"{report.name}.new")
    try:
        page = environment.get_template("report.html").render(
            survey=survey,
            images=survey.outcomes.total(),
            errors=survey.outcomes[ERROR],
            bins=_bins(survey),
            below={bound: sum(survey.read[: BINS.index(bound)]) for bound in BOUNDS},
            folder=_folder(shown),
            samples=samples,
            views=load_views(shown),
            interval=wilson_interval,
            inputs=inputs,
            output=output,
            labels=labels,
            scored=datetime.fromtimestamp(output.stat().st_mtime).astimezone(),
        )
        # A path that is not UTF-8 is told with \udc…, as Python writes its bytes.
        unfinished.write_text(page, encoding="utf-8", errors="backslashreplace")
        os.replace(unfinished, report)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise ScoringError(f"{report}: expected to be able to write it; got: {error.strerror or error}") from error


class Bin(NamedTuple):
    """Images whose confidence lies in a range; of those read, how many are wrong by their labels."""

    range: str
    read: int
    wrong: int
    refused: int


def _bins(survey: Survey) -> list[Bin]:
    """The histogram of confidence."""
    ranges = [f"below {BINS[1]}", *(f"{start} to {end}" for start, end in pairwise((*BINS[1:], 1)))]
    return list(map(Bin, ranges, survey.read, survey.wrong, survey.refused))


def _folder(paths: Sequence[str]) -> str:
    """The start that all paths share, up to a slash."""
    folders = [path.split("/")[:-1] for path in paths]
    return "".join(f"{one}/" for one in os.path.commonprefix(folders))  # noqa: RUF071 - not of characters


def share(part: int, whole: int, decimals: int = 1) -> str:
    """A part of a whole in per cent, never rounded to none or all of it unless it is."""
    if not whole or part in (0, whole):
        return "100\xa0%" if part else "0\xa0%"
    for places in range(decimals, 4):
        text = f"{100 * part / whole:.{places}f}"
        if 0 < float(text) < 100:
            return f"{text}\xa0%"
    return "<\xa00.001\xa0%" if 2 * part < whole else ">\xa099.999\xa0%"


def level(count: int, most: int) -> float:
    """How long a bar is, of 100, on a scale on which each factor is as long as the next; one image can be seen."""
    return 100 * math.log(2 * count) / math.log(2 * most) if count else 0
