"""`GET /health/live` and `/health/ready`: what an orchestrator asks."""

from collections.abc import Callable

from flask import Blueprint, Response, current_app
from msgspec import Struct

from digits.classifier import ModelVersion
from service.current import registry
from service.openapi import Operation, json
from service.responses import reply

health = Blueprint("health", __name__, url_prefix="/health")


class Live(Struct):
    """The process answers."""

    live: bool


class Ready(Struct):
    """Whether the process takes requests."""

    ready: bool
    live: bool


class Readiness(Ready):
    """Whether the process takes requests, and what runs."""

    model: ModelVersion
    versions: list[str]
    provider: str


def stopping() -> bool:
    """Whether this process has been told to stop."""
    told: Callable[[], bool] = current_app.extensions.get("stopping", lambda: False)
    return told()


@health.get("/live")
@Operation({200: json(Live)})
def live() -> Response:
    """Answers while the process does."""
    return reply(Live(True))


@health.get("/ready")
@Operation({200: json(Readiness), 503: json(Readiness)})
def ready() -> Response:
    """Says whether the process takes requests. Every version of the model has made its warm-up prediction by then.

    From SIGTERM on, while it answers what it has taken on, a process is not ready.
    """
    default = registry().recognizer().classifier
    told = Readiness(not stopping(), True, default.model, registry().versions, default.provider)
    return reply(told, 200 if told.ready else 503)
