"""Training and test images: MNIST, other IDX files, or a folder of labelled images."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from digits.classifier import CLASSES
from digits.decode import GreyImage, ImageError, Pixels, decode
from digits.finder import Finder
from digits.folders import IMAGE_SUFFIXES, is_junk
from digits.idx import decode_idx
from digits.preprocess import SIZE, Preprocessed, preprocess, preprocessed_already
from training.served import served_finder

MNIST = Path(__file__).resolve().parents[1] / "data" / "mnist"
# The label of a training image without a digit.
NO_DIGIT = CLASSES
VALIDATION_SHARE = 1 / 12  # 5,000 of MNIST's 60,000

# sha256 of the uncompressed files, the same for every copy of MNIST.
SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


class DataError(Exception):
    """The data cannot be used; the message says what was expected, what was found and what to do."""


@dataclass(frozen=True)
class Dataset:
    """Images uint8 [N, 28, 28], white ink on black, and labels int64 [N], 0 to 9 or NO_DIGIT."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, which: NDArray[np.int64]) -> "Dataset":
        return Dataset(self.images[which], self.labels[which])

    def __add__(self, other: "Dataset") -> "Dataset":
        return Dataset(np.concatenate([self.images, other.images]), np.concatenate([self.labels, other.labels]))

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.images.tobytes() + self.labels.tobytes()).hexdigest()


def load_training(directory: Path = MNIST, finder: Finder | None = None) -> Dataset:
    """The training set: MNIST, the IDX files `train-…` of a directory, or its subfolders of labelled images."""
    if directory.resolve() == MNIST:
        return _mnist("train")
    if any(directory.glob("*train-images*")):
        return _preprocessed_idx(directory, "train", finder)
    return _labelled_folders(directory, finder)


def load_test(directory: Path = MNIST, finder: Finder | None = None) -> Dataset:
    """The test set of MNIST or of another directory of IDX files (`t10k-…` or `test-…`)."""
    if directory.resolve() == MNIST:
        return _mnist("t10k")
    return _preprocessed_idx(directory, "t10k" if any(directory.glob("*t10k-images*")) else "test", finder)


def split(data: Dataset) -> tuple[Dataset, Dataset]:
    """Splits a training set into a training part and a fixed validation part."""
    order = np.random.default_rng(0).permutation(len(data))
    count = round(len(data) * VALIDATION_SHARE)
    return data.part(np.sort(order[count:])), data.part(np.sort(order[:count]))


def _mnist(part: str) -> Dataset:
    images, labels = (_verified(f"{part}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
    return Dataset(images, labels.astype(np.int64))


def _verified(name: str) -> NDArray[np.uint8]:
    if not MNIST.is_dir():
        raise DataError(
            "MNIST is in the repository, not in the installed package: run `digits` in a checkout; "
            "`digits train` also accepts other images with --data"
        )
    path = MNIST / f"{name}.gz"
    remedy = "restore it with `git checkout -- training/data/mnist`"
    try:
        values = decode_idx(path.read_bytes())
    except (OSError, ImageError) as error:
        raise DataError(f"{path}: expected the MNIST file; got: {error}; {remedy}") from error
    header = b"\x00\x00\x08" + bytes([values.ndim]) + b"".join(side.to_bytes(4, "big") for side in values.shape)
    found = hashlib.sha256(header + values.tobytes()).hexdigest()
    if found != SHA256[name]:
        raise DataError(f"{path}: expected sha256 {SHA256[name]} unzipped; got {found}; {remedy}")
    return values


def _preprocessed_idx(directory: Path, part: str, finder: Finder | None) -> Dataset:
    files = []
    for kind in ("images", "labels"):
        found = sorted(directory.glob(f"*{part}-{kind}*"))
        if len(found) != 1:
            raise DataError(f"{directory}: expected one IDX file *{part}-{kind}*; got {len(found)}")
        try:
            files.append(decode_idx(found[0].read_bytes()))
        except ImageError as error:
            raise DataError(f"{found[0]}: {error}") from error
    images, labels = files
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise DataError(f"{directory}: expected as many images as labels; got {images.shape} and {labels.shape}")
    if labels.size == 0 or labels.max() >= CLASSES:
        raise DataError(f"{directory}: expected labels 0 to 9; got {labels.max(initial=0)} among {len(labels)}")
    return _preprocessed(images, labels.astype(np.int64), finder)


def _labelled_folders(directory: Path, finder: Finder | None) -> Dataset:
    """Images at any depth of the folders named 0 to 9; prints what is left out."""
    found = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    places = [path.relative_to(directory) for path in found]
    digits = {str(digit) for digit in range(CLASSES)}
    folders = {place.parts[0] for place in places if len(place.parts) > 1 and not is_junk(place.parts[0])}
    if not folders or not folders <= digits:
        raise DataError(
            f"{directory}: expected IDX files (*train-images*, *train-labels*) or subfolders named 0 to 9 with images; "
            f"got {', '.join(sorted(folders)) or 'none'}"
        )
    kept = [
        place
        for place in places
        if place.parts[0] in folders and place.suffix.lower() in IMAGE_SUFFIXES and not is_junk(str(place))
    ]
    if left_out := sorted(map(str, set(places) - set(kept))):
        some = ", ".join(left_out[:5]) + ", …" * (len(left_out) > 5)
        tqdm.write(f"left out {len(left_out)} files that are no images in a digit's folder: {some}")
    if not kept:
        raise DataError(f"{directory}: expected images in the subfolders; got none")
    labels = np.array([int(place.parts[0]) for place in kept])
    return _preprocessed(map(_decoded, (directory / place for place in kept)), labels, finder)


def _decoded(path: Path) -> GreyImage:
    try:
        return decode(path.read_bytes())
    except ImageError as error:
        raise DataError(f"{path}: {error}; remove it or replace it") from error


def _preprocessed(images: Iterable[GreyImage | Pixels], labels: NDArray[np.int64], finder: Finder | None) -> Dataset:
    """The images preprocessed; those in which no digit is found are dropped and counted on standard error."""
    progress = tqdm(images, "preprocessing", len(labels), unit="image", leave=False, disable=None)
    preprocessed = [_one_preprocessed(image, finder) for image in progress]
    kept = np.array([one.reason is None for one in preprocessed])
    if not kept.all():
        tqdm.write(f"dropped {np.sum(~kept)} of {len(kept)} images: no digit found")
    data = np.stack([one.image for one in preprocessed]).reshape(-1, SIZE, SIZE)
    return Dataset(data[kept], labels[kept])


def _one_preprocessed(image: GreyImage | Pixels, finder: Finder | None) -> Preprocessed:
    already = None if isinstance(image, GreyImage) else preprocessed_already(image)
    return Preprocessed(already) if already is not None else preprocess(image, finder or served_finder())
