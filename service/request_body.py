"""Request bodies: read within limits, decompressed, and counted while they are in memory."""

import time
import zlib
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from typing import IO, Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, Request
from flask.globals import request_ctx
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge, UnsupportedMediaType

from digits.decode import MAXIMUM_BYTES, MAXIMUM_FILE_BYTES, is_jpeg
from service.admission import Limiter


class RequestError(Exception):
    """The request is invalid; the message is meant for the client."""


class RequestTooLargeError(RequestError):
    """The request is larger than accepted."""


ENCODINGS = ("gzip", "deflate")
# zlib detects whether data is in its own format, HTTP's deflate, or in gzip's.
_EITHER_FORMAT = 32 + zlib.MAX_WBITS
_NOT_ONE_WHOLE = "expected one whole body in gzip's or zlib's format; got one cut short or with more behind it"
# Per request, in a form or as tensors: Flask's MAX_FORM_PARTS.
MAXIMUM_IMAGES = 1000
# How long a client may pause while it sends its request or receives the response.
SILENCE_SECONDS = 5
# How much is read, decompressed and counted at a time.
PIECE_BYTES = 2**15
# For how long, and how much of, a rejected body is read and discarded.
DRAIN_SECONDS = 10
DRAIN_BYTES = 2**30
# Where a form's part has a JPEG file.
_JPEG_PART = b"\r\n\r\n\xff\xd8\xff"
# The keys in a request's WSGI environment of its Body, and of the BusyError with which the worker refuses it.
BODY, REFUSAL = "digits.body", "digits.refusal"


class Body:
    """The body of one request: gunicorn's stream, counted while it is read."""

    def __init__(self, stream: IO[bytes], limiter: Limiter) -> None:
        self._stream, self._limiter, self._held = stream, limiter, 0
        self._start = b""  # read already
        self.most = MAXIMUM_BYTES

    def read(self, size: int = -1, /) -> bytes:
        """Like a stream's, but returns at most PIECE_BYTES and holds them. Raises BodiesError."""
        size = PIECE_BYTES if size < 0 else min(size, PIECE_BYTES)
        if self._start:
            data, self._start = self._start[:size], self._start[size:]
            return data
        data = self._stream.read(size)
        self.hold(len(data))
        return data

    def look_ahead(self) -> None:
        """Reads the start of a body that is or may be large: only one with a JPEG file may have more than others."""
        self._start = self.read()
        if is_jpeg(self._start) or _JPEG_PART in self._start:
            self.most = MAXIMUM_FILE_BYTES

    def check(self, size: int) -> None:
        """Raises BusyError if the request, with a body of this size, would be rejected now."""
        self._limiter.check(size)

    def hold(self, size: int) -> None:
        """Counts bytes until the response has been sent. Raises BodiesError."""
        self._limiter.hold(size)
        self._held += size

    def drop(self, size: int | None = None) -> None:
        """Stops counting some bytes, by default all."""
        if size := self._held if size is None else size:
            self._held -= size
            self._limiter.drop(size)

    def drain(self) -> None:
        """Reads and discards the rest of a rejected body, within limits.

        Closing a socket with unread bytes resets the connection, and the client would lose the response.
        """
        deadline, left = time.monotonic() + DRAIN_SECONDS, DRAIN_BYTES
        try:
            while left > 0 and time.monotonic() < deadline and (chunk := self._stream.read(PIECE_BYTES)):
                left -= len(chunk)
        except (OSError, ParseException):
            pass  # the client is gone or its body is broken: nothing is left to read


def register_bodies(app: Flask) -> None:
    app.before_request(_prepare_body)
    app.wsgi_app = _counted(app.wsgi_app, app.extensions["limiter"])  # type: ignore[method-assign, assignment]


def _counted(application: WSGIApplication, limiter: Limiter) -> WSGIApplication:
    """WSGI middleware that counts a request's body until its response has been sent."""

    def counted(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        body = environ["wsgi.input"] = environ[BODY] = Body(environ["wsgi.input"], limiter)
        try:
            response: Any = application(environ, start_response)
            with closing(response):
                yield from response
        finally:
            body.drop()

    return counted


def _prepare_body() -> None:
    """Runs before anything of the body is read.

    A busy service rejects at once, without reading the body. A client that stops sending is dropped, so that it does
    not occupy a thread forever.
    """
    asked = request_ctx.request
    environ, length = asked.environ, asked.content_length
    if refusal := environ.get(REFUSAL):
        raise refusal
    if length or "HTTP_TRANSFER_ENCODING" in environ:
        # A body that is too large is never read, and its client is told so.
        environ[BODY].check(length if length and length <= MAXIMUM_FILE_BYTES else 0)
    # With this flag Werkzeug relies on the server to detect a body shorter than its Content-Length; gunicorn sets the
    # flag and does not.
    if length is not None:
        environ.pop("wsgi.input_terminated", None)
    is_large = "HTTP_TRANSFER_ENCODING" in environ if length is None else length > MAXIMUM_BYTES
    if is_large and (length or 0) <= MAXIMUM_FILE_BYTES and not asked.routing_exception:
        try:
            environ[BODY].look_ahead()
        except (OSError, ValueError) as error:
            raise ClientDisconnected from error
        asked.max_content_length = environ[BODY].most
    encoding = environ.get("HTTP_CONTENT_ENCODING", "identity").strip().lower()
    if encoding != "identity" and not asked.routing_exception:
        _decompress(asked, encoding)


def body() -> bytes:
    """The whole body, within the limits on its size. Raises BadRequest and RequestEntityTooLarge."""
    asked = request_ctx.request
    stream = asked.environ["wsgi.input"]
    if isinstance(stream, BytesIO):
        return stream.getvalue()  # decompressed
    whole = BytesIO()
    for piece in _pieces(asked):
        if len(piece) == asked.content_length:
            return piece
        whole.write(piece)
    return whole.getvalue()


def _pieces(asked: Request) -> Iterator[bytes]:
    """The body as it is received. Raises the same errors as `body`."""
    stream, length, most = asked.environ["wsgi.input"], asked.content_length, asked.environ[BODY].most
    if length is not None and length > most:
        raise RequestEntityTooLarge
    size, limit = 0, most + 1 if length is None else length
    while size < limit:
        try:
            piece = stream.read(limit - size)
        except (OSError, ValueError) as error:
            raise ClientDisconnected from error
        if not piece:
            break
        size += len(piece)
        if size > most:
            raise RequestEntityTooLarge
        yield piece
    if length is not None and size < length:
        raise ClientDisconnected


def _decompress(asked: Request, encoding: str) -> None:
    """Replaces the compressed body by the decompressed one."""
    if encoding not in ENCODINGS:
        raise UnsupportedMediaType(f"expected Content-Encoding {' or '.join(ENCODINGS)}, once, or none; got {encoding}")
    put_back(asked, _decompressed(_pieces(asked), asked.environ[BODY]).getvalue())


def put_back(asked: Request, data: bytes) -> None:
    """Makes a body that has been read, or made of it, what is read from now on."""
    asked.environ["CONTENT_LENGTH"] = str(len(data))
    asked.environ["wsgi.input"] = BytesIO(data)
    for cached in ("stream", "content_length"):
        asked.__dict__.pop(cached, None)


def _decompressed(pieces: Iterator[bytes], body: Body) -> BytesIO:
    """Decompresses up to MAXIMUM_BYTES, and counts these instead of the compressed bytes. Raises RequestError."""
    decompressor, whole = zlib.decompressobj(_EITHER_FORMAT), BytesIO()
    for compressed in pieces:
        if decompressor.eof:
            raise RequestError(_NOT_ONE_WHOLE)
        received, more = len(compressed), True
        while more:
            try:
                piece = decompressor.decompress(compressed, PIECE_BYTES)
            except zlib.error as error:
                raise RequestError("expected a body in gzip's or zlib's format; got one that is broken") from error
            body.hold(len(piece))
            if whole.tell() + len(piece) > MAXIMUM_BYTES:
                raise RequestTooLargeError(
                    f"expected a body of at most {MAXIMUM_BYTES} bytes when decompressed; got more"
                )
            whole.write(piece)
            compressed = decompressor.unconsumed_tail
            more = not decompressor.eof and (bool(compressed) or len(piece) == PIECE_BYTES)
        body.drop(received)
    if not decompressor.eof or decompressor.unused_data:
        raise RequestError(_NOT_ONE_WHOLE)
    return whole
