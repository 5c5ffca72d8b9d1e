import json
import logging
import sys

from service.logs import JsonFormatter, TextFormatter


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


def test_json_is_one_object_a_line() -> None:
    line = JsonFormatter().format(log_record("two\nlines", {"status": 200, "path": '/a"\n'}, error=True))
    assert "\n" not in line
    parsed = json.loads(line)
    assert parsed["message"] == "two\nlines"
    assert parsed["level"] == "info"
    assert parsed["status"] == 200
    assert parsed["path"] == '/a"\n'
    assert "ValueError: broken" in parsed["exception"]


def test_text_quotes_what_could_be_taken_for_another_field_or_line() -> None:
    line = TextFormatter().format(log_record("request", {"status": 200, "path": "/a b=c\n", "route": "/predict"}))
    assert line.endswith(r'request status=200 path="/a b=c\n" route=/predict')
    assert "\n" not in line
