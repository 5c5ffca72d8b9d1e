"""Leader/follower worker for gunicorn: slow clients never occupy a thread.

The leader is the one thread that polls all connections. It handles small requests itself, because passing each to
another thread would take longer than recognizing a small image. When a request is large or slow, the leader hands over:
another thread becomes the leader, and this one finishes its request. The main thread, which receives the signals, is
the watcher: it makes the leader hand over, and ends requests that are not received in time.

A connection is in one of these states. Only the leader changes them, except for the transition marked *, which the
watcher makes too, under `_lock`.

                                    large, or slow *
                  readable         (another leader)
    accepted -> WAITING -----> ANSWERING -----------> DETACHED
                | ^  ^           |  |                  |  |
           idle | |  +-- kept ---+  | not kept         |  | kept: returned to the
                | |                 v                  |  | leader by `method_queue`
                +-|-------------> CLOSED <-------------+  |
                  +---------------------------------------+

- WAITING: in `_waiting` and in the poller, without a thread. What is still to come of a request that was refused before
  its body had arrived is dropped as it comes.
- ANSWERING: `_answering`. Still in `_waiting` and in the poller, which only the leader reads.
- DETACHED: in `_detached`, with the time by which the request must have been received.

On SIGTERM a worker stops accepting connections, finishes the requests on those it has, closes them, and exits when none
are left or after `graceful_timeout`. On SIGINT and SIGQUIT it exits at once.
"""

import errno
import json
import mmap
import selectors
import socket
import ssl
import threading
import time
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from io import BytesIO
from typing import Any

from gunicorn import util
from gunicorn.http import errors, wsgi
from gunicorn.http.body import LengthReader
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers import gthread

from digits.decode import MAXIMUM_FILE_BYTES
from digits.memory import set_memory_options
from service.access_log import AccessLog
from service.admission import BusyError, Limiter
from service.request_body import DRAIN_SECONDS, PIECE_BYTES, REFUSAL, SILENCE_SECONDS
from service.settings import MAXIMUM_WORKERS, Settings

# About how long a request may take before the leader hands over, and the watcher's longest interval when idle.
PATIENCE_SECONDS, LONGEST_INTERVAL_SECONDS = 0.004, 0.064
# Larger requests are assumed to be slow; an image of MNIST's size fits in any format.
LIGHT_BYTES = 4096
# How soon requests are counted and logged, so that metrics are current in whichever process is scraped.
FLUSH_SECONDS = 0.01
# How long a worker leaves new connections to workers with fewer.
YIELD_SECONDS = 0.005
# The interval between heartbeats to the master and between checks for idle connections.
HEARTBEAT_SECONDS = 1.0


class Connections:
    """The number of connections of each worker, by slot, in memory shared by fork.

    Workers spread connections with it: the kernel often wakes the same worker for all connections of a client.
    """

    # A reload runs old and new workers side by side.
    _SLOTS = 2 * MAXIMUM_WORKERS

    def __init__(self) -> None:
        # The first element is the number of slots in use.
        self._counts = memoryview(mmap.mmap(-1, 4 * (1 + self._SLOTS))).cast("i")

    def set(self, slot: int, count: int) -> None:
        """Sets a worker's number of connections."""
        self._counts[0] = max(self._counts[0], slot + 1)
        self._counts[1 + slot] = count + 1  # 0: no worker

    def remove(self, slot: int) -> None:
        """Removes a worker that has ended or stopped accepting connections."""
        self._counts[1 + slot] = 0

    def least(self) -> int:
        """The smallest number of connections that a worker has."""
        return min(filter(None, self._counts[1 : 1 + self._counts[0]]), default=1) - 1


class Connection(gthread.TConn):  # type: ignore[misc]
    """A client's connection.

    Its request was first readable at `begun` and is `parsed` once the application has it. So many bytes of a refused
    request's body are still `unwanted`.
    """

    def __init__(self, cfg: Any, client: socket.socket, address: Any, server: Any) -> None:  # noqa: ANN401 - as gunicorn
        super().__init__(cfg, client, address, server)
        client.setblocking(True)
        self.data_ready = True  # threads get readable connections only
        self.parsed, self.begun, self.unwanted = False, 0.0, 0

    def init(self) -> None:
        """Called before each request."""
        fresh = self.parser is None
        super().init()
        if fresh:
            self.parser.unreader = _Unreader(self.sock)

    def take_body(self, refused: bool) -> bytes | None:
        """The body of the request, if all of it came with its headers; nothing of it is left to read then.

        Of a refused request, as much as came; the rest becomes `unwanted`.
        """
        reader, unreader = self.parser.mesg.body.reader, self.parser.unreader
        if not isinstance(reader, LengthReader):
            return None
        received = unreader.take_buffered()
        missing = max(0, reader.length - len(received))
        if missing and not refused:
            unreader.unread(received)
            return None
        if len(received) > reader.length:
            unreader.unread(received[reader.length :])
        self.parser.mesg, self.unwanted = None, missing
        return received[: reader.length]

    def drop_unwanted(self) -> None:
        """Drops what has arrived of an unwanted body. Raises OSError if the client is gone."""
        count = len(_dropped)
        with suppress(BlockingIOError):
            while self.unwanted and count == len(_dropped):
                count = self.sock.recv_into(_dropped, min(self.unwanted, len(_dropped)), socket.MSG_DONTWAIT)
                if not count:
                    raise ConnectionResetError
                self.unwanted -= count


# What nobody reads; only the leader writes to it.
_dropped = bytearray(2**17)


class _Unreader(SocketUnreader):  # type: ignore[misc]
    """Reads bodies in pieces, in one thread of the process at a time.

    With dozens of threads reading at the same time, the leader would have to wait for a CPU core.
    """

    max_body_chunk = PIECE_BYTES
    _reading = threading.Lock()

    def chunk(self, size_hint: int | None = None) -> bytes:
        if not size_hint or size_hint <= self.mxchunk or is_encrypted(self.sock):
            return self.sock.recv(self.mxchunk)
        self.sock.recv(1, socket.MSG_PEEK)  # waits for a slow client without the lock
        with self._reading:
            return self.sock.recv(min(size_hint, self.max_body_chunk))


def is_encrypted(client: socket.socket) -> bool:
    """Whether a connection uses TLS (`--certfile`), whose sockets take no flags."""
    return isinstance(client, ssl.SSLSocket)


class Worker(gthread.ThreadWorker):  # type: ignore[misc]
    """Connections wait in the poller without a thread; requests must be received before their deadline."""

    connections = Connections()
    # Set before the worker is forked (service/gunicorn_config.py).
    slot: int

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - as gunicorn calls it
        super().__init__(*arguments, **options)
        self._deadline = Settings.from_environment().deadline
        self._lock = threading.Lock()
        self._waiting: set[Connection] = set()
        self._answering: Connection | None = None
        self._detached: dict[Connection, float] = {}
        self._requests = 0  # started by leaders
        self._epoch = 0  # number of times that a leader has handed over
        self._yields = False
        self._yields_until = 0.0
        self._next_heartbeat = self._next_flush = 0.0
        self._stop_now = False
        self._stop_by = 0.0  # when a stopping worker exits at the latest
        self._finished = False

    def init_process(self) -> None:
        """Called in the worker's process before it creates threads."""
        set_memory_options()
        # Gunicorn reads 30 settings per request; through `Config.__getattr__` that takes 3 % of a small request's time.
        self.cfg.__dict__.update({name: setting.get() for name, setting in self.cfg.settings.items()})
        super().init_process()

    def run(self) -> None:
        """Serves until the worker stops."""
        self._access_log: AccessLog = self.wsgi.extensions["access_log"]
        self._access_log.deferred = True
        self._limiter: Limiter = self.wsgi.extensions["limiter"]
        self.poller.register(self.method_queue.fileno(), selectors.EVENT_READ, self.method_queue.run_callbacks)
        self.set_accept_enabled(True)
        self._count(0)
        self.tpool.submit(self._lead)
        self._watch()
        self._access_log.flush()
        for conn in list(self._detached):
            _shut(conn.sock, socket.SHUT_RDWR)
        for conn in list(self._waiting):
            self._close(conn)
        self.tpool.shutdown(wait=False)
        self.poller.close()
        self.method_queue.close()

    def handle_quit(self, _signal: int, _frame: Any) -> None:  # noqa: ANN401
        """Stops at once. Ctrl-C calls this twice: through the terminal and through the master."""
        self._stop_now = True
        self.handle_exit(_signal, _frame)

    # On the leader's thread, which after handing over still finishes its request:

    def _lead(self) -> None:
        """Serves connections until this thread hands over or the worker stops."""
        epoch = self._epoch
        try:
            while self._continue():
                idle = FLUSH_SECONDS if self._access_log.waiting else HEARTBEAT_SECONDS
                for key, _ in self.poller.select(idle if self._accepting else YIELD_SECONDS):
                    key.data(key.fileobj)
                    if self._epoch != epoch:
                        return  # the new leader finds the remaining events
        except Exception:  # a fault that would otherwise leave the worker without a leader, still sending heartbeats
            self.log.exception("The worker has failed and stops.")
            self.alive = False
        self._finished = True

    def _continue(self) -> bool:
        """Does what is due, and returns whether the worker keeps running."""
        now = time.monotonic()
        if now >= self._next_flush:
            self._next_flush = now + FLUSH_SECONDS
            self._access_log.flush()
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + HEARTBEAT_SECONDS
            self._heartbeat(now)
        if self.alive:
            room = self.nr_conns < self.worker_connections and now >= self._yields_until
            if room != self._accepting:
                self.set_accept_enabled(room)
            return True
        if not self._stop_by:
            self._stop_by = now + self.cfg.graceful_timeout
            self.connections.remove(self.slot)
            self.set_accept_enabled(False)
            # A client may already be sending its next request on a kept connection; it is answered, and then closed.
            for conn in self._waiting:
                conn.timeout = min(conn.timeout, now + gthread.STOP_KEEPALIVE_LINGER)
        self._next_heartbeat = min(self._next_heartbeat, now + 0.1)
        return not self._stop_now and self.nr_conns > 0 and now < self._stop_by

    def _heartbeat(self, now: float) -> None:
        self.notify()
        if not self.is_parent_alive():
            self.alive = False
        for conn in [conn for conn in self._waiting if conn.timeout <= now]:
            self._close(conn)

    def set_accept_enabled(self, enabled: bool) -> None:
        """When stopping, accepts the connections already made and closes the listeners, so that no client waits."""
        super().set_accept_enabled(enabled)
        for listener in [] if enabled or self.alive else self.sockets:
            connections = -1
            while connections < self.nr_conns:
                connections = self.nr_conns
                self.accept(listener)
            listener.close()

    def accept(self, listener: socket.socket) -> None:
        """Accepts one connection, unless another worker has fewer, which then gets some time to accept it."""
        if self.alive and not self._yields and self.connections.least() < self.nr_conns - 1:
            self._yields = True
            self._yields_until = time.monotonic() + YIELD_SECONDS
            self.set_accept_enabled(False)
            return
        self._yields = False
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ECONNABORTED):
                raise
            return
        self._count(1)
        self._keep(Connection(self.cfg, client, address, listener.getsockname()))

    def _count(self, change: int) -> None:
        self.nr_conns += change
        if self.alive:
            self.connections.set(self.slot, self.nr_conns)

    def _keep(self, conn: Connection) -> None:
        """Lets a connection wait for its next request."""
        patience = self.cfg.keepalive if self.alive else gthread.STOP_KEEPALIVE_LINGER
        conn.timeout = time.monotonic() + (DRAIN_SECONDS if conn.unwanted else patience)
        if conn not in self._waiting:
            self._waiting.add(conn)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._answer, conn))

    def _forget(self, conn: Connection) -> None:
        if conn in self._waiting:
            self._waiting.remove(conn)
            self.poller.unregister(conn.sock)

    def _close(self, conn: Connection) -> None:
        self._forget(conn)
        conn.close()
        self._count(-1)

    def _answer(self, conn: Connection, _socket: Any) -> None:  # noqa: ANN401
        """Answers a connection's request; this thread may hand over meanwhile."""
        if conn.unwanted:
            self._drop(conn)
            return
        conn.parsed, conn.begun = False, time.monotonic()
        with self._lock:
            epoch, self._requests, self._answering = self._epoch, self._requests + 1, conn
        kept = self.handle(conn)
        while kept and conn.parser.unreader.buf.getvalue():
            kept = self.handle(conn)  # pipelined: the poller would not report what has already been read
        if not kept:
            with self._lock:
                self._forget(conn)
            conn.close(graceful=True)
        with self._lock:
            if leads := self._epoch == epoch:
                self._answering = None
            else:
                self._detached.pop(conn, None)
        if leads:
            self._settle(conn, kept)
        else:
            self.method_queue.defer(self._settle, conn, kept)

    def _drop(self, conn: Connection) -> None:
        try:
            conn.drop_unwanted()
        except OSError:
            self._close(conn)
            return
        if not conn.unwanted:
            self._keep(conn)

    def _settle(self, conn: Connection, kept: bool) -> None:
        if kept:
            self._keep(conn)
        else:
            self._count(-1)

    def handle_request(self, req: Any, conn: Connection) -> bool:  # noqa: ANN401
        """Has the application answer a request; returns whether to keep the connection."""
        conn.parsed = True
        reader = req.body.reader
        refusal = None
        if not isinstance(reader, LengthReader) or reader.length > LIGHT_BYTES:
            refusal = self._refusal(req, reader, conn)
            with self._lock:
                if self._answering is conn and not refusal:
                    self._hand_over()
        body = conn.take_body(refused=refusal is not None)
        if body is None:
            conn.sock.settimeout(SILENCE_SECONDS)
        response, environ = wsgi.create(req, conn.sock, conn.client, conn.server, self.cfg, _Response)
        environ["wsgi.multithread"] = True
        if body is not None:
            environ["wsgi.input"] = BytesIO(body)
        if refusal:
            environ[REFUSAL] = refusal
        if not (self._keeps() or conn.unwanted):
            response.force_close()
        try:
            pieces = self.wsgi(environ, response.start_response)
            try:
                for piece in pieces:
                    response.write(piece)
                response.close()
            finally:
                if hasattr(pieces, "close"):
                    pieces.close()
        except Exception as error:  # the application may raise anything
            if not response.headers_sent:
                raise
            if not isinstance(error, OSError):  # which means that the client is gone
                self.log.exception("A response was cut short.")
            return False
        return not response.should_close()

    def _refusal(self, req: Any, reader: Any, conn: Connection) -> BusyError | None:  # noqa: ANN401
        """Why a request with a large body is refused, if it is; the leader answers that itself.

        Another thread would have to read the whole body first: a busy worker would lose a third of its throughput to
        what it refuses.
        """
        if not isinstance(reader, LengthReader) or reader.length > MAXIMUM_FILE_BYTES or is_encrypted(conn.sock):
            return None
        if self._answering is conn and self._keeps() and not req.should_close():
            try:
                self._limiter.check(reader.length)
            except BusyError as error:
                return error
        return None

    def _keeps(self) -> bool:
        """Whether connections are kept for another request."""
        return self.alive and len(self._waiting) < self.max_keepalived

    def handle_error(self, req: Any, client: socket.socket, address: Any, error: Exception) -> None:  # noqa: ANN401
        """Answers a request that could not be parsed, or on which gunicorn itself failed."""
        status = next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), 500)
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            self.log.exception("Gunicorn failed on a request.")
        path = f"no such path: {req.path}" if isinstance(error, errors.ConfigurationProblem) else ""
        with self._lock:
            begun = next(
                (conn.begun for conn in (self._answering, *self._detached) if conn and conn.sock is client), 0.0
            )
        self._reject(client, address, begun, status, type(error).__name__, path)

    def _reject(self, client: socket.socket, address: Any, begun: float, status: int, fault: str, message: str) -> None:  # noqa: ANN401
        """Answers, counts and logs a request that was too broken or too late to reach the application."""
        reason = HTTPStatus(status).phrase
        body = json.dumps({"error": message or f"expected {_EXPECTED.get(status, _WELL_FORMED)}; got: {reason}"})
        head = (
            f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"X-Content-Type-Options: nosniff\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with suppress(OSError):  # the client is gone
            util.write_nonblock(client, (head + body).encode("ascii", "replace"))
        self._access_log.add_unparsed(status, address[0] if address else None, time.monotonic() - begun, fault)

    # On the main thread, the watcher's:

    def _watch(self) -> None:
        """Hands over for a leader whose request is slow, and ends requests that are received too late."""
        seen, interval = 0, PATIENCE_SECONDS
        while not self._finished:
            time.sleep(interval)
            with self._lock:
                same, seen = self._requests == seen, self._requests
                stuck = same and self._answering is not None
                if stuck:
                    self._hand_over()
                self._end_late()
            interval = min(2 * interval, LONGEST_INTERVAL_SECONDS) if same and not stuck else PATIENCE_SECONDS

    def _end_late(self) -> None:
        now = time.monotonic()
        for conn in [conn for conn, limit in self._detached.items() if limit < now]:
            del self._detached[conn]
            if conn.parsed:
                _shut(conn.sock, socket.SHUT_RD)  # the thread that reads the body finds its end, and responds
            else:
                self._reject(conn.sock, conn.client, conn.begun, HTTPStatus.REQUEST_TIMEOUT, "RequestTimeout", "")
                _shut(conn.sock, socket.SHUT_RDWR)

    # On the leader's or the watcher's thread, under the lock:

    def _hand_over(self) -> None:
        """Detaches the connection whose request is being answered, and makes another thread the leader."""
        conn, self._answering = self._answering, None
        assert conn is not None
        self._forget(conn)
        self._detached[conn] = time.monotonic() + self._deadline
        self._epoch += 1
        self.tpool.submit(self._lead)


def _shut(client: socket.socket, how: int) -> None:
    with suppress(OSError):  # the client is gone
        client.shutdown(how)


# The status for requests that gunicorn cannot parse, by its exception; any other exception is an internal error.
_STATUSES = {
    errors.InvalidResponseHeader: 500,
    errors.InvalidResponseHeaderName: 500,
    errors.LimitRequestLine: 414,
    errors.LimitRequestHeaders: 431,
    errors.ExpectationFailed: 417,
    errors.UnsupportedTransferCoding: 501,
    errors.ForbiddenProxyRequest: 403,
    errors.ConfigurationProblem: 404,  # a path outside the prefix in SCRIPT_NAME
    errors.ParseException: 400,
}
_WELL_FORMED = "a well-formed HTTP request"
_EXPECTED = {
    408: "a complete request within the deadline",
    500: "a response",
    501: "no Transfer-Encoding other than chunked",
}


class _Response(wsgi.Response):  # type: ignore[misc]
    """Sends the headers together with the first piece of the body: one packet, one system call."""

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments)
        self.headers_sent = False
        self._head = b""

    def process_headers(self, headers: list[tuple[str, str]]) -> None:
        """Skips gunicorn's checks: Werkzeug rejects line breaks in headers, and no route sets hop-by-hop headers."""
        self.headers = headers
        self.response_length = next((int(value) for name, value in headers if name == "Content-Length"), None)

    def send_headers(self) -> None:
        if not self.headers_sent:
            lines = self.default_headers() + [f"{name}: {value}\r\n" for name, value in self.headers]
            self._head = ("".join(lines) + "\r\n").encode("latin-1")
            self.headers_sent = True

    def _emit_body(self, data: bytes) -> None:
        self._send(b"%X\r\n%b\r\n" % (len(data), data) if self.chunked else data)

    def close(self) -> None:
        self.send_headers()
        self._send(b"0\r\n\r\n" if self.chunked else b"")

    def _send(self, data: bytes) -> None:
        data, self._head = self._head + data, b""
        sent = 0
        if data and not is_encrypted(self.sock):
            with suppress(BlockingIOError):
                # Nearly always all of it, without two system calls for a timeout.
                sent = self.sock.send(data, socket.MSG_DONTWAIT)
        if sent < len(data):
            self.sock.settimeout(SILENCE_SECONDS)
            self.sock.sendall(memoryview(data)[sent:])
