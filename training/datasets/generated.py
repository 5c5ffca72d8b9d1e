"""The generated training images, one function for each kind, made by several processes and kept in files.

Every file follows from its kind, its number and the sources alone, so that an interrupted run resumes with the same
images. The finder of the model preprocesses them, so that the network knows what it leaves and what it lets through.
"""

import hashlib
import itertools
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageFilter
from tqdm import tqdm

from digits.classifier import CLASSES
from digits.decode import Pixels
from digits.finder import Finder
from digits.preprocess import SIZE, Preprocessed, centred, preprocess
from digits.session import ModelFile
from training.datasets.drawn import draw, random_digit, random_pen
from training.datasets.line_drawings import HELD_OUT
from training.datasets.mnist import NO_DIGIT, Dataset
from training.datasets.outliers import line_drawing, random_thing, random_writing
from training.datasets.pen_strokes import PenDigit
from training.datasets.photographed import DRAWN_SIZE, redrawn, simulate_photo
from training.finder.layouts import LAYOUTS, single, tight
from training.finder.pages import page
from training.finder.writing import Writers
from training.recipes import GENERATED, UNSEEN_NEGATIVES

# Images tried for one file.
CHUNK = 1000
# The labelled images that GENERATED's numbers are for.
MNIST_IMAGES = 55_000
# An image is kept if it is at least this similar, preprocessed, to the digit's own ink.
MINIMUM_SIMILARITY = 0.8
# The share of the negatives that are things: shapes and silhouettes instead of writing.
THINGS = 0.35
# A negative is kept if it is wider than this, relative to its height: otherwise it might be a 1.
# What the finder leaves of one is more often a single stroke.
NARROWEST, NARROWEST_FOUND = 0.3, 0.4

Labelled = tuple[Pixels, int]


@dataclass(frozen=True)
class Sources:
    """What images are made of: MNIST's digits or others, and pen strokes, if any; the finder preprocesses them."""

    digits: Dataset
    pen_digits: Sequence[PenDigit]
    finder: ModelFile

    @property
    def sha256(self) -> str:
        strokes = b"".join(stroke.tobytes() for digit in self.pen_digits for stroke in digit.strokes)
        parts = [self.digits.images.tobytes(), self.digits.labels.tobytes(), strokes, self.finder.data]
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


# Tries one image after the other, without end; None where the digit is missed or a negative is not taken for one.
Kind = Callable[[Sources, Finder, Generator], Iterator[Labelled | None]]


def photo(sources: Sources, finder: Finder, random: Generator) -> Iterator[Labelled | None]:
    """MNIST's digits, photographed, scanned or drawn on a canvas."""
    while True:
        number = random.integers(len(sources.digits))
        ink = redrawn(sources.digits.images[number], random)
        yield _photo(ink, int(sources.digits.labels[number]), finder, random)


def synthetic_digit(_: Sources, finder: Finder, random: Generator) -> Iterator[Labelled | None]:
    while True:
        label = int(random.integers(CLASSES))
        yield _drawing(draw(random_digit(label, random), random_pen(random)), label, finder, random)


def synthetic_photo(_: Sources, finder: Finder, random: Generator) -> Iterator[Labelled | None]:
    while True:
        label = int(random.integers(CLASSES))
        yield _photo(draw(random_digit(label, random), random_pen(random), DRAWN_SIZE), label, finder, random)


def pen_strokes(sources: Sources, finder: Finder, random: Generator) -> Iterator[Labelled | None]:
    while True:
        digit = sources.pen_digits[int(random.integers(len(sources.pen_digits)))]
        yield _drawing(draw(digit.strokes, random_pen(random)), digit.label, finder, random)


def pen_strokes_photo(sources: Sources, finder: Finder, random: Generator) -> Iterator[Labelled | None]:
    while True:
        digit = sources.pen_digits[int(random.integers(len(sources.pen_digits)))]
        yield _photo(draw(digit.strokes, random_pen(random), DRAWN_SIZE), digit.label, finder, random)


def one_digit_page(sources: Sources, finder: Finder, random: Generator) -> Iterator[Labelled | None]:
    """Pages as the finder is trained on, cropped to a digit or with room around it, coarse ones among them."""
    writers = Writers(sources.digits, list(sources.pen_digits), random)
    while True:
        record = page(writers, random, LAYOUTS.index(tight if random.random() < 0.5 else single))
        yield _if_shown(preprocess(record["image"], finder), record["ink"], int(record["label"]))


def negative(sources: Sources, finder: Finder, random: Generator) -> Iterator[Labelled | None]:
    """No digit, of the kinds that are trained on; half of them as if sent like MNIST's digits, without the finder."""
    while True:
        image = random_thing(random) if random.random() < THINGS else random_writing(sources.digits, random)
        if random.random() < 0.5:
            yield _if_wide(_exact(image), NARROWEST)
        else:
            found = preprocess(image if random.random() < 0.5 else 255 - image, finder).image
            yield _if_wide(found, NARROWEST_FOUND)


KINDS: tuple[Kind, ...] = (
    photo,
    synthetic_digit,
    synthetic_photo,
    pen_strokes,
    pen_strokes_photo,
    one_digit_page,
    negative,
)


def numbers_for(sources: Sources) -> dict[str, int]:
    """How many images of each kind are tried: GENERATED's, in proportion to the labelled images."""
    return {
        kind: max(1, round(count * len(sources.digits) / MNIST_IMAGES))
        for kind, count in GENERATED.items()
        if sources.pen_digits or not kind.startswith("pen_strokes")
    }


def generate(numbers: Mapping[str, int], sources: Sources, directory: Path, processes: int = 1) -> Dataset:
    """The images of each kind, so many of which are tried.

    Keeps them in `directory`, in files that are made again if the sources or the numbers differ.
    """
    identity = json.dumps({"numbers": dict(numbers), "sources": sources.sha256}, indent=1)
    described = directory / "identity.json"
    if not described.exists() or described.read_text() != identity:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        described.write_text(identity)
    chunks = [
        (directory / f"{kind}-{number:03}.npz", kind, min(CHUNK, count - number * CHUNK), number)
        for kind, count in numbers.items()
        for number in range(-(-count // CHUNK))
    ]
    if missing := [chunk for chunk in chunks if not chunk[0].exists()]:
        start = multiprocessing.get_context("forkserver")
        with ProcessPoolExecutor(min(processes, len(missing)), start, _start_process, (sources,)) as pool:
            jobs = [pool.submit(_write_chunk, *chunk) for chunk in missing]
            for job in tqdm(jobs, "generating images", unit="file", leave=False, disable=None):
                job.result()
    return _joined([path for path, *_ in chunks])


def generate_negatives(digits: Dataset, finder: ModelFile, count: int) -> Dataset:
    """Images without a digit to train on; deterministic."""
    tries = negative(Sources(digits, [], finder), Finder(finder, "cpu"), np.random.default_rng(0))
    return _first(tries, count)


@cache
def generate_unseen_negatives(count: int = UNSEEN_NEGATIVES) -> Dataset:
    """Images without a digit of kinds that are never trained on, preprocessed without a finder; deterministic."""
    random = np.random.default_rng(0)
    return _first((_if_wide(_exact(line_drawing(HELD_OUT, random)), NARROWEST) for _ in itertools.count()), count)


def _first(tries: Iterator[Labelled | None], count: int) -> Dataset:
    made = islice((one for one in tries if one is not None), count)
    return _dataset(list(tqdm(made, "negatives", count, unit="image", leave=False, disable=None)))


_sources: Sources
_finder: Finder


def _start_process(sources: Sources) -> None:
    global _sources, _finder  # too large to be sent with every chunk
    _sources, _finder = sources, Finder(sources.finder, "cpu")


def _write_chunk(path: Path, kind: str, count: int, number: int) -> None:
    which, make = next((which, one) for which, one in enumerate(KINDS) if one.__name__ == kind)
    tries = islice(make(_sources, _finder, np.random.default_rng((which, number))), count)
    made = _dataset([one for one in tries if one is not None])
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, images=made.images, labels=made.labels)
    os.replace(partial, path)  # a kill leaves a whole file or none


def _joined(paths: Sequence[Path]) -> Dataset:
    files = [np.load(path) for path in paths]
    return Dataset(np.concatenate([one["images"] for one in files]), np.concatenate([one["labels"] for one in files]))


def _dataset(made: Sequence[Labelled]) -> Dataset:
    images = np.array([image for image, _ in made], np.uint8).reshape(-1, SIZE, SIZE)
    return Dataset(images, np.array([label for _, label in made], np.int64))


def _drawing(ink: Pixels, label: int, finder: Finder, random: Generator) -> Labelled | None:
    return _if_shown(preprocess(ink if random.random() < 0.5 else 255 - ink, finder), ink, label)


def _photo(ink: Pixels, label: int, finder: Finder, random: Generator) -> Labelled | None:
    return _if_shown(preprocess(simulate_photo(ink, random), finder), ink, label)


def _if_shown(preprocessed: Preprocessed, ink: Pixels, label: int) -> Labelled | None:
    """The image, unless preprocessing missed the digit."""
    if preprocessed.reason is not None or _similarity(preprocessed.image, _exact(ink)) < MINIMUM_SIMILARITY:
        return None
    return preprocessed.image, label


def _exact(ink: Pixels) -> Pixels:
    """Ink preprocessed without a finder."""
    is_ink = ink > ink.max() // 2
    rows, columns = np.flatnonzero(is_ink.any(axis=1)), np.flatnonzero(is_ink.any(axis=0))
    cropped = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return centred((cropped / 255).astype(np.float32))


def _similarity(one: Pixels, other: Pixels) -> float:
    """Cosine similarity of two blurred preprocessed images, 0 to 1."""
    soft = [np.asarray(Image.fromarray(image).filter(ImageFilter.BoxBlur(2)), np.float32) for image in (one, other)]
    return float(np.vdot(*soft) / (np.linalg.norm(soft[0]) * np.linalg.norm(soft[1])))


def _if_wide(image: Pixels, narrowest: float) -> Labelled | None:
    """The image as a negative, if there is anything and too wide for a 1."""
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    if not len(rows) or columns[-1] - columns[0] + 1 < narrowest * (rows[-1] - rows[0] + 1):
        return None
    return image, NO_DIGIT
