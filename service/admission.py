"""What a process takes on: so many images' requests at once, so many that wait, and so many bytes of their bodies."""

import threading
import time
from collections import deque
from contextlib import AbstractContextManager

from digits import tracing


class BusyError(Exception):
    """As many requests wait as may."""


class BodiesError(BusyError):
    """As many bytes of bodies are held as may be."""


class Limiter:
    """Lets some in, makes some wait in the order in which they came, and turns the others away at once.

    All requests together hold at most `body_bytes` bytes of bodies, counted as they come and as they are inflated.
    """

    def __init__(self, concurrency: int, queue: int, body_bytes: int) -> None:
        self.images = 0  # that have been let in and have not left
        self._lock = threading.Lock()
        self._free, self._room, self._free_bytes = concurrency, queue, body_bytes
        self._waiting: deque[threading.Event] = deque()

    def check(self, body_bytes: int = 0) -> None:
        """Raises BusyError if a request with a body of this size would be turned away now."""
        if not self._free and len(self._waiting) >= self._room:
            raise BusyError
        if body_bytes > self._free_bytes:
            raise BodiesError

    def hold(self, body_bytes: int) -> None:
        """Counts bytes that a request holds from now on. Raises BodiesError if they would be too many."""
        with self._lock:
            if body_bytes > self._free_bytes:
                raise BodiesError
            self._free_bytes -= body_bytes

    def drop(self, body_bytes: int) -> None:
        """Bytes that were counted are held no more."""
        with self._lock:
            self._free_bytes += body_bytes

    def admitted(self, deadline: float, images: int = 1) -> "Admission":
        """Waits for a turn, at most until `deadline`, a `time.monotonic()`. Raises BusyError and DeadlineError."""
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
        """So many images more, or fewer, have been let in."""
        with self._lock:
            self.images += images

    def leave(self, images: int = 1) -> None:
        with self._lock:
            self.images -= images
            if self._waiting:
                self._waiting.popleft().set()  # its turn is handed on, so that nobody comes in between
            else:
                self._free += 1


class Admission(AbstractContextManager["Admission"]):
    """A request's turn, with so many images, which may turn out to be others."""

    def __init__(self, limiter: Limiter, deadline: float, images: int) -> None:
        self._limiter, self._deadline, self._images = limiter, deadline, images

    def __enter__(self) -> "Admission":
        with tracing.span("queue"):
            self._limiter.enter(self._deadline, self._images)
        return self

    def has(self, images: int) -> None:
        self._limiter.change(images - self._images)
        self._images = images

    def __exit__(self, *_error: object) -> None:
        self._limiter.leave(self._images)
