"""`GET /health/live` and `/health/ready`: what an orchestrator asks."""

from flask import Blueprint, Response, jsonify

from service.predict import classifier

health = Blueprint("health", __name__, url_prefix="/health")


@health.get("/live")
def live() -> Response:
    """The process answers."""
    return jsonify(live=True)


@health.get("/ready")
def ready() -> Response:
    """The model has made its warm-up prediction: without one there is no application to answer this."""
    return jsonify(ready=True, live=True, model=classifier().model, provider=classifier().provider)
