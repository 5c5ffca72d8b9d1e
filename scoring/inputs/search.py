"""The images of files, folders, globs and files of many images, found lazily and in a fixed order."""

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, islice

from scoring.inputs.containers import count_many, holds_images, kind_of, read_many
from scoring.inputs.images import CHUNK, Chunk
from scoring.inputs.paths import find_files


def find_chunks(
    paths: Iterable[str], transposed: bool = False, skip: Callable[[str], None] = lambda _: None
) -> Iterator[Chunk]:
    """Every image, a chunk at a time. The images of a file of many are named `file#0`, `file#1`, … or `file#member`.

    A file that cannot be read is one image that cannot be loaded. Calls `skip` with each junk file. Raises
    ScoringError if a package is missing.
    """
    for found in find(paths, skip):
        yield from [found] if isinstance(found, Chunk) else read_many(found, transposed=transposed)


def find(paths: Iterable[str], skip: Callable[[str], None] = lambda _: None) -> Iterator[Chunk | str]:
    """Chunks of image files, and the paths of files of many images."""
    for kind, files in groupby(find_files(paths, holds_images, skip), kind_of):
        if kind:
            yield from files
        while not kind and (names := list(islice(files, CHUNK))):
            yield Chunk(names, names)


def count_images(paths: Iterable[str]) -> int | None:
    """The number of images that `find_chunks` gives, as far as headers say; None if one does not."""
    total = 0
    for found in find(paths):
        count = len(found.names) if isinstance(found, Chunk) else count_many(found)
        if count is None:
            return None
        total += count
    return total
