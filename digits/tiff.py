"""TIFF's kinds of samples: those that Pillow reads only with help, and those that it does not read."""

from itertools import islice

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import COMPRESSION_INFO, OPEN_INFO, TiffImageFile

from digits.limits import tiff_entries

_WIDTH, _BITS, _COMPRESSION, _SAMPLES, _SAMPLE_FORMAT = 256, 258, 259, 277, 339
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_SAMPLE_FORMATS = {_UNSIGNED: "unsigned integer", _SIGNED: "signed integer", _FLOAT: "floating-point"}
# What Pillow decodes, apart from unsigned samples of up to 16 bits.
_DEEP_SAMPLES = {(_UNSIGNED, 32), (_SIGNED, 8), (_SIGNED, 16), (_SIGNED, 32), (_FLOAT, 32), (_FLOAT, 64)}
_WEBP = 50001  # which Pillow knows, but not every build of it decodes
_COMPRESSIONS = {
    _WEBP: "WebP",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy DNG",
    34933: "PNG",
    22610: "JPEG XR",
    34934: "JPEG XR",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
# Pillow decodes these samples, but its table lacks them: byte order, photometric interpretation, sample format, fill
# order, bits and extra samples.
for _dark in (0, 1):
    OPEN_INFO[b"II", _dark, (_FLOAT,), 1, (64,), ()] = "F", "F;64F"
    OPEN_INFO[b"MM", _dark, (_FLOAT,), 1, (64,), ()] = "F", "F;64BF"
OPEN_INFO[b"MM", 1, (_UNSIGNED,), 1, (32,), ()] = "I", "I;32B"
# libtiff gives samples in this machine's order, which Pillow takes into account only for unsigned ones of 16 bits.
_NATIVE = {"F;32BF": "F;32NF", "F;64BF": "F;64NF", "I;16BS": "I;16NS", "I;32BS": "I;32NS", "I;32B": "I;32N"}


def use_native_order(image: TiffImageFile) -> None:
    """Corrects how Pillow is about to read the samples of a compressed image."""
    for index, tile in enumerate(image.tile):
        if tile.codec_name == "libtiff" and isinstance(tile.args, tuple):
            raw, *others = tile.args
            image.tile[index] = tile._replace(args=(_NATIVE.get(raw, raw), *others))


def sample_type(image: Image.Image) -> type[np.uint32 | np.int8] | None:
    """The type of an image's samples, if Pillow has read them as another one of that size."""
    if not isinstance(image, TiffImageFile) or image.mode not in ("I", "L"):
        return None
    kind = image.tag_v2.get(_BITS), image.tag_v2.get(_SAMPLE_FORMAT, (_UNSIGNED,))
    return np.uint32 if kind == ((32,), (_UNSIGNED,)) else np.int8 if kind == ((8,), (_SIGNED,)) else None


def undecodable_tiff(data: bytes) -> str | None:
    """Which kind of TIFF this is, if it is one that cannot be decoded; otherwise None."""
    tags = {_BITS: 1, _COMPRESSION: 1, _SAMPLES: 1, _SAMPLE_FORMAT: _UNSIGNED}
    tags |= {tag: value for tag, _, value in islice(tiff_entries(data), 1000)}
    if _WIDTH not in tags:
        return None
    if data.startswith(b"MM\0+"):
        return "a BigTIFF in big-endian order"
    compression, bits, form = tags[_COMPRESSION], tags[_BITS], tags[_SAMPLE_FORMAT]
    if compression == _WEBP or compression not in COMPRESSION_INFO:
        return f"a TIFF compressed with {_COMPRESSIONS.get(compression, f'method {compression}')}"
    if (form == _UNSIGNED and bits <= 16) or ((form, bits) in _DEEP_SAMPLES and tags[_SAMPLES] == 1):
        return None
    kind = f"{bits}-bit {_SAMPLE_FORMATS.get(form, 'complex')}"
    return f"a TIFF of {kind} samples" + (f", {tags[_SAMPLES]} per pixel" if tags[_SAMPLES] > 1 else "")
