"""V1 routes, as clients of TensorFlow Serving and KServe call them."""

import base64
import json
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from service.settings import Settings
from tests.helpers.client import assert_error
from tests.helpers.finding import preprocess
from tests.helpers.images import encode, example, example_pixels

VERSION = Settings().model_path.parent.name
PREDICT = "/v1/models/digits:predict"


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def pixels(digit: int) -> np.ndarray:
    return preprocess(example_pixels(digit)).image


@pytest.mark.parametrize("path", [PREDICT, f"/v1/models/digits/versions/{VERSION}:predict"])
@pytest.mark.parametrize(
    "instances",
    [
        [{"b64": text(example(digit))} for digit in (3, 8)],
        [text(example(digit)) for digit in (3, 8)],
        [{"image_bytes": {"b64": text(example(digit))}} for digit in (3, 8)],
        [{"image": "data:image/png;base64," + text(example(digit))} for digit in (3, 8)],
        [pixels(digit).tolist() for digit in (3, 8)],
        [(255 - pixels(digit)).tolist() for digit in (3, 8)],
        [pixels(digit).astype(float).tolist() for digit in (3, 8)],
        [(pixels(digit) / 255).tolist() for digit in (3, 8)],
        [pixels(digit)[..., None].tolist() for digit in (3, 8)],
        [pixels(digit).ravel().tolist() for digit in (3, 8)],
    ],
    ids=["b64", "text", "named b64", "data URL", "lists", "dark on light", "floats", "0 to 1", "channel", "rows"],
)
def test_predict(path: str, instances: list[Any], client: FlaskClient) -> None:
    response = client.post(path, json={"signature_name": "serving_default", "instances": instances})
    assert response.status_code == 200, response.text
    predictions = json.loads(response.data)["predictions"]
    assert [one["digit"] for one in predictions] == [3, 8]
    for one in predictions:
        assert list(one) == ["digit", "confidence", "probabilities", "reason"]
        assert one["confidence"] <= max(one["probabilities"])


def test_broken_files_affect_only_their_entries(client: FlaskClient) -> None:
    blank = encode(np.full((50, 50), 255, np.uint8))
    instances = [{"b64": text(example(3))}, {"b64": "!"}, {"b64": text(b"no image")}, {"b64": text(blank)}]
    predictions = json.loads(client.post(PREDICT, json={"instances": instances}).data)["predictions"]
    assert [one["digit"] for one in predictions] == [3, None, None, None]
    assert [one["reason"] for one in predictions] == [None, None, None, "blank"]
    assert "not base64" in predictions[1]["error"]
    assert "unknown format" in predictions[2]["error"]
    assert "error" not in predictions[3]


def test_no_instances(client: FlaskClient) -> None:
    assert client.post(PREDICT, json={"instances": []}).json == {"predictions": []}


def test_status(client: FlaskClient) -> None:
    status = client.get("/v1/models/digits").json
    assert status is not None
    assert (status["name"], status["ready"]) == ("digits", True)
    fine = {"error_code": "OK", "error_message": ""}
    assert {"version": VERSION, "state": "AVAILABLE", "status": fine} in status["model_version_status"]
    assert client.get(f"/v1/models/digits/versions/{VERSION}").json == status | {
        "model_version_status": [{"version": VERSION, "state": "AVAILABLE", "status": fine}]
    }
    assert client.get("/v1/models").json == {"models": ["digits"]}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("", 400, "cannot be parsed"),
        ("{", 400, "cannot be parsed"),
        ("[]", 400, 'expected JSON {"instances": [...]}'),
        ('{"inputs": []}', 400, "missing required field `instances`"),
        ('{"instances": {"b64": ""}}', 400, "got no list `instances`"),
        ('{"instances": [7]}', 400, "expected 784 numbers for each image; got 1"),
        ('{"instances": [null]}', 400, "got an instance that is neither"),
        ('{"instances": [{"b64": 7}]}', 400, "got an instance that is neither"),
        ('{"instances": [{"a": "", "b": ""}]}', 400, "got an instance that is neither"),
        ('{"instances": ["é"]}', 400, "not base64"),
        (json.dumps({"instances": [[[0] * 27] * 28]}), 400, "expected 784 numbers for each image; got 756"),
        (json.dumps({"instances": [[[0] * 56] * 14]}), 400, "in lists of shape [1, 28, 28]; got other lists"),
        (json.dumps({"instances": [[[256] * 28] * 28]}), 400, "expected numbers from 0 to 255; got 256 to 256"),
        (json.dumps({"instances": [[[-1] * 28] * 28]}), 400, "got -1 to -1"),
        (json.dumps({"instances": [[["0"] * 28] * 28]}), 400, "something other than numbers"),
        (json.dumps({"instances": [[[0] * 28] * 28] * 1001}), 413, "expected at most 1000 instances; got 1001"),
        (json.dumps({"instances": [{"b64": ""}] * 1001}), 413, "expected at most 1000 instances; got 1001"),
        (json.dumps({"instances": [{"b64": ""}] * 10**6}), 413, "expected at most 1000 instances; got more"),
        ('{"instances": ' + "[" * 10**6, 400, "cannot be parsed"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_rejections(body: str, status: int, message: str, client: FlaskClient) -> None:
    assert_error(client.post(PREDICT, data=body), status, message)


@pytest.mark.parametrize("path", ["/v1/models/mnist", "/v1/models/digits/versions/99"])
def test_unknown_model_or_version(path: str, client: FlaskClient) -> None:
    assert_error(client.get(path), 404, "")
    assert_error(client.post(f"{path}:predict", json={"instances": []}), 404, "")
