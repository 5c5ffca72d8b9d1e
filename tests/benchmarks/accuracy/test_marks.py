import numpy as np
import pytest

from benchmarks.accuracy.drawing import redrawn
from benchmarks.accuracy.marks import BOXY, KINDS, boxy, marked, measure
from digits.recognizer import Recognizer
from tests.helpers.images import pixels_of
from training.datasets.mnist import load_training

DIGITS = load_training().part(np.arange(6))


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_the_same_each_time_and_show_something(kind: str) -> None:
    files = marked(DIGITS, kind)
    assert files == marked(DIGITS, kind)
    assert all(np.ptp(pixels_of(one)) > 80 for one in files)


@pytest.mark.parametrize("kind", ["in a circle", "in a box", "crossed by a ruled line", "a second mark"])
def test_mark_leaves_the_digit_as_it_is(kind: str) -> None:
    ink = redrawn(DIGITS.images[0])
    sheet = KINDS[kind](ink, np.random.default_rng(1))
    height, width = ink.shape
    views = np.lib.stride_tricks.sliding_window_view(sheet, (height, width))
    assert any((views[top] >= ink).all(axis=(1, 2)).any() for top in range(len(views)))


def test_bold_digit_has_more_ink_and_hollow_digit_less() -> None:
    ink = redrawn(DIGITS.images[0])
    random = np.random.default_rng(0)
    bold, hollow = (float(KINDS[kind](ink, random).sum()) for kind in ("bold", "hollow"))
    assert hollow < ink.sum() < bold


@pytest.mark.parametrize("label", range(10))
def test_every_digit_has_a_block_form(label: int) -> None:
    ink = boxy(label, np.random.default_rng(label))
    assert ink.max() == 1
    assert all(edge.any() for edge in (ink[0], ink[-1], ink[:, 0], ink[:, -1]))


def test_every_kind_has_a_figure(recognizer: Recognizer) -> None:
    figures = measure(recognizer, count=2)
    assert [one.name.rpartition(": ")[2] for one in figures] == list(KINDS)
    assert BOXY in KINDS
