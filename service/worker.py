"""Gunicorn's threaded worker with one thread that leads, and no client, silent or slow, that holds the others up.

The thread that leads takes what has come and answers it itself: handing each request to another thread and back would
cost more than reading a small image. With a request that takes longer, and with a larger one from the start, it gives
the lead to another thread, so that what comes meanwhile is answered, or turned away.
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
from gunicorn.http import wsgi
from gunicorn.http.body import LengthReader
from gunicorn.workers import gthread

from service.memory import set_memory_options
from service.observe import Observations
from service.settings import Settings

# How long a worker that stops waits for a client that has connected to say something.
LINGER_SECONDS = 2
# How long a request may take, about, until another thread takes the lead; and how seldom, at most, the time is looked
# at where nothing happens.
PATIENCE_SECONDS, LONGEST_REST_SECONDS = 0.004, 0.064
# A request with more bytes than this, about an image of MNIST's size in any format, is taken to take longer.
LIGHT_BYTES = 4096
# How soon requests are counted and logged, for whichever process is asked for it.
FLUSH_SECONDS = 0.01
# How long a connection is left to workers that have fewer.
YIELD_SECONDS = 0.005
# How often it is looked at which connections are idle, and the master is told that the worker lives.
ROUND_SECONDS = 1.0


class Connections:
    """How many connections each worker has, in memory that they share: made before they are forked.

    The kernel wakes whoever waits, and that is often the same worker for all connections of a client.
    """

    _SLOTS = 256

    def __init__(self) -> None:
        self._counts = memoryview(mmap.mmap(-1, 4 * self._SLOTS)).cast("i")

    def set(self, worker: int, count: int) -> None:
        """A worker, by the number that gunicorn gives it, has so many."""
        self._counts[worker % self._SLOTS] = count + 1  # 0 is no worker

    def remove(self, worker: int) -> None:
        """A worker is no more, or takes on nothing more."""
        self._counts[worker % self._SLOTS] = 0

    def least(self) -> int:
        """How many the worker with the fewest has."""
        return min(filter(None, self._counts), default=1) - 1


class Worker(gthread.ThreadWorker):  # type: ignore[misc]
    """Every connection waits in the poller without a thread; who sends a request has until the deadline to do so."""

    connections = Connections()

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - as gunicorn calls it
        super().__init__(*arguments, **options)
        self._yields = False
        self._yields_until = 0.0
        self.deadline = Settings.from_environment().deadline
        self.keepalived_conns: set[Any] = set()  # all that are in the poller
        self._lock = threading.Lock()
        self._answered: Any = None  # the connection whose request the thread that leads is answering
        self._number = 0  # of that request, since the start
        self._term = 0  # how many have led before
        self._late: dict[Any, float] = {}  # when those that other threads are answering must have been sent
        self._end = 0.0  # when a worker that stops waits no longer
        self._next_round = self._next_flush = 0.0
        self._finished = False

    def init_process(self) -> None:
        """Called in the worker's process before it makes threads."""
        set_memory_options()
        # Gunicorn looks at a dozen of its settings for each request, each time through `Config.__getattr__`.
        self.cfg.__dict__.update({name: setting.get() for name, setting in self.cfg.settings.items()})
        super().init_process()

    def run(self) -> None:
        """Serves until the worker has stopped. The main thread, which gets the signals, only watches."""
        self.poller.register(self.method_queue.fileno(), selectors.EVENT_READ, self.method_queue.run_callbacks)
        self.set_accept_enabled(True)
        self._count(0)
        self._observations.deferred = True
        self.tpool.submit(self._lead)
        self._watch()
        self._observations.flush()
        for conn in list(self.keepalived_conns):
            self._close(conn)
        self.tpool.shutdown(wait=False)
        self.poller.close()
        self.method_queue.close()

    def _lead(self) -> None:
        """Answers whatever comes until another thread leads or the worker has stopped."""
        term = self._term
        try:
            while self._goes_on():
                for key, _ in self.poller.select(self._rest()):
                    key.data(key.fileobj)
                    if self._term != term:
                        return  # what has not been looked at is found by who leads now
        except BaseException:
            self.log.exception("The worker cannot go on.")
            self.alive = False
        self._finished = True

    def _rest(self) -> float:
        """For how many seconds nothing is to be done, if nothing comes."""
        if not self._accepting:
            return YIELD_SECONDS
        return FLUSH_SECONDS if self._observations.waiting else ROUND_SECONDS

    @property
    def _observations(self) -> Observations:
        observations: Observations = self.wsgi.extensions["observations"]
        return observations

    def _goes_on(self) -> bool:
        now = time.monotonic()
        if now >= self._next_flush:
            self._next_flush = now + FLUSH_SECONDS
            self._observations.flush()
        if now >= self._next_round:
            self._next_round = now + ROUND_SECONDS
            self._make_round(now)
        if self.alive:
            room = self.nr_conns < self.worker_connections and now >= self._yields_until
            if room != self._accepting:
                self.set_accept_enabled(room)
            return True
        if not self._end:
            self._end = now + self.cfg.graceful_timeout
            self.connections.remove(self.age)
            self.set_accept_enabled(False)
            # A kept connection may have a request on its way; it is answered, and told that it is the last.
            for conn in self.keepalived_conns:
                conn.timeout = min(conn.timeout, now + LINGER_SECONDS)
        self._next_round = min(self._next_round, now + 0.1)
        return self.nr_conns > 0 and now < self._end

    def _make_round(self, now: float) -> None:
        self.notify()
        if not self.is_parent_alive():
            self.alive = False
        for conn in [conn for conn in self.keepalived_conns if conn.timeout <= now]:
            self._close(conn)

    def _close(self, conn: Any) -> None:  # noqa: ANN401 - gunicorn has no types
        self._forget(conn)
        conn.close()
        self._count(-1)

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
        conn = gthread.TConn(self.cfg, client, address, listener.getsockname())
        conn.data_ready = True  # by the time it gets a thread
        client.setblocking(True)
        self._keep(conn)

    def _count(self, change: int) -> None:
        self.nr_conns += change
        if self.alive:
            self.connections.set(self.age, self.nr_conns)

    def _keep(self, conn: Any) -> None:  # noqa: ANN401 - gunicorn has no types
        """A connection waits for its next request."""
        conn.timeout = time.monotonic() + (self.cfg.keepalive if self.alive else LINGER_SECONDS)
        if conn not in self.keepalived_conns:
            self.keepalived_conns.add(conn)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._answer, conn))

    def _forget(self, conn: Any) -> None:  # noqa: ANN401
        if conn in self.keepalived_conns:
            self.keepalived_conns.remove(conn)
            self.poller.unregister(conn.sock)

    def _answer(self, conn: Any, _socket: Any) -> None:  # noqa: ANN401
        """Answers a connection's request, as the thread that leads or, if it takes long, that has led."""
        conn.answering = False
        with self._lock:
            term, self._number, self._answered = self._term, self._number + 1, conn
        goes_on = self.handle(conn)
        while goes_on and conn.parser.unreader.buf.getvalue():
            goes_on = self.handle(conn)  # the next request came with this one, and nothing more may come
        if not goes_on:
            with self._lock:
                self._forget(conn)
            conn.close(graceful=True)
        with self._lock:
            if leads := self._term == term:
                self._answered = None
            else:
                self._late.pop(conn, None)
        if leads:
            self._settle(conn, goes_on)
        else:
            self.method_queue.defer(self._settle, conn, goes_on)

    def _settle(self, conn: Any, goes_on: bool) -> None:  # noqa: ANN401
        if goes_on:
            self._keep(conn)
        else:
            self._count(-1)

    def handle_request(self, req: Any, conn: Any) -> bool:  # noqa: ANN401
        """Lets the application answer a request; whether another may follow."""
        conn.answering = True
        reader = req.body.reader
        if not isinstance(reader, LengthReader) or reader.length > LIGHT_BYTES:
            with self._lock:
                if self._answered is conn:
                    self._depose()
        response, environ = wsgi.create(req, conn.sock, conn.client, conn.server, self.cfg, _Response)
        environ["wsgi.multithread"] = True
        if not self.alive or len(self.keepalived_conns) >= self.max_keepalived:
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
        except Exception:
            if not response.headers_sent:
                raise
            self.log.exception("An answer broke off.")
            return False
        return not response.should_close()

    def _keepalive_after(self, conn: Any, keepalive: bool) -> bool:  # noqa: ANN401
        """Drains what the application has left of the body, which it seldom does, before the next request."""
        reader = conn.parser.mesg.body.reader
        if keepalive and isinstance(reader, LengthReader) and not reader.length:
            return True
        return bool(super()._keepalive_after(conn, keepalive))

    def _watch(self) -> None:
        """Lets another thread lead where a request takes long, and ends the reading of those that are late."""
        seen, rest = 0, PATIENCE_SECONDS
        while not self._finished:
            time.sleep(rest)
            with self._lock:
                same, seen = self._number == seen, self._number
                stuck = same and self._answered is not None
                if stuck:
                    self._depose()
                self._end_late()
            rest = min(2 * rest, LONGEST_REST_SECONDS) if same and not stuck else PATIENCE_SECONDS

    def _depose(self) -> None:
        conn, self._answered = self._answered, None
        self._forget(conn)
        self._late[conn] = time.monotonic() + self.deadline
        self._term += 1
        self.tpool.submit(self._lead)

    def _end_late(self) -> None:
        now = time.monotonic()
        for conn in [conn for conn, limit in self._late.items() if limit < now]:
            del self._late[conn]
            if conn.answering:
                how = socket.SHUT_RD  # what reads the body finds its end, and answers
            else:
                write_error(conn.sock, HTTPStatus.REQUEST_TIMEOUT)
                how = socket.SHUT_RDWR
            with suppress(OSError):  # the client has gone
                conn.sock.shutdown(how)


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
