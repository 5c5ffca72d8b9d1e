"""Hooks that schemathesis loads: what the document cannot say about a valid request."""

import base64
import gzip
import io
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import schemathesis
from hypothesis import strategies
from PIL import Image
from requests import PreparedRequest
from schemathesis import Case, HookContext

from service.settings import Settings

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
COMPRESS: dict[Any, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
LENGTH = "Inference-Header-Content-Length"


def file(format: str, pixels: bytes, width: int) -> bytes:
    """An image file of grey pixels."""
    data = np.frombuffer(pixels, np.uint8)[: len(pixels) // width * width].reshape(-1, width)
    written = io.BytesIO()
    Image.fromarray(data).save(written, format)
    return written.getvalue()


def files(*formats: str) -> strategies.SearchStrategy[bytes]:
    pixels = strategies.binary(min_size=64, max_size=2048)
    return strategies.builds(file, strategies.sampled_from(formats), pixels, strategies.integers(1, 40))


for name in FORMATS:
    schemathesis.openapi.media_type(f"image/{name.lower()}", files(name))
schemathesis.openapi.media_type("image/x-portable-graymap", files("PPM"))
schemathesis.openapi.media_type("application/octet-stream", files(*FORMATS))

IMAGE = file("PNG", bytes(784), 28)


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    """Turns allowed requests into meaningful ones: served versions, real images, fitting tensors, compressed bodies."""
    if not case.meta:
        return
    case.headers = case.headers.copy()  # shared with other cases
    # An unknown header breaks no schema, so that the rest of such a request must be valid too.
    if not case.meta.generation.mode.is_positive and "x-schemathesis-unknown-property" not in case.headers:
        # With a length of 0 (or 00) any bytes are valid, whatever the content type says.
        if case.media_type == "application/json" and set(case.headers.get(LENGTH, "")) == {"0"}:
            del case.headers[LENGTH]
        return
    if case.query.get("version", "").isdecimal():
        case.query = {**case.query, "version": Settings().model_path.parent.name}
    if case.path.endswith("/infer"):
        make_inference(case)
    elif case.path.endswith(":predict"):
        body: Any = case.body
        case.body = {**body, "instances": [{"b64": base64.b64encode(IMAGE).decode()}] * len(body["instances"])}
    elif case.media_type in ("application/json", "application/x-www-form-urlencoded") and isinstance(case.body, dict):
        case.body = {**case.body, "image": base64.b64encode(IMAGE).decode()}
    # `requests` calls this last, with the finished request.
    kwargs["auth"] = finish


def make_inference(case: Case[Any]) -> None:
    """Keeps the number of images, the id and the parameters, and makes the rest valid."""
    is_image = case.path_parameters["name"] != "digits"
    if case.media_type == "application/octet-stream":
        case.body = IMAGE if is_image else bytes(784)
        case.headers[LENGTH] = "0"
        return
    body: Any = case.body
    count = len(body["inputs"])
    tensor: dict[str, Any] = (
        {"name": "image", "shape": [count], "datatype": "BYTES", "data": [base64.b64encode(IMAGE).decode()] * count}
        if is_image
        else {"name": "images", "shape": [count, 28, 28], "datatype": "UINT8", "data": [0] * 784 * count}
    )
    case.body = {**body, "inputs": [tensor], "outputs": []}
    case.headers.pop(LENGTH, None)


def finish(prepared: PreparedRequest) -> PreparedRequest:
    """Gives form files a name, without which they would be text, and compresses the body if its headers say so."""
    if isinstance(prepared.body, str):  # an urlencoded form
        prepared.body = prepared.body.encode()
    if isinstance(prepared.body, bytes):
        prepared.body = prepared.body.replace(b'name="image"\r\n', b'name="image"; filename="image"\r\n')
        if compress := COMPRESS.get(prepared.headers.get("Content-Encoding", "")):
            prepared.body = compress(prepared.body)
    return prepared
