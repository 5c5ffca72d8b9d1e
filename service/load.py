"""What a process takes on: so many images' requests at once, so many more that wait, and no more."""

import threading
import time
from collections import deque
from contextlib import AbstractContextManager

from service import record


class BusyError(Exception):
    """As much waits as may."""


class Gate:
    """Lets some in, makes some wait in the order in which they came, and turns the others away at once."""

    def __init__(self, concurrency: int, queue: int) -> None:
        self.images = 0  # that have been let in and have not left
        self._lock = threading.Lock()
        self._free, self._room = concurrency, queue
        self._waiting: deque[threading.Event] = deque()

    def check(self) -> None:
        """Raises BusyError if whoever came now would be turned away."""
        if not self._free and len(self._waiting) >= self._room:
            raise BusyError

    def admitted(self, deadline: float, images: int = 1) -> AbstractContextManager[None]:
        """Waits for a turn, at most until `deadline`, a `time.monotonic()`. Raises BusyError and DeadlineError."""
        return _Admission(self, deadline, images)

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
                raise record.DeadlineError
            self.images += images

    def leave(self, images: int = 1) -> None:
        with self._lock:
            self.images -= images
            if self._waiting:
                self._waiting.popleft().set()  # its turn is handed on, so that nobody comes in between
            else:
                self._free += 1


class _Admission(AbstractContextManager[None]):
    def __init__(self, gate: Gate, deadline: float, images: int) -> None:
        self._gate, self._deadline, self._images = gate, deadline, images

    def __enter__(self) -> None:
        with record.stage("queue"):
            self._gate.enter(self._deadline, self._images)

    def __exit__(self, *_error: object) -> None:
        self._gate.leave(self._images)
