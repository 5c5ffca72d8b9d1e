"""V2 routes; tensors are tested in digits/test_open_inference.py, real clients in e2e/test_clients.py."""

import base64
import gzip
import json
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from numpy.typing import NDArray
from werkzeug.test import TestResponse

from digits.classifier import Classifier
from digits.recognizer import Prediction, Recognizer
from digits.version import VersionFiles
from service.settings import Settings
from tests.helpers.client import assert_error
from tests.helpers.finding import preprocess
from tests.helpers.images import encode, example, example_pixels, written_page

VERSIONS = [path.parent.name for path in Settings().model_paths]
ROUTES = ["", *(f"/versions/{version}" for version in VERSIONS)]


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    return np.stack([preprocess(example_pixels(digit)).image for digit in range(10)])


def infer(client: FlaskClient, model: str, tensor: dict[str, Any], **other: Any) -> TestResponse:
    return client.post(f"/v2/models/{model}/infer", data=json.dumps({"inputs": [tensor], **other}))


def pixels(images: NDArray[np.uint8], **changes: Any) -> dict[str, Any]:
    return {"name": "images", "shape": images.shape, "datatype": "UINT8", "data": images.tolist(), **changes}


def files(*contents: bytes) -> dict[str, Any]:
    data = [base64.b64encode(one).decode() for one in contents]
    return {"name": "image", "shape": [len(contents)], "datatype": "BYTES", "data": data}


def outputs(response: TestResponse) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    return {one["name"]: one["data"] for one in json.loads(response.data)["outputs"]}


def test_server(client: FlaskClient) -> None:
    assert client.get("/v2").json == client.get("/v2/").json
    server = client.get("/v2").json
    assert server is not None
    assert set(server) == {"name", "version", "extensions"}
    assert {"binary_tensor_data", "classification"} <= set(server["extensions"])
    assert client.get("/v2/health/live").json == {"live": True}
    assert client.get("/v2/health/ready").json == {"ready": True, "live": True}


@pytest.mark.parametrize("route", ROUTES)
def test_metadata_comes_from_the_onnx_file(route: str, client: FlaskClient) -> None:
    version = route.rpartition("/")[2] or VERSIONS[0]
    [path] = [one for one in Settings().model_paths if one.parent.name == version]
    assert client.get(f"/v2/models/digits{route}/ready").json == {"name": "digits", "ready": True}
    assert client.get(f"/v2/models/digits{route}").json == {
        "name": "digits",
        "versions": VERSIONS,
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "images", "datatype": "UINT8", "shape": [-1, 28, 28]}],
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]},
            {"name": "is_digit", "datatype": "FP32", "shape": [-1]},
        ],
        "parameters": {
            "name": "digits",
            "version": version,
            "sha256": VersionFiles.read(path).sha256,
        },
    }


def test_configuration_matches_tritons(client: FlaskClient) -> None:
    text = (Settings().model_path.parent.parent / "config.pbtxt").read_text()
    configuration = client.get("/v2/models/digits/config").json
    assert configuration is not None
    assert f"max_batch_size: {configuration['max_batch_size']}" in text
    for tensor in configuration["input"] + configuration["output"]:
        assert (
            'name: "{name}" data_type: {data_type} dims: {dims}'.format(**tensor).replace("[", "[ ").replace("]", " ]")
            in text
        )


def test_digits_returns_the_models_outputs(
    client: FlaskClient, classifier: Classifier, images: NDArray[np.uint8]
) -> None:
    response = infer(client, "digits", pixels(images), id="abc")
    answer = response.json
    assert answer is not None
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("digits", VERSIONS[0], "abc")
    probabilities, is_digit = classifier.classify(images)
    found = outputs(response)
    np.testing.assert_array_equal(np.float32(found["probabilities"]), probabilities.ravel())
    np.testing.assert_array_equal(np.float32(found["is_digit"]), is_digit)


@pytest.mark.parametrize("version", VERSIONS)
def test_url_selects_the_version(version: str, client: FlaskClient, images: NDArray[np.uint8]) -> None:
    body = json.dumps({"inputs": [pixels(images)]})
    answer = client.post(f"/v2/models/digits/versions/{version}/infer", data=body).json
    assert answer is not None
    assert answer["model_version"] == version


def test_binary_request_and_response(client: FlaskClient, classifier: Classifier, images: NDArray[np.uint8]) -> None:
    parameters = {"binary_data_size": images.nbytes}
    tensor = {"name": "images", "shape": images.shape, "datatype": "UINT8", "parameters": parameters}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    response = client.post(
        "/v2/models/digits/infer",
        data=head + images.tobytes(),
        headers={"inference-header-content-length": str(len(head))},
        content_type="application/json",
    )
    assert response.status_code == 200
    assert response.content_type == "application/octet-stream"
    length = int(response.headers["Inference-Header-Content-Length"])
    sizes = [one["parameters"]["binary_data_size"] for one in json.loads(response.data[:length])["outputs"]]
    assert sizes == [400, 40]
    probabilities = np.frombuffer(response.data[length : length + 400], "<f4").reshape(10, 10)
    np.testing.assert_array_equal(probabilities, classifier.classify(images)[0])


@pytest.mark.parametrize("name", ["digits-image", "digits-page"])
def test_places_are_not_classified(client: FlaskClient, name: str) -> None:
    response = infer(client, name, files(example(3)), outputs=[{"name": "box", "parameters": {"classification": 2}}])
    assert_error(response, 400, "expected classification of scores, with one row per image; got 'box'")


def test_classification_gives_labels(client: FlaskClient, images: NDArray[np.uint8]) -> None:
    asked = [{"name": "probabilities", "parameters": {"classification": 1}}]
    found = outputs(infer(client, "digits", pixels(images), outputs=asked))["probabilities"]
    assert [text.split(":")[1:] for text in found] == [[str(digit), str(digit)] for digit in range(10)]


def test_digits_image_preprocesses_and_isolates_bad_images(client: FlaskClient, recognizer: Recognizer) -> None:
    blank = encode(np.full((40, 40), 255, np.uint8))
    found = outputs(infer(client, "digits-image", files(example(3), b"no image", blank, example(8))))
    assert found["digit"] == [3, -1, -1, 8]
    assert found["reason"] == ["", "", "blank", ""]
    assert [bool(one) for one in found["error"]] == [False, True, False, False]
    assert "got 8 bytes of an unknown format" in found["error"][1]
    [three, eight] = recognizer.recognize([example(3), example(8)])
    assert isinstance(three, Prediction)
    assert isinstance(eight, Prediction)
    np.testing.assert_array_equal(
        np.array(found["confidence"], np.float32),
        np.array([three.confidence, 0, 0.1, eight.confidence], np.float32),
    )
    probabilities = np.array(found["probabilities"], np.float32).reshape(4, 10)
    np.testing.assert_array_equal(probabilities[0], np.array(three.probabilities, np.float32))
    assert not probabilities[1].any()
    assert list(found)[-1] == "box"
    left, top, width, height = found["box"][:4]
    assert 0 < left < left + width < 300
    assert 0 < top < top + height < 300
    assert found["box"][4:12] == [-1] * 8


def test_digits_page_has_a_row_for_every_digit(client: FlaskClient) -> None:
    found = outputs(infer(client, "digits-page", files(written(["31", "4"]), b"no image", written(["2 7"]))))
    assert list(found) == ["image", "digit", "confidence", "box", "line", "position", "turned", "error"]
    assert found["image"] == [0, 0, 0, 2, 2]
    assert found["digit"] == [3, 1, 4, 2, 7]
    assert found["line"] == [0, 0, 1, 0, 0]
    assert found["position"] == [0, 1, 0, 0, 1]
    assert min(found["confidence"]) > 0.5
    lefts = found["box"][::4]
    assert lefts[0] < lefts[1]
    assert lefts[3] < lefts[4]
    assert found["turned"] == [0, 0, 0]
    assert [bool(one) for one in found["error"]] == [False, True, False]


def written(rows: list[str]) -> bytes:
    return encode(written_page(rows, 60))


def test_raw_image_body(client: FlaskClient) -> None:
    headers = {"Inference-Header-Content-Length": "0"}
    response = client.post("/v2/models/digits-image/infer", data=example(5), headers=headers)
    assert response.status_code == 200
    length = int(response.headers["Inference-Header-Content-Length"])
    first = json.loads(response.data[:length])["outputs"][0]
    assert (first["name"], first["shape"]) == ("digit", [1])
    assert struct.unpack_from("<q", response.data, length) == (5,)


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
def test_compressed_requests(compress: Any, client: FlaskClient, images: NDArray[np.uint8]) -> None:
    encoding = "gzip" if compress is gzip.compress else "deflate"
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "images",
                    "shape": [10, 28, 28],
                    "datatype": "UINT8",
                    "parameters": {"binary_data_size": 7840},
                }
            ]
        }
    ).encode()
    headers = {"Content-Encoding": encoding, "Inference-Header-Content-Length": str(len(head))}
    response = client.post("/v2/models/digits/infer", data=compress(head + images.tobytes()), headers=headers)
    assert len(outputs(response)["probabilities"]) == 100


def test_empty_batch(client: FlaskClient) -> None:
    nothing = np.zeros((0, 28, 28), np.uint8)
    assert outputs(infer(client, "digits", pixels(nothing))) == {"probabilities": [], "is_digit": []}
    assert set(map(len, outputs(infer(client, "digits-image", files())).values())) == {0}


def test_repository(client: FlaskClient) -> None:
    index = client.post("/v2/repository/index").json
    assert index is not None
    assert {(one["name"], one["version"], one["state"]) for one in index} == {
        (name, version, "READY") for name in ("digits", "digits-image", "digits-page") for version in VERSIONS
    }
    assert_error(client.post("/v2/repository/models/digits/load"), 501, "expected SIGHUP")


@pytest.mark.parametrize("end", ["", "/ready", "/config", "/infer"])
def test_unknown_model_or_version(end: str, client: FlaskClient) -> None:
    ask = client.post if end == "/infer" else client.get
    message = "expected a model that is served, one of digits, digits-image, digits-page; got mnist"
    assert_error(ask(f"/v2/models/mnist{end}"), 404, message)
    message = f"expected a served version, one of {', '.join(VERSIONS)}; got 99"
    assert_error(ask(f"/v2/models/digits/versions/99{end}"), 404, message)


@pytest.mark.parametrize(
    ("model", "tensor", "status", "message"),
    [
        ("digits", {"name": "images"}, 400, "missing required field `shape`"),
        ("digits", files(b"x"), 400, "expected one input, `images`; got 'image'"),
        ("digits-image", files(*[b"x"] * 1001), 413, "expected at most 1000 images; got 1001"),
    ],
)
def test_rejections(model: str, tensor: dict[str, Any], status: int, message: str, client: FlaskClient) -> None:
    assert_error(infer(client, model, tensor), status, message)
