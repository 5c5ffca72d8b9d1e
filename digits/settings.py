"""Settings from environment variables, checked at start: the model's."""

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from operator import call
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_type_hints

import msgspec
from msgspec import Meta, inspect

_HERE = Path(__file__).resolve().parent
# Inside of this package in an installed wheel, next to it in a checkout.
SHIPPED = _HERE if (_HERE / "models").is_dir() else _HERE.parent
MODELS, EXAMPLES = SHIPPED / "models" / "digits", SHIPPED / "examples"
# A version is a whole number, as Triton requires.
VERSION = re.compile(r"[1-9][0-9]{0,17}")
# Variables that Kubernetes and Docker links set for services called `digits` or `digits-…`; these are not settings.
_OF_SERVICES = re.compile(r"DIGITS_(.+_)?(SERVICE_(HOST|PORT(_.+)?)|PORT(_[0-9]+_(TCP|UDP|SCTP)(_.+)?)?)")
_LONGEST_VALUE = 100

Provider = Literal["auto", "cpu", "cuda"]
Share = Annotated[float, Meta(ge=0, le=1)]


class SettingsError(ValueError):
    """A setting is unknown or its value is invalid; the message says what was expected and what was received."""


def setting(variable: str, default: Any, help: str) -> Any:  # noqa: ANN401 - as `dataclasses.field` itself
    """A field read from an environment variable."""
    return field(default=default, metadata={"variable": variable, "help": help})


@dataclass(frozen=True)
class ModelSettings:
    """One field per setting, with its environment variable, default and help."""

    # Whether every other variable with the prefix DIGITS_ is an error; subclasses add settings.
    complete: ClassVar[bool] = False

    model: Path | None = setting(
        "DIGITS_MODEL",
        None,
        "folder of versions, `<version>/{model,finder}.onnx`, or of one version; the shipped models unless set",
    )
    provider: Provider = setting(
        "DIGITS_PROVIDER", "auto", "execution provider: `auto`, `cpu` or `cuda`; `auto` uses CUDA where it works"
    )
    minimum_is_digit: Share = setting(
        "DIGITS_MINIMUM_IS_DIGIT",
        0.5,
        "images whose `is_digit`, 0 to 1, is lower are rejected as `not a digit`; 0 rejects none",
    )
    minimum_confidence: Share = setting(
        "DIGITS_MINIMUM_CONFIDENCE",
        0.4,
        "digits whose `confidence` is lower are rejected as `uncertain`; 0 rejects none",
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Reads the settings; an empty variable counts as unset. Raises SettingsError."""
        variables = {one.metadata["variable"]: one.name for one in fields(cls)}
        cls._check_names(environment, variables)
        types = get_type_hints(cls, include_extras=True)
        values: dict[str, Any] = {}
        for variable, name in variables.items():
            if text := environment.get(variable):
                number = re.sub(r"^\.(?=[0-9])", "0.", text)
                try:
                    values[name] = msgspec.convert(number, types[name], strict=False, dec_hook=call)
                except msgspec.ValidationError as error:
                    shown = repr(text[:_LONGEST_VALUE]) + "…" * (len(text) > _LONGEST_VALUE)
                    raise SettingsError(f"{variable}: expected {_expected(types[name])}; got {shown}") from error
        return cls(**values)

    @classmethod
    def _check_names(cls, environment: Mapping[str, str], variables: Mapping[str, str]) -> None:
        short = {name.removeprefix("DIGITS_"): name for name in variables}
        for name, value in environment.items():
            of_service = _OF_SERVICES.fullmatch(name) and (name != "DIGITS_PORT" or "://" in value)
            if not name.startswith("DIGITS_") or name in variables or of_service:
                continue
            close = difflib.get_close_matches(name.removeprefix("DIGITS_"), short, 1, 0.7)
            if close or cls.complete:
                remedy = f"did you mean {short[close[0]]}?" if close else "`digits settings` lists them"
                raise SettingsError(f"{name}: no such setting; {remedy}")

    @property
    def model_paths(self) -> list[Path]:
        """The ONNX file of every version, the highest first. Raises SettingsError if the folder holds none."""
        model = self.model or MODELS
        if not os.path.isdir(model):  # noqa: PTH112 - Path.is_dir raises errors, which loading the model reports better
            return [model]
        if (model / "model.onnx").exists():
            return [model / "model.onnx"]
        versions = [path for path in model.glob("*/model.onnx") if VERSION.fullmatch(path.parent.name)]
        if not versions:
            raise SettingsError(f"DIGITS_MODEL: expected <version>/model.onnx in {model}; got none")
        return sorted(versions, key=lambda path: int(path.parent.name), reverse=True)

    @property
    def model_path(self) -> Path:
        """The ONNX file of the highest version. Raises SettingsError if there is none."""
        return self.model_paths[0]


def _expected(kind: Any) -> str:  # noqa: ANN401 - any type
    """A type's description, or its constraints in words."""
    match inspect.type_info(kind):
        case inspect.Metadata(extra_json_schema={"description": str(description)}):
            return description
        case inspect.IntType(ge=low, le=high):
            return f"a whole number, {low} to {high}"
        case inspect.FloatType(ge=low, le=high):
            return f"a number, {low:g} to {high:g}"
        case inspect.LiteralType(values=values):
            return f"one of {', '.join(map(str, values))}"
        case _:
            return "another value"
