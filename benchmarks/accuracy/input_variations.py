"""Input variations: MNIST's test digits in different file formats, polarities, sizes, positions and stroke widths.

Correct means the digit read in the clean 28×28 image; a rejection is wrong.
"""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps
from scipy.ndimage import label

from benchmarks.accuracy.figures import Figure, share
from digits.recognizer import Prediction, Recognizer
from training.datasets.mnist import load_test

COUNT = 300
# How a camera stores an image by EXIF orientation.
STORED = {
    1: lambda image: image,
    2: ImageOps.mirror,
    3: lambda image: image.rotate(180),
    4: ImageOps.flip,
    5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
    7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
    8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
}
ORIENTATION = 0x0112

Digit = NDArray[np.uint8]
Render = Callable[[Digit, Generator], bytes]


def measure(recognizer: Recognizer, count: int = COUNT) -> list[Figure]:
    """Share of `count` digits read as in the clean image, over all variations and for each."""
    digits = load_test().images[:: len(load_test()) // count][:count]
    return same_answers(recognizer, digits, KINDS, "input variation")


def same_answers(
    recognizer: Recognizer, digits: NDArray[np.uint8], kinds: dict[str, Render], title: str, seed: int = 0
) -> list[Figure]:
    """Share of the digits, uint8 [N, 28, 28], read as in the clean image, over all kinds and for each."""
    clean = [_digit(one) for one in recognizer.recognize([file_of(Image.fromarray(digit)) for digit in digits])]
    figures, everything = [], []
    for name, render in kinds.items():
        random = np.random.default_rng(seed)
        read = [_digit(recognizer.recognize([render(digit, random)])[0]) for digit in digits]
        same = np.array([one is not None and one == other for one, other in zip(read, clean, strict=True)])
        everything.append(same)
        figures.append(share(f"{title}: {name}", same))
    return [share(f"{title}s, all", np.concatenate(everything)), *figures]


def _digit(result: Any) -> int | None:  # noqa: ANN401 - a prediction or an error
    return result.digit if isinstance(result, Prediction) else None


def file_of(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:  # noqa: ANN401 - Pillow's own
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def enlarged(digit: Digit, side: int) -> Image.Image:
    """The digit white on black, side × side pixels, with sharp edges like a pen's."""
    large = np.asarray(Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32)
    steepness = max(1.0, side / 28 / 2)
    return Image.fromarray(np.clip((large - 128) * steepness + 128, 0, 255).astype(np.uint8))


def _side(random: Generator, smallest: int = 40, largest: int = 600) -> int:
    return round(float(np.exp(random.uniform(np.log(smallest), np.log(largest)))))


def _dark(digit: Digit, random: Generator, *sides: int) -> Image.Image:
    """Black on white, at a random size."""
    return ImageOps.invert(enlarged(digit, _side(random, *sides)))


def _oriented(digit: Digit, random: Generator) -> bytes:
    orientation = int(random.integers(1, 9))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return file_of(STORED[orientation](_dark(digit, random)), "JPEG", quality=90, exif=exif)


def _transparent(digit: Digit, random: Generator) -> bytes:
    """Black, white or coloured ink on transparency, in RGBA or LA."""
    ink = enlarged(digit, _side(random))
    if random.random() < 0.5:
        shade = Image.new("L", ink.size, int(random.choice([0, 255])))
        return file_of(Image.merge("LA", [shade, ink]))
    image = Image.new("RGBA", ink.size, tuple(int(one) for one in random.integers(0, 256, 3)))
    image.putalpha(ink)
    return file_of(image)


def _palette(digit: Digit, random: Generator) -> bytes:
    image = _dark(digit, random).quantize(int(random.integers(2, 17)))
    return file_of(image, str(random.choice(["PNG", "GIF"])))


def _sixteen_bit(digit: Digit, random: Generator) -> bytes:
    ink = np.asarray(enlarged(digit, _side(random)), dtype=np.uint16)
    return file_of(Image.fromarray(65535 - ink * 257))


def _off_centre(digit: Digit, random: Generator) -> bytes:
    ink = enlarged(digit, _side(random, 40, 200))
    ink = ink.crop(ink.getbbox())
    width, height = (round(side * random.uniform(1.5, 4)) + 2 for side in ink.size)
    page = Image.new("L", (width, height))
    # In a corner, at an edge or anywhere, at least a pixel from the edge.
    left, top = (
        (1, room - 1, int(random.integers(1, room)))[random.integers(3)]
        for room in (width - ink.width, height - ink.height)
    )
    page.paste(ink, (left, top))
    return file_of(ImageOps.invert(page))


def _small(digit: Digit, random: Generator) -> bytes:
    """A digit 20 to 60 pixels tall on a page of up to 12 megapixels."""
    ink = enlarged(digit, 28 * 3)
    ink = ink.crop(ink.getbbox())
    height = int(random.integers(20, 61))
    ink = ink.resize((max(2, round(ink.width * height / ink.height)), height), Image.Resampling.BOX)
    long = _side(random, 200, 4000)
    page = Image.new("L", (long, round(long * 0.75)))
    left, top = (int(random.integers(2, room - side - 2)) for room, side in zip(page.size, ink.size, strict=True))
    page.paste(ink, (left, top))
    return file_of(ImageOps.invert(page), compress_level=1)


def _with_stroke(digit: Digit, random: Generator, factor: float) -> Image.Image:
    """The digit with strokes about `factor` times as broad, as far as its topology allows."""
    side = _side(random, 150, 400)
    image = enlarged(np.pad(digit, 4), side).point(lambda value: 255 if value > 127 else 0)
    for _ in range(round(side / 36 * abs(factor - 1))):
        changed = image.filter(ImageFilter.MaxFilter(3) if factor > 1 else ImageFilter.MinFilter(3))
        if _topology(changed) != _topology(image):
            break
        image = changed
    return image.filter(ImageFilter.GaussianBlur(0.7))


def _topology(image: Image.Image) -> tuple[int, int]:
    """The numbers of connected components of ink and of background."""
    ink = np.asarray(image) > 127
    around = np.ones((3, 3))
    return label(ink, around)[1], label(~ink, around)[1]


KINDS: dict[str, Render] = {
    "black on white": lambda digit, random: file_of(_dark(digit, random)),
    "white on black": lambda digit, random: file_of(enlarged(digit, _side(random))),
    "EXIF orientation 1 to 8": _oriented,
    "transparent, RGBA or LA": _transparent,
    "opaque RGBA": lambda digit, random: file_of(_dark(digit, random).convert("RGBA")),
    "palette": _palette,
    "16 bit": _sixteen_bit,
    "JPEG at quality 30": lambda digit, random: file_of(_dark(digit, random), "JPEG", quality=30),
    "WebP": lambda digit, random: file_of(_dark(digit, random), "WEBP", quality=int(random.integers(30, 90))),
    "2 to 12 megapixels": lambda digit, random: file_of(_dark(digit, random, 1400, 3460), "JPEG", quality=85),
    "off-centre": _off_centre,
    "20 to 60 pixels tall on a large page": _small,
    "hair-thin": lambda digit, random: file_of(ImageOps.invert(_with_stroke(digit, random, 0.25))),
    "marker-thick": lambda digit, random: file_of(ImageOps.invert(_with_stroke(digit, random, 1.8))),
}
