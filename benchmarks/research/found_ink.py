"""Draws the ink that was found in difficult images: `python -m benchmarks.research.found_ink [FILE]`.

Images of the benchmarks' kinds, made of MNIST's validation digits: 24 of them, up to twelve that were misread first.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from textwrap import wrap

import click
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.accuracy import hard_photos, marks
from benchmarks.accuracy.crops import crops
from benchmarks.accuracy.drawing import Pixels, redrawn, spread
from digits.decode import decode
from digits.finder import Box, Ink
from digits.recognizer import Prediction, Recognizer
from digits.settings import ModelSettings
from training.datasets.mnist import Dataset, load_training, split

COUNT = 20
# Crops by the pixels of the digit's longer side and by their form.
CROPS = ((64, "grey"), (28, "binarised"), (16, "grey"), (8, "grey"))
# The hard photos' seed for development.
SEED = 1
COLUMNS, ROWS = 8, 3
# In pixels: a picture's side, the space between pictures, and the lines below each.
SIDE, GAP, CAPTION = 150, 8, 54
# A digit that is small in its image is shown with at most so many times its size.
AROUND = 3
TINT, OUTLINE = (224, 72, 0), (11, 87, 181)
FONT = ImageFont.load_default(13)


@dataclass(frozen=True)
class Example:
    """An image with what was found in it and how it was read."""

    kind: str
    label: int
    pixels: Pixels
    box: Box | None
    ink: Ink | None
    prediction: Prediction

    @property
    def is_right(self) -> bool:
        return self.prediction.digit == self.label

    @property
    def caption(self) -> str:
        digit = self.prediction.digit
        read = f"read as {digit}" if digit is not None else str(self.prediction.reason)
        return "\n".join([*wrap(self.kind, 22), read if self.is_right else f"a {self.label}, {read}"])


def _crops(digits: Dataset, side: int, form: str) -> Iterator[bytes]:
    return crops([redrawn(digit) for digit in digits.images], side, form)


# Every kind of image, and what makes an image file of each digit.
KINDS: dict[str, Callable[[Dataset], Iterable[bytes]]] = {
    **{kind: partial(hard_photos.photos, kind=kind, seed=SEED) for kind in hard_photos.KINDS},
    **{kind: partial(marks.marked, kind=kind) for kind in marks.KINDS},
    **{f"crop, {side} px, {form}": partial(_crops, side=side, form=form) for side, form in CROPS},
}


def examples(recognizer: Recognizer, digits: Dataset) -> Iterator[Example]:
    """Every digit as every kind, beginning with another digit each time."""
    for number, (kind, make) in enumerate(KINDS.items()):
        turned = digits.part(np.roll(np.arange(len(digits)), 3 * number))
        for label, data in zip(turned.labels.tolist(), make(turned), strict=True):
            image = recognizer.decode_and_preprocess(data)
            [prediction] = recognizer.predict([image])
            yield Example(kind, label, decode(data).whole(), image.box, image.ink, prediction)


def chosen(everything: Iterable[Example]) -> list[Example]:
    """As many misread ones as right ones, if there are so many, each from all kinds in turn; the misread first."""
    places = Counter[tuple[str, bool]]()
    ranked: list[tuple[bool, int, Example]] = []
    for one in everything:
        places[one.kind, one.is_right] += 1
        ranked.append((one.is_right, places[one.kind, one.is_right], one))
    ranked.sort(key=lambda entry: entry[:2])
    wrong = [one for is_right, _, one in ranked if not is_right][: COLUMNS * ROWS // 2]
    return (wrong + [one for is_right, _, one in ranked if is_right])[: COLUMNS * ROWS]


def picture(example: Example) -> Image.Image:
    """The image in grey, its found ink tinted and its box outlined, in a square."""
    height, width = example.pixels.shape
    side, box = max(height, width), example.box
    left, top = (width - side) // 2, (height - side) // 2
    if box and AROUND * box.side < side:
        side = AROUND * box.side
        left, top = (
            min(max(round(middle - side / 2), 0), max(0, length - side))
            for middle, length in zip(box.middle[::-1], (width, height), strict=True)
        )
    scale = SIDE / side
    view = Image.new("RGB", (SIDE, SIDE), "white")
    place = (max(0, left), max(0, top), min(width, left + side), min(height, top + side))
    shown = _resized(Image.fromarray(example.pixels).crop(place), scale)
    view.paste(shown.convert("RGB"), (round(scale * max(0, -left)), round(scale * max(0, -top))))
    if box and example.ink is not None:
        low = (round(scale * (box.left - left)), round(scale * (box.top - top)))
        size = (max(1, round(scale * box.width)), max(1, round(scale * box.height)))
        ink = Image.fromarray((217 * example.ink).astype(np.uint8))
        view.paste(TINT, low, ink.resize(size, Image.Resampling.BILINEAR))
        outline = (low[0] - 1, low[1] - 1, low[0] + size[0], low[1] + size[1])
        ImageDraw.Draw(view).rectangle(outline, outline=OUTLINE, width=2)
    return view


def _resized(image: Image.Image, scale: float) -> Image.Image:
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.NEAREST)


def sheet(pictured: list[Example]) -> Image.Image:
    across, down = SIDE + GAP, SIDE + CAPTION + GAP
    whole = Image.new("RGB", (COLUMNS * across + GAP, ROWS * down + GAP), "white")
    canvas = ImageDraw.Draw(whole)
    for index, example in enumerate(pictured):
        left, top = GAP + index % COLUMNS * across, GAP + index // COLUMNS * down
        whole.paste(picture(example), (left, top))
        colour = "black" if example.is_right else "#b00020"
        canvas.text((left, top + SIDE + 2), example.caption, fill=colour, font=FONT, spacing=2)
    return whole


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), default=Path("docs/found-ink.jpg"))
def main(file: Path) -> None:
    """Draw the ink found in 24 difficult images into FILE, and say how many of all were misread."""
    recognizer = Recognizer.from_settings(ModelSettings.from_environment())
    everything = list(examples(recognizer, spread(split(load_training())[1], COUNT)))
    sheet(chosen(everything)).save(file, quality=80, optimize=True)
    wrong = sum(not one.is_right for one in everything)
    click.echo(f"wrote {file}: {wrong} of {len(everything)} images were misread")


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.research.found_ink")
