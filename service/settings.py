"""The settings: environment variables, validated at the start."""

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

MODELS = Path(__file__).resolve().parent.parent / "models" / "digits"
# A version is a whole number, as Triton wants it.
VERSION = re.compile(r"[1-9][0-9]{0,17}")
PROVIDERS = ("auto", "cpu", "cuda")


class SettingsError(ValueError):
    """A setting is unknown or its value is wrong; the message says what was expected and what came."""


def _setting(variable: str, default: Any, help: str) -> Any:  # noqa: ANN401 - as `dataclasses.field` itself
    return field(default=default, metadata={"variable": variable, "help": help})


@dataclass(frozen=True)
class Settings:
    """One field a setting, with its environment variable, its default and its help."""

    host: str = _setting("HOST", "127.0.0.1", "address to listen on; the container sets `0.0.0.0`")
    port: int = _setting("PORT", 8000, "port to listen on")
    model: Path | None = _setting(
        "DIGITS_MODEL",
        None,
        "folder of versions, `<version>/model.onnx`, or one ONNX file; `models/digits` here unless set",
    )
    provider: str = _setting(
        "DIGITS_PROVIDER", "auto", "execution provider: `auto`, `cpu` or `cuda`; `auto` takes CUDA if it works"
    )
    minimum_is_digit: float = _setting(
        "DIGITS_MINIMUM_IS_DIGIT",
        0.5,
        "images whose `is_digit`, 0 to 1, is below are refused as `not a digit`; 0 refuses none",
    )
    minimum_confidence: float = _setting(
        "DIGITS_MINIMUM_CONFIDENCE",
        0.4,
        "digits whose `confidence` is below are refused as `uncertain`; 0 refuses none",
    )
    workers: int = _setting(
        "DIGITS_WORKERS",
        0,
        "worker processes; 0: one a core of the CPU quota, with `DIGITS_PROVIDER=cuda` one in all",
    )
    threads: int = _setting("DIGITS_THREADS", 4, "threads a worker, each answering one request at a time")

    def __post_init__(self) -> None:
        _require(0 <= self.port <= 65535, "PORT", "a port, 0 to 65535", self.port)
        _require(self.provider in PROVIDERS, "DIGITS_PROVIDER", "one of " + ", ".join(PROVIDERS), self.provider)
        for name, value in [
            ("DIGITS_MINIMUM_IS_DIGIT", self.minimum_is_digit),
            ("DIGITS_MINIMUM_CONFIDENCE", self.minimum_confidence),
        ]:
            _require(0 <= value <= 1, name, "0 to 1", value)
        _require(0 <= self.workers <= 1024, "DIGITS_WORKERS", "0 to 1024", self.workers)
        _require(1 <= self.threads <= 1024, "DIGITS_THREADS", "1 to 1024", self.threads)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Reads the settings; an empty variable counts as unset. Raises SettingsError."""
        variables = {one.metadata["variable"]: one for one in fields(cls)}
        for name in environment:
            if name.startswith("DIGITS_") and name not in variables:
                close = difflib.get_close_matches(name, variables, 1)
                raise SettingsError(
                    f"{name}: no such setting"
                    + (f"; did you mean {close[0]}?" if close else "; see the README's table")
                )
        values: dict[str, Any] = {}
        for name, one in variables.items():
            text = environment.get(name, "")
            if not text:
                continue
            if one.type is int:
                _require(re.fullmatch(r"-?[0-9]+", text) is not None, name, "a whole number", text)
                values[one.name] = int(text)
            elif one.type is float:
                _require(re.fullmatch(r"[0-9]*\.?[0-9]+", text) is not None, name, "a number, 0 to 1", text)
                values[one.name] = float(text)
            else:
                values[one.name] = Path(text) if one.name == "model" else text
        return cls(**values)

    @property
    def model_paths(self) -> list[Path]:
        """The ONNX file of every version, the highest first. Raises SettingsError where the folder holds none."""
        model = self.model or MODELS
        if not model.is_dir():
            return [model]
        versions = [path for path in model.glob("*/model.onnx") if VERSION.fullmatch(path.parent.name)]
        if not versions:
            raise SettingsError(f"DIGITS_MODEL: expected <version>/model.onnx in {model}; got none")
        return sorted(versions, key=lambda path: int(path.parent.name), reverse=True)

    @property
    def model_path(self) -> Path:
        """The ONNX file of the highest version. Raises SettingsError where there is none."""
        return self.model_paths[0]


def _require(condition: bool, name: str, expected: str, got: object) -> None:
    if not condition:
        raise SettingsError(f"{name}: expected {expected}; got {got!r}")
