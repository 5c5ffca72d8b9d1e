"""`GET /health/live` and `/health/ready`: what an orchestrator asks."""

from flask import Blueprint, Response

from service.predict import models
from service.replies import reply

health = Blueprint("health", __name__, url_prefix="/health")


@health.get("/live")
def live() -> Response:
    """The process answers."""
    return reply({"live": True})


@health.get("/ready")
def ready() -> Response:
    """Every version has made its warm-up prediction: without that there is no application to answer this."""
    default = models().classifier()
    return reply(
        {
            "ready": True,
            "live": True,
            "model": default.model,
            "versions": models().versions,
            "provider": default.provider,
        }
    )
