"""What answers are worth where the labels are known: the part that is right, and what is taken for what."""

import math

import numpy as np
from numpy.typing import NDArray


def share_right(correct: int, count: int) -> str:
    """The part that is right, with what it rests on, in words."""
    low, high = wilson_interval(correct, count)
    return f"{correct / count:.2%} right ({correct} of {count}; 95 % interval {low:.2%} to {high:.2%})"


def wilson_interval(correct: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a proportion, by Wilson 1927, which holds near 100 % too."""
    share = correct / count
    middle = share + z * z / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle - spread) / (1 + z * z / count), min(1.0, (middle + spread) / (1 + z * z / count))


def confusion_text(confusion: NDArray[np.int64]) -> list[str]:
    """Lines of a table of counts [10, 11]: a row a true digit, a column an answer, the last for none."""
    width = max(6, len(str(confusion.max())) + 2)
    lines = ["true \\ read" + "".join(f"{column:>{width}}" for column in [*range(len(confusion)), "none"])]
    return lines + [
        f"{digit:>11}" + "".join(f"{count:>{width}}" for count in row) for digit, row in enumerate(confusion)
    ]
