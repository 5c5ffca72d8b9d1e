"""What is answered: JSON, and the one shape of every error, `{"error": "..."}`, whatever failed and wherever."""

import base64
import time
from typing import Annotated

import msgspec
import numpy as np
from flask import Flask, Response, current_app, request
from gunicorn.http.errors import ParseException
from msgspec import Meta
from numpy.typing import NDArray
from werkzeug.exceptions import (
    BadRequest,
    HTTPException,
    MethodNotAllowed,
    NotFound,
    RequestEntityTooLarge,
    UnsupportedMediaType,
)

from digits import tracing
from digits.activations import ActivationsError
from digits.decode import MAXIMUM_BYTES, ImageError, ImageTooLargeError
from digits.open_inference import TensorError
from digits.registry import VersionError
from digits.tracing import DeadlineError
from service.admission import BodiesError, BusyError
from service.request_body import BODY, RequestError, RequestTooLargeError

LONGEST_MESSAGE = 500
# How long a rejected client should wait before it retries.
RETRY_SECONDS = 1
# The status of the errors whose message is for the sender, the first that fits.
STATUSES: dict[type[Exception], int] = {
    ImageTooLargeError: 413,
    ImageError: 400,
    RequestTooLargeError: 413,
    RequestError: 400,
    TensorError: 400,
    VersionError: 404,
    ActivationsError: 404,
}
# Why a request gets 503: the label of the metric, and the message.
UNAVAILABLE: dict[type[Exception], tuple[str, str]] = {
    BodiesError: (tracing.BODIES, "server busy: the request bodies in memory have reached their limit; retry later"),
    BusyError: (tracing.QUEUE, "server busy: the queue is full; retry later"),
    DeadlineError: (tracing.LATE, "server busy: the request's time was up before its answer; retry later"),
}
Base64 = Annotated[str, Meta(extra_json_schema={"contentEncoding": "base64"})]


class Error(msgspec.Struct):
    """What was expected, and what came instead."""

    error: str


def reply(value: object, status: int = 200) -> Response:
    """`value`, of built-in types, dataclasses and msgspec's structs, in JSON."""
    return Response(msgspec.json.encode(value) + b"\n", status, content_type="application/json")


def error_response(message: str, status: int) -> Response:
    """`{"error": message}`, with a long message cut."""
    return reply(Error(message if len(message) <= LONGEST_MESSAGE else f"{message[:LONGEST_MESSAGE]}…"), status)


def encoded(array: NDArray[np.generic]) -> str:
    """An array's bytes, row by row, in base64."""
    return base64.b64encode(array.tobytes()).decode("ascii")


def register_errors(app: Flask) -> None:
    for kind, status in STATUSES.items():
        app.register_error_handler(kind, lambda error, status=status: error_response(str(error), status))
    for kind, (cause, message) in UNAVAILABLE.items():
        app.register_error_handler(kind, lambda _, cause=cause, message=message: _unavailable(cause, message))
    app.register_error_handler(HTTPException, _http_error)
    # Gunicorn parses a chunked body while it is read here.
    app.register_error_handler(ParseException, lambda _: _http_error(BadRequest()))
    app.register_error_handler(Exception, _fault)


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
    # A bad request was found while its body was read: there is nothing more to read.
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
            return error_response("expected a complete request within the deadline; got a part of it", 408)
        case BadRequest():
            return error_response(
                "expected a complete, well-formed request; got one that is broken or cut short", status
            )
        case _:
            return error_response(f"expected a request that can be answered; got: {error.name}", status)


def _too_large() -> str:
    length = request.content_length
    if length is not None and length <= MAXIMUM_BYTES:
        parts = current_app.config["MAX_FORM_PARTS"]
        return f"expected at most {parts} parts, each with a file name; got more, or longer text"
    return f"expected a body of at most {MAXIMUM_BYTES} bytes; got " + ("more" if length is None else str(length))


def _fault(error: Exception) -> Response:
    """A fault of our own: the log gets the traceback, the client does not."""
    current_app.logger.exception("failed: %s %s", request.method, request.path)
    return error_response("the service failed on this request; the fault is in its log", 500)
