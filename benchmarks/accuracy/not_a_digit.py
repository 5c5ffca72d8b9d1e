"""How well images without a digit are rejected.

MNIST's test digits are compared with generated images, letters in Debian's handwriting fonts, and Fashion-MNIST (Xiao,
Rasul, Vollgraf 2017, arXiv 1708.07747). Never train on these sets or choose a threshold by them: they measure how the
model treats what it has never seen.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase

import click
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from benchmarks.accuracy.drawing import CONFIDENT, confident
from benchmarks.accuracy.figures import Figure, area_under_roc, share
from digits.idx import decode_idx
from digits.preprocess import SIZE
from digits.reasons import BLANK, NOT_A_DIGIT
from digits.recognizer import Prediction, Recognizer
from training.datasets.mnist import load_test

COUNT = 500
FASHION = Path("/usr/share/datasets/fashion-mnist")
FONTS = Path("/usr/share/fonts")
BOTH = ascii_uppercase + ascii_lowercase
# Fonts and the letters used of each: some have capitals for small letters, in some the capitals are ornaments.
HANDWRITING = {
    "fonts-breip": {"truetype/breip/Breip.ttf": BOTH},
    "fonts-bwht": {
        f"opentype/bwht/BecauseWe{name}-Regular.otf": ascii_uppercase
        for name in ("Build", "Connect", "Create", "Learn", "Mentor", "Organize")
    },
    "fonts-dancingscript": {"opentype/dancingscript/DancingScript-Regular.otf": BOTH},
    "fonts-dkg-handwriting": {"truetype/fifthhorseman/dkg.ttf": ascii_lowercase},
    "fonts-ecolier-court": {"truetype/ecolier-court/Ecolier-court.ttf": ascii_lowercase},
    "fonts-femkeklaver": {"truetype/femkeklaver/femkeklaver.ttf": ascii_lowercase},
    "fonts-humor-sans": {"truetype/humor-sans/Humor-Sans.ttf": ascii_uppercase},
    "fonts-kaushanscript": {"opentype/kaushanscript/KaushanScript-Regular.otf": BOTH},
    "fonts-klee": {"truetype/klee/KleeOne-Regular.ttf": BOTH},
    "fonts-kristi": {"truetype/kristi/Kristi.ttf": BOTH},
}
IMAGES_PER_LETTER = 4
# Letters that many people write like a digit; they have figures of their own.
DIGIT_LIKE = "OIlSZBgq"
# With the small letters that have the shape of one of these capitals, and b, which looks like a 6.
DIGIT_SHAPED = DIGIT_LIKE + "oszb"

Pixels = NDArray[np.uint8]
Grey = NDArray[np.float64]
Size = tuple[int, int]


@dataclass(frozen=True)
class Predictions:
    """Predictions, and the `is_digit` scores, float32 [N]."""

    predictions: list[Prediction]
    scores: NDArray[np.float32]

    def rejected(self, *reasons: str) -> NDArray[np.bool_]:
        """Which images were rejected, bool [N]; for one of these reasons, if any are given."""
        return np.array([one.digit is None and (not reasons or one.reason in reasons) for one in self.predictions])


def predict(recognizer: Recognizer, images: Sequence[Pixels]) -> Predictions:
    """Preprocesses and classifies images of any size, uint8 [H, W], as the service does.

    An image rejected by preprocessing scores 0, as it is rejected whatever the network says.
    """
    preprocessed = [recognizer.preprocess(image) for image in images]
    _, scores = recognizer.classifier.classify(np.stack([one.image for one in preprocessed]))
    scores[[one.reason is not None for one in preprocessed]] = 0
    return Predictions(recognizer.predict(preprocessed), scores)


def measure(recognizer: Recognizer, count: int = COUNT, fonts: Path = FONTS, fashion: Path = FASHION) -> list[Figure]:
    """The figures, on `count` images of each generated set.

    `fonts` and `fashion` are folders that Debian's packages install. Raises click.ClickException if a file is missing.
    """
    letters = load_letters(fonts)
    garments = predict(recognizer, load_fashion(fashion))
    known = predict(recognizer, list(load_test().images))
    figures = [share("MNIST test digits not rejected", ~known.rejected())]
    for name, (draw, reasons) in generated_sets().items():
        random = np.random.default_rng(0)
        generated = predict(recognizer, [draw(random) for _ in range(count)])
        figures.append(share(f"{name} rejected as such", generated.rejected(*reasons)))
    like_digits, shaped = (np.array([letter in some for letter, _ in letters]) for some in (DIGIT_LIKE, DIGIT_SHAPED))
    written = predict(recognizer, [image for _, image in letters])
    for name, predicted, chosen in (
        ("Fashion-MNIST", garments, np.ones(len(garments.scores), bool)),
        (f"letters except {', '.join(DIGIT_LIKE)}", written, ~like_digits),
        (f"letters {', '.join(DIGIT_LIKE)}", written, like_digits),
    ):
        figures.append(area_under_roc(f"{name}: area under ROC curve", known.scores, predicted.scores[chosen]))
        figures.append(share(f"{name}: rejected", predicted.rejected()[chosen]))
    for name, predicted, chosen in (
        ("Fashion-MNIST", garments, np.ones(len(garments.scores), bool)),
        (f"letters except {', '.join(DIGIT_LIKE)}", written, ~like_digits),
        (f"letters except {', '.join(DIGIT_SHAPED)}", written, ~shaped),
    ):
        sure = confident(predicted.predictions)[chosen]
        figures.append(share(f"{name}: read at confidence {CONFIDENT}", sure, higher_is_better=False))
    return figures


def generated_sets() -> dict[str, tuple[Callable[[Generator], Pixels], tuple[str, ...]]]:
    """How to generate an image of each set, and the rejection reasons that are correct."""
    return {
        "blank images": (blank, (BLANK,)),
        "noise": (noise, (BLANK, NOT_A_DIGIT)),
        "textures": (texture, (BLANK, NOT_A_DIGIT)),
    }


def load_fashion(folder: Path) -> list[Pixels]:
    """Fashion-MNIST's test images, uint8 [28, 28] each."""
    path = folder / "t10k-images-idx3-ubyte.gz"
    return list(decode_idx(read_packaged(path, "dataset-fashion-mnist")))


def load_letters(folder: Path) -> list[tuple[str, Pixels]]:
    """Several images of every letter of every font, with the letter."""
    random = np.random.default_rng(0)
    images = []
    for package, fonts in HANDWRITING.items():
        for name, letters in fonts.items():
            file = read_packaged(folder / name, package)
            for letter in letters * IMAGES_PER_LETTER:
                images.append((letter, letter_image(random, file, letter)))
    return images


def read_packaged(path: Path, package: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise click.ClickException(
            f"{path}: expected a file of Debian's package {package}; got: {error.strerror}; "
            f"install it with `apt install {package}`"
        ) from error


def letter_image(random: Generator, font: bytes, letter: str) -> Pixels:
    """A letter dark on light, at a random size, slightly rotated."""
    size = random.uniform(24, 200)
    face = ImageFont.truetype(io.BytesIO(font), size)
    left, top, right, bottom = face.getbbox(letter)
    margin = size * random.uniform(0.2, 0.8)
    canvas = Image.new("L", (round(right - left + 2 * margin), round(bottom - top + 2 * margin)))
    ImageDraw.Draw(canvas).text((margin - left, margin - top), letter, fill=255, font=face)
    turned = canvas.rotate(random.uniform(-10, 10), Image.Resampling.BICUBIC)
    return _on_paper(random, np.asarray(turned) / 255)


def blank(random: Generator) -> Pixels:
    """An empty canvas of one shade, or a plain or textured sheet in uneven light."""
    size = _size(random)
    paper = np.full(size, random.uniform(0, 255))
    kind = random.integers(3)
    if kind > 0:
        paper = random.uniform(120, 250) * _light(random, size) + random.normal(0, random.uniform(0, 2), size)
    if kind > 1:
        paper += random.uniform(1, 3) * _clouds(random, size, random.uniform(1, 4))
    return _rounded(paper)


def noise(random: Generator) -> Pixels:
    """Gaussian or uniform noise, salt and pepper, or noise compressed by JPEG."""
    size = _size(random)
    strength = random.uniform(10, 80)
    match random.integers(4):
        case 0:
            return _rounded(random.uniform(50, 200) + random.normal(0, strength, size))
        case 1:
            return _rounded(random.uniform(50, 200) + random.uniform(-2 * strength, 2 * strength, size))
        case 2:
            flipped = random.random(size) < random.uniform(0.02, 0.5)
            return _rounded(np.where(flipped, 255 * random.integers(0, 2, size), random.uniform(0, 255)))
        case _:
            file = io.BytesIO()
            pixels = _rounded(random.uniform(50, 200) + random.normal(0, strength, size))
            Image.fromarray(pixels).save(file, "JPEG", quality=int(random.integers(5, 60)))
            return np.asarray(Image.open(file))


def texture(random: Generator) -> Pixels:
    """Like a photo of wood, fabric or gravel: texture at several scales, lit from one side."""
    size = _size(random, smallest=64)
    rows, columns = np.indices(size)
    match random.integers(3):
        case 0:  # wood: grain along the rows, bent
            bend = _clouds(random, size, max(size) / 3) + 0.2 * _clouds(random, size, max(size) / 12)
            rings = np.sin(rows / random.uniform(2, 10) + random.uniform(1, 6) * bend)
            surface = rings + 0.5 * _clouds(random, size, 2)
        case 1:  # fabric: threads of varying width
            pitch, slant = random.uniform(3, 14), random.uniform(-0.2, 0.2)
            warp = np.sin(2 * np.pi * (columns + slant * rows) / pitch + _clouds(random, size, 8 * pitch))
            weft = np.sin(2 * np.pi * (rows - slant * columns) / pitch + _clouds(random, size, 8 * pitch))
            surface = warp * weft + 0.5 * np.maximum(warp, weft) + 0.4 * _clouds(random, size, pitch)
        case _:  # gravel: dark gaps where the noise changes sign
            stone = random.uniform(4, 15)
            gaps = np.minimum(np.abs(_clouds(random, size, stone)), 0.5)
            surface = 3 * gaps + 0.5 * _clouds(random, size, stone) + 0.3 * _clouds(random, size, 2)
    shaded = random.uniform(90, 170) + random.uniform(15, 45) * surface
    return _rounded(shaded * _light(random, size))


def _on_paper(random: Generator, ink: Grey) -> Pixels:
    """Ink, 0 to 1, dark on light, with a little noise."""
    paper, pen = random.uniform(190, 255), random.uniform(0, 100)
    return _rounded(paper + (pen - paper) * ink + random.normal(0, random.uniform(0, 3), ink.shape))


def _size(random: Generator, smallest: int = SIZE) -> Size:
    """Height and width, log-uniform up to 600 pixels, one at most twice the other."""
    longer = np.exp(random.uniform(np.log(smallest), np.log(600)))
    shorter = max(smallest, longer * random.uniform(0.5, 1))
    return (round(shorter), round(longer)) if random.random() < 0.5 else (round(longer), round(shorter))


def _light(random: Generator, size: Size) -> Grey:
    """Light from one side that fades to half at most, with a vignette."""
    rows, columns = np.meshgrid(*(np.linspace(-1, 1, side) for side in size), indexing="ij")
    angle = random.uniform(0, 2 * np.pi)
    ramp = (rows * np.sin(angle) + columns * np.cos(angle)) / np.sqrt(2)
    return 1 - random.uniform(0, 0.25) * (1 + ramp) - random.uniform(0, 0.1) * (rows**2 + columns**2)


def _clouds(random: Generator, size: Size, scale: float) -> Grey:
    """Smooth noise with mean 0, a deviation of about 1 and features `scale` pixels wide."""
    height, width = (max(2, round(side / scale)) for side in size)
    coarse = Image.fromarray(random.normal(size=(height, width)).astype(np.float32))
    return np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC), dtype=np.float64)


def _rounded(image: Grey) -> Pixels:
    return np.clip(image.round(), 0, 255).astype(np.uint8)
