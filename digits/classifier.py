"""28×28 images → probabilities: the ONNX Runtime session of a model."""

import hashlib
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from digits import tracing
from digits.preprocess import SIZE
from digits.settings import VERSION, ModelSettings

CLASSES = 10
# Images a session run: larger batches are no faster on a CPU and make ONNX Runtime keep more memory.
MAXIMUM_BATCH = 16

# Beside the model: the same network, which gives every layer's output too.
EXPLANATION = "explain.onnx"

Images = NDArray[np.uint8]
Probabilities = NDArray[np.float32]


class ModelError(Exception):
    """The model cannot be loaded, or not on the execution provider asked for; one sentence."""


class ModelVersion(TypedDict):
    """Which model answered."""

    name: str
    version: str


@dataclass(frozen=True)
class ModelFile:
    """An ONNX file, read once: what is made of it does not depend on what becomes of the file."""

    path: Path
    data: bytes = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> "ModelFile":
        """Raises ModelError."""
        try:
            if path.exists() and not path.is_file() and not path.is_dir():
                raise ModelError(f"{path}: expected an ONNX model; got a pipe or a device.")
            return cls(path, path.read_bytes())
        except OSError as error:
            raise ModelError(f"{path}: expected an ONNX model; got: {error.strerror}.") from error

    def beside(self, name: str) -> "ModelFile | None":
        """Another file of the same folder, None if it is not there. Raises ModelError."""
        path = self.path.with_name(name)
        return ModelFile.read(path) if os.path.lexists(path) else None


class Classifier:
    """A model loaded once, ready to predict; may be called from several threads.

    An ONNX Runtime session does not survive a fork: create it in the process that uses it.
    """

    def __init__(
        self,
        model: Path | ModelFile,
        provider: str = ModelSettings.provider,
    ) -> None:
        """Loads an ONNX file onto the execution provider `auto`, `cpu` or `cuda`. Raises ModelError."""
        file = model if isinstance(model, ModelFile) else ModelFile.read(model)
        self.path = file.path
        self.session = load_session(file, provider)
        self.sha256 = hashlib.sha256(file.data).hexdigest()
        _check_shape(file.path, self.session)

    @property
    def provider(self) -> str:
        """What runs the model: `cpu` or `cuda`."""
        return "cuda" if self.session.get_providers()[0] == "CUDAExecutionProvider" else "cpu"

    @cached_property
    def metadata(self) -> dict[str, str]:
        """What training wrote into the file: name, version, formula, labels, hashes and results."""
        return dict(self.session.get_modelmeta().custom_metadata_map)

    @cached_property
    def version(self) -> str:
        """The number of the folder that the file lies in, as text, or else what the file says of itself."""
        folder = self.path.absolute().parent.name
        return folder if VERSION.fullmatch(folder) else self.metadata.get("version", "0")

    @property
    def model(self) -> ModelVersion:
        """The model's name and version."""
        return {"name": self.metadata.get("name", "digits"), "version": self.version}

    def classify(self, images: Images) -> tuple[Probabilities, NDArray[np.float32]]:
        """Probabilities [N, 10] and `is_digit` [N] of prepared images, uint8 [N, 28, 28]."""
        # Copied at once: ONNX Runtime's own outputs, if kept, would break up the memory that each run takes again.
        probabilities, is_digit = np.empty((len(images), CLASSES), np.float32), np.empty(len(images), np.float32)
        for start in range(0, len(images), MAXIMUM_BATCH):
            part = slice(start, start + MAXIMUM_BATCH)
            with tracing.span("inference"):
                outputs = self.session.run(["probabilities", "is_digit"], {"images": images[part]})
            probabilities[part], is_digit[part] = outputs
            tracing.batch(len(is_digit[part]))
        return probabilities, is_digit

    def warm_up(self) -> None:
        """Predicts once, so that the first request finds everything loaded; on CUDA once a batch size.

        There, the first run of a size chooses the algorithms for it. Raises ModelError if the model cannot be run.
        """
        try:
            for size in range(1, MAXIMUM_BATCH + 1) if self.provider == "cuda" else [1]:
                self.classify(np.zeros((size, SIZE, SIZE), np.uint8))
        # ONNX Runtime has a class for each of its status codes, with no common one above them.
        except Exception as error:
            raise ModelError(f"{self.path}: expected an ONNX model that can be run; its first run failed.") from error


def load_session(file: ModelFile, provider: str) -> onnxruntime.InferenceSession:
    """Loads an ONNX file onto the execution provider `auto`, `cpu` or `cuda`. Raises ModelError."""
    options = onnxruntime.SessionOptions()
    # One thread a session: requests run side by side, and a pool would spin and take cores from other processes.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # The arena keeps what the largest batch took for ever; the system's allocator is as fast for a network this small.
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    if provider == "cpu":
        return _session(file, options, ["CPUExecutionProvider"])
    available = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if not available and provider == "cuda":
        raise ModelError(
            "DIGITS_PROVIDER: expected CUDA; this ONNX Runtime is built without it; install the `cuda` extra alone."
        )
    if available:
        onnxruntime.preload_dlls()
        session = _session(file, options, [("CUDAExecutionProvider", _CUDA_OPTIONS), "CPUExecutionProvider"])
        # ONNX Runtime falls back to the CPU with no more than a log line, now or at any later run.
        session.disable_fallback()
        if session.get_providers()[0] == "CUDAExecutionProvider":
            return session
        if provider == "cuda":
            raise ModelError("DIGITS_PROVIDER: expected CUDA; ONNX Runtime could not start it on this machine.")
    return _session(file, options, ["CPUExecutionProvider"])


_CUDA_OPTIONS = {
    # Grow by what is needed, not to the next power of two: others share the GPU.
    "arena_extend_strategy": "kSameAsRequested",
    # The exhaustive search makes the first run of each batch size take seconds.
    "cudnn_conv_algo_search": "HEURISTIC",
}


def _session(
    file: ModelFile, options: onnxruntime.SessionOptions, providers: list[Any]
) -> onnxruntime.InferenceSession:
    try:
        return onnxruntime.InferenceSession(file.data, options, providers=providers)
    except Exception as error:  # as above
        raise ModelError(f"{file.path}: expected an ONNX model; got a file that ONNX Runtime cannot load.") from error


def _check_shape(path: Path, session: onnxruntime.InferenceSession) -> None:
    found = {
        one.name: (one.type, tuple(size if isinstance(size, int) else "N" for size in one.shape))
        for one in [*session.get_inputs(), *session.get_outputs()]
    }
    expected = {
        "images": ("tensor(uint8)", ("N", SIZE, SIZE)),
        "probabilities": ("tensor(float)", ("N", CLASSES)),
        "is_digit": ("tensor(float)", ("N",)),
    }
    for name, (kind, shape) in expected.items():
        if found.get(name) != (kind, shape):
            got = "{} {}".format(*found[name]) if name in found else f"only {', '.join(found)}"
            raise ModelError(f"{path}: expected a tensor `{name}`, {kind} {shape}; got {got}.".replace("'N'", "N"))
