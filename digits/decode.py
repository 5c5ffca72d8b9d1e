"""Bytes → pixels: the security boundary. Only structure.py, for it, else reads a byte that a stranger sent as an image.

Every failure is an ImageError whose message may be shown to the sender.
"""

import math
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageFilter
from PIL.JpegImagePlugin import JpegImageFile

from digits.limits import CountedReader, ExcessError, check_structure, jpeg_scan_components
from digits.memory import give_back_free_memory, memory_lock

Pixels = NDArray[np.uint8]

# Pillow warns of large images, odd EXIF and the like; the limits here are our own. Once and for the whole process:
# threads that each set a filter would race, and leave more and more of them.
warnings.filterwarnings("ignore", module=r"PIL\.")

MAXIMUM_BYTES = 16 * 2**20
MAXIMUM_PIXELS = 25_000_000
# A row of pixels has a cost of its own, whatever its width. What is coded in runs is decoded pixel by pixel in Python.
MAXIMUM_SIDE, MAXIMUM_RUN_LENGTH_PIXELS = 65_535, 2**22
# Images with more pixels than this are heavy work, since each takes up to 16 bytes a pixel while it is decoded.
LARGE_PIXELS = 2_000_000
# What a JPEG image may take while it is decoded: one that comes in scans is kept whole, as coefficients of two bytes.
MAXIMUM_JPEG_BYTES = 100_000_000
# Large images become grey so many pixels at a time.
PIXELS_AT_ONCE = 2**18
# Pillow reads a PNG's pixels in pieces of this size; what is no larger may be decoded without its reader.
PLAIN_BYTES = 2**16
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
ACCEPTED = "PNG, JPEG, WebP, BMP, GIF or TIFF"
# The weights of red, green and blue, and what is added, that make grey: as the eye sees it, or as JPEG's differences in
# blue and in red (ITU-T T.871). These are taken where they show this many times the contrast, and this contrast, of
# 255, at least, in a sample of at most this many pixels a side.
Weights = tuple[float, float, float, float]
LUMINANCE: Weights = (0.299, 0.587, 0.114, 0.0)
COLOUR_DIFFERENCES: tuple[Weights, ...] = ((-0.1687, -0.3313, 0.5, 128.0), (0.5, -0.4187, -0.0813, 128.0))
COLOUR_ADVANTAGE, COLOUR_CONTRAST, COLOUR_SAMPLE = 4, 30, 128
# The long side, in pixels, of the reduced image in which a digit is looked for first.
FIRST_SIZE = 128
# How many times as small as it would be in full the first look at a JPEG image may be.
COARSER = 1.25
# Between these parts of a sample's pixels, in order, lies its contrast.
CONTRASTED = np.array([0.002, 0.998])


class ImageError(Exception):
    """The bytes are no image that can be read; the message says what was expected and what came."""


class ImageTooLargeError(ImageError):
    """More bytes or more pixels than are accepted."""


@dataclass(frozen=True)
class GreyImage:
    """Grey pixels, uint8 [H, W]; reduced if `full` is given, which decodes them in full size."""

    pixels: Pixels
    full: Callable[[], Pixels] | None = None

    def whole(self) -> Pixels:
        """The pixels in full size."""
        return self.full() if self.full else self.pixels


def decode(data: bytes) -> GreyImage:
    """Decodes an image file to grey pixels, a large JPEG image at first at a part of its size.

    Upright by its EXIF orientation, transparency laid over paper, the first frame of several. Grey is brightness, or
    where that hardly differs, as between red ink and green paper, colour. Raises ImageError.
    """
    if not data:
        raise ImageError(f"expected an image ({ACCEPTED}); got no bytes")
    if len(data) > MAXIMUM_BYTES:
        raise ImageTooLargeError(f"expected at most {MAXIMUM_BYTES} bytes; got {len(data)}")
    return _plain_png(data) or _reduced_jpeg(data) or GreyImage(_whole(data))


def _whole(data: bytes, weights: Weights | None = None) -> Pixels:
    """The pixels of any file in full, grey by these weights if they are known."""
    image = _open(data)
    _check_size(image, data)
    with _memory_lock(image):
        try:
            pixels = _pixels(image, data, weights)
            if image.format == "PNG":
                _check_png(data)
            return pixels
        except ExcessError as error:
            raise ImageTooLargeError(str(error)) from error
        # Pillow's decoders raise whatever a broken file makes them stumble over (OSError, SyntaxError, ValueError,
        # struct.error, IndexError, …), and every one of those means the same to the sender.
        except Exception as error:
            raise ImageError(f"expected a whole {image.format} image; got one that is broken or cut short") from error


def _reduced_jpeg(data: bytes) -> GreyImage | None:
    """A JPEG image at an eighth, a quarter or half of its size, as the decoder makes it in less time than all of it.

    None for any other file, also where anything is wrong with it.
    """
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    try:
        image = _open(data)
        _check_size(image, data)
    except ImageError:
        return None
    scale = _jpeg_scale(max(image.size))
    if not isinstance(image, JpegImageFile) or image.mode not in ("L", "RGB") or scale == 1:
        return None
    with _memory_lock(image):
        try:
            image.draft("YCbCr", (max(1, image.width // scale), max(1, image.height // scale)))
            image.load()
            bands = image.split()
            weights = _told_by(*(_sample(one) for one in bands)) if len(bands) == 3 else LUMINANCE
            pixels = np.asarray(bands[(LUMINANCE, *COLOUR_DIFFERENCES).index(weights)])
            return GreyImage(_upright(pixels, _orientation(image)), partial(_whole, data, weights))
        except Exception:
            return None


def _jpeg_scale(side: int) -> int:
    """By how much the decoder may reduce an image for the first look, whose factor becomes a multiple of it."""
    factor = -(-side // FIRST_SIZE)
    return next((scale for scale in (8, 4, 2) if scale * -(-factor // scale) <= COARSER * factor), 1)


def _plain_png(data: bytes) -> GreyImage | None:
    """The pixels of a small PNG that is a header, one chunk of pixels and the end, as most small ones are.

    Pillow's decoder is given the pixels at once, as its own reader of PNG would give them in several times as long.
    None for any other file, also where anything is wrong with it.
    """
    if not _PNG_FRAME < len(data) <= PLAIN_BYTES or data[:16] != _PNG_START or data[-12:] != _PNG_END:
        return None
    width, height, kind, header_sum, length, name = struct.unpack_from(">II5sII4s", data, 16)
    mode = _PLAIN_KINDS.get(kind)
    if mode is None or name != b"IDAT" or length != len(data) - _PNG_FRAME:
        return None
    if not 0 < width * height <= LARGE_PIXELS or max(width, height) > MAXIMUM_SIDE:
        return None
    if zlib.crc32(data[12:29]) != header_sum or zlib.crc32(data[37:-16]).to_bytes(4, "big") != data[-16:-12]:
        return None
    try:
        return GreyImage(_grey(Image.frombytes(mode, (width, height), data[41:-16], "zip", mode, 0)))
    except Exception:
        return None


_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR", b"\0\0\0\0IEND\xaeB`\x82"
# What such a file has beside its compressed pixels.
_PNG_FRAME = 57
# The mode by the header's bytes for depth, colours, compression, filters and interlacing.
_PLAIN_KINDS = {bytes([8, colours, 0, 0, 0]): mode for colours, mode in {0: "L", 2: "RGB", 4: "LA", 6: "RGBA"}.items()}


def _open(data: bytes) -> ImageFile.ImageFile:
    try:
        check_structure(data)
        return Image.open(CountedReader(data), formats=FORMATS)
    except ExcessError as error:
        raise ImageTooLargeError(str(error)) from error
    except Image.DecompressionBombError as error:
        raise ImageTooLargeError(f"expected at most {MAXIMUM_PIXELS} pixels; got many more") from error
    except Exception as error:
        found = format_name(data)
        got = (
            f"{'a broken ' if found in FORMATS else ''}{found}"
            if found
            else f"{len(data)} bytes that are none of these"
        )
        raise ImageError(f"expected an image ({ACCEPTED}); got {got}") from error


def _check_size(image: ImageFile.ImageFile, data: bytes) -> None:
    width, height = image.size
    if width * height > MAXIMUM_PIXELS:
        raise ImageTooLargeError(f"expected at most {MAXIMUM_PIXELS} pixels; got {width}×{height}")
    if max(width, height) > MAXIMUM_SIDE:
        raise ImageTooLargeError(f"expected at most {MAXIMUM_SIDE} pixels a side; got {width}×{height}")
    if isinstance(image, JpegImageFile):
        _check_jpeg(image, data)
    if width * height > MAXIMUM_RUN_LENGTH_PIXELS and [tile[0] for tile in image.tile] == ["bmp_rle"]:
        raise ImageTooLargeError(
            f"expected at most {MAXIMUM_RUN_LENGTH_PIXELS} pixels of a run-length encoded BMP; got {width}×{height}"
        )


@contextmanager
def _memory_lock(image: Image.Image) -> Iterator[None]:
    """Held while a large image is decoded, so that a process has one in memory at a time."""
    large = math.prod(image.size) > LARGE_PIXELS
    with memory_lock(large):
        if large:
            give_back_free_memory()
        yield


def _check_jpeg(image: JpegImageFile, data: bytes) -> None:
    """Raises ImageTooLargeError for a JPEG image, opened and no more, that would take too much memory."""
    samples = [across * down for _, across, down, _ in image.layer] or [1]
    bytes_a_pixel = 5.0 if image.mode == "CMYK" else 1.0
    if "progressive" in image.info or jpeg_scan_components(data) < len(samples):
        bytes_a_pixel += 2 * sum(samples) / max(1, *samples)
    if bytes_a_pixel * math.prod(image.size) > MAXIMUM_JPEG_BYTES:
        raise ImageTooLargeError(
            f"expected at most {int(MAXIMUM_JPEG_BYTES / bytes_a_pixel)} pixels of a JPEG image that is made like this "
            f"one; got {image.width}×{image.height}"
        )


# What is sent by mistake or from a phone, told by its first bytes: (offset, bytes, name).
_SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (8, b"WEBP", "WEBP"),
    (0, b"GIF8", "GIF"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (0, b"BM", "BMP"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftyphev", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (4, b"ftypmsf1", "HEIF"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypavis", "AVIF"),
    (4, b"ftyp", "an MP4 or QuickTime film"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"%PDF", "PDF"),
    (0, b"8BPS", "Photoshop"),
    (0, b"%!PS", "PostScript"),
    (0, b"<svg", "SVG"),
    (0, b"<?xml", "XML or SVG"),
    (0, b"\x00\x00\x01\x00", "ICO"),
    (0, b"qoif", "QOI"),
    (0, b"PK\x03\x04", "ZIP"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"\x00\x00\x08", "IDX"),
    (0, b"PAR1", "Parquet"),
    (0, b"<", "HTML or XML"),
    (0, b"{", "JSON"),
)


def format_name(data: bytes) -> str | None:
    """The name of the file format that the first bytes tell, None if they tell none."""
    return next((name for offset, sign, name in _SIGNATURES if data[offset : offset + len(sign)] == sign), None)


def _check_png(data: bytes) -> None:
    """Checks the chunks' checksums, which Pillow leaves unread for the pixels. Raises ValueError or struct.error."""
    position, kind = 8, b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if zlib.crc32(data[position + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise ValueError(kind)
        position = end + 4


def _pixels(image: ImageFile.ImageFile, data: bytes, weights: Weights | None) -> Pixels:
    size = image.size
    if isinstance(image, JpegImageFile) and image.mode in ("L", "RGB"):
        weights = weights or _weights(_open(data))
        if weights == LUMINANCE:
            image.draft("L", size)  # leaves the colours undecoded
        elif math.prod(size) > LARGE_PIXELS:
            image.draft("YCbCr", (size[0] // 2, size[1] // 2))  # most files have no more of the colours
    image.load()
    # Only now: TIFF turns itself upright when it is loaded, and PNG may say its orientation after the pixels.
    orientation = _orientation(image)
    image.fp = None  # where WebP keeps all the pixels a second time
    if image.mode == "YCbCr":
        grey = image.getchannel(1 + COLOUR_DIFFERENCES.index(weights or LUMINANCE))
        image.close()
        return _upright(np.asarray(grey.resize(size)), orientation)
    return _upright(_grey(image, weights), orientation)


def _grey(image: Image.Image, weights: Weights | None = None) -> Pixels:
    if image.mode == "L" and not image.has_transparency_data:
        return _in_strips(image, lambda strip: strip)
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return _eight_bits(image)
    if image.has_transparency_data and not _is_opaque(image):
        return _over_paper(image)
    if image.mode == "LAB":
        return np.asarray(image.getchannel("L"))
    weights = weights or _weights(image)
    if weights == LUMINANCE:
        return _in_strips(image, lambda strip: strip.convert("L"))
    return _in_strips(image, lambda strip: strip.convert("RGB").convert("L", weights))


def _in_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Pixels:
    """The pixels of an image that, if large, is converted some rows at a time: it never is in memory twice."""
    if math.prod(image.size) <= LARGE_PIXELS:
        return np.asarray(convert(image))
    pixels, top = np.empty(image.size[::-1], np.uint8), 0
    for strip in _strips(image):
        pixels[top : top + strip.height] = np.asarray(convert(strip))
        top += strip.height
    return pixels


def _is_opaque(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA") and image.getchannel("A").getextrema() == (255, 255)


def _weights(image: Image.Image) -> Weights:
    if image.mode in ("1", "L"):
        return LUMINANCE
    image.draft("RGB", (COLOUR_SAMPLE, COLOUR_SAMPLE))
    sample = _sample(image)
    sample = sample if sample.mode == "RGB" else sample.convert("RGB")
    return _told_by(sample.convert("L"), *(sample.convert("L", one) for one in COLOUR_DIFFERENCES))


def _sample(image: Image.Image) -> Image.Image:
    if max(image.size) <= COLOUR_SAMPLE:
        return image
    width, height = (min(side, COLOUR_SAMPLE) for side in image.size)
    return image.resize((width, height), Image.Resampling.NEAREST)


def _told_by(brightness: Image.Image, *differences: Image.Image) -> Weights:
    """Which grey shows what is on a sample: the luminance or a colour difference, by their contrast on the spot."""
    contrasts = [_contrast(one) for one in differences]
    if max(contrasts) < COLOUR_CONTRAST or max(contrasts) < COLOUR_ADVANTAGE * _contrast(brightness):
        return LUMINANCE
    return COLOUR_DIFFERENCES[int(np.argmax(contrasts))]


def _contrast(grey: Image.Image) -> float:
    """How far the pixels that differ most from those around them, in both directions, lie from each other.

    0 where all are too much alike to show COLOUR_CONTRAST.
    """
    lowest, highest = cast(tuple[float, float], grey.getextrema())
    if 2 * (highest - lowest) < COLOUR_CONTRAST:
        return 0
    around = grey.filter(ImageFilter.BoxBlur(max(grey.size) // 10))
    deviations = np.asarray(grey, np.int16) - np.asarray(around)
    up_to = np.bincount(deviations.ravel() + 255).cumsum()
    places = CONTRASTED * (up_to[-1] - 1)
    before, after = (np.searchsorted(up_to, whole(places), side="right") for whole in (np.floor, np.ceil))
    low, high = before + places % 1 * (after - before)
    return float(high - low)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:
        return 1  # broken EXIF costs the orientation, not the image


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turns and mirrors by EXIF orientation 1–8."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _eight_bits(image: Image.Image) -> Pixels:
    """Deeper samples scaled to 0–255, by the smallest of these ranges that holds them: 1, 255, 65535, their own."""
    extremes = [(float(values.min()), float(values.max())) for values in map(_samples, _strips(image))]
    low, high = min(0.0, *(low for low, _ in extremes)), max(high for _, high in extremes)
    top = next((limit for limit in (1.0, 255.0, 65535.0) if high <= limit), high)
    scale = 255 / (top - low)
    return _in_strips(image, lambda strip: Image.fromarray((_samples(strip) * scale - low * scale).astype(np.uint8)))


def _strips(image: Image.Image) -> Iterator[Image.Image]:
    """The image from top to bottom, some rows at a time."""
    width, height = image.size
    step = max(1, PIXELS_AT_ONCE // width)
    for top in range(0, height, step):
        yield image.crop((0, top, width, min(top + step, height)))


def _samples(strip: Image.Image) -> NDArray[np.float32]:
    """An image's samples; what is no number is 0."""
    return np.nan_to_num(np.asarray(strip).astype(np.float32), copy=False, posinf=0, neginf=0)


def _over_paper(image: Image.Image) -> Pixels:
    """Lays an image with transparency over the paper it was meant for.

    Where what is visible is all of one shade, it is ink, and the paper is the opposite; otherwise the image has paper
    of its own, and the holes in it are filled with that.
    """
    most = max(cast(tuple[int, int], opacity.getextrema())[1] for _, opacity in map(_grey_and_opacity, _strips(image)))
    visible = [255 * (alpha > most // 2) for alpha in range(256)]
    histograms = (grey.histogram(opacity.point(visible)) for grey, opacity in map(_grey_and_opacity, _strips(image)))
    counts = np.cumsum(np.sum(list(histograms), axis=0))
    low, middle, high = (int(np.searchsorted(counts, share * counts[-1])) for share in (0.005, 0.5, 0.995))
    if not counts[-1]:
        paper = 255
    elif high - low < 48:
        paper = 0 if middle > 127 else 255
    else:
        paper = middle

    def laid(strip: Image.Image) -> Image.Image:
        grey, opacity = _grey_and_opacity(strip)
        return Image.composite(grey, Image.new("L", strip.size, paper), opacity)

    return _in_strips(image, laid)


def _grey_and_opacity(strip: Image.Image) -> tuple[Image.Image, Image.Image]:
    strip = strip if strip.mode in ("RGBA", "LA") else strip.convert("RGBA")
    return strip.convert("L"), strip.getchannel("A")
