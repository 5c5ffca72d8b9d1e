"""The image files in a request: the raw body, files of a form, or JSON with one in base64."""

import re
from typing import Annotated, Any

import msgspec
from flask import request
from flask.globals import request_ctx
from msgspec import Meta, Raw

from digits.decode import format_name
from digits.memory import memory_lock
from digits.open_inference import MAXIMUM_JSON, decode_base64, require_ascii
from service.openapi import BINARY, IMAGE_TYPES, Body, form, json
from service.request_body import RequestError, body

FORM_TYPE = "multipart/form-data"
# As many as a form may have parts.
MAXIMUM_IMAGES = 1000


class JsonImage(msgspec.Struct):
    """An image in JSON: base64 or a data URL."""

    image: Annotated[str, Meta(description="an image file in base64, or as a data URL")]


FILE = {"type": "string", "format": "binary", "description": "an image file, with a file name"}
IMAGE = Body(
    {**dict.fromkeys(IMAGE_TYPES, BINARY), **form(FILE), **json(JsonImage)},
    {
        "the file": "--data-binary @3.png",
        "a form": "-F image=@3.png",
        "JSON": '--json "{\\"image\\": \\"$(base64 -w 0 3.png)\\"}"',
    },
    "An image, recognized by its bytes whatever the content type. At most 16 MiB and 25 megapixels.",
)
IMAGES = Body(
    form({"type": "array", "items": FILE, "minItems": 1, "maxItems": MAXIMUM_IMAGES}),
    {"a form": "-F image=@1.png -F image=@2.png"},
    f"Up to {MAXIMUM_IMAGES:,} images, each in a field `image`, at most 16 MiB in all.",
)


def received() -> bytes:
    """The one image in the request as it came: a file, or JSON that contains one (see `unpacked`)."""
    if request_ctx.request.mimetype != FORM_TYPE:
        return body()
    files = form_files()
    if len(files) > 1:
        raise RequestError(f"expected one field `image`; got {len(files)}; /predict/batch accepts many")
    return files[0]


def unpacked(data: bytes) -> bytes:
    """The image file in what was received; done once the request is admitted."""
    asked = request_ctx.request
    # People send images with any content type, JSON's among them, and JSON with curl's default: the bytes decide.
    if asked.mimetype != FORM_TYPE and (_JSON.match(data) or (asked.is_json and data and format_name(data) is None)):
        with memory_lock(len(data) > MAXIMUM_JSON):
            return _from_json(data)
    return data


_JSON = re.compile(rb"\s*\{")


def form_files() -> list[bytes]:
    """The files in a form's fields `image`. Raises RequestError if there is none."""
    files: list[Any] = request.files.getlist("image")  # Werkzeug says IO, which has no `getvalue`
    if not files:
        fields = [f"a file in `{name}`" for name in request.files] + [f"text in `{name}`" for name in request.form]
        got = ", ".join(fields) or "no fields"
        raise RequestError(f"expected multipart/form-data with a file (with a file name) as `image`; got {got}")
    return [file.stream.getvalue() for file in files]


class _RawImage(msgspec.Struct):
    image: Raw


_raw_image, _text = msgspec.json.Decoder(_RawImage), msgspec.json.Decoder(str)


def _from_json(data: bytes) -> bytes:
    expected = 'expected JSON {"image": "<base64 or data URL>"}'
    try:
        image = memoryview(_raw_image.decode(data).image).tobytes()
        require_ascii(image)
        return decode_base64(_text.decode(image))
    except msgspec.ValidationError as error:
        raise RequestError(f"{expected}; got no string `image`") from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RequestError(f"{expected}; got JSON that cannot be parsed") from error
    except ValueError as error:
        raise RequestError(f"in `image`: {error}") from error
