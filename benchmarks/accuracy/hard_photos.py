"""Hard photos: faint pencil, a slanting shadow, thin paper, low light, a webcam, orange on cream.

A camera in a few lines: light on paper, lens, noise in linear light, white balance, tone curve, sharpening, JPEG.
MNIST's test digits; correct means the true digit, a rejection is wrong. `python -m benchmarks.accuracy.hard_photos
FOLDER` measures photos of MNIST's validation digits, for development, and writes them to a folder.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from skimage.morphology import skeletonize

from benchmarks.accuracy.drawing import (
    FINE,
    Ink,
    Pixels,
    cropped,
    digits_of,
    edge_distance,
    in_processes,
    read,
    redrawn,
    sized,
    spread,
    stroke_width,
)
from benchmarks.accuracy.figures import Figure, share
from benchmarks.accuracy.input_variations import file_of
from digits.recognizer import Recognizer
from digits.settings import ModelSettings
from training.datasets.mnist import Dataset, load_test, load_training, split

COUNT = 200
# Reflectances in linear light: red, green, blue.
WHITE, CREAM = (0.85, 0.85, 0.83), (0.86, 0.8, 0.62)
GRAPHITE, BLUE, BLACK = (0.2, 0.2, 0.21), (0.05, 0.08, 0.36), (0.03, 0.03, 0.04)
# Values of linear light with 12 bits → values of a file with 8 (IEC 61966-2-1).
LINEAR = np.linspace(0, 1, 4096)
SRGB = np.round(255 * np.where(LINEAR < 0.0031308, 12.92 * LINEAR, 1.055 * LINEAR ** (1 / 2.4) - 0.055))

Colour = tuple[float, float, float]
# Per pixel and channel, or the same for all channels or pixels: float32 [H, W, 3] or [H, W, 1].
Light = NDArray[np.float32]


def measure(recognizer: Recognizer, count: int = COUNT) -> list[Figure]:
    """Share of `count` digits of each kind read correctly, half as many of those that cost most."""
    digits = load_test()
    figures = []
    for kind in KINDS:
        chosen = spread(digits, count // 2 if kind == PENCIL else count)
        right = digits_of(read(recognizer, photos(chosen, kind))) == chosen.labels
        figures.append(share(f"hard photos: {kind}", right))
    return figures


def photos(digits: Dataset, kind: str, seed: int = 0) -> Iterator[bytes]:
    """A JPEG file of each digit; `kind` is one of KINDS."""
    return in_processes(photo, [(kind, digit, (seed, index)) for index, digit in enumerate(digits.images)])


def photo(task: tuple[str, Pixels, tuple[int, int]]) -> bytes:
    """A JPEG file of one digit, by its kind, digit and seed."""
    kind, digit, seed = task
    return KINDS[kind](redrawn(digit), np.random.default_rng(seed))


@dataclass
class Sheet:
    """A sheet of paper, of one colour or not, the ink on it, 0 to 1, the light on it, and the camera's faults."""

    random: Generator
    ink: Ink
    paper: Colour | Light
    pen: Colour
    light: Light = field(default_factory=lambda: np.ones((1, 1, 1), np.float32))
    exposure: float = 0.9
    grain: float = 0.01
    noise: float = 0.004
    blur: float = 0.8
    cast: float = 0.05
    sharpened: int = 60
    quality: int = 88

    def __post_init__(self) -> None:
        """Paper is never quite even, and light falls off to one side and to the corners."""
        shape = self.ink.shape
        fibres, spots, waves = (clouds(self.random, shape, scale) for scale in (1.5, 6, max(shape) / 5))
        self.texture = 1 + self.grain * (fibres + spots + waves)[..., None]
        rows, columns = (np.linspace(-1, 1, side, dtype=np.float32) for side in shape)
        angle, fall = self.random.uniform(0, 2 * np.pi), self.random.uniform(0.05, 0.3)
        ramp = np.sin(angle) * rows[:, None] + np.cos(angle) * columns
        corners = self.random.uniform(0.05, 0.2) * (rows[:, None] ** 2 + columns**2) / 2
        self.light = self.light * ((1 - fall * (1 + ramp) / 2) * (1 - corners))[..., None]

    def image(self) -> Image.Image:
        """What the camera sees."""
        ink = np.asarray(
            Image.fromarray((255 * self.ink).astype(np.uint8)).filter(ImageFilter.GaussianBlur(self.blur)), np.float32
        )
        paper, pen = (np.array(one, np.float32) for one in (self.paper, self.pen))
        seen = paper + (ink / 255)[..., None] * (pen - paper)
        balance = 1 + self.random.uniform(-1, 1, 3).astype(np.float32) * np.float32(self.cast)
        seen *= self.light * self.texture * (self.exposure * balance)
        seen += self._noise(seen.shape[:2]) * np.sqrt(np.maximum(seen, 0) + 0.02)
        image = Image.fromarray(SRGB.astype(np.uint8)[np.clip(seen * 4095, 0, 4095).astype(np.int16)])
        return image.filter(ImageFilter.UnsharpMask(1.5, self.sharpened, 2))

    def _noise(self, shape: tuple[int, int]) -> Light:
        """Fine noise in brightness; noise in colour is coarser, as the sensor has each colour at some pixels only."""
        fine = self.random.standard_normal((*shape, 1), np.float32)
        coarse = self.random.standard_normal((shape[0] // 2 + 1, shape[1] // 2 + 1, 3), np.float32)
        colour = coarse.repeat(2, axis=0).repeat(2, axis=1)[: shape[0], : shape[1]]
        return np.float32(self.noise * 10) * (fine + 0.7 * colour)

    def file(self) -> bytes:
        return file_of(self.image(), "JPEG", quality=self.quality)


def clouds(random: Generator, shape: tuple[int, ...], scale: float) -> Ink:
    """Smooth noise with mean 0, a deviation of about 1 and features `scale` pixels wide."""
    coarse = random.standard_normal((int(shape[0] / scale) + 3, int(shape[1] / scale) + 3), np.float32)
    return np.asarray(Image.fromarray(coarse).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def framed(ink: Ink, random: Generator, size: tuple[int, int], least: float, most: float) -> Ink:
    """The digit anywhere in a frame, height and width; it takes `least` to `most` of what fits, and is turned a bit."""
    turned = Image.fromarray(np.pad(ink, 30)).rotate(random.uniform(-8, 8), Image.Resampling.BICUBIC)
    ink = cropped(np.asarray(turned))
    scale = random.uniform(least, most) * min(size[0] / ink.shape[0], size[1] / ink.shape[1])
    digit = sized(ink, scale * max(ink.shape))
    sheet = np.zeros(size, np.float32)
    top, left = (int(random.uniform(0.1, 0.9) * (room - side)) for room, side in zip(size, digit.shape, strict=True))
    sheet[top : top + digit.shape[0], left : left + digit.shape[1]] = digit
    return sheet


def size_of(random: Generator, long: int) -> tuple[int, int]:
    """Height and width of an image with the longer side `long`, upright or not, 4:3."""
    return (long, long * 3 // 4) if random.random() < 0.6 else (long * 3 // 4, long)


def pencil(ink: Ink, random: Generator) -> bytes:
    """12 megapixels, which the digit fills; paper's tooth shows through graphite."""
    size = size_of(random, 2000)
    sheet = framed(written(ink, random), random, size, 0.65, 0.95)
    tooth = np.clip(0.8 + 0.35 * clouds(random, size, random.uniform(2, 5)), 0.2, 1.3)
    faint = np.minimum(sheet * tooth * random.uniform(0.16, 0.4), 1)
    seen = Sheet(random, faint, WHITE, GRAPHITE, grain=random.uniform(0.005, 0.012), exposure=random.uniform(0.5, 0.95))
    image = seen.image()
    return file_of(image.resize((2 * image.width, 2 * image.height), Image.Resampling.BICUBIC), "JPEG", quality=88)


def slanting_shadow(ink: Ink, random: Generator) -> bytes:
    """The shadow of a hand or phone across the digit, bluish, with a soft edge."""
    size = size_of(random, int(random.choice([960, 1280])))
    sheet = framed(written(ink, random), random, size, 0.35, 0.8)
    middle = [float(one.mean()) for one in np.nonzero(sheet > 0.5)]
    light = shadowed(random, size, middle)
    pen = [GRAPHITE, BLUE, BLACK][random.integers(3)]
    return Sheet(random, sheet, WHITE, pen, light, noise=random.uniform(0.002, 0.006)).file()


def shadowed(random: Generator, size: tuple[int, int], middle: Sequence[float]) -> Light:
    """Light with a slanting shadow, or a stripe of one, whose edge is near a point: its row and column."""
    rows, columns = np.indices(size, dtype=np.float32)
    angle = random.choice([-1, 1]) * np.radians(random.uniform(20, 70)) + random.choice([0, np.pi])
    across = (rows - middle[0]) * np.sin(angle) + (columns - middle[1]) * np.cos(angle)
    across = across / max(size) + random.uniform(-0.15, 0.15)
    if random.random() < 0.4:
        across = random.uniform(0.1, 0.25) - np.abs(across)
    lit = 1 / (1 + np.exp(np.clip(across / random.uniform(0.001, 0.02), -30, 30)))
    left = random.uniform(0.2, 0.45) * np.array([0.9, 0.98, 1.1])
    return (left + (1 - left) * lit[..., None]).astype(np.float32)


def thin_paper(ink: Ink, random: Generator) -> bytes:
    """A ballpoint's fine and uneven line; the other side shows through."""
    size = size_of(random, int(random.choice([960, 1280])))
    sheet = framed(thinned(ink, random.uniform(0.018, 0.035)), random, size, 0.4, 0.85)
    sheet *= np.clip(0.9 + 0.15 * clouds(random, size, max(size) / 12), 0.5, 1)
    back = np.zeros(size, np.float32)
    for _ in range(random.integers(2, 6)):
        back = np.maximum(back, framed(thinned(ink[::-1], 0.03), random, size, 0.2, 0.6)[:, ::-1])
    through = Image.fromarray((255 * back).astype(np.uint8)).filter(ImageFilter.GaussianBlur(max(size) / 250))
    sheet = np.maximum(sheet, random.uniform(0.08, 0.22) * np.asarray(through, np.float32) / 255)
    pen = BLUE if random.random() < 0.7 else BLACK
    return Sheet(random, sheet, WHITE, pen, grain=random.uniform(0.01, 0.025), blur=1).file()


def written(ink: Ink, random: Generator) -> Ink:
    """As it is, like a marker's or a pencil's seen from near, or with the line of a pen."""
    return ink if random.random() < 0.5 else thinned(ink, random.uniform(0.03, 0.07))


def thinned(ink: Ink, pen: float) -> Ink:
    """The digit's middle line, drawn with a pen as wide as this share of its longer side; filled loops stay."""
    padded, width = np.pad(ink, FINE), pen * max(ink.shape)
    line = skeletonize(padded > 0.5).astype(np.float32)
    drawn_line = width / 2 - edge_distance(line)
    blobs = -edge_distance(padded) - 1.3 * max(0.0, stroke_width(ink) - width) / 2
    return cropped(np.clip(np.maximum(drawn_line, blobs) + 0.5, 0, 1))


def low_light(ink: Ink, random: Generator) -> bytes:
    """A dim warm lamp: much noise, partly smeared, and not quite in focus."""
    sheet = framed(written(ink, random), random, size_of(random, int(random.choice([960, 1280]))), 0.35, 0.85)
    pen = [GRAPHITE, BLUE, BLACK][random.integers(3)]
    lamp = np.array([1, random.uniform(0.75, 0.95), random.uniform(0.45, 0.8)], np.float32)[None, None]
    seen = Sheet(
        random,
        sheet,
        WHITE,
        pen,
        lamp,
        exposure=random.uniform(0.06, 0.25),
        noise=random.uniform(0.008, 0.02),
        blur=random.uniform(1, 3),
        sharpened=100,
    )
    smeared = seen.image().filter(ImageFilter.GaussianBlur(random.uniform(0.5, 1.2)))
    return file_of(smeared, "JPEG", quality=int(random.integers(60, 85)))


def webcam(ink: Ink, random: Generator) -> bytes:
    """A crop of about 32 pixels of a video frame."""
    long = int(random.integers(28, 37))
    size = (long, round(long * random.uniform(0.7, 1))) if random.random() < 0.6 else (round(long * 0.85), long)
    sheet = framed(ink, random, size, 0.55, 0.9)
    pen = np.array([GRAPHITE, BLUE, BLACK][random.integers(3)]) + random.uniform(0, 0.15)
    seen = Sheet(
        random,
        sheet,
        WHITE,
        tuple(pen),
        exposure=random.uniform(0.3, 0.9),
        noise=random.uniform(0.001, 0.004),
        blur=random.uniform(0.3, 0.7),
        sharpened=90,
        quality=int(random.integers(50, 80)),
    )
    return seen.file()


def orange_on_cream(ink: Ink, random: Generator) -> bytes:
    """A felt-tip that is hardly darker than the paper."""
    sheet = framed(written(ink, random), random, size_of(random, int(random.choice([640, 960, 1280]))), 0.35, 0.9)
    felt = (0.9, random.uniform(0.32, 0.52), random.uniform(0.03, 0.2))
    uneven = sheet * np.clip(0.9 + 0.1 * clouds(random, sheet.shape, 12), 0.6, 1)
    return Sheet(random, uneven, CREAM, felt, exposure=random.uniform(0.5, 0.95), cast=0.1).file()


PENCIL = "faint pencil filling 12 megapixels"
KINDS: dict[str, Callable[[Ink, Generator], bytes]] = {
    PENCIL: pencil,
    "slanting shadow": slanting_shadow,
    "ballpoint on thin paper": thin_paper,
    "low light with noise": low_light,
    "32-pixel webcam crops": webcam,
    "orange on cream": orange_on_cream,
}


def develop(folder: Path, count: int = COUNT // 2) -> None:
    """Measures and writes photos of validation digits, which may be looked at and tuned to; wrong ones say so."""
    recognizer = Recognizer.from_settings(ModelSettings.from_environment())
    digits = spread(split(load_training())[1], count)
    for kind in KINDS:
        files = list(photos(digits, kind, seed=1))
        predictions = read(recognizer, files)
        print(share(f"hard photos for development: {kind}", digits_of(predictions) == digits.labels).row())
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for index, (data, label, one) in enumerate(zip(files, digits.labels, predictions, strict=True)):
            answer = "" if one.digit == label else f", {one.digit if one.digit is not None else one.reason}"
            (folder / kind / f"{index:03} is {label}{answer}.jpg").write_bytes(data)


if __name__ == "__main__":
    develop(Path(sys.argv[1]))
