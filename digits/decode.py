"""Image bytes → grey pixels: the security boundary.

Apart from limits.py, formats.py, tiff.py and netpbm.py, no other module parses untrusted images.

Every failure is an ImageError whose message may be shown to the client.
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
from PIL.TiffImagePlugin import TiffImageFile

from digits.formats import ADVICE, format_name, undecodable_kind
from digits.limits import CountedReader, ExcessError, check_structure, jpeg_scan_components
from digits.memory import give_back_free_memory, memory_lock
from digits.netpbm import Netpbm
from digits.tiff import sample_type, use_native_order

Pixels = NDArray[np.uint8]

# The limits here replace Pillow's warnings of large images, odd EXIF and the like. The filter is set once per process:
# threads that each set one would race and accumulate them.
warnings.filterwarnings("ignore", module=r"PIL\.")

MAXIMUM_BYTES = 16 * 2**20
MAXIMUM_PIXELS = 25_000_000
# Phones make such JPEGs; a baseline one is decoded at a part of its size, of at most MAXIMUM_PIXELS.
MAXIMUM_FILE_BYTES = 32 * 2**20
MAXIMUM_BASELINE_PIXELS = 110_000_000
# Every row has a cost of its own, whatever its width.
MAXIMUM_SIDE = 65_535
# Pillow decodes run-length encoding in Python, pixel by pixel.
MAXIMUM_RUN_LENGTH_PIXELS = 2**22
# Images with more pixels are decoded one at a time, since decoding takes up to 16 bytes per pixel.
LARGE_PIXELS = 2_000_000
# Memory for decoding a JPEG: an image in several scans is kept whole, as coefficients of two bytes.
MAXIMUM_JPEG_BYTES = 100_000_000
# Large images are converted to grey this many pixels at a time.
PIXELS_AT_ONCE = 2**18
# Pillow reads a PNG's pixels in pieces of this size; only a smaller file can be decoded without its reader.
PLAIN_BYTES = 2**16
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
ACCEPTED = "PNG, JPEG, WebP, BMP, GIF, TIFF or PGM"
# Weights of red, green and blue, and an offset: luminance, or one of JPEG's colour differences (ITU-T T.871) if it has
# COLOUR_ADVANTAGE times the contrast, and COLOUR_CONTRAST of 255 or more, in a sample of COLOUR_SAMPLE pixels per side.
Weights = tuple[float, float, float, float]
LUMINANCE: Weights = (0.299, 0.587, 0.114, 0.0)
COLOUR_DIFFERENCES: tuple[Weights, ...] = ((-0.1687, -0.3313, 0.5, 128.0), (0.5, -0.4187, -0.0813, 128.0))
COLOUR_ADVANTAGE, COLOUR_CONTRAST, COLOUR_SAMPLE = 4, 30, 128
# The quantiles of a sample between which its contrast is measured.
CONTRAST_QUANTILES = np.array([0.002, 0.998])
# The long side, in pixels, of the image in which digits are searched for first.
FIRST_SIZE = 128


class ImageError(Exception):
    """The bytes are not a readable image; the message says what was expected and what was received."""


class ImageTooLargeError(ImageError):
    """The image exceeds a limit."""


@dataclass(frozen=True)
class GreyImage:
    """Grey pixels, uint8 [H, W]; reduced if `full` is given, which decodes them in full size, `full_size`.

    The full size of a very large JPEG is a part of the file's, `file_size`.
    """

    pixels: Pixels
    full: Callable[[], Pixels] | None = None
    full_size: tuple[int, int] | None = None
    file_size: tuple[int, int] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in full size."""
        height, width = self.full_size or self.pixels.shape
        return height, width

    def whole(self) -> Pixels:
        """The pixels in full size."""
        return self.full() if self.full else self.pixels


def is_jpeg(data: bytes) -> bool:
    """Whether a file begins as a JPEG does."""
    return data.startswith(b"\xff\xd8\xff")


def decode(data: bytes) -> GreyImage:
    """Decodes an image file to grey pixels; a large JPEG to reduced ones. Raises ImageError.

    Applies the EXIF orientation, composites transparent images, takes the first of several frames. Grey is luminance,
    or colour if luminance hardly differs, as between red ink and green paper.
    """
    check_length(data)
    return _plain_png(data) or _reduced_jpeg(data) or _netpbm(data) or GreyImage(_whole(data))


def pixels_in(data: bytes) -> int:
    """How many pixels an image file says it has. Raises ImageError."""
    check_length(data)
    if (file := _opened_netpbm(data)) is not None:
        return file.width * file.height
    return math.prod(_open(data).size)


def check_length(data: bytes) -> None:
    """Raises ImageError for an image file without bytes, and ImageTooLargeError for more than are decoded."""
    if not data:
        raise ImageError(f"expected an image ({ACCEPTED}); got no bytes")
    if len(data) > (most := MAXIMUM_FILE_BYTES if is_jpeg(data) else MAXIMUM_BYTES):
        raise ImageTooLargeError(f"expected at most {most} bytes; got {len(data)}")


def _whole(data: bytes, weights: Weights | None = None) -> Pixels:
    """The pixels of any file in full size, a huge JPEG's at a part of it, by these weights if they are known."""
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
        # Pillow's decoders raise whatever a broken file provokes: OSError, SyntaxError, struct.error, IndexError, …
        except Exception as error:
            raise _broken(data) from error


def _reduced_jpeg(data: bytes) -> GreyImage | None:
    """A JPEG at an eighth, a quarter or half of its size, which takes less time to decode, and memory if it is huge.

    None for any other file, and if anything is wrong with it.
    """
    if not is_jpeg(data):
        return None
    try:
        image = _open(data)
        _check_size(image, data)
    except ImageError:
        return None
    scale = next((one for one in (8, 4, 2) if max(image.size) >= one * FIRST_SIZE), 1)
    if not isinstance(image, JpegImageFile) or image.mode not in ("L", "RGB") or scale == 1:
        return None
    with _memory_lock(image):
        try:
            width, height = image.size
            image.draft("YCbCr", (max(1, width // scale), max(1, height // scale)))
            image.load()
            bands = image.split()
            weights = _choose_weights(*map(_sample, bands)) if len(bands) == 3 else LUMINANCE
            pixels = np.asarray(bands[(LUMINANCE, *COLOUR_DIFFERENCES).index(weights)])
            orientation, part = _orientation(image), _part(width, height)
            sizes = [(-(-height // one), -(-width // one)) for one in (part, 1)]
            full_size, file_size = (size[::-1] if orientation in _SIDEWAYS else size for size in sizes)
            full = partial(_whole, data, weights)
            return GreyImage(_upright(pixels, orientation), full, full_size, file_size if part > 1 else None)
        except Exception:  # as in `_whole`, which then says what is wrong
            return None


def _plain_png(data: bytes) -> GreyImage | None:
    """The pixels of a small PNG made of a header, one chunk of pixels and the end, as most small ones are.

    They go to Pillow's decoder directly, which takes a fraction of the time of its PNG reader. None for any other file,
    and if anything is wrong with it.
    """
    if not _PNG_FRAME < len(data) <= PLAIN_BYTES or data[:16] != _PNG_START or data[-12:] != _PNG_END:
        return None
    width, height, kind, header_sum, length, name = struct.unpack_from(">II5sII4s", data, 16)
    mode = _PLAIN_KINDS.get(kind)
    fits = 0 < width * height <= LARGE_PIXELS and max(width, height) <= MAXIMUM_SIDE
    if not fits or mode is None or name != b"IDAT" or length != len(data) - _PNG_FRAME:
        return None
    if zlib.crc32(data[12:29]) != header_sum or zlib.crc32(data[37:-16]).to_bytes(4, "big") != data[-16:-12]:
        return None
    try:
        return GreyImage(_grey(Image.frombytes(mode, (width, height), data[41:-16], "zip", mode, 0)))
    except Exception:  # as in `_whole`
        return None


def _netpbm(data: bytes) -> GreyImage | None:
    """The pixels of a PBM, PGM or PPM file; None for any other file. Raises ImageError."""
    file = _opened_netpbm(data)
    if file is None:
        return None
    _check_limits(file.width, file.height, (MAXIMUM_PIXELS, file.width * file.height, "pixels"))
    try:
        with memory_lock(file.width * file.height > LARGE_PIXELS):
            return GreyImage(_grey(Image.fromarray(file.pixels())))
    except ValueError as error:
        raise _broken(data) from error


def _opened_netpbm(data: bytes) -> Netpbm | None:
    if format_name(data) not in ("PBM", "PGM", "PPM"):
        return None
    try:
        return Netpbm.open(data)
    except ValueError as error:
        raise _broken(data) from error


_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR", b"\0\0\0\0IEND\xaeB`\x82"
# The bytes of such a file apart from its compressed pixels.
_PNG_FRAME = 57
# Pillow's mode by the header's bytes for depth, colours, compression, filters and interlacing.
_PLAIN_KINDS = {bytes([8, colours, 0, 0, 0]): mode for colours, mode in {0: "L", 2: "RGB", 4: "LA", 6: "RGBA"}.items()}


def _open(data: bytes) -> ImageFile.ImageFile:
    """The image with its pixels still to be decoded. Raises ImageError."""
    try:
        check_structure(data)
        image = Image.open(CountedReader(data), formats=FORMATS)
    except ExcessError as error:
        raise ImageTooLargeError(str(error)) from error
    except Image.DecompressionBombError as error:
        raise ImageTooLargeError(f"expected at most {MAXIMUM_PIXELS} pixels; got many more") from error
    except Exception as error:  # as in `_whole`
        raise _unreadable(data) from error
    if isinstance(image, TiffImageFile):
        use_native_order(image)
    return image


def _unreadable(data: bytes) -> ImageError:
    """The error of a file that is not even an image, or not one of an accepted format."""
    found = format_name(data)
    if kind := undecodable_kind(data):
        return ImageError(f"expected an image ({ACCEPTED}); got {kind}, which cannot be read: convert it to PNG")
    if found in ADVICE:
        return ImageError(f"expected an image ({ACCEPTED}); got {found}: {ADVICE[found]}")
    got = f"a broken {found}" if found in FORMATS else found or f"{len(data)} bytes of an unknown format"
    return ImageError(f"expected an image ({ACCEPTED}); got {got}")


def _broken(data: bytes) -> ImageError:
    """The error of an image whose pixels cannot be decoded."""
    if undecodable_kind(data):
        return _unreadable(data)
    return ImageError(f"expected a whole {format_name(data)} image; got one that is broken or cut short")


def _check_size(image: ImageFile.ImageFile, data: bytes) -> None:
    pixels, most, limits = math.prod(image.size), MAXIMUM_PIXELS, []
    hint = f"; only a baseline JPEG may have more, up to {MAXIMUM_BASELINE_PIXELS}, since it can be decoded reduced"
    if isinstance(image, JpegImageFile):
        if obstacle := _obstacle(image, data):
            hint = f"; this JPEG is {obstacle} and must be decoded whole, unlike a baseline one"
            samples = [across * down for _, across, down, _ in image.layer] or [1]
            bytes_per_pixel = 5.0 if image.mode == "CMYK" else 1.0
            if obstacle in _IN_SCANS:
                bytes_per_pixel += 2 * sum(samples) / max(1, *samples)
            limits.append((int(MAXIMUM_JPEG_BYTES / bytes_per_pixel), pixels, "pixels in a JPEG image of this kind"))
        else:
            most, hint = MAXIMUM_BASELINE_PIXELS, ""
    if [tile[0] for tile in image.tile] == ["bmp_rle"]:
        limits.append((MAXIMUM_RUN_LENGTH_PIXELS, pixels, "pixels in a run-length encoded BMP"))
    _check_limits(*image.size, (most, pixels, "pixels"), *limits, hint=hint)


_IN_SCANS = ("progressive", "in several scans")


def _obstacle(image: JpegImageFile, data: bytes) -> str | None:
    """Why a JPEG cannot be decoded at a part of its size, row by row; None if it can be."""
    identifiers = [identifier for identifier, *_ in image.layer]
    obstacles = [
        ("progressive" in image.info, _IN_SCANS[0]),
        (jpeg_scan_components(data) < len(identifiers), _IN_SCANS[1]),
        (image.mode not in ("L", "RGB"), f"in {image.mode}"),
        (image.info.get("adobe_transform") == 0 or bytes(identifiers) == b"RGB", "in RGB without luminance"),
    ]
    return next((name for applies, name in obstacles if applies), None)


def _check_limits(width: int, height: int, *limits: tuple[int, int, str], hint: str = "") -> None:
    """Checks limits: maximum, actual, of what; the hint explains them. Raises ImageTooLargeError."""
    for maximum, actual, what in (*limits, (MAXIMUM_SIDE, max(width, height), "pixels per side")):
        if actual > maximum:
            raise ImageTooLargeError(f"expected at most {maximum} {what}; got {width}×{height}{hint}")


def _part(width: int, height: int) -> int:
    """By how much the sides of a JPEG are divided so that it has at most MAXIMUM_PIXELS."""
    return next(part for part in (1, 2, 4, 8) if width * height <= MAXIMUM_PIXELS * part**2)


@contextmanager
def _memory_lock(image: Image.Image) -> Iterator[None]:
    """Held while a large image is decoded, so that a process has one in memory at a time."""
    if math.prod(image.size) <= LARGE_PIXELS:
        yield
        return
    with memory_lock():
        give_back_free_memory()
        yield


def _check_png(data: bytes) -> None:
    """Checks the checksums of all chunks; Pillow skips those of the pixels. Raises ValueError or struct.error."""
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
        weights, part = weights or _weights(_open(data)), _part(*size)
        if weights == LUMINANCE:
            image.draft("L", (size[0] // part, size[1] // part))  # does not decode the colours
        elif math.prod(size) > LARGE_PIXELS:
            halved = max(2, part)  # most files store no more of the colours
            image.draft("YCbCr", (size[0] // halved, size[1] // halved))
        size = -(-size[0] // part), -(-size[1] // part)
    image.load()
    # Only now: Pillow rotates a TIFF when it loads it, and a PNG's orientation may follow its pixels.
    orientation = _orientation(image)
    image.fp = None  # WebP keeps all pixels there a second time
    if image.mode == "YCbCr":
        grey = image.getchannel(1 + COLOUR_DIFFERENCES.index(weights or LUMINANCE))
        image.close()
        return _upright(np.asarray(grey.resize(size)), orientation)
    return _upright(_grey(image, weights), orientation)


def _grey(image: Image.Image, weights: Weights | None = None) -> Pixels:
    if image.mode in ("I", "F") or image.mode.startswith("I;") or sample_type(image):
        return _eight_bits(image)
    if image.mode == "L" and not image.has_transparency_data:
        return _in_strips(image, lambda strip: strip)
    if image.has_transparency_data:
        opaque = image.mode in ("RGBA", "LA") and image.getchannel("A").getextrema() == (255, 255)
        if not opaque:
            return _over_paper(image)
    if image.mode == "LAB":
        return np.asarray(image.getchannel("L"))
    weights = weights or _weights(image)
    if weights == LUMINANCE:
        return _in_strips(image, lambda strip: strip.convert("L"))
    return _in_strips(image, lambda strip: strip.convert("RGB").convert("L", weights))


def _in_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Pixels:
    """Converts a large image some rows at a time, so that it is never in memory twice."""
    if math.prod(image.size) <= LARGE_PIXELS:
        return np.asarray(convert(image))
    pixels, top = np.empty(image.size[::-1], np.uint8), 0
    for strip in _strips(image):
        pixels[top : top + strip.height] = np.asarray(convert(strip))
        top += strip.height
    return pixels


def _weights(image: Image.Image) -> Weights:
    if image.mode in ("1", "L"):
        return LUMINANCE
    image.draft("RGB", (COLOUR_SAMPLE, COLOUR_SAMPLE))
    sample = _sample(image)
    sample = sample if sample.mode == "RGB" else sample.convert("RGB")
    return _choose_weights(sample.convert("L"), *(sample.convert("L", one) for one in COLOUR_DIFFERENCES))


def _sample(image: Image.Image) -> Image.Image:
    if max(image.size) <= COLOUR_SAMPLE:
        return image
    width, height = (min(side, COLOUR_SAMPLE) for side in image.size)
    return image.resize((width, height), Image.Resampling.NEAREST)


def _choose_weights(luminance: Image.Image, *differences: Image.Image) -> Weights:
    """The weights that show a sample with the most contrast: luminance or a colour difference."""
    contrasts = [_contrast(one) for one in differences]
    if max(contrasts) < COLOUR_CONTRAST or max(contrasts) < COLOUR_ADVANTAGE * _contrast(luminance):
        return LUMINANCE
    return COLOUR_DIFFERENCES[int(np.argmax(contrasts))]


def _contrast(grey: Image.Image) -> float:
    """The range, between CONTRAST_QUANTILES, of each pixel's deviation from those around it.

    0 if the pixels are too similar to reach COLOUR_CONTRAST.
    """
    lowest, highest = cast(tuple[float, float], grey.getextrema())
    if 2 * (highest - lowest) < COLOUR_CONTRAST:
        return 0
    around = grey.filter(ImageFilter.BoxBlur(max(grey.size) // 10))
    deviations = np.asarray(grey, np.int16) - np.asarray(around)
    # As np.quantile, in a fraction of its time.
    up_to = np.bincount(deviations.ravel() + 255).cumsum()
    places = CONTRAST_QUANTILES * (up_to[-1] - 1)
    before, after = (np.searchsorted(up_to, whole(places), side="right") for whole in (np.floor, np.ceil))
    low, high = before + places % 1 * (after - before)
    return float(high - low)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # as in `_whole`; broken EXIF only loses the orientation
        return 1


# The EXIF orientations that exchange width and height.
_SIDEWAYS = (5, 6, 7, 8)


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Rotates and mirrors by EXIF orientation, 1 to 8."""
    if orientation in _SIDEWAYS:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _eight_bits(image: Image.Image) -> Pixels:
    """Scales deeper samples to 0–255 from the smallest range that holds them: up to 1, 255, 65535 or their maximum."""
    kind = sample_type(image)
    strips = (_samples(strip, kind) for strip in _strips(image))
    extremes = [(float(values.min()), float(values.max())) for values in strips]
    low, high = min(0.0, *(low for low, _ in extremes)), max(high for _, high in extremes)
    top = next((limit for limit in (1.0, 255.0, 65535.0) if high <= limit and not low), high)
    scale = 255 / (top - low or 1)

    def scaled(strip: Image.Image) -> Image.Image:
        return Image.fromarray((_samples(strip, kind) * scale - low * scale).astype(np.uint8))

    return _in_strips(image, scaled)


def _strips(image: Image.Image) -> Iterator[Image.Image]:
    """The image from top to bottom, some rows at a time."""
    width, height = image.size
    step = max(1, PIXELS_AT_ONCE // width)
    for top in range(0, height, step):
        yield image.crop((0, top, width, min(top + step, height)))


def _samples(strip: Image.Image, kind: type[np.uint32 | np.int8] | None) -> NDArray[np.float32]:
    """An image's samples, NaN and infinity as 0. A `kind` is what they are instead of Pillow's type."""
    samples = np.asarray(strip)
    samples = samples if kind is None else samples.view(kind)
    return np.nan_to_num(samples.astype(np.float32), copy=False, posinf=0, neginf=0)


def _over_paper(image: Image.Image) -> Pixels:
    """Composites a transparent image on the paper it was drawn for.

    If everything visible has one shade, it is ink, and the paper is the opposite. Otherwise the image has paper of its
    own, which then fills the transparent parts.
    """
    most = max(cast(tuple[int, int], opacity.getextrema())[1] for _, opacity in map(_grey_and_opacity, _strips(image)))
    visible = [255 * (alpha > most // 2) for alpha in range(256)]
    histograms = (grey.histogram(opacity.point(visible)) for grey, opacity in map(_grey_and_opacity, _strips(image)))
    counts = np.cumsum(np.sum(list(histograms), axis=0))
    low, middle, high = (int(np.searchsorted(counts, share * counts[-1])) for share in (0.005, 0.5, 0.995))
    opposite = 0 if middle > 127 else 255
    paper = opposite if high - low < 48 else middle

    def laid(strip: Image.Image) -> Image.Image:
        grey, opacity = _grey_and_opacity(strip)
        return Image.composite(grey, Image.new("L", strip.size, paper), opacity)

    return _in_strips(image, laid)


def _grey_and_opacity(strip: Image.Image) -> tuple[Image.Image, Image.Image]:
    strip = strip if strip.mode in ("RGBA", "LA") else strip.convert("RGBA")
    return strip.convert("L"), strip.getchannel("A")
