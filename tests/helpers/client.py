"""Requests to the application through Flask's test client, and checks of its responses and log."""

from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse


def assert_error(response: Any, status: int, message: str) -> None:
    """Checks status and message; every error has the same shape."""
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/json"
    assert set(response.json) == {"error"}
    assert message in response.json["error"]


TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".jpg": "image/jpeg"}


def get(client: FlaskClient, path: str, **options: Any) -> TestResponse:
    """Like `client.get`, but closes the file that is sent."""
    response = client.get(path, **options)
    response.get_data()
    response.close()
    return response


def last_line(caplog: pytest.LogCaptureFixture) -> dict[str, object]:
    record = next(record for record in reversed(caplog.records) if record.name == "service.access_log")
    return dict(vars(record)["fields"])


def part(name: str, data: bytes = b"", head: str = "") -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{head}\r\n\r\n'.encode() + data + b"\r\n"


FORM: dict[str, Any] = {"content_type": "multipart/form-data; boundary=b"}
