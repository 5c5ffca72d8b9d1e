import numpy as np
import pytest

from training.datasets.line_drawings import HELD_OUT, TRAINED, Maker, random_drawing


@pytest.mark.parametrize("kind", [*TRAINED, *HELD_OUT])
def test_drawings_of_a_kind_are_strokes_that_differ(kind: Maker) -> None:
    random = np.random.default_rng(0)
    drawings = [random_drawing({kind: 1}, random) for _ in range(20)]
    for strokes in drawings:
        assert all(stroke.ndim == 2 and stroke.shape[1] == 2 and len(stroke) >= 2 for stroke in strokes)
        assert np.isfinite(np.concatenate(strokes)).all()
        assert np.ptp(np.concatenate(strokes), axis=0).max() > 0.3
    assert len({np.concatenate(strokes).tobytes() for strokes in drawings}) == 20


def test_no_kind_is_both_trained_on_and_held_out() -> None:
    assert not TRAINED.keys() & HELD_OUT.keys()
