"""Requests that need the most memory for their size."""

import http.client
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from tests.helpers.client import FORM, part
from tests.helpers.images import encode, padded_jpeg

MIB = 2**20
LARGEST = 16 * MIB
# MB that a worker may use for JSON, tensors, queued bodies and JPEG images.
MEGABYTES = 256
INFER, INFER_IMAGE = "/v2/models/digits/infer", "/v2/models/digits-image/infer"
URLENCODED = {"Content-Type": "application/x-www-form-urlencoded"}
PREDICT_V1 = "/v1/models/digits:predict"
MULTIPART = {"Content-Type": FORM["content_type"]}


@dataclass(frozen=True)
class Attack:
    """A request and the statuses that it may get."""

    make: Callable[[], bytes]
    path: str = "/predict"
    headers: dict[str, str] = field(default_factory=dict)
    statuses: tuple[int, ...] = (400, 413, 503)


def inference(data: bytes, name: bytes = b"images", shape: bytes = b"[1,28,28]", more: bytes = b"") -> bytes:
    datatype = b"UINT8" if name == b"images" else b"BYTES"
    head = b'{"inputs":[{"name":"%b","shape":%b,"datatype":"%b","data":' % (name, shape, datatype)
    return head + data + b"}]" + more + b"}"


def filled(piece: bytes, end: bytes = b"", size: int = LARGEST - 1000) -> bytes:
    """A JSON array of repeated pieces, about `size` bytes long."""
    return b"[" + piece * (size // len(piece)) + end + b"]"


def text(data: bytes) -> bytes:
    return b'"' + data + b'"'


LETTERS = b"A" * (LARGEST - 1000)
EMOJI = rb"\ud83d\ude00"
COUNT = LARGEST // 2 // 784 - 10
NUMBERS = b",".join([b"1"] * (784 * COUNT))
HEADER_LENGTH = "Inference-Header-Content-Length"
ELEMENTS = inference(b'[],"parameters":{"binary_data_size":16500000}', b"image", b"[1000]").replace(b'"data":[],', b"")
ATTACKS = {
    "empty lists": Attack(lambda: inference(filled(b"[],", b"[]")), INFER),
    "nested numbers": Attack(lambda: inference(filled(b"[[0]],", b"[[0]]")), INFER),
    "deep lists": Attack(lambda: inference(b"[" * (LARGEST // 2 - 500) + b"]" * (LARGEST // 2 - 500)), INFER),
    "most numbers": Attack(
        lambda: inference(b"[" + NUMBERS + b"]", shape=b"[%d,28,28]" % COUNT), INFER, {}, (200, 503)
    ),
    "numbers and a string": Attack(lambda: inference(b"[" + NUMBERS + b',"x"]', shape=b"[%d,28,28]" % COUNT), INFER),
    "parameters": Attack(lambda: inference(b"[]", more=b',"parameters":{"a":' + filled(b"[],", b"[]") + b"}"), INFER),
    "input parameters": Attack(lambda: inference(b'[],"parameters":{"a":' + filled(b"[],", b"[]") + b"}"), INFER),
    "long shape": Attack(lambda: inference(b"[]", shape=filled(b"1,", b"1")), INFER),
    "many inputs": Attack(
        lambda: b'{"inputs":' + filled(b'{"name":"","shape":[],"datatype":""},', b"{}") + b"}", INFER
    ),
    "many outputs": Attack(lambda: inference(b"[]", more=b',"outputs":' + filled(b'{"name":"a"},', b"{}")), INFER),
    "long id": Attack(lambda: inference(b"[]", more=b',"id":' + text(LETTERS[:-100] + EMOJI)), INFER),
    "long name": Attack(lambda: inference(b"[]", name=LETTERS[:-100] + EMOJI), INFER),
    "short strings": Attack(lambda: inference(filled(b'"ab",', b'"ab"'), b"image", b"[3355000]"), INFER_IMAGE),
    "long string": Attack(
        lambda: inference(b"[" + text(LETTERS) + b"]", b"image", b"[1]"), INFER_IMAGE, {}, (200, 503)
    ),
    "long string, not base64": Attack(
        lambda: inference(b"[" + text(LETTERS[:-100] + EMOJI) + b"]", b"image", b"[1]"), INFER_IMAGE
    ),
    "spaces in base64": Attack(
        lambda: inference(b"[" + text(b"A " * (LARGEST // 2 - 1000)) + b"]", b"image", b"[1]"),
        INFER_IMAGE,
        {},
        (200, 400, 503),
    ),
    "short elements": Attack(
        lambda: ELEMENTS + b"\1\0\0\0a" * 3_300_000, INFER_IMAGE, {HEADER_LENGTH: str(len(ELEMENTS))}
    ),
    "binary file": Attack(lambda: LETTERS, INFER_IMAGE, {HEADER_LENGTH: "0"}, (200, 503)),
    "string in JSON": Attack(lambda: b'{"image":' + text(LETTERS) + b"}"),
    "string in JSON, not base64": Attack(lambda: b'{"image":' + text(LETTERS[:-100] + EMOJI) + b"}"),
    "lists in JSON": Attack(lambda: b'{"a":' + filled(b"[],", b"[]") + b',"image":""}'),
    "many instances": Attack(lambda: b'{"instances":' + filled(b'"",', b'""') + b"}", PREDICT_V1),
    "nested instances": Attack(lambda: b'{"instances":' + filled(b'[{"":[{"":', b"[") + b"}", PREDICT_V1),
    "objects in instances": Attack(lambda: b'{"instances":[""' + filled(b'{"a":', b"{}")[1:] + b"}", PREDICT_V1),
    "numbers in instances": Attack(lambda: b'{"instances":' + filled(b"[[1]],", b"[[1]]") + b"}", PREDICT_V1),
    "long instance": Attack(lambda: b'{"instances":[{"b64":' + text(LETTERS) + b"}]}", PREDICT_V1, {}, (200, 503)),
    "file": Attack(lambda: bytes(LARGEST)),
    "form": Attack(
        lambda: part("image", bytes(LARGEST - 1000), '; filename="a"') + b"--b--",
        "/predict",
        MULTIPART,
    ),
    "text in a form": Attack(
        lambda: part("image", b"data:;base64," + LETTERS[:-1000]) + b"--b--", "/predict", MULTIPART
    ),
    "text in a form, not base64": Attack(
        lambda: part("image", b"data:;base64," + "é".encode() * 4_000_000 + "😀".encode() * 2_000_000) + b"--b--",
        "/predict",
        MULTIPART,
    ),
    "text with blanks": Attack(lambda: b"data:;base64," + b"AA A" * (LARGEST // 4 - 10)),
    "text with escapes": Attack(lambda: b"image=data:;base64," + b"%2B" * (LARGEST // 3 - 10), "/predict", URLENCODED),
    "form with many parts": Attack(
        lambda: part("image", bytes(16_000), '; filename="a"') * 1000 + b"--b--",
        "/predict/batch",
        MULTIPART,
        (200, 503),
    ),
}


def send(port: int, attack: Attack, body: bytes) -> int | None:
    """The status, or None if the service closed the connection while the body was being sent."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with closing(connection), suppress(OSError, http.client.HTTPException):
        connection.request("POST", attack.path, body, attack.headers)
        response = connection.getresponse()
        response.read()
        return response.status
    return None


def noisy(mode: str, side: int = 5000) -> Image.Image:
    """A black bar on noisy grey paper, or a red one on green of equal brightness."""
    grey = np.full((side, side), 200, np.uint8) + np.random.default_rng(1).integers(0, 9, (side, side), np.uint8)
    grey[side // 4 : -side // 4, side // 2 : side * 6 // 10] = 20
    image = Image.fromarray(grey)
    if mode == "colours":
        return Image.merge("RGB", [image.point(lambda value: 110 + 90 * (value < 99)), image, image])
    if mode == "holes":
        image = image.convert("RGBA")
        image.putalpha(Image.fromarray(255 * (grey % 2)))
        return image
    return image.convert(mode)


def huge(image: Image.Image) -> bytes:
    """A baseline JPEG of 110 megapixels."""
    return encode(image.resize((10488, 10488), Image.Resampling.NEAREST), "JPEG", quality=30)


# The largest image of each format, in the variant that needs most memory per pixel.
IMAGES: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: encode(noisy("RGB"), "JPEG"),
    "jpeg of 110 megapixels": lambda: huge(noisy("RGB", 1311)),
    "jpeg of 110 megapixels of equal brightness": lambda: huge(noisy("colours", 1311)),
    "jpeg of 110 megapixels without marks": lambda: huge(Image.new("RGB", (1, 1), (200, 200, 200))),
    "jpeg of 110 megapixels and 32 MiB": lambda: padded_jpeg(huge(noisy("RGB", 1311)), 32 * MIB),
    "progressive jpeg": lambda: encode(noisy("RGB"), "JPEG", progressive=True, quality=50),
    "progressive jpeg without subsampling": lambda: encode(
        noisy("RGB", 3700), "JPEG", progressive=True, quality=50, subsampling=0
    ),
    "progressive jpeg of equal brightness": lambda: encode(noisy("colours"), "JPEG", progressive=True, quality=50),
    "cmyk jpeg": lambda: encode(noisy("CMYK", 4400), "JPEG", quality=30),
    "png": lambda: encode(noisy("RGB", 3500).resize((5000, 5000), 0), "PNG", compress_level=1),
    "png with transparency": lambda: encode(noisy("holes", 2500).resize((5000, 5000), 0), "PNG", compress_level=1),
    "bmp": lambda: encode(noisy("L", 4000), "BMP"),
    "gif": lambda: encode(noisy("L"), "GIF"),
    "tiff": lambda: encode(Image.new("F", (5000, 5000), 0.5), "TIFF", compression="tiff_deflate"),
    "webp": lambda: encode(noisy("RGB"), "WEBP", quality=20, method=0),
}
