"""Every request is counted, timed and logged in one line; `GET /metrics` gives the counts.

A request keeps the number (`X-Request-ID`) and the trace (`traceparent`, W3C Trace Context) that it comes with, or is
given them; the answer carries both.
"""

import logging
import random
import re
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask
from flask.globals import request_ctx

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
# The route of what is not there, or could not be parsed: paths come from outside, and each would be a time series.
UNKNOWN_ROUTE = "unknown"


class Observation(NamedTuple):
    """What is known of a request that was answered; `time` is a `time.time()`.

    Of one that could not be parsed, method and path are None, and `fault` is the name of what was wrong.
    """

    time: float
    request_id: str
    trace_id: str
    method: str | None
    path: str | None
    route: str
    status: int
    client: str | None
    bytes: int | None
    seconds: float
    trace: tracing.Trace
    fault: str | None = None


class AccessLog:
    """Counts and logs requests.

    Whoever sets `deferred` calls `flush` soon after requests: many together take half the time.
    """

    def __init__(self, metrics: Metrics, limiter: Limiter) -> None:
        self.deferred = False
        self._metrics, self._limiter, self._images = metrics, limiter, 0
        self._waiting: deque[Observation] = deque()

    def add(self, observation: Observation) -> None:
        self._waiting.append(observation)
        if not self.deferred:
            self.flush()

    @property
    def waiting(self) -> bool:
        """Whether there is something to flush."""
        return bool(self._waiting)

    def flush(self) -> None:
        """Writes down the requests that were answered, and how many images are being read."""
        if self._images != (images := self._limiter.images):
            self._images = images
            self._metrics.images_in_flight.set(images)
        taken = []
        with suppress(IndexError):  # another thread may take some meanwhile
            while True:
                taken.append(self._waiting.popleft())
        self._metrics.count((one.route, one.status, one.seconds, one.trace) for one in taken)
        if log.isEnabledFor(logging.INFO):
            for one in taken:
                _log(one)

    def add_unparsed(self, status: int, client: str | None, seconds: float, fault: str) -> None:
        """A request was answered that never reached the application."""
        request_id, trace_id, _ = _identity({})
        self.add(
            Observation(
                time.time(),
                request_id,
                trace_id,
                None,
                None,
                UNKNOWN_ROUTE,
                status,
                client,
                None,
                seconds,
                tracing.Trace(),
                fault,
            )
        )


def _log(observation: Observation) -> None:
    fields = observation._asdict()
    del fields["time"], fields["trace"]
    if observation.fault is None:
        del fields["fault"]
    fields["seconds"] = round(observation.seconds, 6)
    for name, seconds in observation.trace.seconds.items():
        fields[f"{name}_seconds"] = round(seconds, 6)
    if observation.trace.outcomes:
        fields["outcomes"] = observation.trace.outcomes
    line = log.makeRecord(log.name, logging.INFO, "", 0, "request", (), None, extra={"fields": fields})
    line.created = observation.time
    log.handle(line)


def register_observation(app: Flask, models: Registry, metrics: Metrics, deadline: float) -> None:
    """Gives every request so many seconds. What wraps the application later, as for proxies, comes before."""
    access_log = app.extensions["access_log"] = AccessLog(metrics, app.extensions["limiter"])
    app.extensions["metrics"] = metrics
    for version in models.versions:
        metrics.model(version, version == models.versions[0], models.recognizer(version).classifier.provider)
    app.wsgi_app = _observed(app.wsgi_app, access_log, deadline)  # type: ignore[method-assign, assignment]


def _observed(application: WSGIApplication, access_log: AccessLog, deadline: float) -> WSGIApplication:
    """An application whose answers are counted, timed, logged and numbered."""

    def observed(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        begun = time.monotonic()
        tracing.begin(begun + deadline)
        request_id, trace_id, trace_parent = _identity(environ)

        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:  # noqa: ANN401 - as WSGI has it
            request = request_ctx.request
            access_log.add(
                Observation(
                    time.time(),
                    request_id,
                    trace_id,
                    environ["REQUEST_METHOD"],
                    request.path,
                    request.url_rule.rule if request.url_rule else UNKNOWN_ROUTE,
                    int(status[:3]),
                    environ.get("REMOTE_ADDR"),
                    request.content_length,
                    time.monotonic() - begun,
                    tracing.end() or tracing.Trace(),
                )
            )
            headers = [*headers, ("X-Request-ID", request_id), ("traceparent", trace_parent)]
            return start_response(status, headers, *error)

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
