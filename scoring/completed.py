"""The images that already have rows, however many."""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from scoring.errors import ScoringError
from scoring.rows import ModelIdentity, Row

_HASH_BYTES = 16


class CompletedSet:
    """The paths of rows, in 24 bytes each: a hash, and how many rows have it. All rows are of one model."""

    def __init__(self, model: ModelIdentity) -> None:
        self.outcomes: Counter[str] = Counter()
        self._model = model
        self._hashes = bytearray()

    def add(self, row: Row, file: object) -> None:
        """Adds a row from a file, before the first call of `missing`. Raises ScoringError for another model's row."""
        if row.identity != self._model:
            raise ScoringError(
                f"{file}: expected rows of the model {self._model}; got {row.identity}; "
                "score with that model, or start over with --overwrite"
            )
        self.outcomes[row.outcome] += 1
        self._hashes += _hash(row.path)

    @cached_property
    def _counts(self) -> tuple[NDArray[np.bytes_], NDArray[np.int64]]:
        # NumPy sorts fixed-length byte strings. It ignores zeros at their end, which makes no difference here.
        hashes = np.frombuffer(self._hashes, f"S{_HASH_BYTES}")
        self._hashes = bytearray()
        return np.unique(hashes, return_counts=True)

    def missing(self, paths: Sequence[str]) -> list[int]:
        """The indices of the paths that have no row. Each row counts for one path, once."""
        hashes, counts = self._counts
        if not len(hashes):
            return list(range(len(paths)))
        asked = np.array([_hash(path) for path in paths], hashes.dtype)
        places = np.minimum(np.searchsorted(hashes, asked), len(hashes) - 1)
        missing = []
        for index, place in enumerate(places):
            if hashes[place] == asked[index] and counts[place]:
                counts[place] -= 1
            else:
                missing.append(index)
        return missing


def _hash(path: str) -> bytes:
    return blake2b(path.encode("utf-8", "surrogateescape"), digest_size=_HASH_BYTES).digest()
