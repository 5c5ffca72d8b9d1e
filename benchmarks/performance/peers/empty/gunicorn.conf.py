"""The service's own configuration of gunicorn, with another application."""

import runpy
from typing import Any

globals().update(runpy.run_path("gunicorn.conf.py"))
wsgi_app = "benchmarks.performance.peers.empty.server:app"


def post_worker_init(worker: Any) -> None:
    """In place of the service's, which looks for its model."""
    worker.wsgi.extensions["stopping"] = lambda: not worker.alive
