import base64
import io
import json
import tempfile
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from service.settings import Settings
from tests.helpers.client import assert_error
from tests.helpers.images import encode, example, example_pixels, heic, png_of_size

VERSION = Settings().model_path.parent.name


@pytest.mark.parametrize("digit", range(10))
def test_raw_body(digit: int, client: FlaskClient) -> None:
    response = client.post("/predict", data=example(digit))
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    body = response.json
    assert body is not None
    assert list(body) == ["digit", "confidence", "probabilities", "reason", "model"]
    assert body["digit"] == digit
    assert body["confidence"] <= max(body["probabilities"])
    assert len(body["probabilities"]) == 10
    assert body["reason"] is None
    assert body["model"] == {"name": "digits", "version": VERSION}


@pytest.mark.parametrize(
    "content_type",
    [
        "image/png",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
        "text/plain",
        "application/json",
        "",
        "x",
    ],
)
def test_raw_body_with_any_content_type(content_type: str, client: FlaskClient) -> None:
    response = client.post("/predict", data=example(7), content_type=content_type)
    assert response.status_code == 200
    assert response.json is not None
    assert response.json["digit"] == 7


def test_large_upload_stays_in_memory(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_file(*_: Any, **__: Any) -> None:
        raise FileNotFoundError("No usable temporary directory")

    monkeypatch.setattr(tempfile, "_get_default_tempdir", no_file)
    monkeypatch.setattr(tempfile, "tempdir", None)
    pixels = np.random.default_rng(0).integers(200, 256, (1500, 1500), dtype=np.uint8)
    data = encode(pixels)
    assert len(data) > 2**20
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="large.png"\r\n\r\n'
    body, content_type = head + data + b"\r\n--b--\r\n", "multipart/form-data; boundary=b"
    assert client.post("/predict", data=body, content_type=content_type).status_code == 200


def test_multipart(client: FlaskClient) -> None:
    response = client.post("/predict", data={"image": (io.BytesIO(example(4)), "4.png")})
    assert response.json is not None
    assert response.json["digit"] == 4


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded"])
@pytest.mark.parametrize("head", ["", "data:image/png;base64,", "DATA:;base64,"])
@pytest.mark.parametrize("encoder", [base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes])
def test_json(content_type: str, head: str, encoder: Any, client: FlaskClient) -> None:
    body = json.dumps({"image": head + encoder(example(5)).decode()})
    response = client.post("/predict", data=body, content_type=content_type)
    assert response.json is not None
    assert response.json["digit"] == 5


def test_blank_image_has_reason_and_confidence(client: FlaskClient) -> None:
    body = client.post("/predict", data=encode(np.full((50, 50), 255, np.uint8))).json
    assert body is not None
    assert body["digit"] is None
    assert body["reason"] == "blank"
    assert body["confidence"] == max(body["probabilities"])


def test_box_is_where_the_ink_is_in_the_upright_image(client: FlaskClient) -> None:
    page = np.full((900, 600), 230, np.uint8)
    page[100:380, 250:530] = np.minimum(example_pixels(3), 230)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored a quarter turn counterclockwise
    data = encode(Image.fromarray(page).rotate(90, expand=True), "JPEG", exif=exif)
    body = client.post("/predict?show=image", data=data).json
    assert body is not None
    assert body["digit"] == 3
    left, top, right, bottom = Image.fromarray(page).point(lambda shade: 255 * (shade < 128)).getbbox() or (0,) * 4
    expected = {"left": left, "top": top, "width": right - left, "height": bottom - top}
    assert body["box"] == pytest.approx(expected, abs=20)


def test_nothing_found_has_no_box(client: FlaskClient) -> None:
    body = client.post("/predict?show=image", data=encode(np.full((50, 50), 255, np.uint8))).json
    assert body is not None
    assert body["box"] is None


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ({"data": b""}, 400, "got no bytes"),
        ({"data": b"hello"}, 400, "got 5 bytes of an unknown format"),
        ({"data": heic()}, 400, "got HEIC"),
        ({"data": example(3)[:-40]}, 400, "broken or cut short"),
        ({"data": b"\x00" * (16 * 2**20 + 1)}, 413, "expected a body of at most 16777216 bytes; got 16777217"),
        ({"data": png_of_size(5001, 5000)}, 413, "expected at most 25000000 pixels; got 5001×5000"),
        ({"data": png_of_size(100000, 100000)}, 413, "expected at most 25000000 pixels"),
        ({"data": "{", "content_type": "application/json"}, 400, "got JSON that cannot be parsed"),
        ({"data": '{"x":' + "[" * 100000, "content_type": "application/json"}, 400, "got JSON that cannot be parsed"),
        ({"data": "[]", "content_type": "application/json"}, 400, "got no string `image`"),
        ({"data": "", "content_type": "application/json"}, 400, "got no bytes"),
        ({"json": {}}, 400, "got no string `image`"),
        ({"json": {"image": 7}}, 400, "got no string `image`"),
        ({"json": {"image": "not base64!"}}, 400, "got text that is not base64"),
        ({"json": {"image": "é"}}, 400, "got text that is not base64"),
        ({"json": {"image": ""}}, 400, "got no bytes"),
        ({"json": {"image": "data:image/png,abc"}}, 400, "got a data URL that is not base64"),
        ({"json": {"image": base64.b64encode(b"no image").decode()}}, 400, "unknown format"),
        ({"data": {}, "content_type": "multipart/form-data"}, 400, "got no fields"),
        ({"data": {"image": "text"}, "content_type": "multipart/form-data"}, 400, "got text in `image`"),
        ({"data": b"x", "content_type": "multipart/form-data"}, 400, "got no boundary"),
        (
            {"data": {"image": [(io.BytesIO(b"x"), "1.png"), (io.BytesIO(b"x"), "2.png")]}},
            400,
            "expected one field `image`; got 2; /predict/batch accepts many",
        ),
    ],
)
def test_rejections(options: dict[str, Any], status: int, message: str, client: FlaskClient) -> None:
    assert_error(client.post("/predict", **options), status, message)
    assert client.post("/predict", data=example(1)).status_code == 200  # later requests still work


def test_batch_keeps_the_order_and_isolates_bad_files(client: FlaskClient) -> None:
    files = [example(3), b"no image", encode(np.zeros((30, 30), np.uint8)), example(8)]
    body = client.post(
        "/predict/batch", data={"image": [(io.BytesIO(data), f"{number}.png") for number, data in enumerate(files)]}
    ).json
    assert body is not None
    predictions = body["predictions"]
    assert [one["digit"] for one in predictions] == [3, None, None, 8]
    assert [one["reason"] for one in predictions] == [None, None, "blank", None]
    assert [one["error"] is None for one in predictions] == [True, False, True, True]
    assert "unknown format" in predictions[1]["error"]
    assert len({tuple(one) for one in predictions}) == 1  # every entry has the same fields
    assert body["model"]["version"] == VERSION


def test_batch_of_one(client: FlaskClient) -> None:
    body = client.post("/predict/batch", data={"image": (io.BytesIO(example(6)), "6.png")}).json
    assert body is not None
    assert [one["digit"] for one in body["predictions"]] == [6]


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ({"data": b""}, 400, "with a file (with a file name) as `image`"),
        ({"data": example(1)}, 400, "with a file (with a file name) as `image`"),
        ({"data": {"image": "text"}}, 400, "with a file (with a file name) as `image`"),
        ({"data": {"image": [(io.BytesIO(b"x"), "x.png") for _ in range(1001)]}}, 413, "expected at most 1000 parts"),
    ],
    ids=["empty", "raw image", "text", "too many"],
)
def test_batch_rejections(options: dict[str, Any], status: int, message: str, client: FlaskClient) -> None:
    assert_error(client.post("/predict/batch", **options), status, message)
