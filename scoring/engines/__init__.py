"""What scores images: processes here, a running service, or a cluster."""

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Protocol, Self

from scoring.inputs.images import Chunk
from scoring.rows import Model, Scored


class Engine(Protocol):
    """Entered, it is ready to score; left, it has let go of everything. Both raise ScoringError."""

    model: Model

    def score(self, chunks: Iterable[Chunk]) -> Iterator[Scored]:
        """The rows of every chunk, in their order. Raises ScoringError."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
