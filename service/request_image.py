"""The images in a request: the raw body, a form's files or text, or base64 in JSON."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec
from flask import Request
from flask.globals import request_ctx
from msgspec import Raw, Struct

from digits.base64_text import decode_base64, require_ascii
from digits.decode import ImageError
from digits.formats import format_name
from digits.memory import memory_lock
from digits.open_inference import MAXIMUM_JSON
from service.forms import plain_files
from service.request_body import MAXIMUM_IMAGES, RequestError, body, put_back

FORM_TYPE = "multipart/form-data"
TEXT_FORM_TYPE = "application/x-www-form-urlencoded"
_JSON = re.compile(rb"\s*\{")
# A data URL, or how base64 of PNG, JPEG, WebP, GIF, TIFF, BMP, PGM, HEIC and the like, and PDF begins.
_BASE64 = rb"\s*(?:(?i:data(?::|%3A))|iVBORw0KGgo|[/_]9j[/_]|UklGR|R0lGOD|SUkq|TU0A|Qk[0-3]|UD[IU][KNg]|AAAA|JVBERi)"
_TEXT = re.compile(_BASE64)
# A field of an urlencoded form that has such text, and the start of any such form.
_FIELD, _FORM = re.compile(rb"(?:^|&)([^=&]{1,100})=(?=%b)([^&]*)" % _BASE64), re.compile(rb"([\w.%\[\]-]{1,100})=[^=]")
# A form is in memory twice while its files are taken out.
_PLAIN_FORM_BYTES = 2**20
_WITH_IMAGE = "with a file (with a file name) as `image`, or with its base64 or data URL"
_NO_BOUNDARY = (
    "expected multipart/form-data with `image`, and with the form's boundary in Content-Type; got no boundary, as "
    "happens when a client sets this header itself: leave it to the library that makes the form"
)


class _JsonImage(Struct):
    image: Raw  # checked before a str is made of it


_json_image, _string = msgspec.json.Decoder(_JsonImage), msgspec.json.Decoder(str)


def received() -> bytes:
    """The one image in the request, as received: a file, or text or JSON that contains one (see `unpacked`)."""
    kind = request_ctx.request.mimetype
    if kind == FORM_TYPE:
        return _only(_form_fields())
    data = body()
    # curl sends files, JSON and text with this type, too: the bytes decide.
    if kind != TEXT_FORM_TYPE or format_name(data) or _TEXT.match(data):
        return data
    if fields := {one[1].decode("ascii", "replace"): [one[2]] for one in islice(_FIELD.finditer(data), 9)}:
        return _only(fields)
    if form := _FORM.match(data):
        raise RequestError(f"expected a form {_WITH_IMAGE}; got text in `{form[1].decode()}` that is neither")
    return data


def unpacked(data: bytes) -> bytes:
    """The image file in what was received. To be called once the request is admitted. Raises RequestError."""
    is_text = _TEXT.match(data)
    # Clients send images with any content type, JSON's included, and JSON with curl's default: the bytes decide.
    if not (is_text or _JSON.match(data) or (data and not format_name(data) and request_ctx.request.is_json)):
        return data
    expected = 'expected JSON {"image": "<base64 or data URL>"}'
    with memory_lock(len(data) > MAXIMUM_JSON):
        try:
            text = data if is_text else memoryview(_json_image.decode(data).image).tobytes()
            require_ascii(text)
            return decode_base64(text if is_text else _string.decode(text))
        except msgspec.ValidationError as error:
            raise RequestError(f"{expected}; got no string `image`") from error
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise RequestError(f"{expected}; got JSON that cannot be parsed") from error
        except ValueError as error:
            raise RequestError(f"in {'the text' if is_text else '`image`'}: {error}") from error


def received_many() -> list[bytes]:
    """The images in a form, as received, in their order."""
    if (kind := request_ctx.request.mimetype) != FORM_TYPE:
        raise RequestError(f"expected {FORM_TYPE} {_WITH_IMAGE}; got {kind or 'no Content-Type'}")
    fields = _form_fields()
    if len(fields) > 1:
        raise RequestError(f"expected all images in one field; got some in {_listed(fields)}")
    [images] = fields.values()
    return images


def unpacked_or_error(data: bytes) -> bytes | ImageError:
    """Like `unpacked`, but returns what is wrong with one of many images."""
    try:
        return unpacked(data)
    except RequestError as error:
        return ImageError(str(error))


def _form_fields() -> dict[str, list[bytes]]:
    """The images in a form by field: its files, whatever the fields are called, or text. Raises RequestError."""
    asked: Any = request_ctx.request  # Werkzeug types a file's stream as IO, which has no `getvalue`
    boundary = asked.mimetype_params.get("boundary")
    if not boundary:
        raise RequestError(_NO_BOUNDARY)
    fields = _plain_files(asked, boundary)
    if fields is None:
        fields = {name: [one.stream.getvalue() for one in some] for name, some in asked.files.lists()}
    # Browsers send a file without name and content for each file input that was left empty.
    if fields := {name: some for name, some in fields.items() if any(some)} or fields:
        return fields
    texts = {name: [text.encode("ascii", "replace") for text in some] for name, some in asked.form.lists()}
    asked.__dict__.pop("form")  # a second copy, which Werkzeug keeps
    if images := {name: some for name, some in texts.items() if all(map(_TEXT.match, some))}:
        return images
    got = f"text in {_listed(texts)}" if texts else "no fields: is its boundary the one in Content-Type?"
    raise RequestError(f"expected {FORM_TYPE} {_WITH_IMAGE}; got {got}")


def _plain_files(asked: Request, boundary: str) -> dict[str, list[bytes]] | None:
    """The files of a small form with nothing else; None for any other, which is still to be read."""
    if (asked.content_length or math.inf) > _PLAIN_FORM_BYTES:
        return None
    data = body()
    fields = plain_files(data, boundary, MAXIMUM_IMAGES)
    if fields is None:
        put_back(asked, data)
    return fields


def _only(fields: Mapping[str, Sequence[bytes]]) -> bytes:
    """The one image in a form's fields, which may have it more than once. Raises RequestError."""
    if len({image for images in fields.values() for image in images}) > 1 and len(fields) > 1:
        raise RequestError(f"expected one image; got different ones in {_listed(fields)}")
    name, images = next(iter(fields.items()))
    if len(images) > 1:
        raise RequestError(f"expected one field `{name}`; got {len(images)}; /predict/batch accepts many")
    return images[0]


def _listed(names: Iterable[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)
