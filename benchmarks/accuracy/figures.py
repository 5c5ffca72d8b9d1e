"""Figures with their intervals, and models/figures.json, which holds the published ones."""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from digits.accuracy import wilson_interval

STORE, CARD = Path("models/figures.json"), Path("models/README.md")
RESAMPLES = 1000


@dataclass(frozen=True)
class Figure:
    """A value with its 95 % interval, all from 0 to 1, measured on `count` images."""

    name: str
    value: float
    low: float
    high: float
    count: int
    higher_is_better: bool = True

    @property
    def standard_error(self) -> float:
        return (self.high - self.low) / (2 * 1.96)

    def row(self) -> str:
        """The figure as a row of a Markdown table."""
        return f"| {self.name} | {self.value:.2%} ({self.low:.2%} to {self.high:.2%}) | {self.count:,} |"

    def is_worse(self, published: "Figure") -> bool:
        """Whether it is worse than a published figure by more than a standard error."""
        shortfall = published.value - self.value if self.higher_is_better else self.value - published.value
        return shortfall > self.standard_error


def heading(version: str) -> str:
    """The first two lines of a table of figures."""
    return f"| version {version} | value (95 % interval) | n |\n|---|---|---|"


def load() -> tuple[str, dict[str, Figure]]:
    """The model version of the published figures, and the figures by name."""
    store = json.loads(STORE.read_bytes())
    return store["version"], {one["name"]: Figure(**one) for one in store["figures"]}


def publish(version: str, measured: Iterable[Figure]) -> None:
    """Writes measured figures into the store and the model card; others stay, unless they are another version's."""
    old_version, figures = load()
    figures = (figures if old_version == version else {}) | {figure.name: figure for figure in measured}
    store = {"version": version, "figures": [asdict(figure) for figure in figures.values()]}
    STORE.write_text(json.dumps(store, indent=1) + "\n", encoding="utf-8")
    table = "\n".join([heading(version), *(figure.row() for figure in figures.values()), "", ""])
    card = CARD.read_text(encoding="utf-8")
    CARD.write_text(
        re.sub(r"^\| version .*?\n\n", lambda _: table, card, flags=re.DOTALL | re.MULTILINE), encoding="utf-8"
    )


def share(name: str, chosen: NDArray[np.bool_], *, higher_is_better: bool = True) -> Figure:
    """The share of images that are chosen, bool [N], with Wilson's interval."""
    correct, count = int(chosen.sum()), len(chosen)
    return Figure(name, correct / count, *wilson_interval(correct, count), count, higher_is_better)


def mean(name: str, numbers: NDArray[np.int64]) -> Figure:
    """The mean of counts that should be low, in hundredths, with an interval from their deviation."""
    spread = 1.96 * float(numbers.std(ddof=1)) / len(numbers) ** 0.5
    value = float(numbers.mean())
    return Figure(name, value, max(0.0, value - spread), value + spread, len(numbers), higher_is_better=False)


def area_under_roc(name: str, digits: NDArray[np.float32], others: NDArray[np.float32]) -> Figure:
    """The probability that a digit scores higher than another image, with Hanley and McNeil's interval (1982)."""
    scores = np.sort(others)
    below = np.searchsorted(scores, digits, "left") + np.searchsorted(scores, digits, "right")
    area = float(below.mean() / (2 * len(others)))
    one, two = area / (2 - area), 2 * area * area / (1 + area)
    variance = area * (1 - area) + (len(digits) - 1) * (one - area**2) + (len(others) - 1) * (two - area**2)
    spread = 1.96 * float(np.sqrt(variance / (len(digits) * len(others))))
    return Figure(name, area, max(0.0, area - spread), min(1.0, area + spread), len(others))


def calibration_error(name: str, confidences: NDArray[np.float64], right: NDArray[np.bool_], bins: int = 15) -> Figure:
    """The expected calibration error over bins of equal width, with a bootstrap interval.

    Naeini, Cooper, Hauskrecht 2015.
    """
    bin_of = np.minimum((confidences * bins).astype(int), bins - 1)
    gaps = confidences - right

    def error(chosen: NDArray[np.int64]) -> float:
        return float(np.abs(np.bincount(bin_of[chosen], weights=gaps[chosen])).sum() / len(chosen))

    count = len(right)
    random = np.random.default_rng(0)
    resampled = [error(random.integers(count, size=count)) for _ in range(RESAMPLES)]
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Figure(name, error(np.arange(count)), float(low), float(high), count, higher_is_better=False)
