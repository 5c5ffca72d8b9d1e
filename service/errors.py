"""The one shape of every error: `{"error": "..."}`, whatever failed and wherever."""

import time

from flask import Flask, Response, current_app, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import (
    BadRequest,
    HTTPException,
    MethodNotAllowed,
    NotFound,
    RequestEntityTooLarge,
    UnsupportedMediaType,
)

from digits import tracing
from digits.decode import MAXIMUM_BYTES, ImageError, ImageTooLargeError
from digits.registry import VersionError
from digits.tracing import DeadlineError
from service.admission import BodiesError, BusyError
from service.request_body import BODY
from service.responses import error_response

# After how long whoever was turned away may come again.
RETRY_SECONDS = 1
FULL = "expected fewer requests at once; the queue is full; try again after a while"
BODIES = "server busy: the request bodies in memory have reached their limit; retry later"
LATE = "expected an answer in time; got none"


def register_errors(app: Flask) -> None:
    app.register_error_handler(ImageError, _image_error)
    app.register_error_handler(VersionError, lambda error: error_response(str(error), 404))
    app.register_error_handler(BusyError, lambda _: _unavailable(tracing.QUEUE, FULL))
    app.register_error_handler(BodiesError, lambda _: _unavailable(tracing.BODIES, BODIES))
    app.register_error_handler(DeadlineError, lambda _: _unavailable(tracing.LATE, LATE))
    app.register_error_handler(HTTPException, _http_error)
    # Gunicorn parses a chunked body while it is read here.
    app.register_error_handler(ParseException, lambda _: _http_error(BadRequest()))
    app.register_error_handler(Exception, _fault)


def _image_error(error: ImageError) -> Response:
    return error_response(str(error), 413 if isinstance(error, ImageTooLargeError) else 400)


def _unavailable(cause: str, message: str) -> Response:
    tracing.rejection(cause)
    response = error_response(message, 503)
    response.headers["Retry-After"] = str(RETRY_SECONDS)
    body = request.environ[BODY]
    body.drop()
    # The answer goes first: it need not wait for a body that nobody will look at.
    response.call_on_close(body.drain)
    return response


def _http_error(error: HTTPException) -> Response:
    # A bad request comes of reading the body: nothing more is to be had.
    if not isinstance(error, BadRequest):
        request.environ[BODY].drain()
    status = error.code or 500
    match error:
        case RequestEntityTooLarge():
            return error_response(_too_large(), status)
        case NotFound():
            return error_response(f"no such path: {request.path}", status)
        case MethodNotAllowed():
            methods = ", ".join(sorted(error.valid_methods or ()))
            response = error_response(f"expected {methods}; got {request.method}", status)
            response.headers["Allow"] = methods
            return response
        case UnsupportedMediaType():
            return error_response(error.description or error.name, status)
        case BadRequest() if time.monotonic() > tracing.deadline():
            return error_response("expected a whole request in time; got a part of one", 408)
        case BadRequest():
            return error_response("expected a whole, well-formed request; got one that is broken or cut short", status)
        case _:
            return error_response(f"expected a request that can be answered; got: {error.name}", status)


def _too_large() -> str:
    length = request.content_length
    if length is not None and length <= MAXIMUM_BYTES:
        parts = current_app.config["MAX_FORM_PARTS"]
        return f"expected at most {parts} parts, each under a file name; got more, or longer text"
    return f"expected a body of at most {MAXIMUM_BYTES} bytes; got " + ("more" if length is None else str(length))


def _fault(error: Exception) -> Response:
    """A fault of our own: the log gets the traceback, the client gets none of it."""
    current_app.logger.exception("failed: %s %s", request.method, request.path)
    return error_response("the service failed on this request; the fault is in its log", 500)
