"""Synthetic photos of digits, of any size."""

import numpy as np
from PIL import Image

from benchmarks.accuracy.input_variations import enlarged, file_of
from training.datasets.mnist import load_training

PIXELS = 1000


def photo_of_a_digit(pixels: int = PIXELS, number: int = 0) -> bytes:
    """A square JPEG, `pixels` wide: a digit on unevenly lit paper, with a camera's noise."""
    random = np.random.default_rng(number)
    ink = np.asarray(enlarged(load_training().images[number], pixels), np.float32) / 255
    light = np.linspace(230, 150, pixels, dtype=np.float32)
    seen = (light * (1 - 0.8 * ink))[..., None] + random.normal(0, 4, (pixels, pixels, 3))
    return file_of(Image.fromarray(np.clip(seen, 0, 255).astype(np.uint8)), "JPEG", quality=85)
