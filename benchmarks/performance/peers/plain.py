"""What the peers do: decode an image, resize it plainly, run the network with one thread."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

VERSIONS = Path(__file__).resolve().parents[3] / "models" / "digits"
MODEL = max(VERSIONS.glob("*/model.onnx"), key=lambda path: int(path.parent.name))


class Network:
    """A session of the shipped model; create it in the process that uses it."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])

    def read(self, file: bytes) -> dict[str, Any]:
        """The digit in an image file, white on black, with the ten probabilities."""
        return self.classify(Image.open(io.BytesIO(file)))

    def classify(self, image: Image.Image) -> dict[str, Any]:
        """The same for an opened image."""
        image = image.convert("L")
        if image.size != (28, 28):
            image = image.resize((28, 28))
        [[probabilities]] = self.session.run(["probabilities"], {"images": np.asarray(image)[None]})
        return {"digit": int(probabilities.argmax()), "probabilities": probabilities.tolist()}
