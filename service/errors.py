"""Every error gets one shape, `{"error": "..."}`, wherever it was raised."""

import time
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

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
from digits.activations import ActivationsError
from digits.decode import ImageError, ImageTooLargeError
from digits.instances import InstancesError, TooManyInstancesError
from digits.open_inference import TensorError
from digits.registry import VersionError
from digits.tracing import DeadlineError
from service.admission import BodiesError, BusyError
from service.request_body import BODY, MAXIMUM_IMAGES, REFUSAL, RequestError, RequestTooLargeError
from service.responses import error_response

# How long a rejected client should wait before it retries.
RETRY_SECONDS = 1
# The status of the errors whose message is meant for the client.
STATUSES: dict[type[Exception], int] = {
    ImageTooLargeError: 413,
    ImageError: 400,
    RequestTooLargeError: 413,
    RequestError: 400,
    TensorError: 400,
    TooManyInstancesError: 413,
    InstancesError: 400,
    VersionError: 404,
    ActivationsError: 404,
}
# Why a request gets 503: the metric's label, and the message.
UNAVAILABLE: dict[type[Exception], tuple[str, str]] = {
    BodiesError: (tracing.BODIES, "server busy: the request bodies in memory have reached their limit; retry later"),
    BusyError: (tracing.QUEUE, "server busy: the queue is full; retry later"),
    DeadlineError: (tracing.LATE, "server busy: the request passed its deadline; retry later"),
}


def register_errors(app: Flask) -> None:
    for kind, status in STATUSES.items():
        app.register_error_handler(kind, lambda error, status=status: error_response(str(error), status))
    for kind, (cause, message) in UNAVAILABLE.items():
        app.register_error_handler(kind, lambda _, cause=cause, message=message: _unavailable(cause, message))
    app.register_error_handler(HTTPException, _http_error)
    # Gunicorn parses a chunked body while it is read here.
    app.register_error_handler(ParseException, lambda _: _http_error(BadRequest()))
    app.register_error_handler(Exception, _internal_error)
    app.wsgi_app = _refusing(app, app.wsgi_app)  # type: ignore[method-assign, assignment]


def _refusing(app: Flask, application: WSGIApplication) -> WSGIApplication:
    """WSGI middleware that answers what the worker refuses, without Flask, as a busy worker has many to refuse."""
    rules = {rule.rule: rule for rule in app.url_map.iter_rules() if "POST" in (rule.methods or ())}
    responses = {kind: _retry_later(message) for kind, (_, message) in UNAVAILABLE.items()}

    def refusing(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        refusal: BusyError | None = environ.get(REFUSAL)
        rule = rules.get(environ["PATH_INFO"]) if environ["REQUEST_METHOD"] == "POST" else None
        # What pages of other origins need, only Flask adds.
        if refusal is None or rule is None or "HTTP_ORIGIN" in environ:
            return application(environ, start_response)
        app.request_class(environ).url_rule = rule  # for the access log
        tracing.rejection(UNAVAILABLE[type(refusal)][0])
        return responses[type(refusal)](environ, start_response)

    return refusing


def _retry_later(message: str) -> Response:
    response = error_response(message, 503)
    response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


def _unavailable(cause: str, message: str) -> Response:
    tracing.rejection(cause)
    response = _retry_later(message)
    body = request.environ[BODY]
    body.drop()
    # Respond first: the client need not wait until its unwanted body has been read.
    response.call_on_close(body.drain)
    return response


def _http_error(error: HTTPException) -> Response:
    # A bad request was found while its body was read: there is nothing more to read.
    if not isinstance(error, BadRequest):
        request.environ[BODY].drain()
    status = error.code or 500
    match error:
        case RequestEntityTooLarge():
            message = _too_large()
        case NotFound():
            message = f"no such path: {request.path}"
        case MethodNotAllowed():
            methods = ", ".join(sorted(error.valid_methods or ()))
            response = error_response(f"expected {methods}; got {request.method}", status)
            response.headers["Allow"] = methods
            return response
        case UnsupportedMediaType():
            message = error.description or error.name
        case BadRequest() if time.monotonic() > tracing.deadline():
            message, status = "expected a complete request within the deadline; got a part of it", 408
        case BadRequest():
            message = "expected a complete, well-formed request; got one that is broken or cut short"
        case _:
            message = f"expected a request that can be answered; got: {error.name}"
    return error_response(message, status)


def _too_large() -> str:
    length, most = request.content_length, request.environ[BODY].most
    if length is not None and length <= most:
        return f"expected at most {MAXIMUM_IMAGES} parts in a form, and less text; got more"
    return f"expected a body of at most {most} bytes; got " + ("more" if length is None else str(length))


def _internal_error(error: Exception) -> Response:
    """The log gets the traceback, the client does not."""
    current_app.logger.exception("failed: %s %s", request.method, request.path)
    return error_response("the service failed on this request; see its log", 500)
