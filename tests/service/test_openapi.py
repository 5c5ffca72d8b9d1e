import io
import json
import re
import shutil
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from digits.settings import MODELS
from service.app import create_app
from service.openapi import IMPLICIT_METHODS
from service.settings import Settings
from tests.helpers.images import example

VERSION = Settings().model_path.parent.name
REQUESTS: list[tuple[str, str, str, dict[str, Any], int]] = [
    # Method, path in the document, URL, request options, status.
    ("post", "/predict", "/predict", {"data": example(3)}, 200),
    ("post", "/predict", f"/predict?show=image&version={VERSION}", {"data": example(3)}, 200),
    ("post", "/predict", "/predict", {"data": b"no image"}, 400),
    ("post", "/predict", "/predict?version=99", {"data": example(3)}, 404),
    ("post", "/predict", "/predict", {"data": bytes(2**24 + 1)}, 413),
    ("post", "/predict", "/predict", {"data": b"x", "headers": {"Content-Encoding": "br"}}, 415),
    (
        "post",
        "/predict/batch",
        "/predict/batch",
        {"data": {"image": [(io.BytesIO(example(1)), "1.png"), (io.BytesIO(b"no image"), "2.png")]}},
        200,
    ),
    ("post", "/explain", "/explain", {"data": example(3)}, 200),
    ("get", "/explain/{layer}", "/explain/layer_1_conv", {}, 200),
    ("get", "/explain/{layer}", "/explain/nothing", {}, 404),
    ("get", "/v1/models", "/v1/models", {}, 200),
    ("get", "/v1/models/digits", "/v1/models/digits", {}, 200),
    ("get", "/v1/models/digits/versions/{version}", "/v1/models/digits/versions/99", {}, 404),
    (
        "post",
        "/v1/models/digits:predict",
        "/v1/models/digits:predict",
        {"json": {"instances": [{"b64": ""}, [[0] * 28] * 28]}},
        400,
    ),
    ("post", "/v1/models/digits:predict", "/v1/models/digits:predict", {"json": {"instances": [{"b64": ""}]}}, 200),
    ("get", "/v2", "/v2", {}, 200),
    ("get", "/v2/health/live", "/v2/health/live", {}, 200),
    ("get", "/v2/health/ready", "/v2/health/ready", {}, 200),
    ("get", "/v2/models/{name}", "/v2/models/digits", {}, 200),
    ("get", "/v2/models/{name}/ready", "/v2/models/digits/ready", {}, 200),
    (
        "get",
        "/v2/models/{name}/versions/{version}/config",
        f"/v2/models/digits/versions/{VERSION}/config",
        {},
        200,
    ),
    (
        "post",
        "/v2/models/{name}/infer",
        "/v2/models/digits/infer",
        {"json": {"inputs": [{"name": "images", "shape": [1, 28, 28], "datatype": "UINT8", "data": [0] * 784}]}},
        200,
    ),
    ("post", "/v2/repository/index", "/v2/repository/index", {}, 200),
    ("post", "/v2/repository/models/{name}/{action}", "/v2/repository/models/digits/load", {}, 501),
    ("get", "/health/live", "/health/live", {}, 200),
    ("get", "/health/ready", "/health/ready", {}, 200),
    ("get", "/openapi.json", "/openapi.json", {}, 200),
]


@pytest.fixture
def document(client: FlaskClient) -> dict[str, Any]:
    found = client.get("/openapi.json").json
    assert found is not None
    return found


def operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for methods in document["paths"].values() for operation in methods.values()]


def resolved(document: dict[str, Any], one: dict[str, Any]) -> dict[str, Any]:
    """The target of a `$ref`."""
    if "$ref" not in one:
        return one
    found = document
    for part in one["$ref"].split("/")[1:]:
        found = found[part]
    return found


def test_document_is_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(document).validate()


def test_document_lists_exactly_the_routes(client: FlaskClient, document: dict[str, Any]) -> None:
    routes = {
        (re.sub("<(?:int:)?(.+?)>", r"{\1}", rule.rule), method.lower())
        for rule in client.application.url_map.iter_rules()
        for method in (rule.methods or set()) - IMPLICIT_METHODS
    }
    assert routes == {(path, method) for path, methods in document["paths"].items() for method in methods}


def test_every_operation_is_documented(document: dict[str, Any]) -> None:
    found = operations(document)
    assert len({operation["operationId"] for operation in found}) == len(found)
    for operation in found:
        assert operation["summary"]
        assert operation["x-codeSamples"]
        for parameter in operation["parameters"]:
            assert resolved(document, parameter)["description"]


def test_errors_share_one_shape_and_503_has_retry_after(document: dict[str, Any]) -> None:
    for operation in operations(document):
        assert {"400", "408", "413", "415", "500"} <= set(operation["responses"])
        for status, one in operation["responses"].items():
            answer = resolved(document, one)
            assert {"X-Request-ID", "traceparent"} <= set(answer["headers"])
            if status >= "400" and "$ref" in one:
                assert answer["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Error"}
                assert ("Retry-After" in answer["headers"]) == (status == "503")


@pytest.mark.parametrize(("method", "path", "url", "options", "status"), REQUESTS)
def test_responses_match_the_document(
    method: str,
    path: str,
    url: str,
    options: dict[str, Any],
    status: int,
    client: FlaskClient,
    document: dict[str, Any],
) -> None:
    response = client.open(url, method=method.upper(), **options)
    assert response.status_code == status
    described = resolved(document, document["paths"][path][method]["responses"][str(status)])
    schema = described["content"]["application/json"]["schema"]
    closed = {"components": closed_components(document), **schema}
    Draft202012Validator(closed).validate(response.json)
    for name, header in described["headers"].items():
        assert name in response.headers or not resolved(document, header).get("required")


def closed_components(document: dict[str, Any]) -> dict[str, Any]:
    """The document's schemas with unknown fields forbidden."""
    schemas = document["components"]["schemas"]
    return {"schemas": {name: {**schema, "additionalProperties": False} for name, schema in schemas.items()}}


def test_examples_match_their_schemas(document: dict[str, Any]) -> None:
    shown = 0
    for operation in operations(document):
        for answer in operation["responses"].values():
            for one in answer.get("content", {}).values():
                if "example" in one:
                    closed = {"components": closed_components(document), **one["schema"]}
                    Draft202012Validator(closed).validate(one["example"])
                    shown += 1
    assert shown


@pytest.fixture(params=["shipped", "a version's folder", "another version"])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> FlaskClient:
    """A client of a service with the shipped or other model versions."""
    shutil.copytree(MODELS / VERSION, tmp_path / "7")
    model = {"shipped": None, "a version's folder": MODELS / VERSION, "another version": tmp_path}[request.param]
    return create_app(Settings(model=model, provider="cpu")).test_client()


def test_examples_are_real_responses(other: FlaskClient) -> None:
    document: dict[str, Any] = other.get("/openapi.json").json or {}
    paths = "/predict", "/predict/batch", "/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer"
    answers = [document["paths"][path]["post"]["responses"]["200"]["content"] for path in paths]
    one, batch, v2, v2_version = (answer["application/json"]["example"] for answer in answers)
    assert other.post("/predict", data=example(3)).json == one
    files = [(io.BytesIO(data), "3.png") for data in (example(3), example(3)[: len(example(3)) // 2])]
    assert other.post("/predict/batch", data={"image": files}).json == batch
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [b64encode(example(3)).decode()]}
    response = other.post("/v2/models/digits-image/infer", json={"inputs": [tensor]})
    assert json.loads(response.data) == v2 == v2_version


def test_example_version_is_served(other: FlaskClient) -> None:
    document: dict[str, Any] = other.get("/openapi.json").json or {}
    versions = (other.get("/v2/models/digits").json or {})["versions"]
    parameters = [one for operation in operations(document) for one in operation["parameters"]]
    shown = {one["example"] for one in parameters if one.get("name") == "version" and "example" in one}
    assert shown
    assert shown <= set(versions)
    commands = [sample["source"] for operation in operations(document) for sample in operation["x-codeSamples"]]
    assert set(re.findall("/versions/([^/: ]+)", " ".join(commands))) == shown


def test_examples_are_not_counted_in_metrics(client: FlaskClient) -> None:
    client.get("/openapi.json")
    assert "digits_images_total{" not in client.get("/metrics").text


def test_schemas_come_from_the_codec_types(document: dict[str, Any]) -> None:
    answer = document["components"]["schemas"]["PredictResponse"]
    assert list(answer["properties"]) == ["digit", "confidence", "probabilities", "reason", "model", "image", "box"]
    assert not {"image", "box"} & set(answer["required"])
    assert {"image", "box", "ink"} <= set(document["components"]["schemas"]["Explanation"]["required"])
