"""ONNX files and their ONNX Runtime sessions."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnxruntime


class ModelError(Exception):
    """The model cannot be loaded or run, or not on the requested execution provider; one sentence."""


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

    @classmethod
    def read_if_there(cls, path: Path) -> "ModelFile | None":
        """None if there is no such file. Raises ModelError."""
        return cls.read(path) if os.path.lexists(path) else None


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
    # The arena never frees what the largest batch took; the system's allocator is as fast for networks this small.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
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
    if provider == "cuda" and not uses_cuda(session):
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


def uses_cuda(session: onnxruntime.InferenceSession) -> bool:
    """Whether a session runs on CUDA."""
    return session.get_providers()[0] == "CUDAExecutionProvider"


def check_tensors(
    path: Path, session: onnxruntime.InferenceSession, expected: Mapping[str, tuple[str, tuple[int | str, ...]]]
) -> None:
    """Raises ModelError unless the session has these inputs and outputs: name → type and shape, "N" for any size."""
    found = {
        one.name: (one.type, tuple(size if isinstance(size, int) else "N" for size in one.shape))
        for one in [*session.get_inputs(), *session.get_outputs()]
    }
    for name, (kind, shape) in expected.items():
        if found.get(name) != (kind, shape):
            got = "{} {}".format(*found[name]) if name in found else f"only {', '.join(found)}"
            raise ModelError(f"{path}: expected a tensor `{name}`, {kind} {shape}; got {got}.".replace("'N'", "N"))
