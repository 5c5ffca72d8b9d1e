"""The pipeline from image files to predictions."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageDraw

from digits.decode import GreyImage, ImageError, Pixels
from digits.finder import Box, FoundDigit
from digits.preprocess import Preprocessed, centred
from digits.recognizer import Prediction, Recognizer
from digits.settings import ModelSettings
from tests.helpers.finding import finder, preprocess
from tests.helpers.images import encode, example, example_pixels


@pytest.mark.parametrize("digit", range(10))
def test_every_example(digit: int, recognizer: Recognizer) -> None:
    [prediction] = recognizer.recognize([example(digit)])
    assert isinstance(prediction, Prediction)
    assert prediction.digit == digit
    assert prediction.reason is None
    assert 0.9 * max(prediction.probabilities) < prediction.confidence <= max(prediction.probabilities)
    assert sum(prediction.probabilities) == pytest.approx(1, abs=1e-4)


def test_empty_batch(recognizer: Recognizer) -> None:
    assert recognizer.predict([]) == []
    assert [part.shape for part in recognizer.classifier.classify(np.zeros((0, 28, 28), np.uint8))] == [(0, 10), (0,)]


def beside(mark: Pixels) -> Pixels:
    """An example of a 3 with a mark of 280×280 pixels to its right."""
    return np.hstack([example_pixels(3), mark])


def test_what_lies_beside_a_digit_makes_it_several_only_if_it_is_one(recognizer: Recognizer) -> None:
    cross = Image.new("L", (280, 280), 255)
    for line in ((80, 110, 200, 230), (200, 110, 80, 230)):
        ImageDraw.Draw(cross).line(line, 0, 16)
    files = [encode(beside(mark)) for mark in (np.asarray(cross), example_pixels(8))]
    marked, several = recognizer.recognize(files)
    assert isinstance(marked, Prediction)
    assert isinstance(several, Prediction)
    assert (marked.digit, marked.reason) == (3, None)
    assert (several.digit, several.reason) == (None, "several digits")


def test_digit_found_in_pieces_is_read_as_one(recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    [four] = finder().find(GreyImage(example_pixels(4)))
    cut = four.ink.shape[1] // 3
    places = (Box(0, 0, cut, len(four.ink)), Box(cut, 0, four.ink.shape[1] - cut, len(four.ink)))
    pieces = [FoundDigit(place.of(four.ink), place, 0.9) for place in places]
    alone = [Preprocessed(centred(piece.ink)) for piece in pieces]
    assert [one.digit for one in recognizer.predict(alone)] == [1, 1]
    monkeypatch.setattr(recognizer.finder, "find", lambda _: pieces)
    found = recognizer.preprocess(np.zeros((200, 200), np.uint8))
    [prediction] = recognizer.predict([found])
    assert (prediction.digit, prediction.reason) == (4, None)
    assert found.box == Box(0, 0, four.ink.shape[1], len(four.ink))


def test_blank_image_has_uniform_probabilities(recognizer: Recognizer) -> None:
    [prediction] = recognizer.recognize([encode(np.full((40, 40), 255, np.uint8))])
    assert prediction == Prediction(None, 0.1, (0.1,) * 10, "blank")


def test_many_images_keep_no_ink_in_memory(recognizer: Recognizer) -> None:
    [one] = recognizer.preprocess_each([example(3)])
    assert isinstance(one, Preprocessed)
    assert one.box is not None
    assert one.ink is None
    assert recognizer.decode_and_preprocess(example(3)).ink is not None


def test_bad_file_affects_only_its_own_result(recognizer: Recognizer) -> None:
    first, second, third = recognizer.recognize([example(1), b"no image", example(2)])
    assert isinstance(first, Prediction)
    assert first.digit == 1
    assert isinstance(second, ImageError)
    assert isinstance(third, Prediction)
    assert third.digit == 2


def test_threads_share_a_recognizer(recognizer: Recognizer) -> None:
    preprocessed = [preprocess(example_pixels(digit)) for digit in range(10)]
    with ThreadPoolExecutor(4) as pool:
        digits = list(pool.map(lambda one: recognizer.predict([one])[0].digit, preprocessed * 20))
    assert digits == list(range(10)) * 20


def test_preprocessing_reason_is_kept(recognizer: Recognizer) -> None:
    [prediction] = recognizer.predict([Preprocessed(np.zeros((28, 28), np.uint8), "several digits")])
    assert prediction.digit is None
    assert prediction.reason == "several digits"


def test_thresholds_decide_rejections() -> None:
    image = preprocess(example_pixels(8))
    path = ModelSettings().model_path
    [read] = Recognizer(path, "cpu").predict([image])
    assert (read.digit, read.reason) == (8, None)
    [strict] = Recognizer(path, "cpu", minimum_is_digit=1.0).predict([image])
    assert (strict.digit, strict.reason) == (None, "not a digit")
    assert strict.probabilities == read.probabilities
    [unsure] = Recognizer(path, "cpu", minimum_confidence=1.0).predict([image])
    assert (unsure.digit, unsure.reason, unsure.confidence) == (None, "uncertain", read.confidence)


def test_thresholds_of_zero_reject_nothing() -> None:
    recognizer = Recognizer(ModelSettings().model_path, "cpu", minimum_is_digit=0.0, minimum_confidence=0.0)
    scribble = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    [prediction] = recognizer.predict([Preprocessed(scribble)])
    assert prediction.digit is not None
