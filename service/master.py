"""Gunicorn's master process: reads and checks the model's files, and gives each worker a slot.

Workers inherit the files' contents by fork, so a worker that replaces a dead one reads nothing from disk.
"""

import ctypes
import multiprocessing
import shutil
import signal
import socket
import struct
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from flask import Flask

from digits.registry import read_versions, try_out
from digits.session import ModelError
from digits.version import VersionFiles
from service.app import create_app
from service.metrics import Metrics, end_slot
from service.settings import Settings

# How long checking the model may take.
CHECK_SECONDS = 60

_versions: Sequence[VersionFiles] | None = None
_metrics_directory: Path | None = None
_slot = 0  # set in a worker's process

# Linux's option, which Python does not name, and a packet filter that keeps 0 bytes of each packet.
_SO_ATTACH_FILTER, _KEEP_NOTHING = 26, struct.pack("=HBBI", 0x06, 0, 0, 0)

_ENDING = (signal.SIGINT, signal.SIGTERM)
_processes = multiprocessing.get_context("fork")


def require_own_worker(worker_class: Any, preloads: bool) -> None:  # noqa: ANN401 - gunicorn has no types
    """Exits with an error if gunicorn's options are incompatible with the service."""
    if preloads:
        sys.exit("error: expected no --preload: an ONNX Runtime session does not survive the fork of the workers")
    if worker_class != "service.worker.Worker":
        sys.exit(f"error: expected no other worker class than the service's own; got {worker_class}")


def load_versions(settings: Settings) -> None:
    """Reads and checks the files of all versions, which new workers then serve.

    On ModelError and SettingsError the previous versions stay.
    """
    global _versions
    _versions = _tried_out(read_versions(settings), settings)


def _tried_out(files: Sequence[VersionFiles], settings: Settings) -> Sequence[VersionFiles]:
    """The versions that load and run in a child process; the master may not create a session before it forks."""
    receiver, sender = _processes.Pipe(duplex=False)
    child = _processes.Process(target=_try_out, args=(sender, files, settings), daemon=True)
    # A signal that ended this process now would orphan the child.
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    child.start()
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        sender.close()
        outcome: Sequence[VersionFiles] | str = receiver.recv()
    except EOFError:
        child.join()
        outcome = {
            -signal.SIGKILL: "loading the model was killed: is there enough memory?",
            -signal.SIGALRM: f"loading and running the model took more than {CHECK_SECONDS} seconds",
        }.get(child.exitcode or 0, "loading the model failed; see the log")
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
    signal.alarm(CHECK_SECONDS)  # even if the master has died
    try:
        sender.send(try_out(files, settings))
    except ModelError as error:
        sender.send(str(error))


def drop_arrivals(server: Any) -> None:  # noqa: ANN401 - gunicorn has no types
    """Call before the server stops: no more connections arrive at its listeners.

    One that arrived between a worker's last accept and its close of the listener would be reset. Now its client tries
    again, and is refused once the listener is closed.
    """
    if server.reexec_pid or server.master_pid or server.systemd:
        return  # the listeners go on in another process
    nothing = ctypes.create_string_buffer(_KEEP_NOTHING)
    for listener in server.LISTENERS:
        with suppress(OSError):  # not Linux, or a sandbox without packet filters
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", 1, ctypes.addressof(nothing)))


def make_metrics_directory(parent: str | None) -> None:
    """Exits with an error if nothing can be written."""
    global _metrics_directory
    try:
        _metrics_directory = Path(tempfile.mkdtemp(prefix="digits-metrics-", dir=parent))
    except OSError as error:
        sys.exit(f"error: expected to write temporary files to /dev/shm or /tmp; got: {error.strerror}")


def remove_metrics_directory() -> None:
    if _metrics_directory:
        shutil.rmtree(_metrics_directory, ignore_errors=True)


def free_slot(taken: Iterable[int]) -> int:
    """The lowest slot without a worker, for the next one."""
    numbers = set(taken)
    slot = next(number for number in range(len(numbers) + 1) if number not in numbers)
    free(slot)  # gunicorn does not report every worker that has ended
    return slot


def free(slot: int) -> None:
    """Call when the worker with this slot has ended."""
    if _metrics_directory:
        end_slot(_metrics_directory, slot)


def become_worker(slot: int) -> None:
    """Call in a worker's process."""
    global _slot
    _slot = slot


def application() -> Flask:
    """The worker's application."""
    return create_app(versions=_versions, metrics=Metrics(_metrics_directory, _slot))
