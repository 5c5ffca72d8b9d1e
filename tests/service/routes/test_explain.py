import base64
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from digits.classifier import Classifier
from service.app import create_app
from service.settings import Settings
from tests.helpers.finding import preprocess
from tests.helpers.images import encode, example, example_pixels


def array(text: str, kind: str = "u1") -> np.ndarray[Any, np.dtype[Any]]:
    return np.frombuffer(base64.b64decode(text), kind)


def test_explanation_has_the_prediction_and_every_layer(client: FlaskClient) -> None:
    explained = client.post("/explain", data=example(3)).json
    predicted = client.post("/predict?show=image", data=example(3)).json
    assert explained is not None
    layers, ink = explained.pop("layers"), explained.pop("ink")
    assert explained == predicted
    assert array(ink["values"]).reshape(ink["shape"]).max() > 250
    assert [layer["kind"] for layer in layers[:4]] == ["INPUT", "CONV", "RELU", "POOL"]
    for layer in layers:
        assert len(array(layer["maps"])) == np.prod(layer["output"])
        assert layer["minimum"] <= layer["maximum"]
        assert layer["minimum"] == 0 or layer["kind"] not in ("INPUT", "RELU")
    assert layers[0]["maps"] == explained["image"]
    assert array(layers[-1]["maps"]).argmax() == 3


def test_counts_match_the_model(client: FlaskClient, classifier: Classifier) -> None:
    explained = client.post("/explain", data=example(3)).json
    assert explained is not None
    for key in ("parameters", "multiply_adds"):
        assert sum(layer[key] for layer in explained["layers"]) == int(classifier.metadata[key])


@pytest.mark.parametrize("source", ["body", "form", "json"])
def test_image_in_body_form_or_json(client: FlaskClient, source: str) -> None:
    options: dict[str, dict[str, Any]] = {
        "body": {"data": example(5)},
        "form": {"data": {"image": (io.BytesIO(example(5)), "5.png")}},
        "json": {"json": {"image": base64.b64encode(example(5)).decode()}},
    }
    response = client.post("/explain", **options[source])
    assert response.json is not None
    assert response.json["digit"] == 5


def test_blank_image_is_explained(client: FlaskClient) -> None:
    explained = client.post("/explain", data=encode(np.full((40, 40), 255, np.uint8))).json
    assert explained is not None
    assert explained["reason"] == "blank"
    assert explained["box"] is explained["ink"] is None
    assert not array(explained["image"]).any()


def test_ink_of_a_preprocessed_image_is_its_own(client: FlaskClient) -> None:
    digit = preprocess(example_pixels(3)).image
    explained = client.post("/explain", data=encode(digit)).json
    assert explained is not None
    box, ink = explained["box"], explained["ink"]
    assert ink["shape"] == [box["height"], box["width"]]
    rows, columns = slice(box["top"], box["top"] + box["height"]), slice(box["left"], box["left"] + box["width"])
    np.testing.assert_array_equal(array(ink["values"]).reshape(ink["shape"]), digit[rows, columns])
    assert array(ink["values"]).sum() == digit.sum()


def test_weights_of_a_layer(client: FlaskClient) -> None:
    layers = client.post("/explain", data=example(3)).json["layers"]  # type: ignore[index]
    for layer in layers:
        response = client.get(f"/explain/{layer['name']}")
        if not layer["parameters"]:
            assert response.status_code == 404
            continue
        found = response.json
        assert found is not None
        filters, *shape = found["shape"]
        assert filters == layer["output"][2] == len(array(found["biases"], "<f4"))
        assert np.prod(shape) == layer["weights_per_filter"]
        assert len(array(found["weights"], "<f4")) == filters * layer["weights_per_filter"]
        again = client.get(f"/explain/{layer['name']}", headers={"If-None-Match": response.headers["ETag"]})
        assert again.status_code == 304


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("POST", "/explain", 400, "expected an image"),
        ("GET", "/explain", 405, "expected"),
        ("GET", "/explain/layer_99_conv", 404, "expected a layer with weights, one of layer_1_conv"),
        ("POST", "/predict?show=all", 400, "expected show=image or no `show`; got show=all"),
    ],
)
def test_rejections(client: FlaskClient, method: str, path: str, status: int, message: str) -> None:
    response = client.open(path, method=method, data=b"no image" if method == "POST" else None)
    assert response.status_code == status
    assert message in (response.json or {})["error"]


def client_with_explain_file(tmp_path: Path, content: bytes | None) -> FlaskClient:
    for name in ("model.onnx", "finder.onnx"):
        shutil.copy(Settings().model_path.with_name(name), tmp_path)
    if content is not None:
        (tmp_path / "explain.onnx").write_bytes(content)
    return create_app(Settings(model=tmp_path, provider="cpu")).test_client()


def test_missing_explain_file_is_404_and_not_looked_for_again(tmp_path: Path) -> None:
    client = client_with_explain_file(tmp_path, None)
    shutil.copy(Settings().model_path.with_name("explain.onnx"), tmp_path)
    response = client.post("/explain", data=example(3))
    assert response.status_code == 404
    assert "expected explain.onnx next to the model" in json.dumps(response.json)
    assert client.post("/predict", data=example(3)).status_code == 200


def test_broken_explain_file_is_500_and_predict_works(tmp_path: Path) -> None:
    client = client_with_explain_file(tmp_path, b"broken")
    assert client.post("/predict", data=example(3)).status_code == 200
    assert client.post("/explain", data=example(3)).status_code == 500


def test_changed_files_are_not_read_again(tmp_path: Path) -> None:
    client = client_with_explain_file(tmp_path, Settings().model_path.with_name("explain.onnx").read_bytes())
    for file in tmp_path.iterdir():
        file.write_bytes(b"broken")
    assert client.post("/explain", data=example(3)).status_code == 200
