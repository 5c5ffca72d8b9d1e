"""What the benchmarks give: figures with their intervals, as the model card shows them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from digits.accuracy import wilson_interval

RESAMPLES = 1000


@dataclass(frozen=True)
class Figure:
    """One figure of the model card: a value and its 95 % interval, all from 0 to 1, measured on `count` images."""

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

    def is_below(self, published: float) -> bool:
        """Whether it falls below a published value by more than a standard error."""
        shortfall = published - self.value if self.higher_is_better else self.value - published
        return shortfall > self.standard_error


def share(name: str, chosen: NDArray[np.bool_], *, higher_is_better: bool = True) -> Figure:
    """The part of the images that is chosen, bool [N], with Wilson's interval."""
    correct, count = int(chosen.sum()), len(chosen)
    return Figure(name, correct / count, *wilson_interval(correct, count), count, higher_is_better)


def area_under_roc(name: str, digits: NDArray[np.float32], others: NDArray[np.float32]) -> Figure:
    """The probability that a digit's score lies above another image's, with Hanley and McNeil's interval (1982)."""
    scores = np.sort(others)
    below = np.searchsorted(scores, digits, "left") + np.searchsorted(scores, digits, "right")
    area = float(below.mean() / (2 * len(others)))
    one, two = area / (2 - area), 2 * area * area / (1 + area)
    variance = area * (1 - area) + (len(digits) - 1) * (one - area**2) + (len(others) - 1) * (two - area**2)
    spread = 1.96 * float(np.sqrt(variance / (len(digits) * len(others))))
    return Figure(name, area, max(0.0, area - spread), min(1.0, area + spread), len(others))


def calibration_error(name: str, confidences: NDArray[np.float64], right: NDArray[np.bool_], bins: int = 15) -> Figure:
    """The expected calibration error: how far confidence and accuracy lie apart, on average over bins of equal width.

    Naeini, Cooper, Hauskrecht 2015; the interval is that of the bootstrap.
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
