"""`GET /health/live` and `/health/ready`: what an orchestrator asks."""

from collections.abc import Callable

from flask import Blueprint, Response, current_app

from service.predict import models
from service.replies import reply

health = Blueprint("health", __name__, url_prefix="/health")


def stopping() -> bool:
    """Whether this process has been told to stop."""
    told: Callable[[], bool] = current_app.extensions.get("stopping", lambda: False)
    return told()


@health.get("/live")
def live() -> Response:
    """The process answers."""
    return reply({"live": True})


@health.get("/ready")
def ready() -> Response:
    """Every version has made its warm-up prediction: without that there is no application to answer this.

    From SIGTERM on, while it answers what it has taken on, a process is not ready.
    """
    default = models().classifier()
    return reply(
        {
            "ready": not stopping(),
            "live": True,
            "model": default.model,
            "versions": models().versions,
            "provider": default.provider,
        },
        503 if stopping() else 200,
    )
