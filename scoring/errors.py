"""What ends a run."""

from collections.abc import Iterator
from contextlib import contextmanager


class ScoringError(Exception):
    """The run cannot start or cannot continue; the message says why and what to do."""


@contextmanager
def writing(name: object) -> Iterator[None]:
    """Turns an OSError, other than a broken pipe, into a ScoringError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ScoringError(f"{name}: cannot be written: {error.strerror or error}") from error
