"""Where on a training page digits and other marks lie: one kind of page, one function.

Every layout takes the writers and a random generator and gives a Layout.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from digits.decode import Pixels
from training.datasets.outliers import filled_outlines, silhouette
from training.finder.marks import bars, enclosure, letter, punctuation, scribble, symbol, word
from training.finder.paper import Field, beyond_paper, texture
from training.finder.writing import Glyph, Least, Style, Writers, ratio, stroke_width

# The finder's frame is a square of so many pixels.
FRAME = 128
MOST_DIGITS = 128
# Scenes are drawn at this long side in pixels at least and at most; finer images are smoother, not more detailed.
COARSEST_SCENE, FINEST_SCENE = 96, 288
# And at this short side at least.
SLIMMEST = 8
# A digit is to be found if the frame shows this much of its ink.
VISIBLE = 0.5


class Canvas:
    """What is written on one page: digits that are to be found, and marks that are not."""

    def __init__(self, height: int, width: int) -> None:
        self.ink, self.marks, self.behind, self.found = np.zeros((4, height, width), np.uint8)
        # Which digit each pixel belongs to, counted from 1.
        self.owners = np.zeros((height, width), np.uint8)
        self.table = np.zeros((height, width), bool)
        self.boxes: list[tuple[float, float, float]] = []
        self.labels: list[int] = []

    @property
    def shape(self) -> tuple[int, int]:
        return self.ink.shape[0], self.ink.shape[1]

    def place(self, glyph: Glyph, top: int, left: int) -> None:
        """Writes a digit, unless that is off the paper; one of which the frame shows too little becomes a mark.

        A 1 is left out then: what is left of it could be a whole one.
        """
        into, visible = _overlap(self.shape, glyph.ink.shape, top, left)
        ink = glyph.ink[visible]
        if self.table[into].any() or len(self.labels) == MOST_DIGITS:
            return
        if ink.sum(dtype=np.int64) < VISIBLE * glyph.ink.sum(dtype=np.int64):
            if glyph.label != 1:
                self.mark(glyph.shown, top, left)
            return
        self.labels.append(glyph.label)
        self.owners[into][ink > np.maximum(self.found[into], 24)] = len(self.labels)
        self.found[into] = np.maximum(self.found[into], ink)
        self.ink[into] = np.maximum(self.ink[into], glyph.shown[visible])
        height, width = glyph.ink.shape
        self.boxes.append((top + height / 2, left + width / 2, max(height, width)))

    def mark(self, ink: Pixels, top: float, left: float) -> None:
        into, visible = _overlap(self.shape, ink.shape, round(top), round(left))
        self.marks[into] = np.maximum(self.marks[into], ink[visible])

    def show_through(self, other: "Canvas", random: Generator) -> None:
        """Writing on the other side of the paper: another page's or this one's own, mirrored, moved and softened."""
        back = np.roll(np.maximum(other.ink, other.marks)[:, ::-1], random.integers(1, min(other.shape), 2), (0, 1))
        soft = Image.fromarray(back).resize([max(2, side // 2) for side in self.shape[::-1]], Image.Resampling.BOX)
        self.behind = np.asarray(soft.resize(self.shape[::-1], Image.Resampling.BILINEAR))


def _overlap(
    frame: tuple[int, ...], ink: tuple[int, ...], top: int, left: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The part of the frame that ink placed there covers, and the part of the ink that lies in the frame."""
    low = (max(0, top), max(0, left))
    high = (max(low[0], min(frame[0], top + ink[0])), max(low[1], min(frame[1], left + ink[1])))
    into = (slice(low[0], high[0]), slice(low[1], high[1]))
    return into, (slice(low[0] - top, high[0] - top), slice(low[1] - left, high[1] - left))


@dataclass(frozen=True)
class Layout:
    """What is to be photographed.

    `size` is the digits' usual height in the canvas's pixels, `turn` the lines' angle in radians, `sent` the long side
    of the image that is sent, in its own pixels. `picture`, 0 to 1, stands for a photograph where there is no writing.
    """

    canvas: Canvas
    size: float
    turn: float
    sent: int
    picture: Field | None = None


def _sent_size(random: Generator, least: int) -> int:
    """The long side of an image as it is sent: coarse, as large as the frame, or larger."""
    draw = random.random()
    if draw < 0.3:
        return round(ratio(random, least, max(34, 1.5 * least)))
    if draw < 0.4:
        return max(28, least)
    return round(ratio(random, max(34, least), 400))


def _scene_size(sent: int) -> int:
    """The long side of the scene that is drawn for it: a multiple of a coarse image's, so that its pixels are even."""
    return min(sent * math.ceil(COARSEST_SCENE / sent), FINEST_SCENE)


def _least(scene: int, sent: int) -> Least:
    """Strokes as they must be to survive in the image that is sent, and to be ink in the frame's pixels."""
    return Least(shown=max(0.5, 0.6 * scene / sent), found=1.3 * scene / FRAME)


def tight(writers: Writers, random: Generator) -> Layout:
    """One digit cropped to its ink, with hardly any margin or a little less than none."""
    sent = _sent_size(random, 7)
    scene = _scene_size(sent)
    pixel = scene / sent  # of the image that is sent
    match random.integers(4):
        case 0:
            margins = random.uniform(-0.045, 0.10, 4) * scene
        case 1:
            margins = np.full(4, random.choice([0, 0, pixel, 2 * pixel, -0.02 * scene]))
        case 2:
            margins = random.choice([0.0, pixel, -0.02 * scene, 0.06 * scene, 0.25 * scene], 4)
        case _:  # touching some edges, far from the others
            margins = np.where(random.random(4) < 0.5, 0.0, random.uniform(0, 0.4, 4) * scene)
    glyph = writers.random_style(random, _least(scene, sent)).digit(scene, _small_turn(random), random)
    top, bottom, left, right = (round(margin) for margin in margins)
    height, width = (
        max(SLIMMEST, one) for one in (glyph.ink.shape[0] + top + bottom, glyph.ink.shape[1] + left + right)
    )
    canvas = Canvas(height, width)
    canvas.place(glyph, top, left)
    if random.random() < 0.15:
        _add_company(canvas, (top, left), glyph, random)
    return Layout(canvas, max(glyph.ink.shape), 0, max(6, round(sent * max(height, width) / scene)))


def single(writers: Writers, random: Generator) -> Layout:
    """One digit with room around it, with or without other marks."""
    sent = _sent_size(random, 16)
    scene = _scene_size(sent)
    share = random.uniform(0.5, 0.9) if random.random() < 0.6 else ratio(random, max(0.09, 6 / sent), 0.6)
    glyph = writers.random_style(random, _least(scene, sent)).digit(share * scene, _small_turn(random), random)
    short = max(min(scene, round(scene * random.uniform(0.45, 1.0))), min(glyph.ink.shape) + 4)
    upright = glyph.ink.shape[0] >= glyph.ink.shape[1]
    sides = [scene, min(short, scene)]
    canvas = Canvas(*(sides if upright or short == scene else sides[::-1]))
    top, left = (
        round((room - side) * random.beta(1.7, 1.7)) for room, side in zip(canvas.shape, glyph.ink.shape, strict=True)
    )
    canvas.place(glyph, top, left)
    for _ in range(random.choice([0, 1, 2], p=[0.5, 0.35, 0.15])):
        _add_company(canvas, (top, left), glyph, random)
    if random.random() < 0.12:
        _add_cut_neighbour(canvas, writers.random_style(random, _least(scene, sent)), max(glyph.ink.shape), random)
    return Layout(canvas, max(glyph.ink.shape), random.normal(0, 0.03), sent)


def several(writers: Writers, random: Generator) -> Layout:
    """Two to five digits, in a row or column from far apart to overlapping, or scattered."""
    count = int(random.choice([2, 3, 4, 5], p=[0.6, 0.2, 0.1, 0.1]))
    sent = _sent_size(random, 14 * count)
    scene = _scene_size(sent)
    style, turn = writers.random_style(random, _least(scene, sent)), _small_turn(random)
    gap = random.choice(["touching", "overlapping", "close", "apart"], p=[0.3, 0.2, 0.2, 0.3])
    size = 0.75 * scene / max(1, 0.65 * count)
    glyphs = [
        (style.bar if random.random() < 0.1 else style.digit)(size * random.uniform(0.85, 1), turn, random)
        for _ in range(count)
    ]
    if gap == "apart" and random.random() < 0.4:
        canvas = Canvas(scene, max(scene // 2, round(scene * random.uniform(0.6, 1))))
        _scatter(canvas, glyphs, random)
    else:
        if random.random() < 0.25:  # below one another
            turned = [Glyph(glyph.shown.T, glyph.ink.T, glyph.label) for glyph in glyphs]
            places = [(down, across) for across, down in _row(turned, str(gap), random)]
        else:
            places = _row(glyphs, str(gap), random)
        top, left = (min(place[axis] for place in places) for axis in (0, 1))
        bottom = max(place[0] + glyph.ink.shape[0] for place, glyph in zip(places, glyphs, strict=True))
        right = max(place[1] + glyph.ink.shape[1] for place, glyph in zip(places, glyphs, strict=True))
        room = 0.0 if random.random() < 0.25 else 0.35
        above, below, before, after = (round(random.uniform(0, room) * scene) for _ in range(4))
        canvas = Canvas(max(SLIMMEST, bottom - top + above + below), max(SLIMMEST, right - left + before + after))
        for glyph, (down, across) in zip(glyphs, places, strict=True):
            canvas.place(glyph, down - top + above, across - left + before)
    if random.random() < 0.25:
        _add_company(canvas, (canvas.shape[0] // 4, canvas.shape[1] // 4), glyphs[0], random)
    size = float(np.mean([max(glyph.ink.shape) for glyph in glyphs]))
    return Layout(canvas, size, turn, sent)


def _scatter(canvas: Canvas, glyphs: list[Glyph], random: Generator) -> None:
    taken = np.zeros(canvas.shape, bool)
    for glyph in glyphs:
        for _ in range(20):
            top, left = (
                int(random.integers(max(1, room - side + 1)))
                for room, side in zip(canvas.shape, glyph.ink.shape, strict=True)
            )
            box = (slice(top, top + glyph.ink.shape[0]), slice(left, left + glyph.ink.shape[1]))
            if not taken[box].any():
                taken[box] = True
                canvas.place(glyph, top, left)
                break


def _row(glyphs: list[Glyph], gap: str, random: Generator) -> list[tuple[int, int]]:
    """Where digits written in a row lie, top and left, the first at 0, 0.

    Those that touch or overlap are moved together until their ink does; the others until their boxes are so far apart.
    """
    places = [(0, 0)]
    first = glyphs[0].ink.shape[0]
    for before, glyph in itertools.pairwise(glyphs):
        size = max(max(before.ink.shape), max(glyph.ink.shape))
        top = round((first - glyph.ink.shape[0]) * random.uniform(0.2, 1) + random.normal(0, 0.04) * size)
        distance = {
            "touching": -random.uniform(0.0, 0.06) * size,
            "overlapping": -random.uniform(0.02, 0.11) * size,
            "close": random.uniform(0.02, 0.15) * size,
            "apart": random.uniform(0.15, 1.2) * size,
        }[gap]
        place = places[-1]
        if gap == "apart":
            left = place[1] + before.ink.shape[1] + distance
        else:
            left = place[1] + _contact(before.ink, glyph.ink, top - place[0]) + distance
        places.append((top, round(left)))
    return places


def _contact(before: Pixels, after: Pixels, down: int) -> int:
    """How far right of the one digit's box the other's begins where their ink just touches, `down` rows lower."""
    rows = np.arange(max(0, down), min(len(before), down + len(after)))
    if not len(rows):
        return before.shape[1]
    left, right = before[rows] > 96, after[rows - down] > 96
    both = left.any(axis=1) & right.any(axis=1)
    if not both.any():
        return before.shape[1]
    ends = before.shape[1] - left[both][:, ::-1].argmax(axis=1)
    return int((ends - right[both].argmax(axis=1)).max())


def dense(writers: Writers, random: Generator) -> Layout:
    """Part of a page with lines of digits, cut by the frame."""
    sent = round(ratio(random, 100, 300))
    scene = _scene_size(sent)
    canvas = Canvas(*((scene, scene) if random.random() < 0.8 else (scene, round(scene * random.uniform(0.4, 1)))))
    if random.random() < 0.25:
        canvas.table = beyond_paper(canvas.shape, random)
    style = writers.random_style(random, _least(scene, sent))
    size = ratio(random, 11, 48) / FRAME * scene
    turn = math.radians(random.uniform(-15, 15)) if random.random() < 0.4 else random.normal(0, 0.03)
    pitch, usual_gap = size * random.uniform(1.15, 2.6), ratio(random, 0.03, 1.2)
    middle = np.array(canvas.shape[::-1]) / 2
    reach = float(np.hypot(*canvas.shape)) / 2
    line = -reach + random.uniform(0, pitch)
    while line < reach:
        if random.random() < 0.9:
            along = random.uniform(-reach, reach) if random.random() < 0.3 else -reach
            _write_line(canvas, style, size, (line, along, reach, usual_gap), turn, middle, random)
        line += pitch * random.uniform(0.92, 1.08)
    return Layout(canvas, size, turn, sent)


# What a line of text is made of.
TEXTS = (letter, letter, word, scribble)


def _write_line(
    canvas: Canvas,
    style: Style,
    size: float,
    line: tuple[float, float, float, float],
    turn: float,
    middle: NDArray[np.float64],
    random: Generator,
) -> None:
    """Numbers along a line, with blanks and punctuation between them, or now and then a row of letters or scribbles.

    `line` is how far it lies below the frame's middle, where it begins and ends right of it, and the usual gap by the
    digits' size.
    """
    down, along, end, usual_gap = line
    text = TEXTS[random.integers(len(TEXTS))] if random.random() < 0.15 else None
    to_frame = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    left_in_number = int(random.integers(1, 14))
    while along < end:
        if left_in_number == 0:
            along += size * random.uniform(0.6, 4)
            left_in_number = int(random.integers(1, 14))
        height = size * ratio(random, 0.75, 1.15) * (0.65 if random.random() < 0.08 else 1)
        place = np.array([along, down + random.normal(0, 0.05) * size]) @ to_frame + middle
        is_far = (place < -size).any() or (place > 2 * middle + size).any()
        if is_far:  # out of sight
            along += size * (0.6 + usual_gap)
        elif text or random.random() < 0.04:
            ink = (text or punctuation)(height * random.uniform(0.5, 1), min(style.pen, 0.15), random)
            canvas.mark(ink, place[1] - ink.shape[0] / 2, place[0])
            along += ink.shape[1] + size * usual_gap * random.uniform(0.3, 1.5)
        else:
            glyph = style.digit(height, turn, random)
            canvas.place(glyph, round(place[1] - glyph.ink.shape[0] / 2), round(place[0]))
            along += glyph.ink.shape[1] + size * usual_gap * random.uniform(0.0 if usual_gap < 0.1 else 0.3, 1.7)
        left_in_number -= 1


def none(writers: Writers, random: Generator) -> Layout:
    """No digit: paper alone, textures, things, text, the other side's digits, bars, symbols, cut neighbours."""
    sent = _sent_size(random, 24)
    scene = _scene_size(sent)
    canvas = Canvas(scene, round(scene * random.uniform(0.5, 1)))
    size = scene * ratio(random, 0.1, 0.9)
    pen = ratio(random, 0.015, 0.2)
    match random.integers(13):
        case 0:
            pass
        case 1:  # a texture and nothing else
            field = texture(canvas.shape, random)
            tone, contrast = random.uniform(0.2, 1), random.uniform(0.05, 1)
            shaded = tone * (1 - contrast * field) + random.normal(0, ratio(random, 0.002, 0.1), canvas.shape)
            return Layout(canvas, size, 0, sent, shaded)
        case 2:  # noise and nothing else
            noise = random.uniform(0, 1) + random.normal(0, ratio(random, 0.01, 0.5), canvas.shape)
            return Layout(canvas, size, 0, sent, noise)
        case 3:  # a thing seen from one side
            outline = Image.fromarray((filled_outlines if random.random() < 0.4 else silhouette)(random))
            side = max(8, round(min(canvas.shape) * random.uniform(0.4, 1)))
            thing = np.asarray(outline.resize((side, side), Image.Resampling.BILINEAR))
            canvas.mark(thing, *(random.integers(0, np.array(canvas.shape) - side + 1)))
        case 4:  # lines of text
            size, make = scene * ratio(random, 0.06, 0.3), TEXTS[random.integers(len(TEXTS))]
            for top in np.arange(0, scene, size * random.uniform(1.2, 2.5)):
                left = random.uniform(-1, 1) * size
                while left < canvas.shape[1]:
                    ink = make(size * random.uniform(0.6, 1), min(pen, 0.15), random)
                    canvas.mark(ink, top, left)
                    left += ink.shape[1] + size * random.uniform(0.1, 0.8)
        case 5:
            for _ in range(random.integers(1, 4)):
                _add_cut_neighbour(canvas, writers.random_style(random, _least(scene, sent)), size, random)
        case 6:  # the other side of a page
            canvas.show_through(dense(writers, random).canvas, random)
        case 7:
            canvas.mark(bars(canvas.shape, random), 0, 0)
        case _:
            for _ in range(random.choice([1, 1, 1, 2, 4])):
                ink = (scribble if random.random() < 0.25 else symbol)(size, pen, random)
                top, left = random.uniform(-0.1, 1.0, 2) * (np.array(canvas.shape) - ink.shape)
                canvas.mark(ink, top, left)
    return Layout(canvas, size, random.normal(0, 0.1), sent)


LAYOUTS: tuple[Callable[[Writers, Generator], Layout], ...] = (tight, single, several, dense, none)
LAYOUT_SHARES = (0.26, 0.22, 0.2, 0.18, 0.14)


def _small_turn(random: Generator) -> float:
    return math.radians(random.uniform(-15, 15)) if random.random() < 0.5 else 0.0


def _add_company(canvas: Canvas, place: tuple[int, int], glyph: Glyph, random: Generator) -> None:
    """A mark that is not to be found: a circle or box around the digit, a line through it, or a mark beside it."""
    top, left = place
    height, width = glyph.ink.shape
    size = max(height, width)
    same_pen = stroke_width(glyph.shown) / size * ratio(random, 0.8, 1.25)
    pen = min(same_pen, 0.3) if random.random() < 0.6 else ratio(random, 0.015, 0.2)
    match random.integers(7):
        case 0 | 1 | 2:
            around = enclosure(height, width, pen, random)
            move = random.normal(0, 0.04, 2) * size
            canvas.mark(
                around,
                top + (height - around.shape[0]) / 2 + move[0],
                left + (width - around.shape[1]) / 2 + move[1],
            )
        case 3:  # lines across the frame, through the digit or not
            lines = Image.new("L", canvas.shape[::-1])
            for _ in range(random.integers(1, 3)):
                is_level = random.random() < 0.85  # a 1 is an upright line, too
                middle = (
                    random.uniform(top - 0.2 * size, top + 1.2 * height)
                    if is_level
                    else random.uniform(left - 0.2 * size, left + 1.2 * width)
                )
                slope = random.normal(0, 0.03) * max(canvas.shape) / 2
                far = canvas.shape[1] if is_level else canvas.shape[0]
                ends = [(0.0, middle - slope), (float(far), middle + slope)]
                ImageDraw.Draw(lines).line(
                    ends if is_level else [(one[1], one[0]) for one in ends],
                    fill=int(random.integers(120, 256)),
                    width=max(1, round(pen * 0.6 * size)),
                )
            canvas.mark(np.asarray(lines), 0, 0)
        case _:
            make = (punctuation, scribble, symbol)[random.choice(3, p=[0.5, 0.25, 0.25])]
            ink = make(size if make is punctuation else size * random.uniform(0.2, 0.9), pen, random)
            side = random.choice([-1, 1])
            beside = (
                left + width * random.uniform(1.08, 1.6)
                if side > 0
                else left - ink.shape[1] - width * random.uniform(0.08, 0.6)
            )
            canvas.mark(ink, top + random.uniform(-0.2, 0.9) * height, beside)


def _add_cut_neighbour(canvas: Canvas, style: Style, size: float, random: Generator) -> None:
    """A digit that reaches into the frame with less than half of it; no 1, which would look like a whole one."""
    glyph = style.digit(size * random.uniform(0.8, 1.2), 0, random)
    if glyph.label == 1:
        return
    height, width = glyph.ink.shape
    reach = random.uniform(0.05, 0.35)
    top, left = (random.uniform(-0.2, 0.9) * room for room in canvas.shape)
    match random.integers(4):
        case 0:
            top = (reach - 1) * height
        case 1:
            top = canvas.shape[0] - reach * height
        case 2:
            left = (reach - 1) * width
        case _:
            left = canvas.shape[1] - reach * width
    into, visible = _overlap(canvas.shape, glyph.shown.shape, round(top), round(left))
    if (canvas.found[into] > 0).any():
        return  # it would hide the digit
    canvas.marks[into] = np.maximum(canvas.marks[into], glyph.shown[visible])
