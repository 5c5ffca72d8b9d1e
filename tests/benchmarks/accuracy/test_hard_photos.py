import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.accuracy import hard_photos
from benchmarks.accuracy.drawing import redrawn
from benchmarks.accuracy.hard_photos import KINDS, PENCIL, develop, framed, measure, photo, photos, thinned
from digits.recognizer import Recognizer
from training.datasets.mnist import load_training

DIGITS = load_training().part(np.arange(2))


@pytest.mark.parametrize("kind", KINDS)
def test_photos_depend_on_their_seed_alone(kind: str) -> None:
    one, another = (photo((kind, DIGITS.images[0], (seed, 0))) for seed in (1, 2))
    assert next(photos(DIGITS, kind, seed=1)) == one != another
    with Image.open(io.BytesIO(one)) as image:
        assert (image.format, image.mode) == ("JPEG", "RGB")
        low, high = {PENCIL: (4000, 4000), "32-pixel webcam crops": (28, 36)}.get(kind, (640, 1280))
        assert low <= max(image.size) <= high


def test_whole_digit_is_in_the_frame() -> None:
    ink = redrawn(DIGITS.images[0])
    for seed in range(5):
        sheet = framed(ink, np.random.default_rng(seed), (90, 120), 0.5, 0.95)
        assert sheet.shape == (90, 120)
        inked = [np.flatnonzero((sheet > 0.5).any(axis=axis)) for axis in (1, 0)]
        assert all(one[0] > 0 and one[-1] < side - 1 for one, side in zip(inked, sheet.shape, strict=True))
        assert max((one[-1] - one[0]) / side for one, side in zip(inked, sheet.shape, strict=True)) > 0.4


def test_thinned_digit_has_less_ink() -> None:
    ink = redrawn(DIGITS.images[0])
    assert 0 < thinned(ink, 0.03).sum() < ink.sum() / 2


def test_every_kind_has_a_figure(recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    webcam = "32-pixel webcam crops"
    monkeypatch.setattr(hard_photos, "KINDS", {PENCIL: KINDS[webcam], webcam: KINDS[webcam]})
    assert [(one.name, one.count) for one in measure(recognizer, count=4)] == [
        (f"hard photos: {PENCIL}", 2),
        (f"hard photos: {webcam}", 4),
    ]


def test_photos_for_development_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    webcam = "32-pixel webcam crops"
    monkeypatch.setattr(hard_photos, "KINDS", {webcam: KINDS[webcam]})
    develop(tmp_path, count=2)
    assert len(list((tmp_path / webcam).glob("*.jpg"))) == 2
