"""The bodies of requests: read within limits, inflated where they come compressed."""

import zlib
from io import BytesIO

from flask import Flask, Request, current_app
from flask.globals import request_ctx
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge, UnsupportedMediaType

from service.decode import MAXIMUM_BYTES, ImageError, ImageTooLargeError

# zlib finds out by itself which of its own format, which HTTP calls deflate, and gzip's it is.
ENCODINGS = ("gzip", "deflate")
_EITHER_FORMAT = 32 + zlib.MAX_WBITS
# How long a client may keep silent in the middle of its request or its answer.
SILENCE_SECONDS = 5


def register_bodies(app: Flask) -> None:
    app.before_request(_receive)


def _receive() -> None:
    """Makes ready what is read of a request's body, before anything has been.

    A full service reads no more bodies, so that it can say so at once. A client that stops in the middle of one is
    given up, instead of holding a thread for ever.
    """
    asked = request_ctx.request
    environ, length = asked.environ, asked.content_length
    if length or "HTTP_TRANSFER_ENCODING" in environ:
        current_app.extensions["gate"].check()
    if connection := environ.get("gunicorn.socket"):
        connection.settimeout(SILENCE_SECONDS)
    if length is not None:
        # Werkzeug leaves it to servers that say they end bodies themselves to notice one that is shorter than it was
        # said to be, such as in a form; gunicorn says so and does not.
        environ.pop("wsgi.input_terminated", None)
    encoding = environ.get("HTTP_CONTENT_ENCODING", "identity").strip().lower()
    if encoding != "identity" and not asked.routing_exception:
        _inflate(asked, encoding)


def body() -> bytes:
    """The request's body, whole and not longer than MAXIMUM_BYTES. Raises BadRequest and RequestEntityTooLarge."""
    asked = request_ctx.request
    stream, length = asked.environ["wsgi.input"], asked.content_length
    if length is None:
        data = asked.get_data(cache=False)
        if stream.read(1):
            raise RequestEntityTooLarge  # a chunked body is cut off at the limit, and nothing says so
        return data
    if length > MAXIMUM_BYTES:
        raise RequestEntityTooLarge
    try:
        data = stream.read(length)
    except (OSError, ValueError) as error:
        raise ClientDisconnected from error
    if len(data) < length:
        raise ClientDisconnected
    return data


def _inflate(asked: Request, encoding: str) -> None:
    """Puts the inflated body in the place of one that came compressed."""
    if encoding not in ENCODINGS:
        raise UnsupportedMediaType(f"expected Content-Encoding {' or '.join(ENCODINGS)}, once, or none; got {encoding}")
    data = inflated(body())
    asked.environ["wsgi.input"] = BytesIO(data)
    asked.environ["CONTENT_LENGTH"] = str(len(data))
    for cached in ("stream", "content_length"):
        asked.__dict__.pop(cached, None)


def inflated(data: bytes) -> bytes:
    """Data from gzip's or zlib's format, not longer than MAXIMUM_BYTES. Raises ImageError."""
    inflater = zlib.decompressobj(_EITHER_FORMAT)
    try:
        result = inflater.decompress(data, MAXIMUM_BYTES)
        more = not inflater.eof and inflater.decompress(inflater.unconsumed_tail, 1)
    except zlib.error as error:
        raise ImageError("expected a body in gzip's or zlib's format; got one that is broken") from error
    if more:
        raise ImageTooLargeError(f"expected a body of at most {MAXIMUM_BYTES} bytes when inflated; got more")
    if not inflater.eof or inflater.unused_data:
        raise ImageError("expected one whole body in gzip's or zlib's format; got one cut short or with more behind it")
    return result
