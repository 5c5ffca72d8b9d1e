"""Malicious bodies get a response within limits of time and memory."""

import base64
import gzip
import json
import struct
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from digits.decode import MAXIMUM_BYTES
from tests.helpers.client import FORM, assert_error, part
from tests.helpers.finding import preprocess
from tests.helpers.images import encode, example, png_chunk, png_of_size, runs_bmp
from tests.helpers.processes import peak_megabytes, reset_peak

# CPU seconds and MB that one request may use.
SECONDS, MEGABYTES = 5, 420
SMALL = Image.new("L", (64, 64), 255)


def png(*chunks: bytes) -> bytes:
    """A PNG of 64×64 with chunks before its pixels."""
    header = struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0)
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(65 * 64)))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + b"".join(chunks) + pixels + png_chunk(b"IEND", b"")


def inflating(size: int) -> bytes:
    return zlib.compress(bytes(size), 9)


def apng(frames: int) -> bytes:
    control = bytes(4) + struct.pack(">IIIIHHBB", 64, 64, 0, 0, 1, 1, 0, 0)
    frame = png_chunk(b"fcTL", control) + png_chunk(b"fdAT", bytes(4) + zlib.compress(bytes(65 * 64)))
    whole = png(png_chunk(b"acTL", struct.pack(">II", frames, 0)), png_chunk(b"fcTL", control))
    return whole[:-12] + frame * frames + whole[-12:]


def jpeg(before: bytes = b"", scans: int = 0) -> bytes:
    """A JPEG with bytes before its first segment and its last scan repeated."""
    data = encode(Image.new("L", (2500, 2500) if scans else (64, 64)), "JPEG", progressive=bool(scans))
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:2] + before + data[2:-2] + last * scans + data[-2:]


def gif(before: bytes, width: int = 64, height: int = 64, frames: int = 1) -> bytes:
    frame = encode(SMALL, "GIF")
    start = frame.index(b",")
    head = frame[:6] + struct.pack("<HH", width, height) + frame[10:start]
    return head + before + frame[start:-1] * frames + b";"


def webp(width: int, height: int, frames: int = 1) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)

    def size(value: int) -> bytes:
        return struct.pack("<I", value)[:3]

    pixels = encode(Image.new("RGB", (16, 16)), "WEBP", lossless=True)[12:]
    frame = chunk(b"ANMF", size(0) * 2 + size(15) * 2 + size(1) + b"\0" + pixels)
    head = chunk(b"VP8X", b"\x12\0\0\0" + size(width - 1) + size(height - 1)) + chunk(b"ANIM", bytes(6))
    return b"RIFF" + struct.pack("<I", 4 + len(head) + len(frame) * frames) + b"WEBP" + head + frame * frames


def tiff(size: tuple[int, int], data: bytes, *more: tuple[int, int, int], following: int = 0) -> bytes:
    """A TIFF of `data`, which begins at byte 8; `more` are tags, counts and values, all LONG."""
    data += bytes(len(data) % 2)
    entries = {256: (1, size[0]), 257: (1, size[1]), 258: (1, 8), 259: (1, 1), 262: (1, 1), 277: (1, 1)}
    entries |= {273: (1, 8), 278: (1, size[1]), 279: (1, len(data))}
    if any(tag == 322 for tag, *_ in more):
        del entries[273], entries[278], entries[279]
    entries |= {tag: (count, value) for tag, count, value in more}
    directory = [struct.pack("<HHII", tag, 4, count, value) for tag, (count, value) in sorted(entries.items())]
    head = b"II*\0" + struct.pack("<I", 8 + len(data)) + data
    return head + struct.pack("<H", len(directory)) + b"".join(directory) + struct.pack("<I", following)


def tiled(size: tuple[int, int], tile: tuple[int, int]) -> bytes:
    data = inflating(tile[0] * tile[1])
    return tiff(size, data, (259, 1, 8), (322, 1, tile[0]), (323, 1, tile[1]), (324, 1, 8), (325, 1, len(data)))


BROKEN, LARGE = "broken", "expected at most 25000000 pixels; got "
TOO_MANY_CHUNKS = "expected an image file of at most 250000 chunks; got more"
# Name: how to make the file, the status and a part of the error. Odd but harmless files get 200.
FILES: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "png size": (lambda: png_of_size(2**31 - 1, 2**31 - 1), 413, LARGE),
    "png tall": (lambda: png_of_size(1, 25_000_000), 413, "expected at most 65535 pixels per side; got 1×25000000"),
    "png wide": (lambda: png_of_size(25_000_000, 1), 413, "expected at most 65535 pixels per side; got 25000000×1"),
    "png no pixels": (lambda: png_of_size(0, 0), 400, BROKEN),
    "png zTXt": (lambda: png(png_chunk(b"zTXt", b"a\0\0" + inflating(10**8))), 400, BROKEN),
    "png many zTXt": (lambda: png(png_chunk(b"zTXt", b"a\0\0" + inflating(10**6)) * 99), 400, BROKEN),
    "png iTXt": (lambda: png(png_chunk(b"iTXt", b"a\0\1\0\0\0" + inflating(10**8))), 400, BROKEN),
    "png iCCP": (lambda: png(png_chunk(b"iCCP", b"a\0\0" + inflating(10**8))), 400, BROKEN),
    "png many iCCP": (
        lambda: png(png_chunk(b"iCCP", b"a\0\0" + inflating(10**6)) * 15_000),
        413,
        "expected a PNG image with one colour profile; got 15000",
    ),
    "png many chunks": (lambda: png(png_chunk(b"teSt", b"") * 300_000), 413, TOO_MANY_CHUNKS),
    "png pixels": (lambda: png(png_chunk(b"IDAT", inflating(10**8))), 200, ""),
    "png EXIF": (lambda: png(png_chunk(b"eXIf", b"MM\0*\0\0\0\x08\xff\xff" + bytes(15 * 2**20))), 200, ""),
    "png frames": (lambda: apng(50_000), 200, ""),
    "jpeg scans": (lambda: jpeg(scans=1000), 413, "expected a JPEG image in at most 50 scans; got 1006"),
    "jpeg most scans": (lambda: jpeg(scans=44), 200, ""),
    "jpeg segments": (lambda: jpeg(b"\xff\xe1\0\2" * 300_000), 413, TOO_MANY_CHUNKS),
    "jpeg fill bytes": (lambda: jpeg(b"\xff" * 300_000), 413, TOO_MANY_CHUNKS),
    "jpeg size": (lambda: jpeg().replace(b"\0\x40\0\x40", b"\xff\xff\xff\xff"), 413, LARGE),
    "gif size": (lambda: gif(b"", 65535, 65535), 413, LARGE),
    "gif extensions": (lambda: gif(b"!\xfe\0" * 300_000), 413, TOO_MANY_CHUNKS),
    "gif comment": (lambda: gif(b"!\xfe" + b"\1a" * 300_000 + b"\0"), 413, TOO_MANY_CHUNKS),
    "gif frames": (lambda: gif(b"", frames=50_000), 200, ""),
    "bmp runs": (lambda: runs_bmp(2048, 2048, b"\1\5" * 300_000), 413, TOO_MANY_CHUNKS),
    "bmp empty runs": (lambda: runs_bmp(2048, 2048, b"\0\2\0\0" * 300_000), 413, TOO_MANY_CHUNKS),
    "bmp long runs": (
        lambda: runs_bmp(5000, 5000, b"\xff\x51" * 100_000, 4),
        413,
        "expected at most 4194304 pixels in a run-length encoded BMP; got 5000×5000",
    ),
    "bmp size": (lambda: runs_bmp(2**31 - 1, -(2**31), b""), 413, LARGE),
    "webp size": (lambda: webp(2**24, 2**24), 413, LARGE),
    "webp canvas": (lambda: webp(5000, 5000), 200, ""),
    "webp frames": (lambda: webp(16, 16, 100_000), 200, ""),
    "tiff size": (lambda: tiff((2**32 - 1, 2**32 - 1), bytes(99)), 413, LARGE),
    "tiff strips": (
        lambda: tiff((64, 64), struct.pack("<I", 8) * 3_000_000, (273, 3_000_000, 8), (279, 3_000_000, 8)),
        413,
        "expected a TIFF image in at most 65535 strips or tiles; got 3000000",
    ),
    "tiff tile": (lambda: tiled((64, 64), (16384, 4096)), 413, "expected tiles of at most 4194304 pixels"),
    "tiff tiles": (lambda: tiled((65535, 1), (16, 2**18)), 413, "expected tiles of at most 67108864 pixels in all"),
    "tiff values": (lambda: tiff((64, 64), bytes(2**23), (338, 2**21, 8)), 400, BROKEN),
    "tiff count": (lambda: tiff((64, 64), bytes(4096), (700, 2**32 - 1, 8)), 200, ""),
    "tiff tags": (
        lambda: tiff((64, 64), bytes(15 * 2**20), *((tag, 2**20, 8) for tag in range(1000, 20_000))),
        200,
        "",
    ),
    "tiff directory loop": (lambda: tiff((64, 64), bytes(4096), following=8 + 4096), 200, ""),
    "tiff EXIF loop": (lambda: tiff((64, 64), bytes(4096), (0x8769, 1, 8 + 4096)), 200, ""),
}


@pytest.mark.parametrize("name", FILES)
def test_malicious_files(name: str, client: FlaskClient) -> None:
    make, status, message = FILES[name]
    data = make()
    assert len(data) <= MAXIMUM_BYTES
    reset_peak()
    before, start = peak_megabytes(), time.process_time()
    response = client.post("/predict", data=data)
    assert time.process_time() - start < SECONDS
    assert peak_megabytes() - before < MEGABYTES
    if status == 200:
        assert response.status_code == 200, response.data
    else:
        assert_error(response, status, message)


ROWS, COLUMNS = np.mgrid[:224, :224]
RANDOM = np.random.default_rng(1)
# Worst cases for segmentation, 224 × 224 pixels, as they are and enlarged 22 times.
PATTERNS = {
    "checks": (ROWS + COLUMNS) % 2,
    "dots": (ROWS % 2 == 0) & (COLUMNS % 2 == 0),
    "stripes": COLUMNS % 2,
    "comb": np.where(ROWS == 223, 1, COLUMNS % 2),
    "nested": (np.abs(COLUMNS - 112) + ROWS) % 4 == 0,
    "frames": np.maximum(np.abs(ROWS - 112), np.abs(COLUMNS - 112)) // 6 % 2,
    "noise": RANDOM.random((224, 224)) < 0.5,
    "sparse noise": RANDOM.random((224, 224)) < 0.1,
}


@pytest.mark.parametrize("pixels_each", [1, 22])
@pytest.mark.parametrize("light", [0, 100])
@pytest.mark.parametrize("name", PATTERNS)
def test_worst_case_pixels(name: str, light: int, pixels_each: int) -> None:
    """`light` is how much brighter the bottom row is than the top row, so that the paper is uneven."""
    pixels = (PATTERNS[name] * 150.0 + np.linspace(0, light, 224)[:, None]).astype(np.uint8)
    pixels = np.kron(pixels, np.ones((pixels_each, pixels_each), np.uint8))
    start = time.process_time()
    preprocess(pixels)
    assert time.process_time() - start < 1


@pytest.mark.parametrize("shape", [(1, 65_535), (65_535, 1), (65_535, 381), (381, 65_535), (1, 1), (3, 2)])
def test_worst_case_sizes(shape: tuple[int, int]) -> None:
    for pixels in (np.zeros(shape, np.uint8), RANDOM.integers(0, 256, shape, dtype=np.uint8)):
        start = time.process_time()
        assert preprocess(pixels).image.shape == (28, 28)
        assert time.process_time() - start < 1


JSON = {"content_type": "application/json"}
IMAGE = base64.b64encode(example(7)).decode()
UNPARSED, NO_IMAGE = "got JSON that cannot be parsed", "got no string `image`"


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ({"data": part("image") * 5000 + b"--b--", **FORM}, 413, "expected at most 1000 parts"),
        ({"data": part("x" * 10**6) + b"--b--", **FORM}, 400, "got text in `xxx"),
        ({"data": part("image", head='; filename="' + "a" * 10**6) + b"--b--", **FORM}, 400, "image"),
        ({"data": b"--b\r\n" + b"A: b\r\n" * 10**6, **FORM}, 400, "got no fields"),
        ({"data": b"--b\r\n\r\n" * 100_000, **FORM}, 400, "image"),
        ({"data": b"-" * MAXIMUM_BYTES, **FORM}, 400, "got no fields"),
        ({"data": part("image"), "content_type": "multipart/form-data"}, 400, "got no boundary"),
        ({"data": part("image"), "content_type": "multipart/form-data; boundary=" + "b" * 5000}, 400, "image"),
        ({"data": part("image", b"x" * 10**7) + b"--b--", **FORM}, 400, "got text in `image`"),
        ({"data": part("image", head="; filename*=UTF-16''%ff") + b"--b--", **FORM}, 400, "image"),
        ({"data": '{"image": 1e999}', **JSON}, 400, "JSON"),
        ({"data": '{"image": NaN}', **JSON}, 400, UNPARSED),
        ({"data": '{"image": ' + "9" * 10**6 + "}", **JSON}, 400, "JSON"),
        ({"data": '{"image": "\\ud800"}', **JSON}, 400, ""),
        ({"data": b'{"image": "\xff"}', **JSON}, 400, ""),
        ({"data": '{"image": "a", "image": 7}', **JSON}, 400, NO_IMAGE),
        ({"data": '{"image":' * 10**5, **JSON}, 400, UNPARSED),
        ({"data": "[" * 10**6, **JSON}, 400, NO_IMAGE),
        ({"data": '{"x":' + '{"x":' * 10**6, **JSON}, 400, UNPARSED),
        ({"data": '{"image": "' + "A" * 10**7 + '"}', **JSON}, 400, "unknown format"),
        ({"data": '{"image": "' + "=" * 10**7 + '"}', **JSON}, 400, "got text that is not base64"),
        ({"data": '{"image": "AAAAA"}', **JSON}, 400, "got text that is not base64"),
        ({"data": '{"image": "data:' + "," * 10**6 + '"}', **JSON}, 400, "got a data URL that is not base64"),
        ({"data": "{" + '"a":1,' * 10**6 + '"image":""}', **JSON}, 400, "got no bytes"),
        ({"data": b"\0" * 1000}, 400, "1000 bytes of an unknown format"),
        (
            {"data": gzip.compress(bytes(10**8)), "headers": {"Content-Encoding": "gzip"}},
            413,
            "when decompressed; got more",
        ),
        ({"data": zlib.compress(bytes(10**8)), "headers": {"Content-Encoding": "deflate"}}, 413, "when decompressed"),
        ({"data": gzip.compress(b"") * 10**5, "headers": {"Content-Encoding": "gzip"}}, 400, "with more behind it"),
    ],
    ids=lambda value: f"{len(value['data'])}" if isinstance(value, dict) else None,
)
def test_malicious_requests(options: dict[str, Any], status: int, message: str, client: FlaskClient) -> None:
    start = time.process_time()
    response = client.post("/predict", **options)
    assert time.process_time() - start < SECONDS
    assert_error(response, status, message)


def tensor(**changes: Any) -> bytes:
    one = {"name": "images", "shape": [1, 28, 28], "datatype": "UINT8", "data": [0] * 784} | changes
    return json.dumps({"inputs": [one]}).encode()


BESIDES = "expected at most 65536 bytes of JSON besides the data; got "
SHAPES: tuple[Any, ...] = (
    [2**63, 28, 28],
    [10**400, 28, 28],
    [float("inf"), 28, 28],
    [True, 28, 28],
    ["1", 28, 28],
    [[1], 28, 28],
    [1.0000001, 28, 28],
    None,
    {},
    "1",
    [],
    [1] * 100_000,
)


@pytest.mark.parametrize(
    ("body", "header", "message"),
    [
        *((tensor(shape=shape), None, "expected") for shape in SHAPES),
        (tensor(datatype="COMPLEX"), None, "expected datatype UINT8; got COMPLEX"),
        (tensor(datatype="x" * 10**4), None, "expected datatype UINT8; got x"),
        (tensor(datatype="x" * 10**6), None, BESIDES),
        (tensor(name="x" * 10**6), None, BESIDES),
        (tensor().replace(b"[0,", b"[1e999,"), None, "expected"),
        (tensor().replace(b"[0,", b"[-0.5,"), None, "Expected `int`"),
        (tensor().replace(b"[0,", b"[" * 100_000 + b"0,"), None, "cannot be parsed"),
        (b'{"inputs": ' + b"[" * 10**6, None, "expected"),
        (b'{"inputs": [{}], "parameters": ' + b'{"a":' * 10**6, None, "cannot be parsed"),
        (b'{"id": "' + b"x" * 10**7 + b'", "inputs": [{}]}', None, BESIDES),
        (tensor(parameters={"binary_data_size": -784}), None, "got -784"),
        (tensor(parameters={"binary_data_size": 2**64}), None, "got 18446744073709551616"),
        (tensor(parameters={"binary_data_size": 1e999}), None, "expected"),
        (tensor(parameters={"binary_data_size": [784]}), None, "got [784]"),
        (tensor(), "٣", "from 0 to"),
    ],
    ids=lambda value: f"{len(value)}" if isinstance(value, bytes) else None,
)
def test_malicious_tensors(body: bytes, header: str | None, message: str, client: FlaskClient) -> None:
    headers = {} if header is None else {"Inference-Header-Content-Length": header}
    start = time.process_time()
    response = client.post("/v2/models/digits/infer", data=body, headers=headers)
    assert time.process_time() - start < SECONDS
    assert_error(response, 400, message)
    assert len(response.data) < 1000


@pytest.mark.parametrize("route", ["/predict", "/predict?show=image", "/explain", "/predict/batch"])
def test_every_image_route_applies_the_limits(route: str, client: FlaskClient) -> None:
    data = part("image", jpeg(b"\xff" * 300_000), '; filename="a.jpg"') + b"--b--"
    response = client.post(route, data=data, **FORM)
    if route == "/predict/batch":
        assert response.json is not None
        assert response.json["predictions"][0]["error"] == TOO_MANY_CHUNKS
    else:
        assert_error(response, 413, TOO_MANY_CHUNKS)
