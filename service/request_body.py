"""The bodies of requests: read within limits, inflated where they come compressed, and counted while they are held."""

import time
import zlib
from collections.abc import Iterator
from io import SEEK_END, BytesIO
from typing import IO, Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, Request
from flask.globals import request_ctx
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge, UnsupportedMediaType

from digits.decode import MAXIMUM_BYTES
from service.admission import Limiter


class RequestError(Exception):
    """The request is not what was expected; the message may be shown to the sender."""


class RequestTooLargeError(RequestError):
    """The request's body is larger than accepted."""


# zlib finds out by itself which of its own format, which HTTP calls deflate, and gzip's it is.
ENCODINGS = ("gzip", "deflate")
_EITHER_FORMAT = 32 + zlib.MAX_WBITS
_NOT_ONE_WHOLE = "expected one whole body in gzip's or zlib's format; got one cut short or with more behind it"
# How long a client may keep silent in the middle of its request or its answer.
SILENCE_SECONDS = 5
# How much is read, inflated and counted at a time.
PIECE_BYTES = 2**15
# How long and how much of a rejected body is read away.
DRAIN_SECONDS = 10
DRAIN_BYTES = 2**30
# Where a request's environment has its Body.
BODY = "digits.body"


class Body:
    """The body of one request: gunicorn's stream, whose bytes are counted as they are read."""

    def __init__(self, stream: IO[bytes], limiter: Limiter) -> None:
        self._stream, self._limiter, self._held = stream, limiter, 0

    def read(self, size: int = -1, /) -> bytes:
        """As a stream's own, but at most PIECE_BYTES, which are held from then on. Raises BodiesError."""
        data = self._stream.read(PIECE_BYTES if size < 0 else min(size, PIECE_BYTES))
        self.hold(len(data))
        return data

    def check(self, size: int) -> None:
        """Raises BusyError if the request would be turned away now, with a body of this size."""
        self._limiter.check(size)

    def hold(self, size: int) -> None:
        """Counts bytes until the request has been answered. Raises BodiesError."""
        self._limiter.hold(size)
        self._held += size

    def drop(self, size: int | None = None) -> None:
        """Counts so many bytes no more, or none of them."""
        if size := self._held if size is None else size:
            self._held -= size
            self._limiter.drop(size)

    def drain(self) -> None:
        """Reads the rest of a rejected body, within limits, and keeps none of it.

        A socket closed with unread bytes in it is reset, and the reset makes the client lose the answer.
        """
        deadline, left = time.monotonic() + DRAIN_SECONDS, DRAIN_BYTES
        try:
            while left > 0 and time.monotonic() < deadline and (chunk := self._stream.read(PIECE_BYTES)):
                left -= len(chunk)
        except (OSError, ParseException):
            pass  # the client has gone, or what it sends is broken: nothing is left


def register_bodies(app: Flask) -> None:
    app.before_request(_receive)
    app.wsgi_app = _counted(app.wsgi_app, app.extensions["limiter"])  # type: ignore[method-assign, assignment]


def _counted(application: WSGIApplication, limiter: Limiter) -> WSGIApplication:
    """An application whose requests' bodies are counted until their answers have been sent."""

    def counted(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        body = environ["wsgi.input"] = environ[BODY] = Body(environ["wsgi.input"], limiter)
        try:
            answer: Any = application(environ, start_response)
            try:
                yield from answer
            finally:
                answer.close()
        finally:
            body.drop()

    return counted


def _receive() -> None:
    """Makes ready what is read of a request's body, before anything has been.

    A full service reads no more bodies, so that it can say so at once. A client that stops in the middle of one is
    given up, instead of holding a thread for ever.
    """
    asked = request_ctx.request
    environ, length = asked.environ, asked.content_length
    if length or "HTTP_TRANSFER_ENCODING" in environ:
        # One that is too large is never read, and told so.
        environ[BODY].check(length if length and length <= MAXIMUM_BYTES else 0)
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
    stream = request_ctx.request.environ["wsgi.input"]
    if isinstance(stream, BytesIO):
        return stream.getvalue()  # inflated
    whole = BytesIO()
    for piece in _pieces(request_ctx.request):
        if len(piece) == request_ctx.request.content_length:
            return piece
        whole.write(piece)
    return whole.getvalue()


def _pieces(asked: Request) -> Iterator[bytes]:
    """The body as it comes. Raises as `body` does."""
    stream, length = asked.environ["wsgi.input"], asked.content_length
    if length is not None and length > MAXIMUM_BYTES:
        raise RequestEntityTooLarge
    size, limit = 0, MAXIMUM_BYTES + 1 if length is None else length
    while size < limit:
        try:
            piece = stream.read(limit - size)
        except (OSError, ValueError) as error:
            raise ClientDisconnected from error
        if not piece:
            break
        size += len(piece)
        if size > MAXIMUM_BYTES:
            raise RequestEntityTooLarge
        yield piece
    if length is not None and size < length:
        raise ClientDisconnected


def _inflate(asked: Request, encoding: str) -> None:
    """Puts the inflated body in the place of one that comes compressed."""
    if encoding not in ENCODINGS:
        raise UnsupportedMediaType(f"expected Content-Encoding {' or '.join(ENCODINGS)}, once, or none; got {encoding}")
    whole = _inflated(_pieces(asked), asked.environ[BODY])
    asked.environ["CONTENT_LENGTH"] = str(whole.seek(0, SEEK_END))
    whole.seek(0)
    asked.environ["wsgi.input"] = whole
    for cached in ("stream", "content_length"):
        asked.__dict__.pop(cached, None)


def _inflated(pieces: Iterator[bytes], body: Body) -> BytesIO:
    """Data from gzip's or zlib's format, not longer than MAXIMUM_BYTES, counted in place of what came.

    Raises RequestError.
    """
    inflater, whole = zlib.decompressobj(_EITHER_FORMAT), BytesIO()
    for compressed in pieces:
        if inflater.eof:
            raise RequestError(_NOT_ONE_WHOLE)
        came, more = len(compressed), True
        while more:
            try:
                inflated = inflater.decompress(compressed, PIECE_BYTES)
            except zlib.error as error:
                raise RequestError("expected a body in gzip's or zlib's format; got one that is broken") from error
            body.hold(len(inflated))
            if whole.tell() + len(inflated) > MAXIMUM_BYTES:
                raise RequestTooLargeError(f"expected a body of at most {MAXIMUM_BYTES} bytes when inflated; got more")
            whole.write(inflated)
            compressed = inflater.unconsumed_tail
            more = not inflater.eof and (bool(compressed) or len(inflated) == PIECE_BYTES)
        body.drop(came)
    if not inflater.eof or inflater.unused_data:
        raise RequestError(_NOT_ONE_WHOLE)
    return whole
