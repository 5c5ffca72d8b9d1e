"""What gunicorn's master does for its workers: it reads and checks the model's files, and gives each worker a slot.

Workers are forked with what is kept here, so that one that takes a dead one's place depends on no file.
"""

import multiprocessing
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from flask import Flask

from digits.classifier import ModelError
from digits.registry import VersionFiles, read_versions, try_out
from service.app import create_app
from service.metrics import Metrics, end_slot
from service.settings import Settings

# How long the check of a model may take.
CHECK_SECONDS = 60

_versions: Sequence[VersionFiles] | None = None
_metrics_directory: Path | None = None
# Of this process, once it is a worker's.
_slot = 0

_ENDING = (signal.SIGINT, signal.SIGTERM)
_processes = multiprocessing.get_context("fork")


def require_own_worker(worker_class: Any, preloads: bool) -> None:  # noqa: ANN401 - gunicorn has no types
    """Exits with one sentence where gunicorn has been told to run the service in a way in which it cannot."""
    if preloads:
        sys.exit("error: expected no --preload: an ONNX Runtime session does not survive the fork of the workers")
    if worker_class != "service.worker.Worker":
        sys.exit(f"error: expected no other worker class than the service's own; got {worker_class}")


def load_versions(settings: Settings) -> None:
    """Reads the files of all versions and checks that they can be served; from now on, workers serve these.

    Raises ModelError and SettingsError, and what was served stays.
    """
    global _versions
    files = read_versions(settings)
    _versions = _tried_out(files, settings)


def _tried_out(files: Sequence[VersionFiles], settings: Settings) -> Sequence[VersionFiles]:
    """What works, tried out in another process: no session may be made before the workers are forked."""
    receiver, sender = _processes.Pipe(duplex=False)
    child = _processes.Process(target=_try_out, args=(sender, files, settings), daemon=True)
    # A signal that ended this process now would leave the child.
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    child.start()
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        sender.close()
        outcome: Sequence[VersionFiles] | str = receiver.recv()
    except EOFError:
        child.join()
        outcome = {
            -signal.SIGKILL: "expected to load the model; was killed: is there enough memory?",
            -signal.SIGALRM: f"expected a model that is loaded and run within {CHECK_SECONDS} seconds",
        }.get(child.exitcode or 0, "expected to load the model; the check of it failed")
    finally:
        child.kill()
        child.join()
        receiver.close()
    if isinstance(outcome, str):
        raise ModelError(outcome)
    return outcome


def _try_out(sender: Connection, files: Sequence[VersionFiles], settings: Settings) -> None:
    for one in (*_ENDING, signal.SIGALRM):
        signal.signal(one, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    signal.alarm(CHECK_SECONDS)  # also where the master is no more
    try:
        sender.send(try_out(files, settings))
    except ModelError as error:
        sender.send(str(error))


def make_metrics_directory(parent: str | None) -> None:
    """Exits with one sentence where nothing can be written."""
    global _metrics_directory
    try:
        _metrics_directory = Path(tempfile.mkdtemp(prefix="digits-metrics-", dir=parent))
    except OSError as error:
        sys.exit(f"error: expected to write temporary files to /dev/shm or /tmp; got: {error.strerror}")


def remove_metrics_directory() -> None:
    if _metrics_directory:
        shutil.rmtree(_metrics_directory, ignore_errors=True)


def free_slot(taken: Iterable[int]) -> int:
    """The lowest number that no worker has, for the worker that is forked next."""
    numbers = set(taken)
    slot = next(number for number in range(len(numbers) + 1) if number not in numbers)
    free(slot)  # gunicorn does not tell of every worker that has gone
    return slot


def free(slot: int) -> None:
    """The worker with this slot is no more."""
    if _metrics_directory:
        end_slot(_metrics_directory, slot)


def become_worker(slot: int) -> None:
    """Called in a worker's process."""
    global _slot
    _slot = slot


def application() -> Flask:
    """The application of this worker."""
    return create_app(versions=_versions, metrics=Metrics(_metrics_directory, _slot))
