"""Bounds a process's memory: one memory-heavy operation at a time, and malloc options that return freed memory."""

import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from digits import tracing

# By default, malloc keeps freed memory per thread in up to eight arenas per core, each as large as the largest images
# made it; under Python's lock one arena is enough. Blocks of LARGE_BYTES or more return to the system when freed (the
# threshold would otherwise grow with them); up to KEPT_BYTES of smaller ones stay for the next image, which is faster.
ARENAS, LARGE_BYTES, KEPT_BYTES = 1, 2**21, 2**23
_ARENA_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD = -8, -3, -1  # as numbered in malloc.h


def set_memory_options(kept_bytes: int = KEPT_BYTES) -> None:
    """Configures malloc; call it before the process starts threads. Does nothing on another C library."""
    with suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option in [(_ARENA_MAX, ARENAS), (_MMAP_THRESHOLD, LARGE_BYTES), (_TRIM_THRESHOLD, kept_bytes)]:
            mallopt(*option)


def give_back_free_memory() -> None:
    """Returns freed small blocks to the system; takes about a millisecond."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


_lock = threading.Lock()


class _Thread(threading.local):
    depth, holds_lock = 0, False


_thread = _Thread()


@contextmanager
def memory_lock(needed: bool = True) -> Iterator[None]:
    """Held during operations that take tens of megabytes, so that a process runs one at a time.

    Inside `MemoryLockScope`, it is held until that ends. Raises DeadlineError if the request times out while waiting.
    """
    with MemoryLockScope():
        if needed and not _thread.holds_lock:
            patience = max(0.0, tracing.deadline() - time.monotonic())
            if not _lock.acquire(timeout=min(patience, threading.TIMEOUT_MAX)):
                raise tracing.DeadlineError
            _thread.holds_lock = True
        yield


class MemoryLockScope(AbstractContextManager[None]):
    """Keeps `memory_lock` held to the end of this block, while what was made under it is still in memory."""

    def __enter__(self) -> None:
        _thread.depth += 1

    def __exit__(self, *_error: object) -> None:
        _thread.depth -= 1
        if _thread.holds_lock and not _thread.depth:
            _thread.holds_lock = False
            _lock.release()
