"""28×28 images → probabilities, by the network that is trained for it."""

from functools import cached_property
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from digits import tracing
from digits.preprocess import SIZE
from digits.session import ModelFile, check_tensors, first_run, load_session, uses_cuda
from digits.settings import VERSION, ModelSettings

CLASSES = 10
# Images per session run: larger batches are no faster on a CPU and make ONNX Runtime keep more memory.
MAXIMUM_BATCH = 16

Images = NDArray[np.uint8]
Probabilities = NDArray[np.float32]


class ModelVersion(TypedDict):
    """The name and version of the model that made a prediction."""

    name: str
    version: str


class Classifier:
    """A loaded model; may be called from several threads.

    An ONNX Runtime session does not survive a fork: create it in the process that uses it.
    """

    def __init__(self, model: Path | ModelFile, provider: str = ModelSettings.provider) -> None:
        """Loads an ONNX file on the execution provider `auto`, `cpu` or `cuda`. Raises ModelError."""
        file = model if isinstance(model, ModelFile) else ModelFile.read(model)
        self.path = file.path
        self.session = load_session(file, provider)
        check_tensors(file.path, self.session, _TENSORS)

    @property
    def provider(self) -> str:
        """What runs the model: `cpu` or `cuda`."""
        return "cuda" if uses_cuda(self.session) else "cpu"

    @cached_property
    def metadata(self) -> dict[str, str]:
        """What training wrote into the file: name, version, formula, labels, hashes and results."""
        return dict(self.session.get_modelmeta().custom_metadata_map)

    @cached_property
    def version(self) -> str:
        """The name of the file's folder if that is a version, otherwise the metadata's version."""
        folder = self.path.absolute().parent.name
        return folder if VERSION.fullmatch(folder) else self.metadata.get("version", "0")

    @property
    def model(self) -> ModelVersion:
        """The model's name and version."""
        return {"name": self.metadata.get("name", "digits"), "version": self.version}

    def classify(self, images: Images) -> tuple[Probabilities, NDArray[np.float32]]:
        """Probabilities [N, 10] and `is_digit` [N] of preprocessed images, uint8 [N, 28, 28]."""
        # Copied at once: ONNX Runtime's own outputs, if kept, would fragment the memory that every run reuses.
        probabilities, is_digit = np.empty((len(images), CLASSES), np.float32), np.empty(len(images), np.float32)
        for start in range(0, len(images), MAXIMUM_BATCH):
            part = slice(start, start + MAXIMUM_BATCH)
            with tracing.span("inference"):
                outputs = self.session.run(["probabilities", "is_digit"], {"images": images[part]})
            probabilities[part], is_digit[part] = outputs
            tracing.batch(len(is_digit[part]))
        return probabilities, is_digit

    def warm_up(self) -> None:
        """Runs the model once, so that the first request finds everything loaded. Raises ModelError."""
        # On CUDA, the first run of each batch size chooses its algorithms.
        sizes = range(1, MAXIMUM_BATCH + 1) if self.provider == "cuda" else [1]
        with first_run(self.path):
            for size in sizes:
                self.classify(np.zeros((size, SIZE, SIZE), np.uint8))


_TENSORS: dict[str, tuple[str, tuple[int | str, ...]]] = {
    "images": ("tensor(uint8)", ("N", SIZE, SIZE)),
    "probabilities": ("tensor(float)", ("N", CLASSES)),
    "is_digit": ("tensor(float)", ("N",)),
}
