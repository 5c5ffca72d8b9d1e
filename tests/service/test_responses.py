from typing import Any

import pytest
from flask.testing import FlaskClient

from digits.recognizer import Recognizer
from tests.helpers.client import assert_error
from tests.helpers.images import example


@pytest.mark.parametrize("path", ["/predict/", "/predict/7", "/predict//batch", "/health", "/%00", "/é"])
def test_unknown_path(path: str, client: FlaskClient) -> None:
    for method in (client.get, client.post):
        response = method(path)
        assert response.status_code == 404
        assert response.headers["Content-Type"] == "application/json"
        assert "no such path" in response.json["error"]  # type: ignore[index]


def test_wrong_method(client: FlaskClient) -> None:
    response = client.get("/predict")
    assert_error(response, 405, "expected OPTIONS, POST; got GET")
    assert response.headers["Allow"] == "OPTIONS, POST"
    assert_error(client.post("/health/live"), 405, "got POST")


def test_internal_error_leaks_nothing(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(Recognizer, "predict", fail)
    response = client.post("/predict", data=example(1))
    assert_error(response, 500, "the service failed on this request")
    assert "secret" not in response.text
