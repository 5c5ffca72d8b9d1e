"""Thumbnails of images, which are loaded again by their names in the output."""

import base64
import io
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from PIL import Image

from digits.decode import ImageError, Pixels
from digits.finder import Finder
from digits.preprocess import preprocess
from digits.session import ModelError
from digits.settings import ModelSettings
from scoring.errors import ScoringError
from scoring.inputs.containers import kind_of, read_many
from scoring.inputs.images import Chunk

# The longest side of a thumbnail, in pixels.
SIDE = 96


class Thumbnails(NamedTuple):
    """An image as it is and as the network saw it, as `data:` URIs."""

    original: str
    preprocessed: str


def load_thumbnails(names: Iterable[str], transposed: bool = False) -> dict[str, Thumbnails | ImageError]:
    """The thumbnails of images, or why an image cannot be loaded again. Raises ScoringError and SettingsError."""
    try:
        finder = Finder.next_to(ModelSettings.from_environment().model_path)
    except ModelError as error:
        raise ScoringError(str(error)) from error
    files: defaultdict[str, set[str]] = defaultdict(set)
    for name in names:
        files[_file(name)].add(name)
    thumbnails: dict[str, Thumbnails | ImageError] = {}
    for file, wanted in files.items():
        for chunk in _chunks(file, wanted, transposed):
            for index, name in enumerate(chunk.names):
                if name in wanted:
                    wanted.remove(name)
                    thumbnails[name] = _thumbnails(chunk, index, finder)
            if not wanted:
                break
        thumbnails |= dict.fromkeys(wanted, ImageError("the image is no longer there"))
    return thumbnails


def _file(name: str) -> str:
    """The file that holds an image: for `file#7` the file of many images, otherwise the image itself."""
    ends = [place for place, one in enumerate(name) if one == "#"]
    files = (name[:end] for end in ends if kind_of(name[:end]))
    return name if os.path.lexists(name) else next(files, name)


def _chunks(file: str, wanted: set[str], transposed: bool) -> Iterator[Chunk]:
    return iter([Chunk([file], [file])]) if wanted == {file} else read_many(file, transposed=transposed)


def _thumbnails(chunk: Chunk, index: int, finder: Finder) -> Thumbnails | ImageError:
    try:
        picture = chunk.load(index)
        return Thumbnails(_original(picture.pixels), _uri(Image.fromarray(preprocess(picture, finder).image)))
    except ImageError as error:
        return error


def _original(pixels: Pixels) -> str:
    image = Image.fromarray(pixels)
    # A small image is enlarged here, so that its pixels stay sharp.
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
