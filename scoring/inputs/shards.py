"""What a cluster scores at a time: images that are named here, and read where they are scored."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from scoring.completed import CompletedSet
from scoring.inputs.images import Chunk, count_many, find, read_many

# Images a shard, at most: a second of MNIST's images, a minute of photographs.
SHARD = 4096


@dataclass(frozen=True)
class Part:
    """Some images of an IDX or Parquet file, by their numbers, in order.

    If the file breaks off among them, or after them where they are its last, it has a row of its own, unless it has
    had that before.
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
    """Every image that is not done, in shards."""
    shard: Shard = []
    size = 0
    for piece in _pieces(paths, completed):
        images = len(piece.names if isinstance(piece, Chunk) else piece.numbers)
        if shard and size + images > SHARD:
            yield shard
            shard, size = [], 0
        shard.append(piece)
        size += images
    if shard:
        yield shard


def read_shard(shard: Shard) -> Iterator[Chunk]:
    """The images of a shard."""
    for piece in shard:
        yield from [piece] if isinstance(piece, Chunk) else piece.read()


def _pieces(paths: Iterable[str], completed: CompletedSet) -> Iterator[Chunk | Part]:
    for found in find(paths):
        if isinstance(found, str):
            yield from _parts(found, completed)
        elif kept := completed.missing(found.names):
            yield found.only(kept)


def _parts(path: str, completed: CompletedSet) -> Iterator[Part]:
    count = count_many(path)
    has_row = not completed.missing([path])
    for start in range(0, max(1, count), SHARD):
        numbers = range(start, min(start + SHARD, count))
        kept = completed.missing([f"{path}#{number}" for number in numbers])
        if kept or not numbers:
            whole = len(kept) == len(numbers)
            yield Part(path, numbers if whole else [start + index for index in kept], numbers.stop == count, has_row)
