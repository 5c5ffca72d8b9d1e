"""Libraries that are not installed with the rest."""

from importlib import import_module
from types import ModuleType

from scoring.errors import ScoringError


def parquet() -> ModuleType:
    """`scoring.parquet`. Raises ScoringError where PyArrow is not installed."""
    return _load("scoring.parquet", "pyarrow", "Parquet")


def _load(module: str, package: str, what: str) -> ModuleType:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        extra = what.lower()
        raise ScoringError(
            f"{what}: expected the package {package}; install the extra: pip install '.[{extra}]'"
        ) from error
