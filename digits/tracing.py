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
class Record:
    """Seconds by stage (queue, decode, prepare, inference), the sizes of the batches run, images by outcome.

    `deadline` is a `time.monotonic()`; `rejection` says why the service was too busy for the request, if it was.
    """

    deadline: float = math.inf
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    batch_sizes: list[int] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    rejection: str | None = None


class _Thread(threading.local):
    record: Record | None = None


_thread = _Thread()


def begin(deadline: float = math.inf) -> Record:
    """A new record, which collects what this thread does from now on, until the deadline, a `time.monotonic()`."""
    _thread.record = Record(deadline)
    return _thread.record


def end() -> Record | None:
    """The record that this thread's doings went into, which are collected no more."""
    record, _thread.record = _thread.record, None
    return record


def deadline() -> float:
    """When this thread's request must have been answered, a `time.monotonic()`; never, if there is none."""
    return math.inf if _thread.record is None else _thread.record.deadline


def stage(name: str) -> AbstractContextManager[None]:
    """Counts the time until it is left for a stage. Raises DeadlineError if the time was up before."""
    return nullcontext() if _thread.record is None else _Stage(name, _thread.record)


class _Stage(AbstractContextManager[None]):
    def __init__(self, name: str, record: Record) -> None:
        self._name, self._record = name, record

    def __enter__(self) -> None:
        self._start = time.monotonic()
        if self._start > self._record.deadline:
            raise DeadlineError

    def __exit__(self, *_error: object) -> None:
        self._record.seconds[self._name] += time.monotonic() - self._start


def batch(size: int) -> None:
    """Counts a batch that the network was run on."""
    if _thread.record is not None:
        _thread.record.batch_sizes.append(size)


def outcome(name: str) -> None:
    """Counts the answer to an image."""
    if _thread.record is not None:
        _thread.record.outcomes[name] += 1


def rejection(cause: str) -> None:
    """Says why the service is too busy for the request."""
    if _thread.record is not None:
        _thread.record.rejection = cause
