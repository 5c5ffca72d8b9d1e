import math

import numpy as np

from training.finder.writing import Least, Writers


def test_digits_have_the_size_asked_for(writers: Writers) -> None:
    random = np.random.default_rng(0)
    for _ in range(100):
        glyph = writers.random_style(random, Least()).digit(60, 0, random)
        assert 50 <= max(glyph.ink.shape) <= 70
        assert glyph.ink[0].any()
        assert glyph.ink[:, -1].any()
        assert 0 <= glyph.label <= 9


def test_every_source_gives_every_digit(writers: Writers) -> None:
    random = np.random.default_rng(0)
    styles = [writers.random_style(random, Least()) for _ in range(100)]
    assert {style.source for style in styles} == {"mnist", "pen", "drawn", "block"}
    assert {style.digit(20, 0, random).label for style in styles for _ in range(5)} == set(range(10))


def test_turned_digit_keeps_its_ink(writers: Writers) -> None:
    style = writers.random_style(np.random.default_rng(0), Least())
    upright, turned = (style.digit(80, turn, np.random.default_rng(1)).ink for turn in (0, math.pi / 2))
    assert abs(np.log(upright.shape[0] / turned.shape[1])) < 0.1
    assert abs(np.log(upright.mean() / turned.mean())) < 0.2


def test_hollow_digit_is_found_as_its_outline(writers: Writers) -> None:
    style = writers.random_style(np.random.default_rng(0), Least())
    style.hollow, style.pen, style.source, style.broken = False, 0.3, "drawn", False
    whole = style.digit(100, 0, np.random.default_rng(1)).ink
    style.hollow = True
    hollow = style.digit(100, 0, np.random.default_rng(1))
    assert hollow.ink.sum() < 0.8 * whole.sum()
    assert (hollow.shown <= hollow.ink).all()


def test_bar_is_a_1_of_one_straight_stroke(writers: Writers) -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        bar = writers.random_style(random, Least()).bar(60, 0, random)
        assert bar.label == 1
        assert abs(bar.ink.shape[0] - 60) < 6
        assert bar.ink.any(axis=1).all()


def test_broken_digit_keeps_nearly_all_its_ink(writers: Writers) -> None:
    style = writers.random_style(np.random.default_rng(0), Least())
    style.hollow, style.source = False, "mnist"
    for seed in range(10):
        style.broken = False
        whole = style.digit(60, 0, np.random.default_rng(seed)).ink
        style.broken = True
        broken = style.digit(60, 0, np.random.default_rng(seed)).ink
        assert (broken <= whole).all()
        assert broken.sum() > 0.7 * whole.sum()
