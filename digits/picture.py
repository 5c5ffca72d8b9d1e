"""An image's grey pixels, decoded as far as they are needed."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

# The long side, in pixels, of the reduced image in which a digit is looked for at first.
FIRST_SIZE = 128


@dataclass(frozen=True)
class Picture:
    """Grey pixels, uint8 [H, W]; where `full` is given, at a part of the image's size, and `full` decodes all of it."""

    pixels: Pixels
    full: Callable[[], Pixels] | None = None

    def whole(self) -> Pixels:
        """The pixels in full size."""
        return self.full() if self.full else self.pixels
