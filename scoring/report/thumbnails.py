"""Images loaded again by their names in the output, as pictures for a page."""

import base64
import io
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from PIL import Image

from digits.decode import ImageError
from digits.picture import Pixels
from digits.preprocess import preprocess
from scoring.extras import parquet
from scoring.inputs.images import Chunk, is_idx, is_parquet, read_idx

# The long side of an image as it is shown, in pixels, at most.
SIDE = 96


class Views(NamedTuple):
    """An image as it is and as the network saw it, as `data:` URIs."""

    original: str
    prepared: str


def load_views(names: Iterable[str]) -> dict[str, Views | ImageError]:
    """The views of images, or why one cannot be loaded again."""
    files: defaultdict[str, set[str]] = defaultdict(set)
    for name in names:
        files[_file(name)].add(name)
    views: dict[str, Views | ImageError] = {}
    for file, wanted in files.items():
        for chunk in _chunks(file, wanted):
            for index in [index for index, name in enumerate(chunk.names) if name in wanted]:
                wanted.remove(chunk.names[index])
                views[chunk.names[index]] = _views(chunk, index)
            if not wanted:
                break
        views |= dict.fromkeys(wanted, ImageError("expected to find it again; it is not there any more"))
    return views


def _file(name: str) -> str:
    """The file that an image is in: of `file#7`, the IDX or Parquet file, else itself."""
    file, _, number = name.rpartition("#")
    is_inside = number.isdecimal() and (is_parquet(file) or is_idx(file)) and not os.path.lexists(name)
    return file if is_inside else name


def _chunks(file: str, wanted: set[str]) -> Iterator[Chunk]:
    if wanted == {file}:
        return iter([Chunk([file], [file])])
    return parquet().read_images(file) if is_parquet(file) else read_idx(file)


def _views(chunk: Chunk, index: int) -> Views | ImageError:
    try:
        picture = chunk.load(index)
        return Views(_original(picture.pixels), _uri(Image.fromarray(preprocess(picture).image)))
    except ImageError as error:
        return error


def _original(pixels: Pixels) -> str:
    image = Image.fromarray(pixels)
    # A small one is enlarged here, so that its pixels stay sharp.
    factor = max(1, SIDE // max(image.size))
    image = image.resize((factor * image.width, factor * image.height), Image.Resampling.NEAREST)
    image.thumbnail((SIDE, SIDE))
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
