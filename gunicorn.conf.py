"""How gunicorn runs the service. Started with plain `gunicorn` in this directory; every line has its reason."""

import os
import shutil
import sys
import tempfile
from importlib import import_module
from typing import Any

from gunicorn import util

from service.cores import usable_cores
from service.logs import configuration
from service.metrics import DIRECTORY as METRICS_DIRECTORY
from service.settings import Settings, SettingsError
from service.worker import write_error

try:
    settings = Settings.from_environment()
except SettingsError as error:
    sys.exit(f"error: {error}")

wsgi_app = "service.app:create_app()"
bind = f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}"

# A process a core: each has an interpreter lock and an ONNX Runtime session with one thread of its own. With CUDA, one
# process: each would hold its own copy of the model and the context on the GPU.
workers = settings.workers or (1 if settings.provider == "cuda" else usable_cores())
worker_class = "service.worker.Worker"
# Those that answer, those that wait their turn, and enough beside them for uploads, refusals and health checks.
threads = settings.concurrency + settings.queue + 32
# Never fork a loaded ONNX Runtime session: its threads stay behind in the parent.
preload_app = False
# Load balancers keep connections for 60 s; closing them first here would give random 502s there.
keepalive = 65
# Files in memory: a heartbeat on a slow disk gets workers killed.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
# A worker with no heartbeat for this long is replaced.
timeout = 60
# Shorter than the 10 s that `docker stop` waits before it kills.
graceful_timeout = 8
# It wants to write into the home directory, which a read-only container has not got.
control_socket_disable = True
# Which proxies are believed is a setting of the service's own; by itself gunicorn would believe any on this machine.
# Here it believes nothing, whoever says it, which it need not look up for each request.
forwarded_allow_ips = "*"
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}
# Every request is logged by the service itself, with what it took.
accesslog = None
logconfig_dict = configuration(settings.log)


def on_starting(server: Any) -> None:
    """Stops the start with one sentence if no version of the model can be served, before any worker tries."""
    # Once for all workers, which share its memory: half the time to start. They load the model themselves.
    import_module("service.app")
    if not _can_serve():
        sys.exit(1)
    try:
        os.environ[METRICS_DIRECTORY] = tempfile.mkdtemp(prefix="digits-metrics-", dir=worker_tmp_dir)
    except OSError as error:
        sys.exit(f"error: expected to write temporary files to /dev/shm or /tmp; got: {error.strerror}")


def on_exit(server: Any) -> None:
    if directory := os.environ.get(METRICS_DIRECTORY):
        shutil.rmtree(directory, ignore_errors=True)


def on_reload(server: Any) -> None:
    """Upon SIGHUP, workers that serve the versions there are now take over; if none could, those at work go on."""
    if not _can_serve():
        server.log.error("No version of the model can be served now; what was served is served on.")
        server.cfg.set("workers", 0)  # how many new ones are started; it is read anew at the next reload


def _can_serve() -> bool:
    """Tries to load the model, in a process of its own: no session may be created before the workers are forked."""
    child = os.fork()
    if child == 0:
        from service.classifier import ModelError
        from service.models import Models

        try:
            Models.from_settings(settings)
        except (ModelError, SettingsError) as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        print("error: expected to load the model; was killed: is there enough memory?", file=sys.stderr, flush=True)
    return status == 0


def child_exit(server: Any, worker: Any) -> None:
    worker.connections.remove(worker.age)


def post_fork(server: Any, worker: Any) -> None:
    # Gunicorn answers requests that it cannot parse with a page of HTML; every error of this service is JSON.
    util.write_error = write_error


def post_worker_init(worker: Any) -> None:
    worker.wsgi.extensions["stopping"] = lambda: not worker.alive
    if worker.age == 1:
        classifier = worker.wsgi.extensions["models"].classifier()
        worker.log.info(
            "Ready, with model %s version %s on %s. Try:\n\n  curl --data-binary @examples/7.png http://localhost:%s/predict\n",
            classifier.model["name"],
            classifier.model["version"],
            classifier.provider,
            settings.port,
        )
