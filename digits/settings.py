"""The settings: environment variables, validated at the start."""

import difflib
import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

MODELS = Path(__file__).resolve().parent.parent / "models" / "digits"
# A version is a whole number, as Triton wants it.
VERSION = re.compile(r"[1-9][0-9]{0,17}")
# What Kubernetes and linked containers tell everybody of services called `digits` or `digits-…`: no settings.
_OF_SERVICES = re.compile(r"DIGITS_(.+_)?(SERVICE_(HOST|PORT(_.+)?)|PORT(_[0-9]+_(TCP|UDP|SCTP)(_.+)?)?)")
# Of one page, scheme, host and port, as browsers send it; or any.
ORIGINS = re.compile(r"\*|https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(,https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?)*")
MAXIMUM_WORKERS = 1024
LOG_FORMATS = ("text", "json")
PROVIDERS = ("auto", "cpu", "cuda")
_HOST_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
# More digits than any setting needs; Python refuses to read thousands of them.
_MOST_DIGITS = 18
_LONGEST_VALUE = 100
_LONGEST_HOST = 253


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
    log: str = _setting("DIGITS_LOG", "text", "form of the log's lines: `text` or `json`; the container sets `json`")
    concurrency: int = _setting("DIGITS_CONCURRENCY", 2, "requests with images that a worker answers at a time")
    queue: int = _setting(
        "DIGITS_QUEUE", 32, "requests with images that wait in a worker for their turn; further ones get 503"
    )
    body_megabytes: int = _setting(
        "DIGITS_BODY_MEGABYTES",
        24,
        "MiB of request bodies, inflated, that a worker holds in memory at a time; further requests get 503",
    )
    deadline: int = _setting("DIGITS_DEADLINE", 30, "seconds until a request must have been sent and answered")
    cors_origins: str | None = _setting(
        "DIGITS_CORS_ORIGINS",
        None,
        "origins of other pages that may ask, `https://example.org,https://example.com`, or `*`; none unless set",
    )
    trusted_proxies: int = _setting(
        "DIGITS_TRUSTED_PROXIES", 0, "proxies in a row in front, whose `X-Forwarded-For` tells the client for the log"
    )

    def __post_init__(self) -> None:
        _require(_is_host(self.host), "HOST", "an IP address or a host name", self.host)
        _require(0 <= self.port <= 65535, "PORT", "a port, 0 to 65535", self.port)
        _require(self.provider in PROVIDERS, "DIGITS_PROVIDER", "one of " + ", ".join(PROVIDERS), self.provider)
        _require(self.log in LOG_FORMATS, "DIGITS_LOG", "one of " + ", ".join(LOG_FORMATS), self.log)
        for name, value in [
            ("DIGITS_MINIMUM_IS_DIGIT", self.minimum_is_digit),
            ("DIGITS_MINIMUM_CONFIDENCE", self.minimum_confidence),
        ]:
            _require(0 <= value <= 1, name, "0 to 1", value)
        _require(0 <= self.workers <= MAXIMUM_WORKERS, "DIGITS_WORKERS", f"0 to {MAXIMUM_WORKERS}", self.workers)
        _require(1 <= self.concurrency <= 256, "DIGITS_CONCURRENCY", "1 to 256", self.concurrency)
        _require(0 <= self.queue <= 512, "DIGITS_QUEUE", "0 to 512", self.queue)
        # One body of the largest size must fit, with a piece of it as it came.
        _require(17 <= self.body_megabytes <= 65536, "DIGITS_BODY_MEGABYTES", "17 to 65536", self.body_megabytes)
        _require(1 <= self.deadline <= 3600, "DIGITS_DEADLINE", "1 to 3600", self.deadline)
        _require(
            self.cors_origins is None or ORIGINS.fullmatch(self.cors_origins) is not None,
            "DIGITS_CORS_ORIGINS",
            "* or origins such as https://example.org with commas between",
            self.cors_origins,
        )
        _require(0 <= self.trusted_proxies <= 16, "DIGITS_TRUSTED_PROXIES", "0 to 16", self.trusted_proxies)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Reads the settings; an empty variable counts as unset. Raises SettingsError."""
        variables = {one.metadata["variable"]: one for one in fields(cls)}
        for name in environment:
            if (
                name.startswith("DIGITS_")
                and name not in variables
                and not _tells_of_a_service(name, environment[name])
            ):
                short = name.removeprefix("DIGITS_")
                close = [short] if short in variables else difflib.get_close_matches(name, variables, 1)
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
                _require(len(text) <= _MOST_DIGITS, name, f"at most {_MOST_DIGITS} digits", text)
                values[one.name] = int(text)
            elif one.type is float:
                _require(re.fullmatch(r"[0-9]*\.?[0-9]+", text) is not None, name, "a number, 0 to 1", text)
                values[one.name] = float(text)
            elif one.name == "host":
                values[one.name] = re.sub(r"^\[(.*:.*)\]$", r"\1", text)  # as an IPv6 address stands in a URL
            else:
                values[one.name] = Path(text) if one.name == "model" else text
        return cls(**values)

    @property
    def model_paths(self) -> list[Path]:
        """The ONNX file of every version, the highest first. Raises SettingsError where the folder holds none."""
        model = self.model or MODELS
        try:
            if not model.is_dir():
                return [model]
        except OSError:
            return [model]  # which loading it will say
        versions = [path for path in model.glob("*/model.onnx") if VERSION.fullmatch(path.parent.name)]
        if not versions:
            raise SettingsError(f"DIGITS_MODEL: expected <version>/model.onnx in {model}; got none")
        return sorted(versions, key=lambda path: int(path.parent.name), reverse=True)

    @property
    def model_path(self) -> Path:
        """The ONNX file of the highest version. Raises SettingsError where there is none."""
        return self.model_paths[0]


def _tells_of_a_service(name: str, value: str) -> bool:
    return _OF_SERVICES.fullmatch(name) is not None and (name != "DIGITS_PORT" or "://" in value)


def _is_host(text: str) -> bool:
    """Whether an address or a name can be meant; names are not looked up."""
    if len(text) > _LONGEST_HOST:
        return False
    try:
        if ":" in text:
            ipaddress.IPv6Address(text)
        elif re.fullmatch(r"[0-9.]+", text):
            socket.inet_aton(text)  # which takes the short forms too, such as 127.1
        else:
            return _HOST_NAME.fullmatch(text) is not None
    except (ValueError, OSError):
        return False
    return True


def _require(condition: bool, name: str, expected: str, got: object) -> None:
    if not condition:
        shown = repr(got)
        shown = shown if len(shown) <= _LONGEST_VALUE else f"{shown[:_LONGEST_VALUE]}…"
        raise SettingsError(f"{name}: expected {expected}; got {shown}")
