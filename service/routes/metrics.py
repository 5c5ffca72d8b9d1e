"""`GET /metrics`, for Prometheus."""

from flask import Blueprint, Response, current_app

from service.openapi import Operation

metrics = Blueprint("metrics", __name__)


@metrics.get("/metrics")
@Operation({200: {"text/plain": {"schema": str}}})
def show() -> Response:
    """Returns counts and times of all worker processes in Prometheus' text format."""
    current_app.extensions["access_log"].flush()
    return Response(current_app.extensions["metrics"].text(), content_type="text/plain; version=0.0.4; charset=utf-8")
