"""`GET /health/live` and `GET /health/ready`: probes for orchestrators."""

from flask import Blueprint, Response

from digits.classifier import ModelVersion
from service.context import registry, stopping
from service.openapi import Operation, json
from service.responses import Live, Ready, reply

health = Blueprint("health", __name__, url_prefix="/health")


class Readiness(Ready):
    """Whether the process accepts requests, and what it serves."""

    model: ModelVersion
    versions: list[str]
    provider: str


@health.get("/live")
@Operation({200: json(Live)})
def live() -> Response:
    """Responds as long as the process does."""
    return reply(Live(True))


@health.get("/ready")
@Operation({200: json(Readiness), 503: json(Readiness)})
def ready() -> Response:
    """Tells whether the process accepts requests. A ready process has warmed up every model version.

    After SIGTERM a process is no longer ready, while it finishes the requests that it has accepted.
    """
    default = registry().recognizer().classifier
    readiness = Readiness(not stopping(), True, default.model, registry().versions, default.provider)
    return reply(readiness, 200 if readiness.ready else 503)
