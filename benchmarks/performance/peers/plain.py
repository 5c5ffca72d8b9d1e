"""What the peers do: decode an image, resize it plainly, run the network with one thread.

The network is `network.onnx`, version 3's, so that a faster one of ours counts. With NETWORK=digits it is the one that
ships; with REDUCED=1, JPEGs are decoded at a part of their size.
"""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

MODEL = Path(__file__).with_name("network.onnx")
VERSIONS = Path(__file__).resolve().parents[3] / "models" / "digits"
SHIPPED = max(VERSIONS.glob("*/model.onnx"), key=lambda path: int(path.parent.name))
SIZE = (28, 28)


class Network:
    """A session of a network; create it in the process that uses it."""

    def __init__(self, model: Path | None = None, *, reduced: bool = "REDUCED" in os.environ) -> None:
        self.reduced = reduced
        model = model or (SHIPPED if os.environ.get("NETWORK") == "digits" else MODEL)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def read(self, file: bytes) -> dict[str, Any]:
        """The digit in an image file, white on black, with the ten probabilities."""
        return self.classify(Image.open(io.BytesIO(file)))

    def classify(self, image: Image.Image) -> dict[str, Any]:
        """The same for an opened image."""
        if self.reduced:
            image.draft("L", SIZE)
        image = image.convert("L")
        if image.size != SIZE:
            image = image.resize(SIZE)
        [[probabilities]] = self.session.run(["probabilities"], {"images": np.asarray(image)[None]})
        return {"digit": int(probabilities.argmax()), "probabilities": probabilities.tolist()}
