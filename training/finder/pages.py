"""Pages to train the finder on: images in which the ink of every digit is known at every pixel.

A page is a frame of 128×128 pixels: a digit cropped tightly or on a large sheet, several apart or touching, part of a
page with up to a hundred digits, or none. Ruled lines, shadows, the paper's edges, circles and boxes around digits,
scribbles, and digits of which the frame cuts off more than half are in the image and not in its ink.
"""

import math
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from digits.decode import Pixels
from training.datasets.mnist import Dataset, load_training, split
from training.datasets.pen_strokes import PEN_STROKES, TRAINING_WRITERS, PenDigit, load_pen_digits
from training.finder.layouts import FRAME, LAYOUT_SHARES, LAYOUTS, MOST_DIGITS, Canvas, Layout, dense
from training.finder.paper import Scene, beyond_paper, image_of, screen
from training.finder.writing import Writers

RUN = Path("runs/finder")
# Centres, offsets and sizes are given for cells of 4×4 pixels.
CELL = 4
CELLS = FRAME // CELL
SHARD = 1000
# A page is photographed again, so often at most, until its digits are darker than the paper around them by so many
# shades, and by so many standard deviations of its noise.
ATTEMPTS, LEAST_CONTRAST, LEAST_CONTRAST_BY_NOISE = 6, 3, 1.1

# One page. `ink`: how much of the pixel is a digit's ink, 0 to 255. `heat`: 255 at the digits' centres, falling off
# around them. `offsets`: for each cell with ink, the way to its own digit's centre, down and right, in pixels; `sizes`:
# that digit's longer side in pixels, 0 where there is no ink. `centres`: down, right and longer side of each digit.
# `label`: the digit's, if there is just one. Everything is measured in the frame's pixels.
PAGE = np.dtype(
    [
        ("image", "u1", (FRAME, FRAME)),
        ("ink", "u1", (FRAME, FRAME)),
        ("heat", "u1", (CELLS, CELLS)),
        ("offsets", "i1", (2, CELLS, CELLS)),
        ("sizes", "u1", (CELLS, CELLS)),
        ("centres", "f2", (MOST_DIGITS, 3)),
        ("count", "u1"),
        ("label", "u1"),
        ("kind", "u1"),
    ]
)
NO_LABEL = 255


def page(writers: Writers, random: Generator, kind: int | None = None) -> NDArray[np.void]:
    """One random page, of the type PAGE; `kind` counts LAYOUTS, one at random unless given."""
    if kind is None:
        kind = int(random.choice(len(LAYOUTS), p=LAYOUT_SHARES))
    layout = LAYOUTS[kind](writers, random)
    if random.random() < 0.12:
        layout.canvas.show_through(layout.canvas if random.random() < 0.5 else dense(writers, random).canvas, random)
    return _photographed(layout, random, kind)


def _photographed(layout: Layout, random: Generator, kind: int) -> NDArray[np.void]:
    """The page of a layout, fitted into the frame, with its targets."""
    canvas = layout.canvas
    place = _place_in_frame(canvas.shape, random)
    if layout.picture is not None:
        return _framed(np.clip(255 * layout.picture, 0, 255).astype(np.uint8), canvas, place, kind)
    if not canvas.table.any() and random.random() < 0.25:
        table = beyond_paper(canvas.shape, random)
        if not (table & (canvas.found > 0)).any():
            canvas.table = table
    ink, marks, behind = (np.float32(1 / 255) * field for field in (canvas.ink, canvas.marks, canvas.behind))
    scene = Scene(ink, marks, behind, canvas.table, layout.size, layout.turn)
    for attempt in range(ATTEMPTS):
        look = None if attempt < ATTEMPTS - 1 else screen
        record = _framed(image_of(scene, layout.sent, random, look), canvas, place, kind)
        if _is_visible(record, place):
            break
    return record


def _is_visible(record: NDArray[np.void], place: tuple[slice, slice]) -> bool:
    """Whether nearly all digits stand out from the paper around them, and from its noise, as far as they must."""
    image, ink = record["image"].astype(np.float32), record["ink"]
    if not record["count"]:
        return True
    is_paper = np.zeros(ink.shape, bool)
    is_paper[place] = ink[place] == 0
    # The paper's brightness around each cell, from the paper in 5×5 cells.
    sums = [_around(field.reshape(CELLS, CELL, CELLS, CELL).sum(axis=(1, 3))) for field in (image * is_paper, is_paper)]
    paper = np.where(sums[1] > 8, sums[0] / np.maximum(sums[1], 1), image[is_paper].mean() if is_paper.any() else 255)
    contrast = paper.repeat(CELL, axis=0).repeat(CELL, axis=1) - image
    noise = 1.4826 * float(np.median(np.abs(contrast[is_paper]))) if is_paper.any() else 0.0
    rows, columns = np.nonzero(ink > 128)
    down, right, _ = record["centres"][: record["count"]].astype(np.float32).T
    nearest = (np.abs(rows[:, None] - down) + np.abs(columns[:, None] - right)).argmin(axis=1)
    total = np.bincount(nearest, contrast[rows, columns], minlength=len(down))
    mean = total / np.maximum(np.bincount(nearest, minlength=len(down)), 1)
    return bool(np.mean(mean > max(LEAST_CONTRAST, LEAST_CONTRAST_BY_NOISE * noise)) > 0.9)


def _around(cells: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """The sum of each cell's 5×5 neighbours."""
    for axis in (0, 1):
        padded = np.pad(cells, [(3, 2) if one == axis else (0, 0) for one in (0, 1)]).cumsum(axis=axis)
        count = cells.shape[axis]
        cells = padded.take(range(5, 5 + count), axis) - padded.take(range(count), axis)
    return cells


def _place_in_frame(shape: tuple[int, int], random: Generator) -> tuple[slice, slice]:
    """Where in the frame an image of that shape lies: as large as fits, anywhere."""
    scale = FRAME / max(shape)
    sides = [max(1, round(side * scale)) for side in shape]
    top, left = (int(random.integers(FRAME - side + 1)) for side in sides)
    return slice(top, top + sides[0]), slice(left, left + sides[1])


def _framed(image: Pixels, canvas: Canvas, place: tuple[slice, slice], kind: int) -> NDArray[np.void]:
    scale = FRAME / max(canvas.shape)
    sides = (place[1].stop - place[1].start, place[0].stop - place[0].start)
    record = np.zeros((), PAGE)
    fitted = np.asarray(_fitted(image, sides))
    record["image"] = round(float(fitted.mean()))
    record["image"][place] = fitted
    record["ink"][place] = np.asarray(_fitted(canvas.found, sides))
    owners = np.zeros((FRAME, FRAME), np.uint8)
    owners[place] = np.asarray(Image.fromarray(canvas.owners).resize(sides, Image.Resampling.NEAREST))
    boxes = np.array(canvas.boxes, np.float64).reshape(-1, 3) * scale + (place[0].start, place[1].start, 0)
    boxes[:, :2] = boxes[:, :2].clip(0, FRAME - 1)
    record["centres"][: len(boxes)] = boxes
    record["count"], record["kind"] = len(boxes), kind
    record["label"] = canvas.labels[0] if len(boxes) == 1 else NO_LABEL
    _set_cells(record, owners, boxes)
    return record


def _fitted(pixels: Pixels, sides: tuple[int, int]) -> Image.Image:
    """Averaged down or interpolated up, as the finder's input is."""
    image = Image.fromarray(pixels)
    smaller = sides[0] * sides[1] < image.width * image.height
    return image.resize(sides, Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR)


def _set_cells(record: NDArray[np.void], owners: Pixels, boxes: NDArray[np.float64]) -> None:
    """Fills in a page's heat, offsets and sizes: a cell belongs to the owner of its inkiest pixel."""

    def by_cell(field: Pixels) -> Pixels:
        return field.reshape(CELLS, CELL, CELLS, CELL).swapaxes(1, 2).reshape(CELLS, CELLS, CELL * CELL)

    inkiest = np.where(by_cell(owners) > 0, by_cell(record["ink"]), 0).argmax(axis=2)[:, :, None]
    owner = np.take_along_axis(by_cell(owners), inkiest, axis=2)[:, :, 0]
    places = (np.arange(CELLS) + 0.5) * CELL
    heat = np.zeros((CELLS, CELLS))
    for down, right, size in boxes:
        # Narrow enough for two digits that touch to have two peaks.
        deviation = max(0.75 * CELL, 0.1 * size)
        fall = [np.exp(-((places - middle) ** 2) / (2 * deviation**2)) for middle in (down, right)]
        peak = np.outer(*fall)
        heat = np.maximum(heat, peak / peak.max())
    record["heat"] = (255 * heat).round()
    if len(boxes):
        centre = boxes[np.maximum(owner, 1) - 1]
        steps = np.stack([centre[:, :, 0] - places[:, None], centre[:, :, 1] - places[None, :]])
        record["offsets"] = np.where(owner > 0, steps.round().clip(-127, 127), 0)
        record["sizes"] = np.where(owner > 0, centre[:, :, 2].round().clip(1, 255), 0)


def write_shards(
    directory: Path, count: int, digits: Dataset, pen_digits: list[PenDigit], seed: int, processes: int = 1
) -> None:
    """Writes `count` pages in files of SHARD pages each. Files that exist already are kept."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"{number:04}.npy" for number in range(math.ceil(count / SHARD))]
    missing = [(path, (seed, number)) for number, path in enumerate(paths) if not path.exists()]
    with ProcessPoolExecutor(processes, multiprocessing.get_context("forkserver")) as pool:
        jobs = [pool.submit(_write_shard, path, one, SHARD, digits, pen_digits) for path, one in missing]
        for job in tqdm(as_completed(jobs), f"{directory.name} pages", len(jobs), unit="shard", disable=None):
            job.result()


def _write_shard(path: Path, seed: tuple[int, int], count: int, digits: Dataset, pen_digits: list[PenDigit]) -> None:
    random = np.random.default_rng(seed)
    writers = Writers(digits, pen_digits, random)
    pages = np.stack([page(writers, random) for _ in range(count)])
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.save(file, pages)
    os.replace(partial, path)  # a kill leaves a whole file or none


def make_pages(directory: Path, training: int = 60_000, validation: int = 3_000, processes: int = 1) -> None:
    """Writes pages to train and to validate on, from digits that are not in both. Re-run to resume."""
    digits, held_back = split(load_training())
    write_shards(directory / "validation", validation, held_back, [], 2, processes)
    write_shards(directory / "training", training, digits, load_pen_digits(PEN_STROKES, TRAINING_WRITERS), 1, processes)


@click.command()
@click.option("--training", type=click.IntRange(min=1), default=60_000, show_default=True, help="How many pages.")
@click.option("--validation", type=click.IntRange(min=1), default=3_000, show_default=True, help="How many pages.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default=RUN, show_default=True)
@click.option("--processes", type=click.IntRange(min=1), default=1, show_default=True)
def main(training: int, validation: int, output: Path, processes: int) -> None:
    """Make pages to train and validate the finder on. Re-run the same command to resume."""
    make_pages(output, training, validation, processes)


if __name__ == "__main__":
    main()
