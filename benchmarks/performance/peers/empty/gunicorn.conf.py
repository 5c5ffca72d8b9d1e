"""The service's own gunicorn configuration with another application."""

import runpy
from typing import Any

globals().update(runpy.run_path("gunicorn.conf.py"))
wsgi_app = "benchmarks.performance.peers.empty.server:app"


def post_worker_init(worker: Any) -> None:
    """Replaces the service's hook, which needs a model."""
    worker.wsgi.extensions["stopping"] = lambda: not worker.alive
