"""Thread-local timings and outcomes of the current request; outside a request, nothing is collected."""

import math
import threading
import time
from collections import Counter, defaultdict
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

# Outcomes of an image, besides the rejection reasons: a digit, a page that was read, a file that cannot be decoded.
DIGIT, PAGE, BROKEN = "digit", "page", "broken image"
# Why a request got 503: the queue or the memory for bodies was full, or the deadline had passed.
QUEUE, BODIES, LATE = "queue", "bodies", "deadline"


class DeadlineError(Exception):
    """The request has passed its deadline."""


@dataclass
class Trace:
    """Seconds by span (queue, decode, finder, prepare, inference), batch sizes, digits on each page, images by outcome.

    `deadline` is a `time.monotonic()`; `rejection` is why the server was too busy for the request, if it was.
    """

    deadline: float = math.inf
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    batch_sizes: list[int] = field(default_factory=list)
    page_digits: list[int] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    rejection: str | None = None


class _Thread(threading.local):
    trace: Trace | None = None


_thread = _Thread()


def begin(deadline: float = math.inf) -> Trace:
    """Starts this thread's trace; the deadline is a `time.monotonic()`."""
    _thread.trace = Trace(deadline)
    return _thread.trace


def end() -> Trace | None:
    """Ends this thread's trace and returns it."""
    trace, _thread.trace = _thread.trace, None
    return trace


def deadline() -> float:
    """The current request's deadline, a `time.monotonic()`; infinity outside a request."""
    return math.inf if _thread.trace is None else _thread.trace.deadline


def span(name: str) -> AbstractContextManager[None]:
    """Adds the time spent in this block to the trace. Raises DeadlineError if the deadline has passed."""
    return nullcontext() if _thread.trace is None else _Span(name, _thread.trace)


class _Span(AbstractContextManager[None]):
    def __init__(self, name: str, trace: Trace) -> None:
        self._name, self._trace = name, trace

    def __enter__(self) -> None:
        self._start = time.monotonic()
        if self._start > self._trace.deadline:
            raise DeadlineError

    def __exit__(self, *_error: object) -> None:
        self._trace.seconds[self._name] += time.monotonic() - self._start


def batch(size: int) -> None:
    """Records the size of a batch that the network ran on."""
    if _thread.trace is not None:
        _thread.trace.batch_sizes.append(size)


def outcome(name: str) -> None:
    """Records the outcome of an image."""
    if _thread.trace is not None:
        _thread.trace.outcomes[name] += 1


def page(digits: int) -> None:
    """Records a page that was read, and how many digits it has."""
    if _thread.trace is not None:
        _thread.trace.page_digits.append(digits)
        _thread.trace.outcomes[PAGE] += 1


def rejection(cause: str) -> None:
    """Records why the server was too busy for the request."""
    if _thread.trace is not None:
        _thread.trace.rejection = cause
