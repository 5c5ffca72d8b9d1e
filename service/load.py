"""What a process takes on: so many images' requests at once, so many more that wait, and no more."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from service import record


class BusyError(Exception):
    """As much waits as may; the message may be shown to the sender."""


class Gate:
    """Lets some in, makes some wait, and turns the others away at once."""

    def __init__(self, concurrency: int, queue: int) -> None:
        self._free = threading.Semaphore(concurrency)
        self._places = threading.Semaphore(concurrency + queue)

    @contextmanager
    def admitted(self, deadline: float) -> Iterator[None]:
        """Waits for a turn, at most until `deadline`, a `time.monotonic()`. Raises BusyError and DeadlineError."""
        if not self._places.acquire(blocking=False):
            raise BusyError("expected fewer requests at once; the queue is full; try again after a while")
        try:
            with record.stage("queue"):
                if not self._free.acquire(timeout=max(0, deadline - time.monotonic())):
                    raise record.DeadlineError
            try:
                yield
            finally:
                self._free.release()
        finally:
            self._places.release()
