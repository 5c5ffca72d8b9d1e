"""What goes on in the network, layer by layer: explain.onnx, which `training export` writes beside the model."""

from functools import cached_property
from threading import Lock
from typing import Annotated

import msgspec
import numpy as np
import onnxruntime
from msgspec import Meta
from numpy.typing import NDArray

from digits.classifier import EXPLANATION, ModelError, ModelFile, load_session
from digits.preprocess import SIZE

Values = NDArray[np.float32]


class ActivationsError(Exception):
    """The layers cannot be shown, or there is no such layer; the message may be shown to the sender."""


Volume = Annotated[tuple[int, ...], Meta(min_length=3, max_length=3, description="width, height and depth")]


class Layer(msgspec.Struct):
    """A layer of the network: its volumes, sizes and counts, and what its neurons see, in pixels of the input."""

    name: str
    kind: str
    text: Annotated[str, Meta(description="the layer as the formula has it")]
    input: Volume
    output: Volume
    size: int
    stride: int
    padding: int
    receptive_field: Annotated[
        tuple[int, ...], Meta(min_length=2, max_length=2, description="width and height of what a neuron sees")
    ]
    jump: Annotated[int, Meta(description="how far apart neighbouring neurons' receptive fields lie")]
    start: Annotated[int, Meta(description="where the first neuron's receptive field begins")]
    weights_per_filter: int
    parameters: int
    multiply_adds: int


class Activations:
    """The layers of a model's network. Nothing is loaded before the first use, so that prediction pays nothing."""

    def __init__(self, file: ModelFile | None) -> None:
        """`file` is the explain.onnx beside the model, None if there is none."""
        self._file = file
        self._lock = Lock()

    def session(self) -> onnxruntime.InferenceSession:
        """Raises ActivationsError where there is no such file, ModelError where it cannot be loaded."""
        if self._file is None:
            raise ActivationsError(
                f"expected {EXPLANATION} beside the model, which shows the layers; got none; "
                "`digits explain MODEL` writes it"
            )
        with self._lock:  # one thread loads it, the others wait
            return self._session

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        assert self._file is not None
        return load_session(self._file, "cpu")

    def try_out(self) -> None:
        """Loads the file, if there is one, and runs it once. Raises ModelError if that fails."""
        try:
            if self._file:
                self.outputs(np.zeros((SIZE, SIZE), np.uint8))
        except ModelError:
            raise
        except Exception as error:  # as `Classifier.warm_up`
            path = self._file and self._file.path
            raise ModelError(f"{path}: expected an ONNX model that can be run; its first run failed.") from error

    def described(self) -> list[Layer]:
        """Every layer, from the metadata (see training/activations.py)."""
        try:
            text = self.session().get_modelmeta().custom_metadata_map["layers"]
            return msgspec.json.decode(text, type=list[Layer])
        except (KeyError, ValueError) as error:
            path = self._file and self._file.path
            raise ModelError(f"{path}: expected `layers` in the metadata; got none.") from error

    def outputs(self, image: NDArray[np.uint8]) -> list[Values]:
        """Every layer's output for a prepared image, uint8 [28, 28]: float32 [D, H, W], or [n] from the first FC on."""
        names = [layer.name for layer in self.described()]
        return [output[0] for output in self.session().run(names, {"images": image[None]})]

    def weights(self, name: str) -> tuple[Values, Values]:
        """A layer's weights, float32 [K, D, F, F] of CONV or [n, neurons] of FC, and its biases.

        Raises ActivationsError.
        """
        with_weights = [layer.name for layer in self.described() if layer.parameters]
        if name not in with_weights:
            raise ActivationsError(f"expected a layer with weights, one of {', '.join(with_weights)}; got {name}")
        blank = np.zeros((1, SIZE, SIZE), np.uint8)
        weights, biases = self.session().run([f"{name}_weights", f"{name}_biases"], {"images": blank})
        return weights, biases
