"""28×28 images → probabilities: a model's ONNX Runtime session."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
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
# Images per session run: larger batches are no faster on a CPU and make ONNX Runtime keep more memory.
MAXIMUM_BATCH = 16
# The file next to the model with the same network, which also outputs every layer.
EXPLANATION = "explain.onnx"

Images = NDArray[np.uint8]
Probabilities = NDArray[np.float32]


class ModelError(Exception):
    """The model cannot be loaded or run, or not on the requested execution provider; one sentence."""


class ModelVersion(TypedDict):
    """The name and version of the model that made a prediction."""

    name: str
    version: str


@dataclass(frozen=True)
class ModelFile:
    """An ONNX file, read once, so that later changes on disk have no effect."""

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

    def sibling(self, name: str) -> "ModelFile | None":
        """Another file in the same folder, None if there is none. Raises ModelError."""
        path = self.path.with_name(name)
        return ModelFile.read(path) if os.path.lexists(path) else None


class Classifier:
    """A loaded model; may be called from several threads.

    An ONNX Runtime session does not survive a fork: create it in the process that uses it.
    """

    def __init__(self, model: Path | ModelFile, provider: str = ModelSettings.provider) -> None:
        """Loads an ONNX file on the execution provider `auto`, `cpu` or `cuda`. Raises ModelError."""
        file = model if isinstance(model, ModelFile) else ModelFile.read(model)
        self.path = file.path
        self.session = load_session(file, provider)
        self.sha256 = hashlib.sha256(file.data).hexdigest()
        _check_shapes(file.path, self.session)

    @property
    def provider(self) -> str:
        """What runs the model: `cpu` or `cuda`."""
        return "cuda" if _uses_cuda(self.session) else "cpu"

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


@contextmanager
def first_run(path: Path) -> Iterator[None]:
    """Around a model's first run: raises ModelError if it fails."""
    try:
        yield
    except Exception as error:  # ONNX Runtime has a class per status code and no common base class
        raise ModelError(f"{path}: ONNX Runtime loads this model but cannot run it.") from error


def load_session(file: ModelFile, provider: str) -> onnxruntime.InferenceSession:
    """Loads an ONNX file on the execution provider `auto`, `cpu` or `cuda`. Raises ModelError."""
    options = onnxruntime.SessionOptions()
    # One thread per session: requests run in parallel, and a pool would spin and take cores from other processes.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # The arena never frees what the largest batch took; the system's allocator is as fast for a network this small.
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    providers: list[Any] = ["CPUExecutionProvider"]
    if provider != "cpu":
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            onnxruntime.preload_dlls()
            providers.insert(0, ("CUDAExecutionProvider", _CUDA_OPTIONS))
        elif provider == "cuda":
            raise ModelError(
                "DIGITS_PROVIDER: expected CUDA; this ONNX Runtime is built without it; install the `cuda` extra alone."
            )
    try:
        session = onnxruntime.InferenceSession(file.data, options, providers=providers)
    except Exception as error:  # as in `first_run`
        raise ModelError(f"{file.path}: expected an ONNX model; got a file that ONNX Runtime cannot load.") from error
    if provider == "cuda" and not _uses_cuda(session):
        raise ModelError("DIGITS_PROVIDER: expected CUDA; ONNX Runtime could not start it on this machine.")
    # Otherwise a later run that fails on CUDA would move to the CPU with no more than a log line.
    session.disable_fallback()
    return session


_CUDA_OPTIONS = {
    # Grow by what is needed, not to the next power of two: other processes share the GPU.
    "arena_extend_strategy": "kSameAsRequested",
    # The exhaustive search makes the first run of each batch size take seconds.
    "cudnn_conv_algo_search": "HEURISTIC",
}


def _uses_cuda(session: onnxruntime.InferenceSession) -> bool:
    return session.get_providers()[0] == "CUDAExecutionProvider"


def _check_shapes(path: Path, session: onnxruntime.InferenceSession) -> None:
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
