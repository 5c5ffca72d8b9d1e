"""What a cluster scores at a time: images that are listed here and read on the node that scores them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from scoring.completed import CompletedSet
from scoring.errors import ScoringError
from scoring.inputs.containers import count_many, read_many
from scoring.inputs.images import Chunk, grouped
from scoring.inputs.search import find

# The most images in a shard: a second's work for images like MNIST's, a minute's for photos.
SHARD = 4096


@dataclass(frozen=True)
class Part:
    """Images of an IDX or Parquet file by number, in ascending order.

    If the file breaks off within the part, or after it if it is the last one, the file has a row of its own;
    `has_row` says that it already has that row.
    """

    path: str
    numbers: Sequence[int]
    last: bool
    has_row: bool

    def read(self) -> Iterator[Chunk]:
        """The images, a chunk at a time."""
        for chunk in read_many(self.path, self.numbers[0] if self.numbers else 0):
            if chunk.names[0] == self.path:
                if not self.has_row:
                    yield chunk
                return
            start = int(chunk.names[0].rpartition("#")[2])
            end = start + len(chunk.names)
            if kept := [number - start for number in self.numbers if start <= number < end]:
                yield chunk.only(kept)
            if not self.last and end > self.numbers[-1]:
                return


Shard = list[Chunk | Part]


def find_shards(paths: Iterable[str], completed: CompletedSet) -> Iterator[Shard]:
    """Every image that has no row yet, in shards."""
    return grouped(_pieces(paths, completed), _count, SHARD)


def read_shard(shard: Shard) -> Iterator[Chunk]:
    """The images of a shard."""
    for piece in shard:
        yield from [piece] if isinstance(piece, Chunk) else piece.read()


def _count(piece: Chunk | Part) -> int:
    return len(piece.names if isinstance(piece, Chunk) else piece.numbers)


def _pieces(paths: Iterable[str], completed: CompletedSet) -> Iterator[Chunk | Part]:
    for found in find(paths):
        if isinstance(found, str):
            yield from _parts(found, completed)
        elif missing := completed.missing(found.names):
            yield found.only(missing)


def _parts(path: str, completed: CompletedSet) -> Iterator[Part]:
    count = count_many(path)
    if count is None:
        raise ScoringError(f"{path}: expected image files, IDX, NumPy or Parquet with --engine ray; got another")
    has_row = not completed.missing([path])
    for start in range(0, max(1, count), SHARD):
        numbers = range(start, min(start + SHARD, count))
        missing = completed.missing([f"{path}#{number}" for number in numbers])
        if missing or not numbers:
            is_whole = len(missing) == len(numbers)
            yield Part(path, numbers if is_whole else [start + one for one in missing], numbers.stop == count, has_row)
