"""Admission control: limits concurrent requests, queued requests and the bytes of request bodies in memory."""

import threading
import time
from collections import deque
from contextlib import AbstractContextManager

from digits import tracing


class BusyError(Exception):
    """The queue is full."""


class BodiesError(BusyError):
    """The request bodies in memory have reached their limit."""


class Limiter:
    """Admits up to `concurrency` requests, queues up to `queue` in order of arrival, and rejects the rest at once.

    All requests together hold at most `body_bytes` bytes of bodies, both as received and as decompressed.
    """

    def __init__(self, concurrency: int, queue: int, body_bytes: int) -> None:
        self.images = 0  # admitted, and not yet answered
        self._lock = threading.Lock()
        self._free, self._room, self._free_bytes = concurrency, queue, body_bytes
        self._waiting: deque[threading.Event] = deque()

    def check(self, body_bytes: int = 0) -> None:
        """Raises BusyError if a request with a body of this size would be rejected now."""
        if not self._free and len(self._waiting) >= self._room:
            raise BusyError
        if body_bytes > self._free_bytes:
            raise BodiesError

    def hold(self, body_bytes: int) -> None:
        """Counts bytes in memory. Raises BodiesError if they would exceed the limit."""
        with self._lock:
            if body_bytes > self._free_bytes:
                raise BodiesError
            self._free_bytes -= body_bytes

    def drop(self, body_bytes: int) -> None:
        """Stops counting bytes."""
        with self._lock:
            self._free_bytes += body_bytes

    def admitted(self, deadline: float, images: int = 1) -> "Admission":
        """Waits for a slot until `deadline`, a `time.monotonic()`. Raises BusyError and DeadlineError."""
        return Admission(self, deadline, images)

    def enter(self, deadline: float, images: int = 1) -> None:
        with self._lock:
            self.check()
            if self._free:
                self._free -= 1
                self.images += images
                return
            turn = threading.Event()
            self._waiting.append(turn)
        turn.wait(max(0, deadline - time.monotonic()))
        with self._lock:
            if not turn.is_set():
                self._waiting.remove(turn)
                raise tracing.DeadlineError
            self.images += images

    def change(self, images: int) -> None:
        """Corrects the number of admitted images."""
        with self._lock:
            self.images += images

    def leave(self, images: int = 1) -> None:
        with self._lock:
            self.images -= images
            if self._waiting:
                self._waiting.popleft().set()  # handing over the slot keeps newcomers from overtaking
            else:
                self._free += 1


class Admission(AbstractContextManager["Admission"]):
    """A request's slot, held while this context is open."""

    def __init__(self, limiter: Limiter, deadline: float, images: int) -> None:
        self._limiter, self._deadline, self._images = limiter, deadline, images

    def __enter__(self) -> "Admission":
        with tracing.span("queue"):
            self._limiter.enter(self._deadline, self._images)
        return self

    def has(self, images: int) -> None:
        """Corrects the number of images, which may be known only after admission."""
        self._limiter.change(images - self._images)
        self._images = images

    def __exit__(self, *_error: object) -> None:
        self._limiter.leave(self._images)
