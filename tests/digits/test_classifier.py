from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from digits.classifier import MAXIMUM_BATCH, Classifier
from digits.session import ModelError
from digits.settings import ModelSettings


def test_batched_and_single_predictions_agree(classifier: Classifier) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2 * MAXIMUM_BATCH + 3, 28, 28), dtype=np.uint8)
    together = classifier.classify(images)
    alone = [
        np.concatenate(parts) for parts in zip(*(classifier.classify(image[None]) for image in images), strict=True)
    ]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_model_identity(classifier: Classifier) -> None:
    assert classifier.model == {"name": "digits", "version": ModelSettings().model_path.parent.name}
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
        (lambda path: path.write_bytes(ModelSettings().model_path.read_bytes()[:5000]), "cannot load"),
        (wrong_model, "expected a tensor `images`, tensor(uint8) (N, 28, 28); got only x, y"),
    ],
    ids=["missing", "folder", "empty", "garbage", "truncated", "wrong shape"],
)
def test_unusable_model_is_a_one_line_error(write: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write(path)
    with pytest.raises(ModelError) as caught:
        Classifier(path, "cpu")
    text = str(caught.value)
    assert message in text
    assert text.startswith(str(path))
    assert "\n" not in text


REAL_SESSION = onnxruntime.InferenceSession


class FakeSession:
    """A session that reports the requested providers, or only the CPU unless it `works`."""

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


@pytest.fixture
def cuda_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulates ONNX Runtime's CUDA build, which lists the provider even if it does not work."""
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(onnxruntime, "InferenceSession", FakeSession)


def test_cuda_without_the_cuda_build_is_an_error() -> None:
    with pytest.raises(ModelError, match="built without it; install the `cuda` extra"):
        Classifier(ModelSettings().model_path, "cuda")


@pytest.mark.usefixtures("cuda_build")
def test_failed_cuda_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeSession, "works", False)
    with pytest.raises(ModelError, match="could not start it on this machine"):
        Classifier(ModelSettings().model_path, "cuda")
    assert Classifier(ModelSettings().model_path, "auto").provider == "cpu"


@pytest.mark.usefixtures("cuda_build")
@pytest.mark.parametrize("provider", ["cuda", "auto"])
def test_working_cuda_is_used_without_fallback(provider: str) -> None:
    classifier = Classifier(ModelSettings().model_path, provider)
    assert classifier.provider == "cuda"
    assert classifier.session.fallback is False


@pytest.mark.usefixtures("cuda_build")
def test_cpu_is_used_if_chosen() -> None:
    assert Classifier(ModelSettings().model_path, "cpu").provider == "cpu"
