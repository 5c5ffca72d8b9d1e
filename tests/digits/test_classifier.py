from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from digits.classifier import MAXIMUM_BATCH, Classifier, ModelError, Prediction
from digits.decode import ImageError
from digits.preprocess import Prepared, prepare
from digits.settings import Settings
from tests.conftest import encode, example, example_pixels


@pytest.mark.parametrize("digit", range(10))
def test_reads_every_example(digit: int, classifier: Classifier) -> None:
    [prediction] = classifier.read([example(digit)])
    assert isinstance(prediction, Prediction)
    assert prediction.digit == digit
    assert prediction.reason is None
    assert prediction.confidence == max(prediction.probabilities)
    assert sum(prediction.probabilities) == pytest.approx(1, abs=1e-4)


def test_batch_of_any_size_gives_what_each_image_gives_alone(classifier: Classifier) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2 * MAXIMUM_BATCH + 3, 28, 28), dtype=np.uint8)
    together = classifier.classify(images)
    alone = [
        np.concatenate(parts) for parts in zip(*(classifier.classify(image[None]) for image in images), strict=True)
    ]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_empty_batch(classifier: Classifier) -> None:
    assert classifier.predict([]) == []
    assert [part.shape for part in classifier.classify(np.zeros((0, 28, 28), np.uint8))] == [(0, 10), (0,)]


def test_blank_image_is_no_digit_and_speaks_for_none(classifier: Classifier) -> None:
    [prediction] = classifier.read([encode(np.full((40, 40), 255, np.uint8))])
    assert prediction == Prediction(None, 0.1, (0.1,) * 10, "blank")


def test_bad_file_spoils_only_its_own_place(classifier: Classifier) -> None:
    first, second, third = classifier.read([example(1), b"no image", example(2)])
    assert isinstance(first, Prediction)
    assert first.digit == 1
    assert isinstance(second, ImageError)
    assert isinstance(third, Prediction)
    assert third.digit == 2


def test_threads_share_a_classifier(classifier: Classifier) -> None:
    prepared = [prepare(example_pixels(digit)) for digit in range(10)]
    with ThreadPoolExecutor(4) as pool:
        digits = list(pool.map(lambda one: classifier.predict([one])[0].digit, prepared * 20))
    assert digits == list(range(10)) * 20


def test_model_tells_what_it_is(classifier: Classifier) -> None:
    assert classifier.model == {"name": "digits", "version": Settings().model_path.parent.name}
    assert classifier.provider == "cpu"
    assert classifier.metadata["formula"].startswith("INPUT 28x28x1 -> ")


def wrong_model(path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "identity",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "got: No such file or directory."),
        (lambda path: path.mkdir(), "got: Is a directory."),
        (lambda path: path.write_bytes(b""), "got a file that ONNX Runtime cannot load"),
        (lambda path: path.write_bytes(b"no model"), "got a file that ONNX Runtime cannot load"),
        (lambda path: path.write_bytes(Settings().model_path.read_bytes()[:5000]), "cannot load"),
        (wrong_model, "expected a tensor `images`, tensor(uint8) (N, 28, 28); got only x, y"),
    ],
    ids=["missing", "folder", "empty", "rubbish", "cut short", "wrong shape"],
)
def test_unusable_model_is_one_clear_sentence(write: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write(path)
    with pytest.raises(ModelError) as caught:
        Classifier(path, "cpu")
    text = str(caught.value)
    assert message in text
    assert text.startswith(str(path))
    assert "\n" not in text


class FakeSession:
    """A session as ONNX Runtime gives it: on the providers it was asked for, or fallen back to the CPU."""

    works = True

    def __init__(self, path: Path, options: object, providers: list[Any]) -> None:
        names = [one[0] if isinstance(one, tuple) else one for one in providers]
        self.real = REAL_SESSION(path, options, providers=["CPUExecutionProvider"])
        self.providers = names if self.works else ["CPUExecutionProvider"]
        self.fallback = True

    def get_providers(self) -> list[Any]:
        return self.providers

    def disable_fallback(self) -> None:
        self.fallback = False

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)


REAL_SESSION = onnxruntime.InferenceSession


@pytest.fixture
def cuda_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for ONNX Runtime's CUDA build: the provider is listed, whether or not it works."""
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(onnxruntime, "InferenceSession", FakeSession)


def test_cuda_without_the_cuda_build_is_an_error() -> None:
    with pytest.raises(ModelError, match="built without it; install the `cuda` extra"):
        Classifier(Settings().model_path, "cuda")


@pytest.mark.usefixtures("cuda_build")
def test_cuda_that_does_not_start_is_an_error_and_never_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeSession, "works", False)
    with pytest.raises(ModelError, match="could not start it on this machine"):
        Classifier(Settings().model_path, "cuda")
    assert Classifier(Settings().model_path, "auto").provider == "cpu"


@pytest.mark.usefixtures("cuda_build")
@pytest.mark.parametrize("provider", ["cuda", "auto"])
def test_cuda_that_works_is_used_and_cannot_fall_back_later(provider: str) -> None:
    classifier = Classifier(Settings().model_path, provider)
    assert classifier.provider == "cuda"
    assert classifier.session.fallback is False


@pytest.mark.usefixtures("cuda_build")
def test_cpu_is_never_anything_else() -> None:
    assert Classifier(Settings().model_path, "cpu").provider == "cpu"


def test_prepared_reason_is_passed_on(classifier: Classifier) -> None:
    [prediction] = classifier.predict([Prepared(np.zeros((28, 28), np.uint8), "several digits")])
    assert prediction.digit is None
    assert prediction.reason == "several digits"


def test_minima_decide_what_is_refused_and_why() -> None:
    image = prepare(example_pixels(8))
    path = Settings().model_path
    [read] = Classifier(path, "cpu").predict([image])
    assert (read.digit, read.reason) == (8, None)
    [strict] = Classifier(path, "cpu", minimum_is_digit=1.0).predict([image])
    assert (strict.digit, strict.reason) == (None, "not a digit")
    assert strict.probabilities == read.probabilities
    [unsure] = Classifier(path, "cpu", minimum_confidence=1.0).predict([image])
    assert (unsure.digit, unsure.reason, unsure.confidence) == (None, "uncertain", read.confidence)


def test_nothing_is_refused_at_minima_of_zero() -> None:
    classifier = Classifier(Settings().model_path, "cpu", minimum_is_digit=0.0, minimum_confidence=0.0)
    scribble = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    [prediction] = classifier.predict([Prepared(scribble)])
    assert prediction.digit is not None
