"""How well whole pages are read: photographed lines of digits, touching pairs and triples, and real pages."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.accuracy.drawing import grey_file, in_processes, log_uniform, on_paper, redrawn, sized
from benchmarks.accuracy.figures import Figure, share
from benchmarks.accuracy.marks import with_room
from benchmarks.accuracy.pages import Page, page
from benchmarks.accuracy.several import TALL, pair
from digits.recognizer import TELLING, Recognizer
from training.datasets.mnist import load_test

PAGES, JOINED = 100, 500
# The share of the pages that are read once more, turned.
TURNED = 0.3
# Pages that a network or a threshold was looked at with have other seeds.
FIRST_SEED = 100_000
# A page's file and its lines.
Sample = tuple[bytes, list[str]]


def measure(recognizer: Recognizer, pages: int = PAGES, joined: int = JOINED) -> list[Figure]:
    """Shares of digits and of whole lines that are read right."""
    made = list(in_processes(page_with_lines, range(FIRST_SEED, FIRST_SEED + pages)))
    lines, digits = _read_and_judged(recognizer, made)
    long = [one for one in made if sum(map(len, one[1])) >= TELLING][: round(TURNED * pages)]
    _, turned = _read_and_judged(recognizer, in_processes(turned_page, list(enumerate(long))))
    _, touching = _read_and_judged(recognizer, joined_digits(joined))
    return [
        share("pages of digits: digits read right", digits),
        share("pages of digits: lines read exactly", lines),
        share("pages of ten digits or more, on their side or upside down: digits read right", turned),
        share("pairs and triples that touch or overlap: digits read right", touching),
    ]


def measure_real(recognizer: Recognizer, folder: Path) -> list[Figure]:
    """The share of digits that are read right on the pages in a folder."""
    return [share("real pages: digits read right", _read_and_judged(recognizer, real_pages(folder))[1])]


def real_pages(folder: Path) -> list[Sample]:
    """The pages in a folder with labels.csv: file, lines."""
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        return [((folder / row["file"]).read_bytes(), row["lines"].split()) for row in csv.DictReader(file)]


def page_with_lines(seed: int) -> Sample:
    made: Page = page(seed)
    return made.file, made.lines


def turned_page(numbered: tuple[int, Sample]) -> Sample:
    """A page's file turned by 90, 180 or 270 degrees."""
    number, (file, lines) = numbered
    turns = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
    written = io.BytesIO()
    with Image.open(io.BytesIO(file)) as page:
        page.transpose(turns[number % len(turns)]).save(written, "JPEG", quality=95)
    return written.getvalue(), lines


def joined_digits(count: int) -> Iterator[Sample]:
    """PNG files of pairs and triples of digits in a row, each touching or overlapping the next."""
    data, random = load_test(), np.random.default_rng(0)
    for _ in range(count):
        chosen = random.choice(len(data), random.integers(2, 4), replace=False)
        inks = [sized(redrawn(data.images[one]), TALL * random.uniform(0.85, 1)) for one in chosen]
        row = inks[0]
        for ink in inks[1:]:
            row = pair(row, ink, str(random.choice(["touching", "overlapping by 10 %"])), random)
        sheet = sized(with_room(row, random, 0.05, 0.3), log_uniform(random, 80, 400))
        yield grey_file(on_paper(sheet, random), random), ["".join(str(data.labels[one]) for one in chosen)]


def _read_and_judged(
    recognizer: Recognizer, samples: Sequence[Sample] | Iterator[Sample]
) -> tuple[np.ndarray, np.ndarray]:
    """Which lines are read exactly, and which digits right, as far as edits tell, bool [n] each."""
    exact, right = list[bool](), list[bool]()
    for file, lines in samples:
        read = [line.replace(" ", "") for line in recognizer.read(file).lines]
        lines_right, wrong = judged(lines, read)
        exact += lines_right
        right += [True] * (sum(map(len, lines)) - wrong) + [False] * wrong
    return np.array(exact), np.array(right)


def judged(lines: Sequence[str], read: Sequence[str]) -> tuple[list[bool], int]:
    """Which lines are read exactly, and how many digits are wrong: edits, at most one for each digit."""
    pairs = aligned(lines, read)
    wrong = sum(edits_between(*one) for one in pairs)
    return [line == other for line, other in pairs if line], min(wrong, sum(map(len, lines)))


def edits_between(one: str, other: str) -> int:
    """How many digits must be inserted, left out or changed (Levenshtein 1966)."""
    return least_cost(one, other, lambda _: 1, lambda first, second: int(first != second))[0]


def aligned(lines: Sequence[str], read: Sequence[str]) -> list[tuple[str, str]]:
    """The true lines beside those that were read, in order, with the fewest edits; "" for none."""
    return least_cost(lines, read, len, edits_between)[1]


def least_cost(
    first: Sequence[str], second: Sequence[str], alone: Callable[[str], int], beside: Callable[[str, str], int]
) -> tuple[int, list[tuple[str, str]]]:
    """The least cost of going through two sequences in order, their elements alone or side by side, and one way to."""
    costs: list[tuple[int, list[tuple[str, str]]]] = [(0, [])]
    for other in second:
        costs.append((costs[-1][0] + alone(other), [*costs[-1][1], ("", other)]))
    for one in first:
        above, costs = costs, [(costs[0][0] + alone(one), [*costs[0][1], (one, "")])]
        for place, other in enumerate(second):
            ways = (
                (above[place][0] + beside(one, other), above[place][1], (one, other)),
                (above[place + 1][0] + alone(one), above[place + 1][1], (one, "")),
                (costs[place][0] + alone(other), costs[place][1], ("", other)),
            )
            cost, way, step = min(ways, key=lambda each: each[0])
            costs.append((cost, [*way, step]))
    return costs[-1]
