import numpy as np
import pytest

from training.datasets.mnist import load_training
from training.datasets.pen_strokes import PEN_STROKES, load_pen_digits
from training.finder.writing import Writers


@pytest.fixture(scope="session")
def writers() -> Writers:
    digits = load_training().part(np.arange(1000))
    return Writers(digits, load_pen_digits(PEN_STROKES, range(1, 4)), np.random.default_rng(0))
