"""Log lines as text or JSON: time, level, message and fields."""

import logging
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

# Text that needs no quotes: printable ASCII except for the space, " and =.
_PLAIN = re.compile(r"[!#-<>-~]*")


def configuration(format: str) -> dict[str, Any]:
    """For `logging.config.dictConfig`: gunicorn's lines and the service's own go to standard output.

    Also stops `logging` from collecting what no line shows, which halves its time (the logging HOWTO's "Optimization").
    """
    logging._srcfile = None
    logging.logThreads = logging.logMultiprocessing = False
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"()": f"service.logs.{'Json' if format == 'json' else 'Text'}Formatter"}},
        "handlers": {"output": {"class": "logging.StreamHandler", "formatter": "lines", "stream": "ext://sys.stdout"}},
        "root": {"handlers": ["output"], "level": "INFO"},
        "loggers": {"gunicorn.error": {"handlers": [], "propagate": True, "level": "INFO"}},
    }


def keep_native_output_out() -> None:
    """Discards what C libraries, such as libtiff, print to standard error, where any image could write to the log.

    Python's own standard error still works.
    """
    sys.stderr.flush()
    python_only = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    sys.stderr = python_only


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": _time(record), "level": record.levelname.lower(), "message": record.getMessage()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line | {"process": record.process} | _fields(record)).decode()


class TextFormatter(logging.Formatter):
    """Time, level, process, message, then fields as name=value."""

    def format(self, record: logging.LogRecord) -> str:
        parts = [_time(record), record.levelname, f"[{record.process}]", record.getMessage()]
        for name, value in _fields(record).items():
            plain = isinstance(value, str) and _PLAIN.fullmatch(value)
            parts.append(f"{name}={value}" if plain else f"{name}={msgspec.json.encode(value).decode()}")
        if record.exc_info:
            parts.append("\n" + self.formatException(record.exc_info))
        return " ".join(parts)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """The fields logged with `extra={"fields": …}`."""
    fields: dict[str, Any] = getattr(record, "fields", {})
    return fields


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
