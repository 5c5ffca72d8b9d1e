"""What scores images: local processes, a running service, or a cluster."""

from collections.abc import Iterable, Iterator
from typing import Protocol, Self

from scoring.inputs.images import Chunk
from scoring.rows import Layout, ModelIdentity, Scored


class Engine(Protocol):
    """A context manager that is ready to score once entered, and releases everything on exit. Raises ScoringError."""

    model: ModelIdentity
    layout: Layout

    def score(self, chunks: Iterable[Chunk]) -> Iterator[Scored]:
        """The rows of all chunks, in order. Raises ScoringError."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_error: object) -> None: ...
