"""Libraries that are not installed with the rest."""

from importlib import import_module
from types import ModuleType

from scoring.errors import ScoringError


def parquet() -> ModuleType:
    """`scoring.parquet`. Raises ScoringError where PyArrow is not installed."""
    return _load("scoring.parquet", "pyarrow", "Parquet", "parquet")


def storage() -> ModuleType:
    """`scoring.storage`. Raises ScoringError where PyArrow is not installed."""
    return _load("scoring.storage", "pyarrow", "s3:// and the like", "parquet")


def cluster() -> ModuleType:
    """`scoring.engines.ray`. Raises ScoringError where Ray is not installed."""
    return _load("scoring.engines.ray", "ray", "--engine ray", "ray")


def _load(module: str, package: str, what: str, extra: str) -> ModuleType:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise ScoringError(
            f"{what}: expected the package {package}; install the extra: pip install '.[{extra}]'"
        ) from error
