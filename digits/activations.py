"""The activations and weights of every layer, from explain.onnx, which `digits export` writes next to the model."""

from threading import Lock
from typing import Annotated

import msgspec
import numpy as np
import onnxruntime
from msgspec import Meta
from numpy.typing import NDArray

from digits.preprocess import SIZE
from digits.session import ModelError, ModelFile, first_run, load_session
from digits.version import EXPLANATION

Values = NDArray[np.float32]
Volume = Annotated[tuple[int, ...], Meta(min_length=3, max_length=3, description="width, height and depth")]


class ActivationsError(Exception):
    """There are no activations, or no such layer; the message may be shown to the client."""


class Layer(msgspec.Struct):
    """A layer of the network: volumes, sizes, counts, and its neurons' receptive fields in pixels of the input."""

    name: str
    kind: str
    text: Annotated[str, Meta(description="the layer as written in the formula")]
    input: Volume
    output: Volume
    size: int
    stride: int
    padding: int
    receptive_field: Annotated[
        tuple[int, ...], Meta(min_length=2, max_length=2, description="width and height of a neuron's receptive field")
    ]
    jump: Annotated[int, Meta(description="distance between the receptive fields of neighbouring neurons")]
    start: Annotated[int, Meta(description="where the first neuron's receptive field begins")]
    weights_per_filter: int
    parameters: int
    multiply_adds: int


class Activations:
    """The layers of a model's network. The file is loaded on first use, so that prediction does not pay for it."""

    def __init__(self, file: ModelFile | None) -> None:
        """`file` is the model's explain.onnx, None if there is none."""
        self._file = file
        self._session: onnxruntime.InferenceSession | None = None
        self._lock = Lock()

    def session(self) -> onnxruntime.InferenceSession:
        """Raises ActivationsError if there is no file, ModelError if it cannot be loaded."""
        if self._file is None:
            raise ActivationsError(
                f"expected {EXPLANATION} next to the model; got none; `digits explain MODEL` writes it"
            )
        with self._lock:
            self._session = self._session or load_session(self._file, "cpu")
            return self._session

    def try_out(self) -> None:
        """Loads the file, if there is one, and runs it once. Raises ModelError."""
        if self._file:
            self.layers()
            with first_run(self._file.path):
                self.outputs(np.zeros((SIZE, SIZE), np.uint8))

    def layers(self) -> list[Layer]:
        """Every layer, from the metadata that `digits export` wrote."""
        try:
            text = self.session().get_modelmeta().custom_metadata_map["layers"]
            return msgspec.json.decode(text, type=list[Layer])
        except (KeyError, ValueError) as error:
            assert self._file is not None
            raise ModelError(f"{self._file.path}: expected `layers` in the metadata; got none.") from error

    def outputs(self, image: NDArray[np.uint8]) -> list[Values]:
        """Every layer's output for a 28×28 image: float32 [D, H, W], or [n] from the first FC on."""
        names = [layer.name for layer in self.layers()]
        return [output[0] for output in self.session().run(names, {"images": image[None]})]

    def weights(self, name: str) -> tuple[Values, Values]:
        """A layer's weights, float32 [K, D, F, F] (CONV) or [n, neurons] (FC), and biases. Raises ActivationsError."""
        with_weights = [layer.name for layer in self.layers() if layer.parameters]
        if name not in with_weights:
            raise ActivationsError(f"expected a layer with weights, one of {', '.join(with_weights)}; got {name}")
        blank = np.zeros((1, SIZE, SIZE), np.uint8)
        weights, biases = self.session().run([f"{name}_weights", f"{name}_biases"], {"images": blank})
        return weights, biases
