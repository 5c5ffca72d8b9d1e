"""Which files of a folder or an archive are images, by their names."""

import re

# HEIC and AVIF cannot be decoded; they are named here so that they are not left out silently.
_FORMATS = (
    "png",
    "jpg",
    "jpeg",
    "jfif",
    "webp",
    "bmp",
    "gif",
    "tif",
    "tiff",
    "pgm",
    "ppm",
    "pbm",
    "heic",
    "heif",
    "avif",
    "jxl",
)
IMAGE_SUFFIXES = frozenset(f".{name}" for name in _FORMATS)
_JUNK = re.compile(r"(^|[/\\])(\._[^/\\]*|\.DS_Store|Thumbs\.db|desktop\.ini|__MACOSX|\.ipynb_checkpoints)([/\\]|$)")


def is_junk(path: str) -> bool:
    """Whether a path, relative to the folder or archive, is what systems and tools leave there, or inside of that."""
    return _JUNK.search(path) is not None
