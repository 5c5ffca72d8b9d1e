"""How the C library (glibc) manages the memory of a process that reads images."""

import ctypes
from contextlib import suppress

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
