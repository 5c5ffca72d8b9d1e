import json
import logging
import sys
from pathlib import Path

from PIL import Image

from service.logs import JsonFormatter, TextFormatter
from tests.helpers.images import encode, example
from tests.helpers.service import request, serving


def log_record(message: str, fields: dict[str, object] | None = None, error: bool = False) -> logging.LogRecord:
    exception = None
    if error:
        try:
            raise ValueError("broken")
        except ValueError:
            exception = sys.exc_info()
    record = logging.LogRecord("service", logging.INFO, "file.py", 1, message, (), exception)
    record.fields = fields or {}
    return record


def test_json_is_one_object_per_line() -> None:
    line = JsonFormatter().format(log_record("two\nlines", {"status": 200, "path": '/a"\n'}, error=True))
    assert "\n" not in line
    parsed = json.loads(line)
    assert parsed["message"] == "two\nlines"
    assert parsed["level"] == "info"
    assert parsed["status"] == 200
    assert parsed["path"] == '/a"\n'
    assert "ValueError: broken" in parsed["exception"]


def test_text_quotes_ambiguous_values() -> None:
    line = TextFormatter().format(log_record("request", {"status": 200, "path": "/a b=c\n", "route": "/predict"}))
    assert line.endswith(r'request status=200 path="/a b=c\n" route=/predict')
    assert "\n" not in line


def test_service_logs_json(tmp_path: Path) -> None:
    broken = bytearray(encode(Image.new("L", (64, 64), 255), "TIFF", compression="tiff_deflate"))
    broken[10:14] = b"\xff\xff\xff\xff"  # libtiff prints a warning about this offset
    with serving(log=tmp_path / "log", DIGITS_LOG="json") as (port, _):
        status, headers, _ = request(port, "POST", "/predict", example(3))
        assert status == 200
        assert request(port, "POST", "/predict", bytes(broken))[0] == 400
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert all({"time", "level", "message", "process"} <= set(line) for line in lines)
    [line] = [line for line in lines if line.get("route") == "/predict" and line["status"] == 200]
    assert line["request_id"] == headers["X-Request-ID"]
    assert line["client"] == "127.0.0.1"
