"""Runs images through the service's own decoding, preparation and classifier."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from scoring.sources import Source
from service.classifier import Classifier, prepare_or_error
from service.cores import usable_cores
from service.decode import ImageError

BATCH = 256


@dataclass(frozen=True)
class Row:
    """What is said of one image; `error` where it could not be decoded, and then nothing else."""

    path: str
    digit: int | None
    confidence: float | None
    reason: str | None
    error: str | None


def score(sources: Iterable[Source], classifier: Classifier) -> Iterator[Row]:
    """A row an image, in the order of the sources; never more than a batch of images in memory."""
    remaining = iter(sources)
    with ThreadPoolExecutor(usable_cores()) as pool:
        while batch := list(islice(remaining, BATCH)):
            prepared = list(pool.map(lambda source: prepare_or_error(source.load), batch))
            for source, result in zip(batch, classifier.predict_each(prepared), strict=True):
                if isinstance(result, ImageError):
                    yield Row(source.path, None, None, None, str(result))
                else:
                    yield Row(source.path, result.digit, result.confidence, result.reason, None)
