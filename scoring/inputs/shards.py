"""What a cluster scores at a time: images that are listed here and read on the node that scores them."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise

from scoring.inputs.containers import count_many, read_many
from scoring.inputs.images import Chunk, grouped
from scoring.inputs.search import find

# The most images in a shard: a second's work for images like MNIST's, a minute's for photos. And the most pages.
SHARD, PAGES_SHARD = 4096, 64


@dataclass(frozen=True)
class Range:
    """Images of a file of many images by number; to its end if `stop` is None."""

    path: str
    first: int
    stop: int | None
    transposed: bool


Piece = Chunk | Range


@dataclass(frozen=True)
class Shard:
    """Some images, and the name of the file of their rows, which follows from the images' names."""

    name: str
    pieces: list[Piece]

    def read(self) -> Iterator[Chunk]:
        """The images, a chunk at a time."""
        for piece in self.pieces:
            if isinstance(piece, Chunk):
                yield piece
            else:
                yield from read_many(piece.path, piece.first, piece.stop, piece.transposed)


def find_shards(
    paths: Iterable[str],
    transposed: bool = False,
    skip: Callable[[str], None] = lambda _: None,
    most: int = SHARD,
) -> Iterator[Shard]:
    """Every image, in shards of at most so many. Images that are found again are in shards of other names."""
    found: Counter[str] = Counter()

    def count(piece: Piece) -> int:
        if isinstance(piece, Chunk):
            return len(piece.names)
        return most if piece.stop is None else piece.stop - piece.first

    for pieces in grouped(_pieces(paths, transposed, skip, most), count, most):
        text = repr([piece.names if isinstance(piece, Chunk) else piece for piece in pieces])
        name = blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
        yield Shard(f"rows-{name}-{found[name]}.parquet", pieces)
        found[name] += 1


def _pieces(paths: Iterable[str], transposed: bool, skip: Callable[[str], None], most: int) -> Iterator[Piece]:
    for found in find(paths, skip):
        if isinstance(found, Chunk):
            yield from (found.part(start, start + most) for start in range(0, len(found.names), most))
        else:
            stops = range(most, count_many(found) or 0, most)
            for first, stop in pairwise([0, *stops, None]):
                yield Range(found, first or 0, stop, transposed)
