"""The images in a request: the raw body, files in a form, or base64 in JSON."""

import re
from typing import Any

import msgspec
from flask import request
from flask.globals import request_ctx
from msgspec import Raw, Struct

from digits.decode import format_name
from digits.memory import memory_lock
from digits.open_inference import MAXIMUM_JSON, decode_base64, require_ascii
from service.request_body import RequestError, body

FORM_TYPE = "multipart/form-data"
_JSON = re.compile(rb"\s*\{")


class _JsonImage(Struct):
    image: Raw  # checked before a str is made of it


_json_image, _text = msgspec.json.Decoder(_JsonImage), msgspec.json.Decoder(str)


def received() -> bytes:
    """The one image in the request, as received: a file, or JSON that contains one (see `unpacked`)."""
    if request_ctx.request.mimetype != FORM_TYPE:
        return body()
    files = form_files()
    if len(files) > 1:
        raise RequestError(f"expected one field `image`; got {len(files)}; /predict/batch accepts many")
    return files[0]


def unpacked(data: bytes) -> bytes:
    """The image file in what was received. To be called once the request is admitted. Raises RequestError."""
    asked = request_ctx.request
    # Clients send images with any content type, JSON's included, and JSON with curl's default: the bytes decide.
    if asked.mimetype == FORM_TYPE or not (_JSON.match(data) or (asked.is_json and data and not format_name(data))):
        return data
    expected = 'expected JSON {"image": "<base64 or data URL>"}'
    with memory_lock(len(data) > MAXIMUM_JSON):
        try:
            image = memoryview(_json_image.decode(data).image).tobytes()
            require_ascii(image)
            return decode_base64(_text.decode(image))
        except msgspec.ValidationError as error:
            raise RequestError(f"{expected}; got no string `image`") from error
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise RequestError(f"{expected}; got JSON that cannot be parsed") from error
        except ValueError as error:
            raise RequestError(f"in `image`: {error}") from error


def form_files() -> list[bytes]:
    """The files in a form's fields `image`. Raises RequestError if there are none."""
    files: list[Any] = request.files.getlist("image")  # Werkzeug types the stream as IO, which has no `getvalue`
    if not files:
        fields = [f"a file in `{name}`" for name in request.files] + [f"text in `{name}`" for name in request.form]
        got = ", ".join(fields) or "no fields"
        raise RequestError(f"expected multipart/form-data with a file (with a file name) as `image`; got {got}")
    return [file.stream.getvalue() for file in files]
