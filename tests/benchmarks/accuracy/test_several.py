import numpy as np
import pytest
from skimage.measure import label

from benchmarks.accuracy.drawing import redrawn
from benchmarks.accuracy.several import GAPS, measure, pair, pair_files, single_files
from digits.recognizer import Recognizer
from tests.helpers.images import pixels_of
from training.datasets.mnist import load_training

ONE, OTHER = (redrawn(load_training().images[which]) for which in (1, 3))  # a 0 and a 1


@pytest.mark.parametrize("gap", GAPS)
def test_pairs_are_the_same_each_time(gap: str) -> None:
    assert list(pair_files(gap, 3)) == list(pair_files(gap, 3))


@pytest.mark.parametrize("gap", GAPS)
def test_only_pairs_with_a_gap_are_apart(gap: str) -> None:
    sheets = [pair(ONE, OTHER, gap, np.random.default_rng(seed)) for seed in range(5)]
    parts = {label(one > 0.5, return_num=True)[1] for one in sheets}
    assert parts == ({2} if "apart" in gap else {1})


def test_overlapping_digits_share_more_ink_than_touching_ones() -> None:
    touching, overlapping = (
        float(pair(ONE, OTHER, gap, np.random.default_rng(0)).sum()) for gap in ("touching", "overlapping by 10 %")
    )
    assert overlapping < touching < ONE.sum() + OTHER.sum()


def test_single_digits_vary_in_size() -> None:
    pixels = [pixels_of(one) for one in single_files(20)]
    assert len({one.shape for one in pixels}) > 15
    assert all(np.ptp(one) > 80 for one in pixels)


def test_pairs_and_single_digits_have_figures(recognizer: Recognizer) -> None:
    *pairs, single = measure(recognizer, pairs=2, singles=5)
    assert len(pairs) == len(GAPS)
    assert (single.count, single.higher_is_better) == (5, False)
