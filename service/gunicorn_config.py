"""How gunicorn runs the service: its settings and hooks."""

import os
import signal
import sys
from typing import Any

from digits.session import ModelError
from digits.settings import EXAMPLES, SettingsError
from digits.system import usable_cores
from service import master
from service.logs import configuration, keep_native_output_out
from service.settings import Settings

try:
    settings = Settings.from_environment()
except SettingsError as error:
    sys.exit(f"error: {error}")

wsgi_app = "service.master:application()"
bind = f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}"

# One process per core: each has an interpreter lock and an ONNX Runtime session with a single thread. With CUDA, one
# process: each would hold its own copy of the model and the context on the GPU.
workers = settings.workers or (1 if settings.provider == "cuda" else usable_cores())
worker_class = "service.worker.Worker"
# For the concurrent and queued requests, plus enough for uploads, rejections and health checks.
threads = settings.concurrency + settings.queue + 32
# Never fork a loaded ONNX Runtime session: its threads stay behind in the parent.
preload_app = False
# Load balancers keep connections for 60 s; if the service closed them first, clients would get random 502s.
keepalive = 65
# In memory: a heartbeat on a slow disk gets workers killed.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
# A worker with no heartbeat for this long is replaced.
timeout = 60
# Shorter than the 10 s that `docker stop` waits before it kills.
graceful_timeout = 8
# It writes into the home directory, which a read-only container does not have.
control_socket_disable = True
# Trusted proxies are a setting of the service; gunicorn itself would trust any on this machine. With no header to take
# from them, it need not check the sender of each request either.
forwarded_allow_ips = "*"
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}
# The service logs every request itself, with its timings.
accesslog = None
logconfig_dict = configuration(settings.log)


def nworkers_changed(server: Any, new_value: int, old_value: int | None) -> None:
    """Gunicorn calls this once it has read its settings, before it uses them."""
    master.require_own_worker(server.cfg.worker_class_str, server.cfg.preload_app)


def on_starting(server: Any) -> None:
    """Exits with one sentence if no version of the model can be served, before any worker tries."""
    # Gunicorn handles signals only later; until then they would be ignored in a container, or print a traceback.
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, lambda *_: sys.exit(0))
    try:
        master.load_versions(settings)
    except (ModelError, SettingsError) as error:
        sys.exit(f"error: {error}")


def when_ready(server: Any) -> None:
    master.make_metrics_directory(worker_tmp_dir)
    stop = server.stop

    def stop_without_arrivals(graceful: bool = True) -> None:
        master.drop_arrivals(server)
        stop(graceful)

    server.stop = stop_without_arrivals


def on_exit(server: Any) -> None:
    master.remove_metrics_directory()


def on_reload(server: Any) -> None:
    """On SIGHUP, new workers serve the versions that exist now; if none can be served, the old workers stay."""
    try:
        master.load_versions(settings)
    except (ModelError, SettingsError) as error:
        server.log.error("No version of the model can be served now; the previous ones still are. %s", error)
        server.cfg.set("workers", 0)  # starts no new ones; the next reload reads it again


def pre_fork(server: Any, worker: Any) -> None:
    worker.slot = master.free_slot(other.slot for other in server.WORKERS.values())


def post_fork(server: Any, worker: Any) -> None:
    master.become_worker(worker.slot)
    keep_native_output_out()


def child_exit(server: Any, worker: Any) -> None:
    worker.connections.remove(worker.slot)
    master.free(worker.slot)


def post_worker_init(worker: Any) -> None:
    worker.wsgi.extensions["stopping"] = lambda: not worker.alive
    if worker.age == 1:
        classifier = worker.wsgi.extensions["registry"].recognizer().classifier
        worker.log.info(
            "Ready, with model %s version %s on %s. Try:\n\n  curl --data-binary @%s http://localhost:%s/predict\n",
            classifier.model["name"],
            classifier.model["version"],
            classifier.provider,
            os.path.relpath(EXAMPLES / "7.png"),
            settings.port,
        )
