"""Every request is counted, timed and logged in one line; `GET /metrics` gives the counts.

A request keeps the number (`X-Request-ID`) and the trace (`traceparent`, W3C Trace Context) that it comes with, or is
given them; the answer carries both.
"""

import logging
import re
import secrets
import time

from flask import Blueprint, Flask, Response, current_app, g, request

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


def metrics() -> Metrics:
    """The metrics of this process."""
    found: Metrics = current_app.extensions["metrics"]
    return found


def register_observation(app: Flask, models: Models, metrics: Metrics) -> None:
    """Call it before other functions are registered to run before and after requests, so that they are timed too."""
    app.extensions["metrics"] = metrics
    for version in models.versions:
        metrics.model(version, version == models.versions[0], models.classifier(version).provider)
    app.before_request(_begin)
    app.after_request(_end)
    app.register_blueprint(observe)


@observe.get("/metrics")
@described(Operation({200: {"text/plain": str}}))
def show() -> Response:
    """Gives counts and times across all worker processes, in Prometheus' text format."""
    return Response(metrics().text(), content_type="text/plain; version=0.0.4; charset=utf-8")


def _begin() -> None:
    g.start = time.perf_counter()
    g.deadline = time.monotonic() + current_app.extensions["settings"].deadline
    record.begin(g.deadline)
    taken = request.headers.get("X-Request-ID", "")
    g.request_id = taken if _REQUEST_ID.fullmatch(taken) else secrets.token_hex(16)
    parent = _TRACE_PARENT.fullmatch(request.headers.get("traceparent", ""))
    trace, flags = parent.groups() if parent else (secrets.token_hex(16), "00")
    g.trace_parent = f"00-{trace}-{secrets.token_hex(8)}-{flags}"


def _end(response: Response) -> Response:
    seconds = time.perf_counter() - g.start
    done = record.end() or record.Record()
    route = request.url_rule.rule if request.url_rule else UNKNOWN_ROUTE
    metrics().request(route, response.status_code, seconds, done)
    response.headers["X-Request-ID"] = g.request_id
    response.headers["traceparent"] = g.trace_parent
    fields = {
        "request_id": g.request_id,
        "trace_id": g.trace_parent.split("-")[1],
        "method": request.method,
        "path": request.path,
        "route": route,
        "status": response.status_code,
        "client": request.remote_addr,
        "bytes": request.content_length,
        "seconds": round(seconds, 6),
    }
    fields |= {f"{name}_seconds": round(time, 6) for name, time in done.seconds.items()}
    if done.outcomes:
        fields["outcomes"] = dict(done.outcomes)
    log.info("request", extra={"fields": fields})
    return response
