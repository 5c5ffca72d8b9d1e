"""Fuzz targets: each takes any bytes and fails on anything but a result or an error meant for clients."""

import logging
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from digits.decode import ImageError, decode
from digits.open_inference import TensorDescription, TensorError, Values, check_outputs, decode_request, encode_response
from service.app import create_app
from service.settings import Settings
from tests.fuzz import corpus

IMAGES = TensorDescription("images", "UINT8", [-1, 28, 28])
FILES = TensorDescription("image", "BYTES", [-1])
OUTPUTS: dict[str, Values] = {"probabilities": np.zeros((1, 10), np.float32), "is_digit": np.zeros(1, np.float32)}
DESCRIPTIONS = [TensorDescription("probabilities", "FP32", [-1, 10]), TensorDescription("is_digit", "FP32", [-1])]
MODEL = {"name": "digits", "version": "1"}


def decoder(data: bytes) -> None:
    """An image file: pixels or ImageError."""
    try:
        pixels = decode(data).whole()
    except ImageError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 2
    assert pixels.size


def parser(data: bytes) -> None:
    """A V2 request to either model: a response or TensorError."""
    if len(data) < 3:
        return
    kind, length = struct.unpack_from("<BH", data)
    header = (None, "0", str(length))[kind % 3]
    for expected in (IMAGES, FILES):
        try:
            inference = decode_request(data[3:], header, expected)
            check_outputs(inference, DESCRIPTIONS)
            inference.take_values()
            encode_response(inference, MODEL, OUTPUTS, [str(digit) for digit in range(10)])
        except TensorError as error:
            assert str(error).startswith(("expected", "input"))


# Route, content type, content encoding, header length; the first byte of an input selects one.
ROUTES = (
    ("/predict", "application/octet-stream", None, None),
    ("/predict", "application/json", None, None),
    ("/predict", "multipart/form-data; boundary=b", None, None),
    ("/predict/batch", "multipart/form-data; boundary=b", None, None),
    ("/predict", "image/png", "gzip", None),
    ("/predict", "image/png", "deflate", None),
    ("/predict?show=image", "image/png", None, None),
    ("/explain", "image/png", None, None),
    ("/v2/models/digits/infer", "application/json", None, None),
    ("/v2/models/digits-image/infer", "application/json", None, None),
    ("/v2/models/digits/infer", "application/octet-stream", None, "0"),
)


def http() -> Callable[[bytes], None]:
    """A request to the application: 200, or a 4xx with its error."""
    logging.disable()
    # With one request at a time, none times out or is rejected as busy.
    client = create_app(Settings(provider="cpu")).test_client()

    def ask(data: bytes) -> None:
        if not data:
            return
        route, kind, encoding, length = ROUTES[data[0] % len(ROUTES)]
        headers = {"Content-Encoding": encoding, "Inference-Header-Content-Length": length}
        headers = {name: value for name, value in headers.items() if value is not None}
        response = client.post(route, data=data[1:], content_type=kind, headers=headers)
        assert response.status_code == 200 or 400 <= response.status_code < 500, response.status
        if response.status_code != 200:
            assert response.json is not None
            assert "expected" in response.json["error"] or "image" in response.json["error"]

    return ask


@dataclass(frozen=True)
class Target:
    """`make` returns the function to call, `seeds` its first inputs."""

    make: Callable[[], Callable[[bytes], None]]
    seeds: Callable[[], dict[str, bytes]]


TARGETS = {
    "decoder": Target(lambda: decoder, corpus.images),
    "parser": Target(lambda: parser, corpus.tensors),
    "http": Target(http, corpus.requests),
}
