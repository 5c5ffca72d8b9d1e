"""Counts, times and logs every request.

A request keeps its ID (`X-Request-ID`) and trace (`traceparent`, W3C Trace Context), or gets new ones; the response
carries both.
"""

import logging
import random
import re
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, Request

from digits import tracing
from digits.registry import Registry
from service.admission import Limiter
from service.metrics import Metrics

log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
# Version 00 ends after these 55 characters; what later versions add is ignored.
_TRACE_PARENT = re.compile(
    r"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(?:-.*)?"
)
# The route of unknown paths: clients choose these, and each would become a time series.
UNKNOWN_ROUTE = "unknown"


class AccessLog:
    """Counts and logs requests: at once, or when `flush` is called if `deferred`, which halves the time they take."""

    def __init__(self, metrics: Metrics, limiter: Limiter) -> None:
        self.deferred = False
        self._metrics, self._limiter, self._images = metrics, limiter, 0
        self._waiting: deque[tuple[float, tracing.Trace, dict[str, Any]]] = deque()

    def add(self, trace: tracing.Trace, **fields: Any) -> None:  # noqa: ANN401 - the fields of the log line
        """Adds an answered request; its fields include `route`, `status` and `seconds`."""
        self._waiting.append((time.time(), trace, fields))
        if not self.deferred:
            self.flush()

    def add_unparsed(self, status: int, client: str | None, seconds: float, fault: str) -> None:
        """Adds a request that could not be parsed; `fault` says why."""
        request_id, trace_id, _ = _identity({})
        self.add(
            tracing.Trace(),
            request_id=request_id,
            trace_id=trace_id,
            method=None,
            path=None,
            route=UNKNOWN_ROUTE,
            status=status,
            client=client,
            bytes=None,
            seconds=seconds,
            fault=fault,
        )

    @property
    def waiting(self) -> bool:
        """Whether there is something to flush."""
        return bool(self._waiting)

    def flush(self) -> None:
        """Counts and logs the requests added since the last flush, and updates the number of images in flight."""
        if self._images != (images := self._limiter.images):
            self._images = images
            self._metrics.images_in_flight.set(images)
        added = []
        with suppress(IndexError):  # several threads may flush at the same time
            while True:
                added.append(self._waiting.popleft())
        self._metrics.count((one["route"], one["status"], one["seconds"], trace) for _, trace, one in added)
        if log.isEnabledFor(logging.INFO):
            for created, trace, fields in added:
                fields["seconds"] = round(fields["seconds"], 6)
                fields |= {f"{name}_seconds": round(seconds, 6) for name, seconds in trace.seconds.items()}
                if trace.outcomes:
                    fields["outcomes"] = trace.outcomes
                line = log.makeRecord(log.name, logging.INFO, "", 0, "request", (), None, extra={"fields": fields})
                line.created = created
                log.handle(line)


def register_observation(app: Flask, models: Registry, metrics: Metrics, deadline: float) -> None:
    """Observes the application's requests, each with a deadline in seconds. All other middleware must wrap this."""
    access_log = app.extensions["access_log"] = AccessLog(metrics, app.extensions["limiter"])
    app.extensions["metrics"] = metrics
    for version in models.versions:
        metrics.model(version, version == models.versions[0], models.recognizer(version).classifier.provider)
    app.wsgi_app = _observed(app.wsgi_app, access_log, deadline)  # type: ignore[method-assign, assignment]


def _observed(application: WSGIApplication, access_log: AccessLog, deadline: float) -> WSGIApplication:
    """WSGI middleware that adds every request to the access log, and its IDs to the response."""

    def observed(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        started = time.monotonic()
        tracing.begin(started + deadline)
        request_id, trace_id, trace_parent = _identity(environ)

        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:  # noqa: ANN401 - as WSGI has it
            request: Request = environ["werkzeug.request"]  # also outside of Flask's context
            access_log.add(
                tracing.end() or tracing.Trace(),
                request_id=request_id,
                trace_id=trace_id,
                method=environ["REQUEST_METHOD"],
                path=request.path,
                route=request.url_rule.rule if request.url_rule else UNKNOWN_ROUTE,
                status=int(status[:3]),
                client=environ.get("REMOTE_ADDR"),
                bytes=request.content_length,
                seconds=time.monotonic() - started,
            )
            headers = [*headers, ("X-Request-ID", request_id), ("traceparent", trace_parent)]
            return start_response(status, headers, *error)

        return application(environ, start)

    return observed


def _identity(environ: WSGIEnvironment) -> tuple[str, str, str]:
    """The request's ID, its trace's ID and the response's `traceparent`: the client's, or new ones."""
    new = f"{random.getrandbits(320):080x}"  # need not be secret, and the module `secrets` makes a system call
    given = environ.get("HTTP_X_REQUEST_ID", "")
    request_id = given if _REQUEST_ID.fullmatch(given) else new[:32]
    parent = _TRACE_PARENT.fullmatch(environ.get("HTTP_TRACEPARENT", ""))
    trace_id, flags = parent.groups() if parent else (new[32:64], "00")
    return request_id, trace_id, f"00-{trace_id}-{new[64:]}-{flags}"
