"""What the measurements of servers beside one another gave, as a file of tables."""

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
    parts += [
        f"## {title}{_connections(results, name)}\n\n{table(results, name)}"
        for name, (title, _) in SCENARIOS.items()
        if _of(results, name)
    ]
    return "\n\n".join(parts) + "\n"


def _connections(results: Results, scenario: str) -> str:
    count = results.connections.get(scenario)
    return f", {count} connection{'s' * (count > 1)}" if count else ""


def table(results: Results, scenario: str) -> str:
    """A row a server: medians over the rounds; of the ratio to the first server, also the least and the largest."""
    runs = _of(results, scenario)
    first = next(iter(runs.values()), [])
    rows = [
        f"| server | {SCENARIOS[scenario][1]} | server CPU µs each | half within ms | 99 % within ms | digits ÷ it |",
        "|---|---|---|---|---|---|",
    ]
    for name, ran in runs.items():
        cells = [
            results.titles[name],
            f"{median(one.rate for one in ran):,.0f}",
            f"{median(one.processor for one in ran) * 1e6:,.0f}",
            _milliseconds([one.middle for one in ran]),
            _milliseconds([one.most for one in ran]),
            "" if ran is first else _ratio([mine.rate / its.rate for mine, its in zip(first, ran, strict=True)]),
        ]
        failed = sum(one.failed for one in ran)
        cells[0] += f" ({failed} requests failed)" if failed else ""
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _milliseconds(seconds: Sequence[float | None]) -> str:
    known = [one for one in seconds if one is not None]
    return f"{median(known) * 1e3:.1f}" if known else ""


def _ratio(ratios: Sequence[float]) -> str:
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _of(results: Results, scenario: str) -> dict[str, list[Run]]:
    """The runs of a scenario by server, in the order of the rounds."""
    runs: dict[str, list[Run]] = {}
    for run in results.runs:
        if run.scenario == scenario:
            runs.setdefault(run.server, []).append(run)
    return runs
