"""Keeps a process's memory within bounds: one heavy piece of work at a time, and how the C library (glibc) frees it."""

import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from digits import tracing

# By the numbers in its malloc.h. By itself it keeps what was freed for those threads that had it, in up to eight arenas
# a core, each as large as the largest images made it; with Python's lock, threads hardly ask for memory at once.
# Now large blocks go back when they are freed (the threshold would grow with them), and smaller ones stay for the next
# image, which is faster.
ARENAS, LARGE_BYTES, KEPT_BYTES = 1, 2**21, 2**23
_ARENA_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD = -8, -3, -1


def give_back_free_memory() -> None:
    """Gives back to the system what small blocks have left free between them; takes about a millisecond."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def set_memory_options(kept_bytes: int = KEPT_BYTES) -> None:
    """Called in a process that will read images, before it makes threads; does nothing with another C library.

    So many bytes stay with the process when they are freed.
    """
    with suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option in [(_ARENA_MAX, ARENAS), (_MMAP_THRESHOLD, LARGE_BYTES), (_TRIM_THRESHOLD, kept_bytes)]:
            mallopt(*option)


_HEAVY = threading.Lock()


@contextmanager
def heavy_work() -> Iterator[None]:
    """Held around work that takes tens of megabytes, so that a process does one such piece of work at a time.

    Within `OneTurn`, it is held until that ends. Raises DeadlineError if the request's time is up before its turn.
    """
    with OneTurn():
        if not _thread.holds:
            patience = max(0.0, tracing.deadline() - time.monotonic())
            if not _HEAVY.acquire(timeout=min(patience, threading.TIMEOUT_MAX)):
                raise tracing.DeadlineError
            _thread.holds = True
        yield


class OneTurn(AbstractContextManager[None]):
    """Keeps what heavy work in it made, such as a large image's pixels, from being in memory together with others'."""

    def __enter__(self) -> None:
        _thread.depth += 1

    def __exit__(self, *_error: object) -> None:
        _thread.depth -= 1
        if _thread.holds and not _thread.depth:
            _thread.holds = False
            _HEAVY.release()


class _Thread(threading.local):
    depth, holds = 0, False


_thread = _Thread()
