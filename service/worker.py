"""Gunicorn's threaded worker, in which a client that sends slowly, or nothing, holds no thread for long."""

import ctypes
import json
import socket
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from gunicorn import util
from gunicorn.workers import gthread

from service.settings import Settings

# The C library (glibc) keeps freed memory for the threads that had it, in up to eight arenas a core, each of which
# grows as large as the largest images made it. With Python's lock, hardly two threads ask for memory at once.
M_ARENA_MAX, ARENAS = -8, 2

# How long a worker that stops waits for a client that has connected to say something.
LINGER_SECONDS = 2


class Worker(gthread.ThreadWorker):  # type: ignore[misc]
    """A connection gets a thread once data has come, and until the deadline to send its request."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - as gunicorn calls it
        super().__init__(*arguments, **options)
        self.deadline = Settings.from_environment().deadline
        self._late: dict[Any, float] = {}
        self._answering: set[Any] = set()
        self._lock = threading.Lock()

    def init_process(self) -> None:
        """Called in the worker's process before it makes threads."""
        with suppress(AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)
        super().init_process()

    def set_accept_enabled(self, enabled: bool) -> None:
        """A worker that stops takes on who has come and closes its door, or others would wait there in vain."""
        super().set_accept_enabled(enabled)
        for listener in [] if enabled or self.alive else self.sockets:
            connections = -1
            while connections < self.nr_conns:
                connections = self.nr_conns
                self.accept(listener)
            listener.close()

    def handle(self, conn: Any) -> Any:  # noqa: ANN401
        if not conn.initialized and not conn.wait_for_data(0 if self.alive else LINGER_SECONDS):
            return gthread._DEFER if self.alive else False  # it waits without a thread, but not in a process that stops
        with self._lock:
            self._late[conn] = time.monotonic() + self.deadline
        try:
            return super().handle(conn)
        finally:
            with self._lock:
                self._late.pop(conn, None)
                self._answering.discard(conn)

    def handle_request(self, req: Any, conn: Any) -> Any:  # noqa: ANN401
        with self._lock:
            self._answering.add(conn)
        return super().handle_request(req, conn)

    def notify(self) -> None:
        """Called about every second: ends the reading of requests that are late."""
        super().notify()
        now = time.monotonic()
        with self._lock:
            for conn in [conn for conn, limit in self._late.items() if limit < now]:
                del self._late[conn]
                if conn in self._answering:
                    how = socket.SHUT_RD  # what reads the body finds its end, and answers
                else:
                    write_error(conn.sock, HTTPStatus.REQUEST_TIMEOUT)
                    how = socket.SHUT_RDWR
                with suppress(OSError):  # the client has gone
                    conn.sock.shutdown(how)


_EXPECTED = {408: "a request within the deadline", 501: "no Transfer-Encoding but chunked"}


def write_error(client: socket.socket, status: int, _reason: str = "", _message: str = "") -> None:
    """Answers, in place of `gunicorn.util.write_error`, a request too broken or too late to reach Flask.

    Gunicorn's `_reason` is not always the status's own, and its `_message`, an exception's text, is not for clients.
    """
    expected = _EXPECTED.get(status, "a well-formed HTTP request")
    reason = HTTPStatus(status).phrase
    body = json.dumps({"error": f"expected {expected}; got: {reason}"})
    head = [
        f"HTTP/1.1 {status} {reason}",
        "Connection: close",
        "Content-Type: application/json",
        "X-Content-Type-Options: nosniff",
        f"Content-Length: {len(body)}",
    ]
    with suppress(OSError):  # the client has gone
        util.write_nonblock(client, "\r\n".join([*head, "", body]).encode("ascii", "replace"))
