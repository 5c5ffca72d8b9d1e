"""Gunicorn's threaded worker with a leader and followers: no client, silent or slow, holds up the others.

One thread at a time is the leader. It waits for all connections and answers what comes itself, since handing each
request to another thread and back would cost more than reading a small image. If a request is large or takes long, the
lead is handed over: another thread leads, and this one goes on with its request. The main thread, which gets the
signals, is the watcher: it sees that a request takes long, and ends those that are not sent in time.

A connection is in one of these states. Only the leader changes them, but for the moves marked *, which the watcher
makes too and which are made under `_lock`.

                                    large, or takes long *
                  readable         (another thread leads)
    accepted -> WAITING -----> ANSWERING -----------> DETACHED
                | ^  ^           |  |                  |  |
           idle | |  +-- kept ---+  | not kept         |  | kept: handed back to the
                | |                 v                  |  | leader by `method_queue`
                +-|-------------> CLOSED <-------------+  |
                  +---------------------------------------+

- WAITING: in `_waiting` and in the poller. It takes no thread.
- ANSWERING: `_answering`. It is still in `_waiting` and in the poller, where only the leader would look.
- DETACHED: in `_detached`, with the time by which the request must have been sent.

Upon SIGTERM a worker takes no more connections, answers what is sent, tells kept clients that this was the last answer,
and ends when there are none, or after `graceful_timeout`. Upon SIGINT and SIGQUIT it ends at once.
"""

import errno
import json
import mmap
import selectors
import socket
import threading
import time
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any

from gunicorn import util
from gunicorn.http import errors, wsgi
from gunicorn.http.body import LengthReader
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers import gthread

from digits.memory import set_memory_options
from service.access_log import AccessLog
from service.request_body import PIECE_BYTES
from service.settings import MAXIMUM_WORKERS, Settings

# How long a request may take, about, until another thread leads; and how seldom, at most, the watcher looks at the time
# where nothing happens.
PATIENCE_SECONDS, LONGEST_REST_SECONDS = 0.004, 0.064
# A request with more bytes than this, about an image of MNIST's size in any format, is taken to take longer.
LIGHT_BYTES = 4096
# How soon requests are counted and logged, for whichever process is asked for it.
FLUSH_SECONDS = 0.01
# How long a connection is left to workers that have fewer.
YIELD_SECONDS = 0.005
# How often idle connections are looked for, and the master is told that the worker lives.
ROUND_SECONDS = 1.0


class Connections:
    """How many connections each worker has, by its slot, in memory that all share: made before they are forked.

    The kernel wakes whoever waits, and that is often the same worker for all connections of a client.
    """

    # As many as there may be workers, and at a reload others that take over from them.
    _SLOTS = 2 * MAXIMUM_WORKERS

    def __init__(self) -> None:
        # Before the counts comes how many of them are looked at.
        self._counts = memoryview(mmap.mmap(-1, 4 * (1 + self._SLOTS))).cast("i")

    def set(self, slot: int, count: int) -> None:
        """A worker has so many."""
        self._counts[0] = max(self._counts[0], slot + 1)
        self._counts[1 + slot] = count + 1  # 0 is no worker

    def remove(self, slot: int) -> None:
        """A worker is no more, or takes on nothing more."""
        self._counts[1 + slot] = 0

    def least(self) -> int:
        """How many the worker with the fewest has."""
        return min(filter(None, self._counts[1 : 1 + self._counts[0]]), default=1) - 1


class Connection(gthread.TConn):  # type: ignore[misc]
    """A client's connection; `parsed` while the application has its request, which came at `begun`."""

    def __init__(self, cfg: Any, client: socket.socket, address: Any, server: Any) -> None:  # noqa: ANN401 - as gunicorn
        super().__init__(cfg, client, address, server)
        client.setblocking(True)
        self.data_ready = True  # by the time it gets a thread
        self.parsed, self.begun = False, 0.0

    def init(self) -> None:
        """Called before each request."""
        fresh = self.parser is None
        super().init()
        if fresh:
            self.parser.unreader = _Unreader(self.sock)


class _Unreader(SocketUnreader):  # type: ignore[misc]
    """Reads bodies in pieces, one thread of the process at a time.

    Dozens of threads in the kernel at once would be given the processor in turn, while the leader waits for it.
    """

    max_body_chunk = PIECE_BYTES  # of which as much may be read ahead
    _reading = threading.Lock()

    def chunk(self, size_hint: int | None = None) -> bytes:
        if not size_hint or size_hint <= self.mxchunk:
            return self.sock.recv(self.mxchunk)
        self.sock.recv(1, socket.MSG_PEEK)  # a slow client is waited for before
        with self._reading:
            return self.sock.recv(min(size_hint, self.max_body_chunk))


class Worker(gthread.ThreadWorker):  # type: ignore[misc]
    """Every connection waits in the poller without a thread; a request must have been sent by the deadline."""

    connections = Connections()
    # Set before the worker is forked (gunicorn.conf.py).
    slot: int

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - as gunicorn calls it
        super().__init__(*arguments, **options)
        self._deadline = Settings.from_environment().deadline
        self._lock = threading.Lock()
        self._waiting: set[Connection] = set()
        self._answering: Connection | None = None
        self._detached: dict[Connection, float] = {}
        self._requests = 0  # that leaders have begun to answer
        self._epoch = 0  # how often the lead has been handed over
        self._yields = False
        self._yields_until = 0.0
        self._next_round = self._next_flush = 0.0
        self._quits = False
        self._stop_by = 0.0  # when a worker that stops waits no longer
        self._finished = False

    def init_process(self) -> None:
        """Called in the worker's process before it makes threads."""
        set_memory_options()

        # Gunicorn looks at a dozen of its settings for each request, each time through `Config.__getattr__`.
        self.cfg.__dict__.update({name: setting.get() for name, setting in self.cfg.settings.items()})
        super().init_process()

    def run(self) -> None:
        """Serves until the worker has stopped."""
        self._access_log: AccessLog = self.wsgi.extensions["access_log"]
        self._access_log.deferred = True
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
        """Upon Ctrl-C it comes twice: from the terminal and from the master."""
        self._quits = True
        self.handle_exit(_signal, _frame)

    # The leader: all of this runs on the thread that leads, but for requests that it goes on with after it has led.

    def _lead(self) -> None:
        """Answers whatever comes until another thread leads or the worker has stopped."""
        epoch = self._epoch
        try:
            while self._goes_on():
                for key, _ in self.poller.select(self._rest()):
                    key.data(key.fileobj)
                    if self._epoch != epoch:
                        return  # what has not been looked at is found by who leads now
        except Exception:
            self.log.exception("The worker cannot go on.")
            self.alive = False
        self._finished = True

    def _rest(self) -> float:
        """For how many seconds nothing is to be done, if nothing comes."""
        if not self._accepting:
            return YIELD_SECONDS
        return FLUSH_SECONDS if self._access_log.waiting else ROUND_SECONDS

    def _goes_on(self) -> bool:
        now = time.monotonic()
        if now >= self._next_flush:
            self._next_flush = now + FLUSH_SECONDS
            self._access_log.flush()
        if now >= self._next_round:
            self._next_round = now + ROUND_SECONDS
            self._make_round(now)
        if self.alive:
            room = self.nr_conns < self.worker_connections and now >= self._yields_until
            if room != self._accepting:
                self.set_accept_enabled(room)
            return True
        if not self._stop_by:
            self._stop_by = now + self.cfg.graceful_timeout
            self.connections.remove(self.slot)
            self.set_accept_enabled(False)
            # A kept connection may have a request on its way; it is answered, and told that it is the last.
            for conn in self._waiting:
                conn.timeout = min(conn.timeout, now + gthread.STOP_KEEPALIVE_LINGER)
        self._next_round = min(self._next_round, now + 0.1)
        return not self._quits and self.nr_conns > 0 and now < self._stop_by

    def _make_round(self, now: float) -> None:
        self.notify()
        if not self.is_parent_alive():
            self.alive = False
        for conn in [conn for conn in self._waiting if conn.timeout <= now]:
            self._close(conn)

    def set_accept_enabled(self, enabled: bool) -> None:
        """A worker that stops takes on who has come and closes its door, or others would wait there in vain."""
        super().set_accept_enabled(enabled)
        for listener in [] if enabled or self.alive else self.sockets:
            connections = -1
            while connections < self.nr_conns:
                connections = self.nr_conns
                self.accept(listener)
            listener.close()

    def accept(self, listener: socket.socket) -> None:
        """Takes on one connection, unless another worker has fewer, which then has some time to take it."""
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
        """A connection waits for its next request."""
        conn.timeout = time.monotonic() + (self.cfg.keepalive if self.alive else gthread.STOP_KEEPALIVE_LINGER)
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
        """Answers a connection's request, as the leader or, if it takes long, as one that has led."""
        conn.parsed, conn.begun = False, time.monotonic()
        with self._lock:
            epoch, self._requests, self._answering = self._epoch, self._requests + 1, conn
        kept = self.handle(conn)
        while kept and conn.parser.unreader.buf.getvalue():
            kept = self.handle(conn)  # the next request came with this one, and nothing more may come
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

    def _settle(self, conn: Connection, kept: bool) -> None:
        if kept:
            self._keep(conn)
        else:
            self._count(-1)

    def handle_request(self, req: Any, conn: Connection) -> bool:  # noqa: ANN401
        """Lets the application answer a request; whether another may follow."""
        conn.parsed = True
        reader = req.body.reader
        if not isinstance(reader, LengthReader) or reader.length > LIGHT_BYTES:
            with self._lock:
                if self._answering is conn:
                    self._hand_over()
        response, environ = wsgi.create(req, conn.sock, conn.client, conn.server, self.cfg, _Response)
        environ["wsgi.multithread"] = True
        if not self.alive or len(self._waiting) >= self.max_keepalived:
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
        except Exception as error:
            if not response.headers_sent:
                raise
            if not isinstance(error, OSError):  # which says that the client has gone
                self.log.exception("An answer broke off.")
            return False
        return not response.should_close()

    def _keepalive_after(self, conn: Connection, keepalive: bool) -> bool:
        """Drains what the application has left of the body, which it seldom does, before the next request."""
        reader = conn.parser.mesg.body.reader
        if keepalive and isinstance(reader, LengthReader) and not reader.length:
            return True
        return bool(super()._keepalive_after(conn, keepalive))

    def handle_error(self, req: Any, client: socket.socket, address: Any, error: Exception) -> None:  # noqa: ANN401
        """Answers a request that could not be parsed, or in which gunicorn itself failed."""
        status = next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), 500)
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            self.log.exception("Gunicorn failed on a request.")
        path = f"no such path: {req.path}" if isinstance(error, errors.ConfigurationProblem) else ""
        with self._lock:
            begun = next(
                (conn.begun for conn in (self._answering, *self._detached) if conn and conn.sock is client), 0.0
            )
        self._reject(client, address, begun, status, type(error).__name__, path)

    def _reject(
        self,
        client: socket.socket,
        address: Any,  # noqa: ANN401
        begun: float,
        status: int,
        fault: str,
        message: str = "",
    ) -> None:
        """Answers, counts and logs a request too broken or too late to reach the application."""
        reason = HTTPStatus(status).phrase
        body = json.dumps(
            {"error": message or f"expected {_EXPECTED.get(status, 'a well-formed HTTP request')}; got: {reason}"}
        )
        head = [
            f"HTTP/1.1 {status} {reason}",
            "Connection: close",
            "Content-Type: application/json",
            "X-Content-Type-Options: nosniff",
            f"Content-Length: {len(body)}",
        ]
        with suppress(OSError):  # the client has gone
            util.write_nonblock(client, "\r\n".join([*head, "", body]).encode("ascii", "replace"))
        host = address[0] if address else None
        self._access_log.add_unparsed(status, host, time.monotonic() - begun, fault)

    # The watcher: this runs on the main thread.

    def _watch(self) -> None:
        """Hands the lead over where a request takes long, and ends the reading of those that are late."""
        seen, rest = 0, PATIENCE_SECONDS
        while not self._finished:
            time.sleep(rest)
            with self._lock:
                same, seen = self._requests == seen, self._requests
                stuck = same and self._answering is not None
                if stuck:
                    self._hand_over()
                self._end_late()
            rest = min(2 * rest, LONGEST_REST_SECONDS) if same and not stuck else PATIENCE_SECONDS

    def _end_late(self) -> None:
        now = time.monotonic()
        for conn in [conn for conn, limit in self._detached.items() if limit < now]:
            del self._detached[conn]
            if conn.parsed:
                _shut(conn.sock, socket.SHUT_RD)  # what reads the body finds its end, and answers
            else:
                self._reject(conn.sock, conn.client, conn.begun, HTTPStatus.REQUEST_TIMEOUT, "RequestTimeout")
                _shut(conn.sock, socket.SHUT_RDWR)

    # By the leader or the watcher, under the lock.

    def _hand_over(self) -> None:
        """Detaches the connection whose request is being answered, and lets another thread lead."""
        conn, self._answering = self._answering, None
        assert conn is not None
        self._forget(conn)
        self._detached[conn] = time.monotonic() + self._deadline
        self._epoch += 1
        self.tpool.submit(self._lead)


def _shut(client: socket.socket, how: int) -> None:
    with suppress(OSError):  # the client has gone
        client.shutdown(how)


# What a request gets that gunicorn cannot parse, by what it raises; what it raises otherwise is its own fault.
_STATUSES = {
    errors.InvalidResponseHeader: 500,
    errors.InvalidResponseHeaderName: 500,
    errors.LimitRequestLine: 414,
    errors.LimitRequestHeaders: 431,
    errors.ExpectationFailed: 417,
    errors.UnsupportedTransferCoding: 501,
    errors.ForbiddenProxyRequest: 403,
    errors.ConfigurationProblem: 404,  # a path outside of the prefix in SCRIPT_NAME
    errors.ParseException: 400,
}
_EXPECTED = {
    408: "a request within the deadline",
    500: "an answer of the service's own",
    501: "no Transfer-Encoding but chunked",
}


class _Response(wsgi.Response):  # type: ignore[misc]
    """Sends the head of an answer together with the first piece of its body: one packet, one system call."""

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments)
        self.headers_sent = False
        self._head = b""

    def process_headers(self, headers: list[tuple[str, str]]) -> None:
        """Takes the headers as they are: Werkzeug has made sure that none breaks off the head, and none is of a hop."""
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
        head, self._head = self._head, b""
        if head or data:
            self.sock.sendall(head + data)
