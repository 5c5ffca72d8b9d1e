"""Accuracy with its confidence interval, and confusion matrices."""

import math

import numpy as np
from numpy.typing import NDArray


def accuracy_text(correct: int, count: int) -> str:
    """The accuracy with its 95 % confidence interval, for people to read."""
    low, high = wilson_interval(correct, count)
    return f"{correct / count:.2%} accuracy ({correct} of {count}; 95 % interval {low:.2%} to {high:.2%})"


def wilson_interval(correct: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % confidence interval of a proportion (Wilson 1927), which also holds near 100 %."""
    share = correct / count
    middle = share + z * z / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle - spread) / (1 + z * z / count), min(1.0, (middle + spread) / (1 + z * z / count))


def confusion_text(confusion: NDArray[np.int64]) -> list[str]:
    """Lines of a confusion matrix [10, 11]: one row per true digit, one column per prediction, the last for none."""
    width = max(6, len(str(confusion.max())) + 2)
    lines = ["true \\ read" + "".join(f"{column:>{width}}" for column in [*range(len(confusion)), "none"])]
    return lines + [
        f"{digit:>11}" + "".join(f"{count:>{width}}" for count in row) for digit, row in enumerate(confusion)
    ]
