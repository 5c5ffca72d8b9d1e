"""Names of images that have their rows already, however many."""

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np

_DIGEST = 16


class Names:
    """How often each name was given, in 24 bytes a name: a hash of 16 bytes, and a count."""

    def __init__(self, names: Iterable[str]) -> None:
        digests = bytearray()
        for name in names:
            digests += _digest(name)
        # As text of a fixed length, which NumPy can sort; that it drops zeros at the end makes no difference then.
        self._digests, self._counts = np.unique(np.frombuffer(digests, f"S{_DIGEST}"), return_counts=True)

    def others(self, names: Sequence[str]) -> list[int]:
        """Which of these names, by their places, were not given; each that was counts once, and then no more."""
        if not len(self._digests):
            return list(range(len(names)))
        asked = np.array([_digest(name) for name in names], self._digests.dtype)
        places = np.minimum(np.searchsorted(self._digests, asked), len(self._digests) - 1)
        others = []
        for index, place in enumerate(places):
            if self._digests[place] == asked[index] and self._counts[place]:
                self._counts[place] -= 1
            else:
                others.append(index)
        return others


def _digest(name: str) -> bytes:
    return blake2b(name.encode("utf-8", "surrogateescape"), digest_size=_DIGEST).digest()
