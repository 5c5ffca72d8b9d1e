"""What people send to services like this one: one row for each kind of request."""

import base64
import io
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from service.app import create_app
from service.settings import Settings
from tests.helpers.client import FORM, assert_error, part
from tests.helpers.images import (
    JPEG_12_BITS,
    JPEG_LS,
    WEBP_IN_TIFF,
    encode,
    example,
    example_pixels,
    heic,
    iso_media,
    netpbm,
    padded_jpeg,
    photo,
    png_of_size,
    tiff,
)

Options = dict[str, Any]
FILE, PIXELS = example(3), example_pixels(3)
BASE64 = base64.b64encode(FILE).decode()
URL_SAFE = base64.urlsafe_b64encode(FILE).decode()
DATA_URL = f"data:image/png;base64,{BASE64}"
URLENCODED = {"content_type": "application/x-www-form-urlencoded"}
assert all(one in BASE64 for one in "+/=")
LINES = [BASE64[start : start + 76] for start in range(0, len(BASE64), 76)]


def file(data: bytes = FILE, name: str = "3.png") -> tuple[io.BytesIO, str]:
    """A file in a form."""
    return io.BytesIO(data), name


def form(data: bytes) -> Options:
    """A form with a file, without the temporary files that Werkzeug's client keeps large ones in."""
    return {"data": part("image", data, '; filename="photo.jpg"') + b"--b--", **FORM}


READ: dict[str, Callable[[], Options]] = {
    "base64 without padding": lambda: {"json": {"image": BASE64.rstrip("=")}},
    "base64 with too little padding": lambda: {"json": {"image": BASE64.rstrip("=") + "=" * (BASE64.count("=") - 1)}},
    "URL-safe base64 without padding": lambda: {"json": {"image": URL_SAFE.rstrip("=")}},
    "data URL in capitals": lambda: {"json": {"image": f"data:image/png;BASE64,{BASE64}"}},
    "base64 whose + became blanks": lambda: {"json": {"image": BASE64.replace("+", " ")}},
    "base64 whose + became blanks, without padding": lambda: {"json": {"image": BASE64.replace("+", " ").rstrip("=")}},
    "data URL whose + became blanks": lambda: {"json": {"image": DATA_URL.replace("+", " ")}},
    "base64 in lines": lambda: {"json": {"image": "\r\n".join(LINES)}},
    "base64 in lines that became blanks": lambda: {"json": {"image": " ".join(LINES)}},
    "base64 in lines whose + became blanks": lambda: {"json": {"image": "\n".join(LINES).replace("+", " ")}},
    "base64 with escapes": lambda: {"json": {"image": quote(DATA_URL)}},
    "data URL as the body": lambda: {"data": DATA_URL},
    "data URL as the body, as text": lambda: {"data": DATA_URL, "content_type": "text/plain;charset=UTF-8"},
    "data URL as the body, as JSON": lambda: {"data": DATA_URL, "content_type": "application/json"},
    "data URL as the body, as curl sends it": lambda: {"data": DATA_URL, **URLENCODED},
    "base64 as the body": lambda: {"data": BASE64},
    "data URL in an urlencoded form": lambda: {"data": {"image": DATA_URL}},
    "base64 in an urlencoded form": lambda: {"data": {"image": BASE64}},
    "data URL in an urlencoded form, not escaped": lambda: {"data": f"image={DATA_URL}", **URLENCODED},
    "data URL among other fields": lambda: {"data": {"name": "x", "picture": DATA_URL, "n": 1}},
    "data URL as text in multipart": lambda: {"data": part("image", DATA_URL.encode()) + b"--b--", **FORM},
    "large data URL as text in multipart": lambda: {
        "data": part("image", b"data:image/bmp;base64," + base64.b64encode(large_bmp())) + b"--b--",
        **FORM,
    },
    "data URL in another field of multipart": lambda: {"data": part("canvas", DATA_URL.encode()) + b"--b--", **FORM},
    "data URL in a file": lambda: {"data": {"image": file(DATA_URL.encode(), "blob")}},
    "field `file`": lambda: {"data": {"file": file()}},
    "field `images`": lambda: {"data": {"images": file()}},
    "any other field": lambda: {"data": {"photo": file(), "label": "3"}},
    "the same file in two fields": lambda: {"data": {"file": file(), "image": file()}},
    "JPEG of 30 megapixels": lambda: {"data": photo(6000, 5000)},
    "JPEG of 108 megapixels in a form": lambda: form(photo(12000, 9000)),
    "JPEG of 32 MiB": lambda: {"data": padded_jpeg(photo(6000, 5000), 32 * 2**20)},
    "JPEG of nearly 32 MiB in a form": lambda: form(padded_jpeg(photo(6000, 5000), 2**25 - 2**10)),
    "TIFF of float64": lambda: {"data": tiff(PIXELS / 255)},
    "TIFF of uint32": lambda: {"data": tiff(PIXELS.astype(np.uint32) * (2**24 + 1))},
    "TIFF of uint32, most significant byte first, deflated": lambda: {
        "data": tiff(PIXELS.astype(np.uint32) * (2**24 + 1), ">", 8)
    },
    "PGM": lambda: {"data": netpbm(5, PIXELS)},
    "PGM of 16 bits": lambda: {"data": netpbm(5, PIXELS, 65535)},
    "PGM as text": lambda: {"data": netpbm(2, PIXELS)},
    "PBM": lambda: {"data": netpbm(4, PIXELS)},
    "PPM": lambda: {"data": netpbm(6, PIXELS)},
    "an empty file input": lambda: {"data": {"file": (io.BytesIO(b""), ""), "image": file()}},
}

NAMED: dict[str, tuple[Callable[[], Options], int, str]] = {
    "base64 cut short": (
        lambda: {"json": {"image": BASE64.rstrip("=")[:-2]}},
        400,
        "some are missing: perhaps it was cut short",
    ),
    "Python's notation for bytes": (
        lambda: {"json": {"image": str(BASE64.encode())}},
        400,
        "send them with `.decode()`",
    ),
    "a URL": (lambda: {"json": {"image": "https://example.org/3.png"}}, 400, "it is a URL: send the image itself"),
    "multipart without a boundary": (
        lambda: {"data": part("image", FILE) + b"--b--", "content_type": "multipart/form-data"},
        400,
        "got no boundary, as happens when a client sets this header itself",
    ),
    "multipart with an empty boundary": (
        lambda: {"data": part("image", FILE) + b"--b--", "content_type": 'multipart/form-data; boundary=""'},
        400,
        "got no boundary",
    ),
    "multipart with another boundary": (
        lambda: {"data": part("image", FILE) + b"--b--", "content_type": "multipart/form-data; boundary=c"},
        400,
        "got no fields: is its boundary the one in Content-Type?",
    ),
    "two different files": (
        lambda: {"data": {"file": file(), "images": file(example(4))}},
        400,
        "expected one image; got different ones in `file` and `images`",
    ),
    "progressive JPEG of 30 megapixels": (
        lambda: {"data": photo(6000, 5000, progressive=True)},
        413,
        "this JPEG is progressive and must be decoded whole",
    ),
    "PNG of 30 megapixels": (lambda: {"data": png_of_size(6000, 5000)}, 413, "only a baseline JPEG may have more"),
    "JPEG of 111 megapixels": (lambda: {"data": photo(11100, 10000)}, 413, "expected at most 110000000 pixels"),
    "another file of 32 MiB": (lambda: {"data": bytes(2**25)}, 413, "expected a body of at most 16777216 bytes"),
    "JPEG of 12 bits": (lambda: {"data": JPEG_12_BITS}, 400, "got a JPEG of 12 bits per sample"),
    "JPEG-LS": (lambda: {"data": JPEG_LS}, 400, "got JPEG-LS, which cannot be read"),
    "WebP in TIFF": (lambda: {"data": WEBP_IN_TIFF}, 400, "got a TIFF compressed with WebP, which cannot be read"),
    "HEIC": (lambda: {"data": heic()}, 400, "got HEIC: convert it to JPEG or PNG, for example with `heif-convert"),
    "HEIC, the phone's setting": (lambda: {"data": heic()}, 400, "iPhone: Settings, Camera, Formats, Most Compatible"),
    "HEIC in base64": (lambda: {"data": base64.b64encode(heic())}, 400, "got HEIC"),
    "AVIF": (lambda: {"data": iso_media(b"avif", b"mif1")}, 400, "got AVIF: convert it to JPEG or PNG"),
    "JPEG XL": (lambda: {"data": b"\xff\x0a" + bytes(20)}, 400, "got JPEG XL: convert it to JPEG or PNG"),
    "data URL cut by curl -F": (lambda: {"data": DATA_URL[:14]}, 400, "--form-string"),
    "text that is no image": (
        lambda: {"data": {"image": "@3.png"}},
        400,
        "got text in `image` that is neither",
    ),
}


def large_bmp() -> bytes:
    """An image of more bytes than a form's text usually may have."""
    return encode(PIXELS.repeat(4, 0).repeat(4, 1), "BMP")


INSTANCES: dict[str, list[Any]] = {
    "file": [{"b64": BASE64}],
    "file as a data URL": [{"b64": DATA_URL}],
    "28×28 lists": [np.asarray(Image.fromarray(PIXELS).resize((28, 28))).tolist()],
}


@pytest.mark.parametrize("kind", INSTANCES)
def test_tensorflow_serving(kind: str, client: FlaskClient) -> None:
    assert (client.get("/v1/models/digits").json or {})["ready"]
    [prediction] = json.loads(client.post("/v1/models/digits:predict", json={"instances": INSTANCES[kind]}).data)[
        "predictions"
    ]
    assert prediction["digit"] == 3


SCALED = (PIXELS[::10, ::10] / 255).astype(np.float32)
TENSORS: dict[str, dict[str, Any]] = {
    "FP32 from 0 to 1": {"datatype": "FP32", "shape": [1, 28, 28], "data": SCALED.ravel().tolist()},
    "FP32 from 0 to 255": {"datatype": "FP32", "shape": [1, 28, 28], "data": (255 * SCALED).ravel().tolist()},
    "FP32 in rows": {"datatype": "FP32", "shape": [1, 784], "data": SCALED.ravel().tolist()},
    "FP64 with a channel": {"datatype": "FP64", "shape": [1, 28, 28, 1], "data": SCALED.ravel().tolist()},
    "UINT8 in rows": {"datatype": "UINT8", "shape": [1, 784], "data": [0] * 784},
    "UINT8 without a batch": {"datatype": "UINT8", "shape": [28, 28], "data": [0] * 784},
    "UINT8 from 0 to 1": {"datatype": "UINT8", "shape": [1, 28, 28], "data": SCALED.ravel().tolist()},
    "INT64 of bytes": {"datatype": "INT64", "shape": [1, 28, 28], "data": [0] * 784},
}


@pytest.mark.parametrize("kind", TENSORS)
def test_tensors_that_need_conversion(kind: str, client: FlaskClient) -> None:
    response = client.post("/v2/models/digits/infer", json={"inputs": [{"name": "images", **TENSORS[kind]}]})
    assert_error(response, 400, "The model takes UINT8 of shape [-1, 28, 28], ink 255 on paper 0.")
    assert_error(response, 400, "`(255 * x).round().astype('uint8').reshape(-1, 28, 28)`")
    assert_error(response, 400, "from 0 to 255 without `255 *`")


@pytest.mark.parametrize(
    ("proxies", "options", "url"),
    [
        (1, {"headers": {"X-Forwarded-Prefix": "/digits"}}, "/digits/"),
        (1, {"headers": {"X-Forwarded-Prefix": "/digits/"}}, "/digits/"),
        (0, {"headers": {"X-Forwarded-Prefix": "/digits"}}, "/"),
        (0, {"environ_overrides": {"SCRIPT_NAME": "/digits"}}, "/digits/"),
        (0, {}, "/"),
    ],
)
def test_pages_below_a_prefix(proxies: int, options: Options, url: str) -> None:
    """In a browser behind nginx: tests/e2e/test_prefix.py."""
    client = create_app(Settings(provider="cpu", trusted_proxies=proxies)).test_client()
    assert (client.get("/openapi.json", **options).json or {})["servers"] == [{"url": url}]
    for page in ("/", "/docs"):
        assert not re.search('(href|src)="/', client.get(page, **options).text)


@pytest.mark.parametrize("route", ["/predict", "/explain"])
@pytest.mark.parametrize("kind", READ)
def test_read(kind: str, route: str, client: FlaskClient) -> None:
    response = client.post(route, **READ[kind]())
    assert response.status_code == 200, response.text
    assert response.json is not None
    assert response.json["digit"] == 3


def test_box_in_a_huge_jpeg_is_in_pixels_of_the_file(client: FlaskClient) -> None:
    box = (client.post("/predict?show=image", data=photo(6001, 5001)).json or {})["box"]
    left, top, right, bottom = Image.fromarray(PIXELS).point(lambda shade: 255 * (shade < 128)).getbbox() or (0,) * 4
    scale, corner = 1667 / 280, (2167, 1667)
    expected = [corner[0] + left * scale, corner[1] + top * scale, (right - left) * scale, (bottom - top) * scale]
    assert [box["left"], box["top"], box["width"], box["height"]] == pytest.approx(expected, abs=60)


@pytest.mark.parametrize("kind", NAMED)
def test_named(kind: str, client: FlaskClient) -> None:
    make, status, message = NAMED[kind]
    assert_error(client.post("/predict", **make()), status, message)
