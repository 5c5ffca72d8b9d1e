from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from digits.recognizer import Recognizer
from tests.helpers.finding import finder
from training.datasets import generated
from training.datasets.generated import (
    KINDS,
    NARROWEST,
    Kind,
    Sources,
    generate,
    generate_negatives,
    generate_unseen_negatives,
    numbers_for,
)
from training.datasets.mnist import NO_DIGIT, load_training
from training.datasets.pen_strokes import PEN_STROKES, load_pen_digits
from training.recipes import GENERATED

SOURCES = Sources(load_training().part(np.arange(500)), load_pen_digits(PEN_STROKES, [1]), finder().file)
NUMBERS = {"synthetic_digit": 25, "pen_strokes": 8, "negative": 12}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generated, "CHUNK", 10)


@pytest.mark.parametrize("kind", KINDS)
def test_shipped_model_reads_most_generated_digits_and_rejects_most_negatives(
    kind: Kind, recognizer: Recognizer
) -> None:
    random = np.random.default_rng(0)
    made = [one for one in islice(kind(SOURCES, finder(), random), 60) if one]
    assert len(made) > 30
    probabilities, is_digit = recognizer.classifier.classify(np.stack([image for image, _ in made]))
    labels = np.array([label for _, label in made])
    if kind is generated.negative:
        assert (labels == NO_DIGIT).all()
        assert (is_digit < 0.5).mean() > 0.4
    else:
        assert np.mean(probabilities.argmax(axis=1) == labels) > 0.85


def test_negatives_are_deterministic_and_too_wide_for_a_one() -> None:
    for data, again in (
        (
            generate_negatives(SOURCES.digits, SOURCES.finder, 40),
            generate_negatives(SOURCES.digits, SOURCES.finder, 40),
        ),
        (generate_unseen_negatives(20), generate_unseen_negatives.__wrapped__(20)),
    ):
        assert data.sha256 == again.sha256
        assert (data.labels == NO_DIGIT).all()
        for image in data.images:
            rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
            assert columns[-1] - columns[0] + 1 >= NARROWEST * (rows[-1] - rows[0] + 1)


@pytest.mark.usefixtures("few")
def test_images_are_kept_and_resumed(tmp_path: Path) -> None:
    directory = tmp_path / "images"
    data = generate(NUMBERS, SOURCES, directory, processes=2)
    assert 30 <= len(data) <= 45
    files = {path: path.read_bytes() for path in directory.glob("*.npz")}
    assert len(files) == 3 + 1 + 2
    some = sorted(files)[1]
    some.unlink()
    assert generate(NUMBERS, SOURCES, directory).sha256 == data.sha256
    assert {path: path.read_bytes() for path in directory.glob("*.npz")} == files


@pytest.mark.usefixtures("few")
def test_images_of_other_numbers_are_made_again(tmp_path: Path) -> None:
    generate(NUMBERS, SOURCES, tmp_path / "images")
    generate({"synthetic_digit": 5}, SOURCES, tmp_path / "images")
    assert [path.name for path in (tmp_path / "images").glob("*.npz")] == ["synthetic_digit-000.npz"]


def test_numbers_are_in_proportion_to_the_labelled_images_and_pen_strokes_may_be_missing() -> None:
    numbers = numbers_for(SOURCES)
    assert numbers["photo"] == round(GENERATED["photo"] * 500 / 55_000)
    assert numbers.keys() == GENERATED.keys() == {kind.__name__ for kind in KINDS}
    assert "pen_strokes" not in numbers_for(replace(SOURCES, pen_digits=[]))
