"""How many images are handed over at a time."""

from collections.abc import Iterable, Iterator

from scoring.inputs.images import Chunk


class AdaptiveBatchSize:
    """Doubles or halves the batch size to keep the time per batch within bounds."""

    def __init__(self, images: int, most_images: int, least_seconds: float, most_seconds: float) -> None:
        self._images, self._most_images = images, most_images
        self._least_seconds, self._most_seconds = least_seconds, most_seconds

    def cut(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """Cuts chunks to the size that is current when each part is requested."""
        for chunk in chunks:
            start = 0
            while start < len(chunk.names):
                stop = start + self._images
                yield chunk.part(start, stop)
                start = stop

    def adapt(self, images: int, seconds: float) -> None:
        """Adapts the size to the time that a batch of images took."""
        if seconds < self._least_seconds and images == self._images:
            self._images = min(2 * images, self._most_images)
        elif seconds > self._most_seconds:
            self._images = max(1, images // 2)
