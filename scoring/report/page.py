"""The page of a finished output: a single HTML file without external resources."""

import math
import os
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from digits.accuracy import wilson_interval
from scoring.errors import ScoringError, writing
from scoring.report.summary import BINS, OutputSummary
from scoring.report.thumbnails import load_pictures, load_places, load_thumbnails
from scoring.rows import ERROR, IMAGES, PAGES, Layout, Row

SUFFIXES = (".html", ".htm")
# The page says in words how many images have a confidence below these.
BOUNDS = (0.5, 0.9, 0.99)


def check_report(report: Path) -> None:
    """Raises ScoringError if the page clearly cannot be written."""
    if report.suffix.lower() not in SUFFIXES:
        raise ScoringError(f"{report}: expected a name that ends in {' or '.join(SUFFIXES)}")
    if report.is_dir() or not os.access(report.parent, os.W_OK | os.X_OK):
        raise ScoringError(f"{report}: expected a file in a folder that can be written to")


def write_report(
    report: Path,
    summary: OutputSummary,
    inputs: Sequence[str],
    output: Path,
    labels: Path | None = None,
    transposed: bool = False,
    layout: Layout = IMAGES,
) -> None:
    """Writes the page of a finished output, atomically. Raises ScoringError."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"number": "{:,}".format, "share": share, "level": level}
    samples = {outcome: summary.samples(outcome) for outcome in [*map(str, summary.digits), *summary.reasons]}
    shown = [picked.row for some in (summary.uncertain, summary.mistakes, *samples.values()) for picked in some]
    pages = [rows[0] for rows in summary.shown]
    load = load_places if layout == PAGES else load_thumbnails
    unfinished = report.with_name(f"{report.name}.new")
    try:
        with writing(report):
            page = environment.get_template("report.html").render(
                summary=summary,
                by_page=layout == PAGES,
                rows=summary.outcomes.total(),
                errors=summary.outcomes[ERROR],
                bins=_bins(summary),
                below={bound: sum(summary.read[: BINS.index(bound)]) for bound in BOUNDS},
                folder=_folder([row.path for row in (*shown, *pages)]),
                samples=samples,
                thumbnails=load(shown, transposed),
                pictures=load_pictures(pages, transposed),
                text=_text,
                interval=wilson_interval,
                inputs=inputs,
                output=output,
                labels=labels,
                scored=datetime.fromtimestamp(output.stat().st_mtime).astimezone(),
            )
            # In a path that is not UTF-8, other bytes are shown as \udc…, as Python spells them.
            unfinished.write_text(page, encoding="utf-8", errors="backslashreplace")
            os.replace(unfinished, report)
    finally:
        unfinished.unlink(missing_ok=True)


def _text(page: Sequence[Row]) -> str:
    """The lines of a page, as `POST /read` gives them."""
    lines: list[str] = []
    for row in page:
        if row.position == 0:
            lines.append("")
        lines[-1] = lines[-1].ljust(row.position or 0) + ("?" if row.digit is None else str(row.digit))
    return "\n".join(lines)


def _bins(summary: OutputSummary) -> list[dict[str, object]]:
    """The histogram of confidence."""
    ranges = [f"below {BINS[1]}", *(f"{start} to {end}" for start, end in pairwise((*BINS[1:], 1)))]
    counts = zip(ranges, summary.read, summary.wrong, summary.rejected, strict=True)
    return [dict(zip(("range", "read", "wrong", "rejected"), one, strict=True)) for one in counts]


def _folder(paths: Sequence[str]) -> str:
    """The folder that all paths have in common, with its slash."""
    folders = [path.split("/")[:-1] for path in paths]
    return "".join(f"{one}/" for one in os.path.commonprefix(folders))  # noqa: RUF071 - a prefix of names, not of characters


def share(part: int, whole: int, decimals: int = 1) -> str:
    """A percentage, rounded to 0 or 100 only if it is exactly that."""
    if not whole or part in (0, whole):
        return "100\xa0%" if part else "0\xa0%"
    for places in range(decimals, 4):
        text = f"{100 * part / whole:.{places}f}"
        if 0 < float(text) < 100:
            return f"{text}\xa0%"
    return "<\xa00.001\xa0%" if 2 * part < whole else ">\xa099.999\xa0%"


def level(count: int, most: int) -> float:
    """The length of a bar, 0 to 100, on a logarithmic scale on which a single image is visible."""
    return 100 * math.log(2 * count) / math.log(2 * most) if count else 0
