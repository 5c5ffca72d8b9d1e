"""What the measurements of servers beside one another gave, as a file of tables; the README shows the first."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

# How each scenario is headed, and what its rate counts.
SCENARIOS = {
    "png": ("One 28×28 PNG a request", "requests/s"),
    "photo": ("One JPEG photo of a megapixel a request", "requests/s"),
    "tensors": ("256 prepared images in one request of protocol V2", "images/s"),
    "open": ("One 28×28 PNG a request, at half of what each server can answer, evenly (open-loop)", "requests/s"),
}


@dataclass(frozen=True)
class Run:
    """What a server did in a scenario in one round.

    `rate` is a second's requests or images, `processor` the seconds of a core that each took of the server, `middle`
    and `most` the seconds within which half and 99 % of the requests were answered, where there were any, `failed` how
    many were not, or not with success.
    """

    scenario: str
    server: str
    rate: float
    processor: float
    middle: float | None
    most: float | None
    failed: int = 0


@dataclass(frozen=True)
class Results:
    """The conditions, as lines of text, the servers' titles by name, and the runs in the order of the rounds."""

    conditions: list[str]
    titles: dict[str, str]
    connections: dict[str, int]
    runs: list[Run]


def render(results: Results) -> str:
    """The file, in Markdown: conditions, what the README shows, and a table a scenario."""
    parts = ["# Serving, measured beside others", "\n".join(f"- {line}" for line in results.conditions)]
    parts += [summary(results)]
    parts += [
        f"## {title}{_connections(results, name)}\n\n{table(results, name)}"
        for name, (title, _) in SCENARIOS.items()
        if _of(results, name)
    ]
    return "\n\n".join(parts) + "\n"


def first_table(text: str) -> str:
    """The first table of such a file."""
    found = re.search(r"^(\|.*\n)+", text, re.MULTILINE)
    return found[0] if found else ""


def summary(results: Results) -> str:
    """A row a server: what it does with the scenarios of one image a request."""
    png, photo = _of(results, "png"), _of(results, "photo")
    rows = [
        "| server | 28×28 PNG: requests/s | server CPU µs each | 99 % within ms "
        "| photo of a megapixel: requests/s | server CPU ms each | 99 % within ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in results.titles:
        cells = [results.titles[name], *_cells(png.get(name, []), 1e6), *_cells(photo.get(name, []), 1e3)]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _cells(runs: Sequence[Run], processor_unit: float) -> list[str]:
    """Rate, seconds of a core, and the time for 99 %."""
    if not runs:
        return ["", "", ""]
    processor = median(one.processor for one in runs) * processor_unit
    return [
        f"{median(one.rate for one in runs):,.0f}",
        f"{processor:,.0f}" if processor >= 100 else f"{processor:.1f}",
        _milliseconds([one.most for one in runs]),
    ]


def _connections(results: Results, scenario: str) -> str:
    count = results.connections.get(scenario)
    return f", {count} connection{'s' * (count > 1)}" if count else ""


def table(results: Results, scenario: str) -> str:
    """A row a server, medians over the rounds, and in the last column a comparison within each round, with its range.

    It is the rate of the first server in the table to that of the row's, or, where rates are not compared, the time
    within which 99 % of the requests were answered to that for half of them.
    """
    runs = _of(results, scenario)
    first = next(iter(runs.values()), [])
    compared = "99 % ÷ half" if scenario == "open" else "digits ÷ it"
    rows = [
        f"| server | {SCENARIOS[scenario][1]} | server CPU µs each | half within ms | 99 % within ms | {compared} |",
        "|---|---|---|---|---|---|",
    ]
    for name, ran in runs.items():
        if scenario == "open":
            ratios = [one.most / one.middle for one in ran if one.most and one.middle]
        else:
            ratios = [] if ran is first else [mine.rate / its.rate for mine, its in zip(first, ran, strict=True)]
        failed = sum(one.failed for one in ran)
        cells = [
            results.titles[name] + (f" ({failed} requests failed)" if failed else ""),
            f"{median(one.rate for one in ran):,.0f}",
            f"{median(one.processor for one in ran) * 1e6:,.0f}",
            _milliseconds([one.middle for one in ran]),
            _milliseconds([one.most for one in ran]),
            f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else "",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _milliseconds(seconds: Sequence[float | None]) -> str:
    known = [one for one in seconds if one is not None]
    return f"{median(known) * 1e3:.1f}" if known else ""


def _of(results: Results, scenario: str) -> dict[str, list[Run]]:
    """The runs of a scenario by server, in the order of the rounds."""
    runs: dict[str, list[Run]] = {}
    for run in results.runs:
        if run.scenario == scenario:
            runs.setdefault(run.server, []).append(run)
    return runs
