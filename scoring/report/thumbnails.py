"""Pictures of what rows are about; images are loaded again by their names in the output."""

import base64
import io
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple, TypeVar

from PIL import Image

from digits.decode import GreyImage, ImageError, Pixels
from digits.finder import Box, Finder
from digits.preprocess import preprocess
from digits.session import ModelError
from digits.settings import ModelSettings
from scoring.errors import ScoringError
from scoring.inputs.containers import kind_of, read_many
from scoring.inputs.images import Chunk
from scoring.rows import Row

# The longest side of a thumbnail and of a page's picture, in pixels.
SIDE, PAGE_SIDE = 96, 800
# How much of its side is shown around a digit on a page.
MARGIN = 0.3

View = TypeVar("View")


class Thumbnails(NamedTuple):
    """An image as it is and as the network saw it, as `data:` URIs; of a page, the place of a digit and nothing."""

    original: str
    preprocessed: str


class Picture(NamedTuple):
    """A page as a `data:` URI, and its size, in whose pixels the boxes of its digits are."""

    uri: str
    width: int
    height: int


def load_thumbnails(rows: Iterable[Row], transposed: bool = False) -> dict[Row, Thumbnails | ImageError]:
    """The thumbnails of images, or why one cannot be loaded again. Raises ScoringError and SettingsError."""
    try:
        finder = Finder.next_to(ModelSettings.from_environment().model_path)
    except ModelError as error:
        raise ScoringError(str(error)) from error

    def view(image: GreyImage, _row: Row) -> Thumbnails:
        return Thumbnails(_shrunk(image.pixels), _uri(Image.fromarray(preprocess(image, finder).image)))

    return _views(rows, view, transposed)


def load_places(rows: Iterable[Row], transposed: bool = False) -> dict[Row, Thumbnails | ImageError]:
    """The places of digits on pages, or all of a page without digits. Raises ScoringError."""

    def view(image: GreyImage, row: Row) -> Thumbnails:
        if row.left is None or row.top is None or row.width is None or row.height is None:
            return Thumbnails(_shrunk(image.pixels), "")
        size = image.file_size or image.size
        box = Box(row.left, row.top, row.width, row.height)
        box = box.widened(round(MARGIN * box.side), size)
        scale = image.size[0] / size[0]
        left, top, across, down = (int(one * scale) for one in (box.left, box.top, box.width, box.height))
        return Thumbnails(_shrunk(Box(left, top, across + 1, down + 1).of(image.whole())), "")

    return _views(rows, view, transposed)


def load_pictures(rows: Iterable[Row], transposed: bool = False) -> dict[Row, Picture | ImageError]:
    """Pictures of pages. Raises ScoringError."""

    def view(image: GreyImage, _row: Row) -> Picture:
        height, width = image.file_size or image.size
        return Picture(_shrunk(image.whole(), PAGE_SIDE), width, height)

    return _views(rows, view, transposed)


def _views(
    rows: Iterable[Row], view: Callable[[GreyImage, Row], View], transposed: bool
) -> dict[Row, View | ImageError]:
    """A view of each row's image, or why the image cannot be loaded again; an image is loaded once."""
    files: defaultdict[str, defaultdict[str, set[Row]]] = defaultdict(lambda: defaultdict(set))
    for row in rows:
        files[_file(row.path)][row.path].add(row)
    views: dict[Row, View | ImageError] = {}
    for file, wanted in files.items():
        for chunk in _chunks(file, wanted, transposed):
            for index, name in enumerate(chunk.names):
                if some := wanted.pop(name, None):
                    views |= _of_image(chunk, index, some, view)
            if not wanted:
                break
        views |= {row: ImageError("the image is no longer there") for some in wanted.values() for row in some}
    return views


def _of_image(
    chunk: Chunk, index: int, rows: Iterable[Row], view: Callable[[GreyImage, Row], View]
) -> dict[Row, View | ImageError]:
    try:
        image = chunk.load(index)
        return {row: view(image, row) for row in rows}
    except ImageError as error:
        return dict.fromkeys(rows, error)


def _file(name: str) -> str:
    """The file that holds an image: for `file#7` the file of many images, otherwise the image itself."""
    ends = [place for place, one in enumerate(name) if one == "#"]
    files = (name[:end] for end in ends if kind_of(name[:end]))
    return name if os.path.lexists(name) else next(files, name)


def _chunks(file: str, wanted: Collection[str], transposed: bool) -> Iterator[Chunk]:
    return iter([Chunk([file], [file])]) if list(wanted) == [file] else read_many(file, transposed=transposed)


def _shrunk(pixels: Pixels, side: int = SIDE) -> str:
    image = Image.fromarray(pixels)
    # A small image is enlarged here, so that its pixels stay sharp.
    factor = max(1, side // max(image.size))
    image = image.resize((factor * image.width, factor * image.height), Image.Resampling.NEAREST)
    image.thumbnail((side, side))
    return _uri(image)


def _uri(image: Image.Image) -> str:
    data, kind = _encoded(image, "PNG", optimize=True), "png"
    if len(data) > 2000 and len(smaller := _encoded(image, "JPEG", quality=85)) < len(data):
        data, kind = smaller, "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _encoded(image: Image.Image, format: str, **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()
