"""Every request is counted, timed and logged in one line; `GET /metrics` gives the counts.

A request keeps the number (`X-Request-ID`) and the trace (`traceparent`, W3C Trace Context) that it comes with, or is
given them; the answer carries both.
"""

import logging
import random
import re
import time
from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Blueprint, Flask, Response, current_app
from flask.globals import request_ctx

from service import record
from service.metrics import Metrics
from service.models import Models
from service.operations import Operation, described

log = logging.getLogger(__name__)

observe = Blueprint("observe", __name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_TRACE_PARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(?:-.*)?")
# The route of what is not there: paths come from outside, and each would be a time series of its own.
UNKNOWN_ROUTE = "unknown"


def register_observation(app: Flask, models: Models, metrics: Metrics, deadline: float) -> None:
    """Gives every request so many seconds. What wraps the application later, as for proxies, comes before."""
    app.extensions["metrics"] = metrics
    for version in models.versions:
        metrics.model(version, version == models.versions[0], models.classifier(version).provider)
    app.wsgi_app = _observed(app.wsgi_app, metrics, deadline)  # type: ignore[method-assign, assignment]
    app.register_blueprint(observe)


@observe.get("/metrics")
@described(Operation({200: {"text/plain": str}}))
def show() -> Response:
    """Gives counts and times across all worker processes, in Prometheus' text format."""
    return Response(current_app.extensions["metrics"].text(), content_type="text/plain; version=0.0.4; charset=utf-8")


def _observed(application: WSGIApplication, metrics: Metrics, deadline: float) -> WSGIApplication:
    """An application whose answers are counted, timed, logged and numbered."""

    def observed(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        begun = time.perf_counter()
        record.begin(time.monotonic() + deadline)
        request_id, trace_id, trace_parent = _identity(environ)

        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:  # noqa: ANN401 - as WSGI has it
            seconds = time.perf_counter() - begun
            done = record.end() or record.Record()
            request = request_ctx.request
            route = request.url_rule.rule if request.url_rule else UNKNOWN_ROUTE
            code = int(status[:3])
            metrics.request(route, code, seconds, done)
            fields = {
                "request_id": request_id,
                "trace_id": trace_id,
                "method": environ["REQUEST_METHOD"],
                "path": request.path,
                "route": route,
                "status": code,
                "client": environ.get("REMOTE_ADDR"),
                "bytes": request.content_length,
                "seconds": round(seconds, 6),
            }
            for name, time_taken in done.seconds.items():
                fields[f"{name}_seconds"] = round(time_taken, 6)
            if done.outcomes:
                fields["outcomes"] = done.outcomes
            log.info("request", extra={"fields": fields})
            return start_response(
                status, [*headers, ("X-Request-ID", request_id), ("traceparent", trace_parent)], *error
            )

        return application(environ, start)

    return observed


def _identity(environ: WSGIEnvironment) -> tuple[str, str, str]:
    """The request's number, its trace's number and what `traceparent` says of both, taken or made."""
    made = f"{random.getrandbits(320):080x}"  # which need not be hard to guess, and secrets asks the kernel
    taken = environ.get("HTTP_X_REQUEST_ID", "")
    request_id = taken if _REQUEST_ID.fullmatch(taken) else made[:32]
    parent = _TRACE_PARENT.fullmatch(environ.get("HTTP_TRACEPARENT", ""))
    trace, flags = parent.groups() if parent else (made[32:64], "00")
    return request_id, trace, f"00-{trace}-{made[64:]}-{flags}"
