"""Modules that need an optional dependency."""

from importlib import import_module
from types import ModuleType

from scoring.errors import ScoringError


def parquet() -> ModuleType:
    """`scoring.parquet`. Raises ScoringError if PyArrow is not installed."""
    return _load("scoring.parquet", "pyarrow", "Parquet", "parquet")


def tables() -> ModuleType:
    """`scoring.inputs.tables`. Raises ScoringError if PyArrow is not installed."""
    return _load("scoring.inputs.tables", "pyarrow", "Parquet and CSV", "parquet")


def storage() -> ModuleType:
    """`scoring.storage`. Raises ScoringError if PyArrow is not installed."""
    return _load("scoring.storage", "pyarrow", "remote paths", "parquet")


def ray_engine() -> ModuleType:
    """`scoring.engines.ray`. Raises ScoringError if Ray is not installed."""
    return _load("scoring.engines.ray", "ray", "--engine ray", "ray")


def local_engine() -> ModuleType:
    """`scoring.engines.local`. Raises ScoringError if ONNX Runtime is not installed."""
    return _load("scoring.engines.local", "onnxruntime", "scoring without --url", "cpu")


def _load(module: str, package: str, what: str, extra: str) -> ModuleType:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise ScoringError(f"{what}: the package {package} is missing; pip install '.[{extra}]'") from error
