"""What a request took and gave, collected on its thread while it is answered; without a request, nothing is."""

import math
import threading
import time
from collections import Counter, defaultdict
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

# What the answer to one image was: a digit, a reason to refuse it, or this, because it could not be decoded.
DIGIT, BROKEN = "digit", "broken image"
# Why a request got 503: the queue was full, or the memory for bodies, or its time was up.
QUEUE, BODIES, LATE = "queue", "bodies", "deadline"


class DeadlineError(Exception):
    """The request's time is up."""


@dataclass
class Trace:
    """Seconds by stage (queue, decode, prepare, inference), the sizes of the batches run, images by outcome.

    `deadline` is a `time.monotonic()`; `rejection` says why the service was too busy for the request, if it was.
    """

    deadline: float = math.inf
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    batch_sizes: list[int] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    rejection: str | None = None


class _Thread(threading.local):
    trace: Trace | None = None


_thread = _Thread()


def begin(deadline: float = math.inf) -> Trace:
    """A new record, which collects what this thread does from now on, until the deadline, a `time.monotonic()`."""
    _thread.trace = Trace(deadline)
    return _thread.trace


def end() -> Trace | None:
    """The record that this thread's doings went into, which are collected no more."""
    trace, _thread.trace = _thread.trace, None
    return trace


def deadline() -> float:
    """When this thread's request must have been answered, a `time.monotonic()`; never, if there is none."""
    return math.inf if _thread.trace is None else _thread.trace.deadline


def span(name: str) -> AbstractContextManager[None]:
    """Counts the time until it is left for a stage. Raises DeadlineError if the time was up before."""
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
    """Counts a batch that the network was run on."""
    if _thread.trace is not None:
        _thread.trace.batch_sizes.append(size)


def outcome(name: str) -> None:
    """Counts the answer to an image."""
    if _thread.trace is not None:
        _thread.trace.outcomes[name] += 1


def rejection(cause: str) -> None:
    """Says why the service is too busy for the request."""
    if _thread.trace is not None:
        _thread.trace.rejection = cause
