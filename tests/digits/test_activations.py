from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from onnxruntime import InferenceSession

from digits import activations as module
from digits.activations import Activations, ActivationsError
from digits.session import ModelFile, load_session
from digits.settings import ModelSettings
from tests.helpers.finding import preprocess
from tests.helpers.images import example_pixels

EXPLANATION = ModelFile.read(ModelSettings().model_path.with_name("explain.onnx"))


def test_threads_load_the_model_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[ModelFile] = []

    def load(file: ModelFile, provider: str) -> InferenceSession:
        loaded.append(file)
        return load_session(file, provider)

    monkeypatch.setattr(module, "load_session", load)
    layers = Activations(EXPLANATION)
    assert loaded == []
    image = preprocess(example_pixels(2)).image
    with ThreadPoolExecutor(8) as threads:
        outputs = list(threads.map(layers.outputs, [image] * 16))
    assert len(loaded) == 1
    assert all(np.array_equal(one[-1], outputs[0][-1]) for one in outputs)


def test_pooling_and_relu_outputs() -> None:
    layers = Activations(EXPLANATION)
    outputs = layers.outputs(preprocess(example_pixels(2)).image)
    for before, layer, output in zip(outputs, layers.layers()[1:], outputs[1:], strict=False):
        if layer.kind == "RELU":
            assert np.array_equal(output, np.maximum(before, 0))
        elif layer.kind == "POOL":
            depth, height, width = output.shape
            windows = before.reshape(depth, height, layer.size, width, layer.size)
            assert np.array_equal(output, windows.max(axis=(2, 4)))


def test_convolution_matches_a_sliding_window() -> None:
    """By (W − F + 2P)/S + 1 and F·F·D weights shared by every neuron of the map."""
    layers = Activations(EXPLANATION)
    before, after = layers.outputs(preprocess(example_pixels(2)).image)[:2]
    layer = layers.layers()[1]
    weights, biases = layers.weights(layer.name)
    windows = np.lib.stride_tricks.sliding_window_view(before, weights.shape[1:])[0]
    expected = np.einsum("hwdij,kdij->khw", windows, weights) + biases[:, None, None]
    np.testing.assert_allclose(after, expected, atol=1e-5)


def test_layer_without_weights() -> None:
    with pytest.raises(ActivationsError, match=r"one of layer_1_conv, .*; got layer_2_relu"):
        Activations(EXPLANATION).weights("layer_2_relu")
