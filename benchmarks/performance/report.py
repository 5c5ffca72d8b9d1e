"""The results of `benchmarks.performance.serving` as Markdown tables; docs/benchmarks.md shows the first."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.tables import document, table

# The heading of each scenario, and the unit of its rate.
SCENARIOS = {
    "png": ("One 28×28 PNG per request", "requests/s"),
    "photo": ("One JPEG photo of a megapixel per request", "requests/s"),
    "tensors": ("256 preprocessed images per request of protocol V2", "images/s"),
    "open": ("One 28×28 PNG per request, at half of each server's capacity (open loop)", "requests/s"),
}


@dataclass(frozen=True)
class Run:
    """The result of one server in one scenario and round.

    `rate` counts requests or images per second, `cpu` the server's CPU seconds for each, `p50` and `p99` are latencies
    in seconds if there were requests, and `failed` counts requests without a successful response.
    """

    scenario: str
    server: str
    rate: float
    cpu: float
    p50: float | None
    p99: float | None
    failed: int = 0


@dataclass(frozen=True)
class Results:
    """The conditions as lines of text, titles by server, connections by scenario, and all runs in order."""

    conditions: list[str]
    titles: dict[str, str]
    connections: dict[str, int]
    runs: list[Run]

    def of(self, scenario: str) -> dict[str, list[Run]]:
        """The runs of a scenario by server, in the order of the rounds."""
        runs: dict[str, list[Run]] = {}
        for run in self.runs:
            if run.scenario == scenario:
                runs.setdefault(run.server, []).append(run)
        return runs


def render(results: Results) -> str:
    """The file: conditions, the summary that docs/benchmarks.md shows, and a table per scenario."""
    sections = []
    for name, (title, _) in SCENARIOS.items():
        if results.of(name):
            count = results.connections.get(name)
            connections = f", {count} connection{'s' * (count > 1)}" if count else ""
            sections.append(f"## {title}{connections}\n\n{scenario_table(results, name)}")
    return document("Serving compared with other servers", results.conditions, summary(results), *sections)


def first_table(text: str) -> str:
    """The first table of such a file."""
    found = re.search(r"^(\|.*\n)+", text, re.MULTILINE)
    return found[0] if found else ""


def summary(results: Results) -> str:
    """One row per server, with the scenarios of one image per request."""
    png, photo = results.of("png"), results.of("photo")
    heads = ["server", "28×28 PNG: requests/s", "server CPU µs per request", "p99 ms"]
    heads += ["photo of a megapixel: requests/s", "server CPU ms per request", "p99 ms"]
    rows = [
        (title, *_summarized(png.get(name, []), 1e6), *_summarized(photo.get(name, []), 1e3))
        for name, title in results.titles.items()
    ]
    return table(heads, rows)


def _summarized(runs: Sequence[Run], cpu_unit: float) -> list[str]:
    """Rate, CPU time and p99."""
    if not runs:
        return ["", "", ""]
    cpu = median(run.cpu for run in runs) * cpu_unit
    cpu_text = f"{cpu:,.0f}" if cpu >= 100 else f"{cpu:.1f}"
    return [f"{median(run.rate for run in runs):,.0f}", cpu_text, _milliseconds([run.p99 for run in runs])]


def scenario_table(results: Results, scenario: str) -> str:
    """One row per server, medians over the rounds; the last column is a ratio within each round, with its range.

    The ratio is the first server's rate to this one's; in the open loop, where rates are not comparable, p99 to p50.
    """
    runs = results.of(scenario)
    first = next(iter(runs.values()), [])
    rows = []
    for name, ran in runs.items():
        if scenario == "open":
            ratios = [run.p99 / run.p50 for run in ran if run.p99 and run.p50]
        else:
            ratios = [] if ran is first else [mine.rate / its.rate for mine, its in zip(first, ran, strict=True)]
        failed = sum(run.failed for run in ran)
        rows.append(
            (
                results.titles[name] + (f" ({failed} requests failed)" if failed else ""),
                f"{median(run.rate for run in ran):,.0f}",
                f"{median(run.cpu for run in ran) * 1e6:,.0f}",
                _milliseconds([run.p50 for run in ran]),
                _milliseconds([run.p99 for run in ran]),
                f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else "",
            )
        )
    rate, ratio = SCENARIOS[scenario][1], "p99 ÷ p50" if scenario == "open" else "digits ÷ it"
    cpu = f"server CPU µs per {rate.removesuffix('s/s')}"
    return table(["server", rate, cpu, "p50 ms", "p99 ms", ratio], rows)


def _milliseconds(seconds: Sequence[float | None]) -> str:
    known = [one for one in seconds if one is not None]
    return f"{median(known) * 1e3:.1f}" if known else ""
