"""Accuracy on corrupted digits: the 15 corruptions of MNIST-C (Mu, Gilmer 2019, arXiv 1906.02337).

Reimplemented with the published strengths and applied to MNIST's test digits; these are not the published images. For
comparison, pytorch/examples' network, trained for two epochs and without preprocessing, reaches 87 %, translated 43 %.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from skimage.feature import canny
from skimage.filters import gaussian

from benchmarks.accuracy.figures import Figure, share
from digits.preprocess import SIZE
from digits.recognizer import Recognizer
from training.datasets.mnist import load_test

COUNT = 1000

Pixels = NDArray[np.uint8]
Grey = NDArray[np.float64]


def measure(recognizer: Recognizer, count: int = COUNT) -> list[Figure]:
    """One figure per corruption: accuracy on `count` digits spread over the test set; then the mean and the worst."""
    data = load_test()
    data = data.part(np.linspace(0, len(data) - 1, count).astype(np.int64))
    rights = {}
    for name in CORRUPTIONS:
        predictions = recognizer.predict([recognizer.preprocess(image) for image in corrupt(name, data.images)])
        rights[name] = np.array([one.digit == label for one, label in zip(predictions, data.labels, strict=True)])
    figures = [share(f"MNIST-C, {name.replace('_', ' ')}", right) for name, right in rights.items()]
    worst = min(figures, key=lambda figure: figure.value)
    return [*figures, _mean(list(rights.values())), replace(worst, name="MNIST-C, worst")]


def _mean(rights: list[NDArray[np.bool_]]) -> Figure:
    """The mean over all corruptions, each bool [N]; the interval treats the images, not the corruptions, as random."""
    of_image = np.mean(rights, axis=0)
    spread = 1.96 * float(of_image.std() / np.sqrt(len(of_image)))
    mean = float(of_image.mean())
    return Figure("MNIST-C, mean", mean, max(0.0, mean - spread), min(1.0, mean + spread), len(of_image) * len(rights))


def corrupt(name: str, images: Pixels, seed: int = 0) -> Pixels:
    """Applies one of CORRUPTIONS: uint8 [N, 28, 28], white ink on black, to the same."""
    corrupted = CORRUPTIONS[name](images / 255, np.random.default_rng(seed))
    return np.clip(corrupted * 255, 0, 255).astype(np.uint8)


def shot_noise(images: Grey, random: Generator) -> Grey:
    """Photon noise with at most about three photons per pixel."""
    return random.poisson(3 * images) / 3


def impulse_noise(images: Grey, random: Generator) -> Grey:
    """Salt and pepper on 17 % of the pixels."""
    flipped = random.random(images.shape) < 0.17
    return np.where(flipped, random.integers(0, 2, images.shape), images)


def glass_blur(images: Grey, random: Generator) -> Grey:
    """Neighbouring pixels swap places between two vertical blurs, as in the published images."""
    blurred = gaussian(images, (0, 0.7, 0))
    every = np.arange(len(images))
    for _ in range(2):
        for row in range(SIZE - 1, 1, -1):
            for column in range(SIZE - 1, 1, -1):
                # Half of the pixels stay; the others swap with one of four positions, one of which is their own.
                up, left = random.integers(0, 2, (2, len(images))) * (random.random(len(images)) < 0.5)
                other = (every, row - up, column - left)
                here = blurred[:, row, column].copy()
                blurred[:, row, column] = blurred[other]
                blurred[other] = here
    return gaussian(blurred, (0, 0.7, 0))


def motion_blur(images: Grey, random: Generator) -> Grey:
    """Half a Gaussian of deviation 3, cut off after 20 pixels, within 45° of the horizontal."""
    steps = np.arange(21)
    weights = np.exp(-(steps**2) / (2 * 3**2))
    weights /= weights.sum()
    padded = np.pad(images, ((0, 0), (20, 20), (20, 20)), "edge")
    blurred = np.zeros_like(images)
    for image, source, angle in zip(blurred, padded, random.uniform(-np.pi / 4, np.pi / 4, len(images)), strict=True):
        downs, rights = (np.ceil(steps * part - 0.5).astype(int) for part in (np.sin(angle), np.cos(angle)))
        for down, right, weight in zip(20 + downs, 20 + rights, weights, strict=True):
            image += weight * source[down : down + SIZE, right : right + SIZE]
    return blurred


def shear(images: Grey, random: Generator) -> Grey:
    """Sheared by an angle of ±0.4."""
    angles = 0.4 * _signs(random, len(images))
    return _warped(images, [np.array([[1, -np.sin(angle)], [0, np.cos(angle)]]) for angle in angles])


def scale(images: Grey, random: Generator) -> Grey:
    """Scaled by 0.7."""
    return _warped(images, [np.eye(2) / 0.7] * len(images))


def rotate(images: Grey, random: Generator) -> Grey:
    """Rotated by an angle of ±0.4."""
    angles = 0.4 * _signs(random, len(images))
    return _warped(
        images, [np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) for angle in angles]
    )


def brightness(images: Grey, random: Generator) -> Grey:
    """Brightened by half of the range."""
    return np.minimum(images + 0.5, 1)


def translate(images: Grey, random: Generator) -> Grey:
    """Shifted by three pixels along both axes, and cropped."""
    padded = np.pad(images, ((0, 0), (3, 3), (3, 3)))
    starts = 3 + 3 * _signs(random, (len(images), 2))
    places = zip(padded, starts, strict=True)
    return np.stack([one[row : row + SIZE, column : column + SIZE] for one, (row, column) in places])


def stripe(images: Grey, random: Generator) -> Grey:
    """Inverted in the left and right quarters."""
    striped = 1 - images
    striped[:, :, 7:21] = images[:, :, 7:21]
    return striped


def fog(images: Grey, random: Generator) -> Grey:
    """Three times as much fog as ink."""
    whitest = images.max(axis=(1, 2), keepdims=True)
    fogs = np.stack([_plasma(random)[:SIZE, :SIZE] for _ in images])
    return (images + 3 * fogs) * whitest / (whitest + 3)


def spatter(images: Grey, random: Generator) -> Grey:
    """Covered with dark drops."""
    liquid = _blurred(random.normal(0.65, 0.3, images.shape), 1)
    drops = _blurred((liquid > 0.65).astype(np.float64), 1.5)
    drops[drops < 0.8] = 0
    return images * (1 - drops) + drops * 63 / 255


def dotted_line(images: Grey, random: Generator) -> Grey:
    """A dotted line from edge to edge."""
    dots = np.arange(SIZE) // 2 % 2
    ends = random.integers(0, SIZE - 1, (len(images), 2))
    return images + np.stack([_line((0, left), (SIZE - 1, right)) * dots for left, right in ends])


def zigzag(images: Grey, random: Generator) -> Grey:
    """A zigzag line almost from edge to edge, 2 pixels to either side every 4."""
    lines = []
    for start, fall in zip(random.integers(0, SIZE - 1, len(images)), random.integers(-5, 5, len(images)), strict=True):
        angle, length = np.arctan2(fall, 23), np.hypot(fall, 23)
        along = np.array([0, *np.arange(2, length, 4), length])
        across = np.array([0, *(2 * (-1) ** np.arange(len(along) - 2)), 0])
        columns = 2 + along * np.cos(angle) - across * np.sin(angle)
        rows = start + along * np.sin(angle) + across * np.cos(angle)
        points = list(zip(columns, rows, strict=True))
        lines.append(np.sum([_line(*ends) for ends in pairwise(points)], axis=0))
    return images + np.stack(lines)


def canny_edges(images: Grey, random: Generator) -> Grey:
    """Canny edges of the strokes (1986)."""
    return np.stack([canny(image) for image in images]).astype(np.float64)


CORRUPTIONS: dict[str, Callable[[Grey, Generator], Grey]] = {
    one.__name__: one
    for one in (
        shot_noise,
        impulse_noise,
        glass_blur,
        motion_blur,
        shear,
        scale,
        rotate,
        brightness,
        translate,
        stripe,
        fog,
        spatter,
        dotted_line,
        zigzag,
        canny_edges,
    )
}


def _signs(random: Generator, shape: int | tuple[int, ...]) -> NDArray[np.int64]:
    return random.choice([-1, 1], shape)


def _blurred(images: Grey, sigma: float) -> Grey:
    return gaussian(images, (0, sigma, sigma))


def _warped(images: Grey, matrices: list[Grey]) -> Grey:
    """Each image transformed about its centre by a matrix that maps output (column, row) to input."""
    centre = np.full(2, SIZE / 2)
    warped = np.empty_like(images)
    for image, source, matrix in zip(warped, images.astype(np.float32), matrices, strict=True):
        rows = np.column_stack([matrix, centre - matrix @ centre])
        image[:] = Image.fromarray(source).transform(
            (SIZE, SIZE), Image.Transform.AFFINE, tuple(rows.ravel()), Image.Resampling.BILINEAR
        )
    return warped


def _line(start: tuple[float, float], end: tuple[float, float]) -> Grey:
    """A line between two points (column, row) that fades out over 2.3 rows on either side."""
    columns, rows = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    slope = (end[1] - start[1]) / (end[0] - start[0])
    distance = np.abs(rows - start[1] - slope * (columns - start[0]))
    inside = (columns >= np.floor(start[0])) & (columns < np.ceil(end[0]))
    return inside * np.clip(1 + np.log(np.maximum(1 - distance / 2.3, 1e-9)), 0, 1)


def _plasma(random: Generator) -> Grey:
    """A plasma fractal [256, 256] from 0 to 1: the grid is refined with ever smaller noise."""
    grid, noise = np.zeros((1, 1)), 100.0**2
    while len(grid) < 256:
        size = len(grid)
        finer = np.empty((2 * size, 2 * size))
        finer[::2, ::2] = grid
        middles = _sum_of_pairs(_sum_of_pairs(grid, 0, -1), 1, -1)
        finer[1::2, 1::2] = middles = middles / 4 + random.uniform(-noise, noise, grid.shape)
        for place, axis in (((slice(0, None, 2), slice(1, None, 2)), 0), ((slice(1, None, 2), slice(0, None, 2)), 1)):
            around = _sum_of_pairs(middles, axis, 1) + _sum_of_pairs(grid, 1 - axis, -1)
            finer[place] = around / 4 + random.uniform(-noise, noise, grid.shape)
        grid, noise = finer, noise / 1.4**2
    return (grid - grid.min()) / np.ptp(grid)


def _sum_of_pairs(grid: Grey, axis: int, shift: int) -> Grey:
    """Each point plus its neighbour, with wrap-around."""
    return grid + np.roll(grid, shift, axis)
