import gzip
import io
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from flask.testing import FlaskClient

from digits.decode import MAXIMUM_BYTES
from tests.helpers.client import assert_error
from tests.helpers.images import encode, example, padded_jpeg, photo

COMPRESSED = pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])


@COMPRESSED
@pytest.mark.parametrize("content_type", ["image/png", "multipart/form-data"])
def test_compressed_bodies(
    encoding: str, compress: Callable[[bytes], bytes], content_type: str, client: FlaskClient
) -> None:
    data = example(4)
    if content_type == "multipart/form-data":
        head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="4.png"\r\n\r\n'
        data, content_type = head + data + b"\r\n--b--\r\n", "multipart/form-data; boundary=b"
    headers = {"Content-Encoding": encoding.upper()}
    response = client.post("/predict", data=compress(data), headers=headers, content_type=content_type)
    assert response.json is not None
    assert response.json["digit"] == 4


@COMPRESSED
def test_compressed_body_may_be_larger(encoding: str, compress: Callable[[bytes], bytes], client: FlaskClient) -> None:
    dot = encode(np.zeros((1, 1), np.uint8), "WEBP", lossless=True)
    assert len(compress(dot)) > len(dot)
    response = client.post("/predict", data=compress(dot), headers={"Content-Encoding": encoding})
    assert response.status_code == 200


@COMPRESSED
def test_body_without_a_route_is_not_decompressed(
    encoding: str, compress: Callable[[bytes], bytes], client: FlaskClient
) -> None:
    headers = {"Content-Encoding": encoding}
    assert_error(client.put("/predict", data=b"not compressed", headers=headers), 405, "got PUT")
    assert_error(client.post("/nowhere", data=b"not compressed", headers=headers), 404, "no such path")


@COMPRESSED
def test_decompression_bomb(encoding: str, compress: Callable[[bytes], bytes], client: FlaskClient) -> None:
    headers = {"Content-Encoding": encoding}
    assert_error(client.post("/predict", data=compress(bytes(MAXIMUM_BYTES)), headers=headers), 400, "unknown format")
    assert_error(
        client.post("/predict", data=compress(bytes(MAXIMUM_BYTES + 1)), headers=headers),
        413,
        f"expected a body of at most {MAXIMUM_BYTES} bytes when decompressed; got more",
    )


@COMPRESSED
@pytest.mark.parametrize("spoil", [lambda data: data[:-3], lambda data: data + b"more", lambda _: b"", lambda _: b"x"])
def test_broken_compression(
    encoding: str,
    compress: Callable[[bytes], bytes],
    spoil: Callable[[bytes], bytes],
    client: FlaskClient,
) -> None:
    response = client.post("/predict", data=spoil(compress(example(4))), headers={"Content-Encoding": encoding})
    assert_error(response, 400, "in gzip's or zlib's format")


def chunked(data: bytes) -> dict[str, object]:
    """A request without Content-Length."""
    environ = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    return {"input_stream": io.BytesIO(data), "environ_overrides": environ}


@pytest.mark.parametrize(
    ("data", "most"),
    [(bytes(MAXIMUM_BYTES + 1), MAXIMUM_BYTES), (b"\xff\xd8\xff" + bytes(2**25), 2**25)],
    ids=["any body", "JPEG"],
)
def test_chunked_body_of_unknown_size(data: bytes, most: int, client: FlaskClient) -> None:
    assert_error(client.post("/predict", **chunked(data)), 413, f"expected a body of at most {most} bytes; got more")
    jpeg = padded_jpeg(photo(600, 500), most)
    assert client.post("/predict", **chunked(jpeg)).status_code == 200


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "compress"])
def test_unsupported_encodings(encoding: str, client: FlaskClient) -> None:
    response = client.post("/predict", data=io.BytesIO(example(4)), headers={"Content-Encoding": encoding})
    assert_error(response, 415, f"expected Content-Encoding gzip or deflate, once, or none; got {encoding}")
