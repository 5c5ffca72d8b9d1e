import struct
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, Literal
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import digits.decode
from digits.decode import MAXIMUM_BYTES, MAXIMUM_FILE_BYTES, ImageError, ImageTooLargeError, decode
from digits.formats import format_name
from digits.memory import memory_lock
from tests.helpers.images import (
    JPEG_12_BITS,
    JPEG_LS,
    WEBP_IN_TIFF,
    encode,
    example,
    example_pixels,
    heic,
    iso_media,
    netpbm,
    padded_jpeg,
    photo,
    pixels_of,
    png_chunk,
    png_of_size,
    tiff,
    with_valid_checksums,
)
from tests.helpers.paths import ROOT

FORMATS = ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"]
GREY = example_pixels(7)


@pytest.mark.parametrize(
    ("format", "mode"),
    [(format, mode) for format in FORMATS for mode in ("1", "L", "P", "RGB") if (format, mode) != ("JPEG", "P")]
    + [(format, mode) for format in ("PNG", "WEBP", "GIF", "TIFF") for mode in ("RGBA", "LA")]
    + [
        ("JPEG", "CMYK"),
        ("TIFF", "CMYK"),
        ("PNG", "I;16"),
        ("TIFF", "I;16"),
        ("TIFF", "I"),
        ("TIFF", "F"),
        ("TIFF", "LAB"),
    ],
)
def test_every_format_and_mode(format: str, mode: str) -> None:
    match mode:
        case "I;16":
            image = Image.fromarray(GREY.astype(np.uint16) * 257)
        case "I":
            image = Image.fromarray(GREY.astype(np.int32) * 257)
        case "F":
            image = Image.fromarray(GREY.astype(np.float32))
        case "LAB":
            image = Image.merge("LAB", [Image.fromarray(GREY), *[Image.new("L", (280, 280), 128)] * 2])
        case _:
            image = Image.fromarray(GREY).convert("RGB" if (format, mode) == ("WEBP", "P") else mode)
    decoded = pixels_of(encode(image, format))
    assert decoded.shape == GREY.shape
    assert np.abs(decoded - GREY.astype(float)).mean() < (12 if mode in ("1", "P") or format == "GIF" else 4)


def test_16_bit_samples_of_a_large_image() -> None:
    samples = np.add.outer(np.arange(1500), np.arange(1400)).astype(np.uint16) * 20
    np.testing.assert_allclose(pixels_of(encode(samples)), samples / 257, atol=1)


@pytest.mark.parametrize("compression", [1, 8], ids=["raw", "deflate"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"])
@pytest.mark.parametrize("fills", [True, False], ids=["full range", "0 to 255 or 0 to 1"])
def test_tiff_samples_of_every_type(kind: str, order: Literal["<", ">"], compression: int, fills: bool) -> None:
    if np.dtype(kind).kind == "f":
        pixels = GREY / 255 if not fills else GREY * 1e6
    elif fills:
        limits = np.iinfo(kind)
        pixels = limits.min + GREY * float((limits.max - limits.min) // 255)
    else:
        pixels = np.minimum(GREY.astype(int), np.iinfo(kind).max)
    decoded = pixels_of(tiff(pixels.astype(kind), order, compression))
    expected = GREY if fills or kind != "i1" else np.minimum(GREY, 127)
    np.testing.assert_allclose(decoded, expected, atol=1)


@pytest.mark.parametrize("kind", range(1, 7))
@pytest.mark.parametrize("maximum", [1, 100, 255, 4095, 65535])
def test_netpbm(kind: int, maximum: int) -> None:
    decoded = pixels_of(netpbm(kind, GREY, maximum))
    np.testing.assert_allclose(decoded, GREY, atol=128 if kind in (1, 4) else 128 / maximum + 1)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (netpbm(5, GREY)[:-1], "expected a whole PGM image; got one that is broken or cut short"),
        (netpbm(2, GREY)[:-1000], "expected a whole PGM image"),
        (netpbm(1, GREY)[:-1], "expected a whole PBM image"),
        (netpbm(4, GREY)[:-1], "expected a whole PBM image"),
        (netpbm(3, GREY) + b" x", "expected a whole PPM image"),
        (b"P2 2 1 9 10 1", "expected a whole PGM image"),
        (b"P1 2 1 2 1", "expected a whole PBM image"),
        (b"P5 0 1 255 ", "expected a whole PGM image"),
        (b"P5 1 1 65536 aa", "expected a whole PGM image"),
        (b"P5 1 1 0 a", "expected a whole PGM image"),
        (b"P5 " + b"1" * 10**7, "expected a whole PGM image"),
        (b"P2 9999 2000 255 " + b"#\n" * 8 * 10**6, "expected a whole PGM image"),
        (b"P5 5001 5000 255\n", "expected at most 25000000 pixels; got 5001×5000"),
        (b"P7\nWIDTH 1\n", "got PAM"),
    ],
)
def test_broken_netpbm(data: bytes, error: str) -> None:
    start = time.process_time()
    with pytest.raises(ImageError) as caught:
        decode(data)
    assert error in str(caught.value)
    assert time.process_time() - start < 5


def test_extreme_float_samples() -> None:
    most = np.finfo(np.float32).max
    assert pixels_of(encode(np.array([[-most, 0, most, np.nan]], np.float32), "TIFF")).tolist() == [[0, 127, 255, 127]]


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int, format: str) -> None:
    upright = Image.fromarray(GREY[:200])
    stored = {
        1: upright,
        2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: upright.transpose(Image.Transpose.ROTATE_180),
        4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: upright.transpose(Image.Transpose.TRANSPOSE),
        6: upright.transpose(Image.Transpose.ROTATE_90),
        7: upright.transpose(Image.Transpose.TRANSVERSE),
        8: upright.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = pixels_of(encode(stored, format, exif=exif))
    assert decoded.shape == (200, 280)
    assert np.abs(decoded - GREY[:200].astype(float)).mean() < 4


def test_broken_exif_only_loses_the_orientation() -> None:
    assert pixels_of(encode(GREY, "JPEG", exif=b"Exif\x00\x00rubbish")).shape[:2] == GREY.shape


@pytest.mark.parametrize(
    ("ink", "others", "paper"),
    [
        (0, None, 255),  # black strokes on a transparent canvas
        (255, None, 0),  # white strokes on a transparent canvas
        (20, 220, 220),  # opaque paper with transparent corners
    ],
)
def test_transparency_is_composited_on_the_matching_paper(ink: int, others: int | None, paper: int) -> None:
    pixels = np.zeros((40, 40, 4), np.uint8)
    if others is not None:
        pixels[4:-4, 4:-4] = (others, others, others, 255)
    pixels[10:30, 18:22] = (ink, ink, ink, 255)
    decoded = pixels_of(encode(pixels))
    assert decoded[0, 0] == paper
    assert decoded[20, 20] == ink


def test_faint_strokes_on_a_transparent_canvas() -> None:
    pixels = np.zeros((40, 40, 4), np.uint8)
    pixels[10:30, 18:22] = (255, 255, 255, 90)
    decoded = pixels_of(encode(pixels))
    assert decoded[20, 20] > decoded[0, 0] + 80


def test_fully_transparent_image_is_blank() -> None:
    decoded = pixels_of(encode(np.zeros((10, 10, 4), np.uint8)))
    assert np.ptp(decoded) == 0


def test_palette_transparency() -> None:
    image = Image.fromarray((GREY < 128).astype(np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 0, 0])
    decoded = pixels_of(encode(image, "PNG", transparency=0))
    assert decoded[GREY > 250].min() == 255


@pytest.mark.parametrize(
    ("ink", "paper"),
    [((200, 60, 60), (60, 140, 60)), ((60, 140, 60), (200, 60, 60)), ((60, 60, 250), (150, 50, 50))],
)
@pytest.mark.parametrize(("format", "mode"), [("JPEG", "RGB"), ("PNG", "RGB"), ("PNG", "RGBA"), ("GIF", "P")])
def test_ink_and_paper_of_equal_brightness(
    ink: tuple[int, ...], paper: tuple[int, ...], format: str, mode: str
) -> None:
    shade = GREY[..., None] / 255
    image = Image.fromarray((shade * paper + (1 - shade) * ink).astype(np.uint8))
    image = image.quantize(16) if mode == "P" else image.convert(mode)
    decoded = pixels_of(encode(image, format)).astype(float)
    assert abs(decoded[GREY < 50].mean() - decoded[GREY > 200].mean()) > 50


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_tinted_paper_does_not_hide_pencil(format: str) -> None:
    """Faint pencil on a half-tinted sheet."""
    pixels = np.full((280, 280, 3), 230, np.uint8)
    pixels[:140] = (230, 220, 200)
    pixels[GREY < 128] -= 40
    decoded = pixels_of(encode(pixels, format))
    assert np.abs(decoded - np.asarray(Image.fromarray(pixels).convert("L"), float)).mean() < 2


def test_first_frame_is_decoded() -> None:
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    for format in ("GIF", "WEBP", "TIFF"):
        data = encode(frames[0], format, save_all=True, append_images=frames[1:])
        assert pixels_of(data)[0, 0] > 250


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected an image (PNG, JPEG, WebP, BMP, GIF, TIFF or PGM); got no bytes"),
        (b"hello", "got 5 bytes of an unknown format"),
        (heic(), "got HEIC"),
        (heic(), "or set the phone's camera to JPEG"),
        (iso_media(b"mif1", b"heic", b"miaf"), "got HEIC"),
        (iso_media(b"avif", b"mif1", b"miaf"), "got AVIF: convert it to JPEG or PNG"),
        (iso_media(b"mif1", b"miaf"), "got HEIF"),
        (iso_media(b"isom", b"mp42"), "got an MP4 or QuickTime video"),
        (b"\xff\x0a" + bytes(20), "got JPEG XL: convert it to JPEG or PNG"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n" + bytes(20), "got JPEG XL"),
        (JPEG_12_BITS, "got a JPEG of 12 bits per sample, which cannot be read: convert it to PNG"),
        (JPEG_LS, "got JPEG-LS, which cannot be read"),
        (WEBP_IN_TIFF, "got a TIFF compressed with WebP, which cannot be read"),
        (tiff(GREY, compression=34712), "got a TIFF compressed with JPEG 2000, which"),
        (tiff(GREY, compression=7777), "got a TIFF compressed with method 7777, which"),
        (tiff(GREY.astype(np.float16)), "got a TIFF of 16-bit floating-point samples, which"),
        (tiff(GREY.astype(np.uint64)), "got a TIFF of 64-bit unsigned integer samples, which"),
        (tiff(GREY.astype(np.complex64)), "got a TIFF of 64-bit complex samples, which"),
        (b"MM\0+\0\x08\0\0" + struct.pack(">QQHHQQ", 16, 1, 256, 3, 1, 1 << 48), "got a BigTIFF in big-endian order"),
        (b"MM\0+\0\x08\0\0" + struct.pack(">Q", 2**64 - 1), "got a broken TIFF"),
        (b"%PDF-1.7 ...", "got PDF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "got SVG"),
        (b"<!DOCTYPE html>", "got HTML or XML"),
        (b"8BPS" + bytes(30), "got Photoshop"),
        (b"\x89PNG\r\n\x1a\n" + bytes(30), "got a broken PNG"),
    ],
)
def test_other_formats_are_named(data: bytes, message: str) -> None:
    with pytest.raises(ImageError) as caught:
        pixels_of(data)
    assert message in str(caught.value)
    assert not isinstance(caught.value, ImageTooLargeError)


@pytest.mark.parametrize("format", FORMATS)
def test_truncated_file(format: str) -> None:
    data = encode(GREY, format)
    for length in (len(data) // 2, len(data) * 9 // 10):
        with pytest.raises(ImageError, match=r"broken|cut short"):
            pixels_of(data[:length])


@pytest.mark.parametrize(
    "data",
    [bytes(MAXIMUM_BYTES + 1), png_of_size(5001, 5000), png_of_size(60000, 60000), png_of_size(2**31 - 1, 2**31 - 1)],
    ids=["bytes", "pixels", "bomb", "largest"],
)
def test_oversized_image_is_rejected_before_decoding(data: bytes) -> None:
    with pytest.raises(ImageTooLargeError, match="expected at most"):
        pixels_of(data)


def test_largest_accepted_image() -> None:
    assert pixels_of(encode(Image.new("1", (5000, 5000)))).shape == (5000, 5000)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(("size", "part"), [((6001, 5001), 2), ((10488, 10488), 4)])
def test_huge_baseline_jpegs_are_decoded_at_a_part_of_their_size(
    size: tuple[int, int], part: int, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = decode(photo(*size, exif=exif))
    height, width = size[::-1] if orientation == 1 else size
    assert picture.file_size == (height, width)
    assert picture.size == picture.whole().shape == (-(-height // part), -(-width // part))
    assert picture.whole().min() < 50


def test_huge_jpeg_shows_ink_and_paper_of_equal_brightness() -> None:
    shade = np.asarray(LARGE.resize((6001, 5001)))[..., None] / np.float32(255)
    pixels = (shade * (60, 140, 60) + (1 - shade) * (200, 60, 60)).astype(np.uint8)
    picture = decode(encode(Image.fromarray(pixels), "JPEG"))
    assert picture.whole().shape == (2501, 3001)
    assert np.ptp(picture.whole()) > 50


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (photo(6000, 5000, progressive=True), "got 6000×5000; this JPEG is progressive and must be decoded whole"),
        (encode(Image.new("CMYK", (6000, 5000)), "JPEG"), "this JPEG is in CMYK and must be decoded whole"),
        (encode(Image.new("RGB", (6000, 5000)), "JPEG", keep_rgb=True), "this JPEG is in RGB without luminance"),
        (encode(Image.new("1", (6000, 5000))), "only a baseline JPEG may have more, up to 110000000, since it can be"),
        (photo(10489, 10488), "expected at most 110000000 pixels; got 10489×10488"),
    ],
)
def test_too_many_pixels(data: bytes, message: str) -> None:
    with pytest.raises(ImageTooLargeError, match=r"expected at most \d+ pixels") as caught:
        decode(data)
    assert message in str(caught.value)


def test_largest_jpeg_files() -> None:
    data = photo(600, 500)
    assert decode(padded_jpeg(data, MAXIMUM_FILE_BYTES)).whole().shape == (500, 600)
    with pytest.raises(ImageTooLargeError, match="expected at most 33554432 bytes; got 33554433"):
        decode(padded_jpeg(data, MAXIMUM_FILE_BYTES + 1))


LARGE = Image.fromarray(GREY).resize((1000, 704), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}])
@pytest.mark.parametrize("size", [(1000, 704), (256, 40), (400, 3), (1100, 640), (3001, 2000)])
def test_large_jpegs_are_decoded_at_reduced_size(mode: str, options: dict[str, Any], size: tuple[int, int]) -> None:
    picture = decode(encode(LARGE.resize(size).convert(mode), "JPEG", **options))
    assert picture.full is not None
    whole = picture.whole()
    assert whole.shape == size[::-1]
    factor = round(max(size) / max(picture.pixels.shape))
    assert factor in (1, 2, 4, 8)
    expected = np.asarray(Image.fromarray(whole).reduce(factor), float)
    assert picture.pixels.shape == expected.shape
    assert np.abs(picture.pixels - expected).mean() < 2


def test_small_jpegs_are_decoded_at_full_size() -> None:
    assert decode(encode(LARGE.resize((255, 100)), "JPEG")).full is None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_reduced_jpegs_are_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = decode(encode(LARGE, "JPEG", exif=exif))
    scale = round(max(LARGE.size) / max(picture.pixels.shape))
    expected = np.asarray(Image.fromarray(picture.whole()).reduce(scale), float)
    assert np.abs(picture.pixels - expected).mean() < 2


def test_reduced_jpegs_show_ink_and_paper_of_equal_brightness() -> None:
    shade = np.asarray(LARGE)[..., None] / 255
    image = Image.fromarray((shade * (60, 140, 60) + (1 - shade) * (200, 60, 60)).astype(np.uint8))
    picture = decode(encode(image, "JPEG"))
    assert picture.full is not None
    scale = round(max(LARGE.size) / max(picture.pixels.shape))
    expected = np.asarray(Image.fromarray(picture.whole()).reduce(scale), float)
    assert np.ptp(expected) > 50
    assert np.abs(picture.pixels - expected).mean() < 4


def test_jpeg_stored_as_rgb() -> None:
    """Such a file has no luminance channel to decode."""
    picture = decode(encode(LARGE.convert("RGB"), "JPEG", keep_rgb=True))
    assert picture.full is None
    assert np.abs(picture.pixels - np.asarray(LARGE, float)).mean() < 4


JPEGS = [
    encode(LARGE.resize((200, 150)).convert(mode), "JPEG", **options)
    for mode in ("L", "RGB", "CMYK")
    for options in ({}, {"progressive": True}, {"exif": b"Exif\0\0rubbish"})
]


@settings(max_examples=300)
@given(st.sampled_from(JPEGS), st.data())
def test_reduced_decoding_accepts_and_rejects_like_full_decoding(jpeg: bytes, data: st.DataObject) -> None:
    content = bytearray(jpeg)
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(2, len(content) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    with patch.object(digits.decode, "_reduced_jpeg", lambda _: None):
        expected = decoded_or_error(bytes(content))
    assert decoded_or_error(bytes(content)) == expected


@st.composite
def small_pngs(draw: st.DrawFn) -> bytes:
    """Small PNGs of every kind, many of them mutated, some of these with corrected checksums."""
    header = struct.pack(
        ">IIBBBBB",
        draw(st.integers(0, 9)),
        draw(st.integers(0, 9)),
        draw(st.sampled_from([8, 8, 8, 1, 4, 16])),
        draw(st.sampled_from([0, 0, 2, 3, 4, 6])),
        draw(st.sampled_from([0, 0, 0, 1])),
        draw(st.sampled_from([0, 0, 0, 1])),
        draw(st.sampled_from([0, 0, 0, 1])),
    )
    rows = draw(st.binary(min_size=400, max_size=400))
    # Filters of rows are 0 to 4.
    rows = bytes(one % 5 for one in rows) if draw(st.booleans()) else rows
    pixels = zlib.compress(rows[: draw(st.integers(0, 400))]) + draw(st.sampled_from([b"", b"", b"more"]))
    cut = draw(st.integers(0, len(pixels)))
    chunks = draw(
        st.sampled_from(
            [
                [(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")],
                [(b"IHDR", header), (b"IDAT", pixels[:cut]), (b"IDAT", pixels[cut:]), (b"IEND", b"")],
                [(b"IHDR", header), (b"tRNS", bytes(6)), (b"IDAT", pixels), (b"IEND", b"")],
                [(b"IHDR", header), (b"IDAT", pixels[:cut]), (b"IEND", b"")],
            ]
        )
    )
    data = b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)
    if draw(st.booleans()):
        place = draw(st.integers(0, len(data)))
        data = data[:place] + draw(st.binary(max_size=2)) + data[place + draw(st.integers(0, 2)) :]
        if draw(st.booleans()):
            data = with_valid_checksums(data)
    return data


def decoded_or_error(data: bytes) -> tuple[str, str] | tuple[tuple[int, ...], bytes]:
    try:
        picture = decode(data)
    except ImageError as error:
        return type(error).__name__, str(error)
    pixels = picture.whole()
    return pixels.shape, pixels.tobytes()


@settings(max_examples=1000)
@given(small_pngs())
def test_plain_png_decoder_agrees_with_pillow(data: bytes) -> None:
    with patch.object(digits.decode, "_plain_png", lambda _: None):
        expected = decoded_or_error(data)
    assert decoded_or_error(data) == expected


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_plain_pngs_are_recognised(mode: str) -> None:
    image = Image.fromarray(GREY[::10, ::10]).convert(mode)
    plain = digits.decode._plain_png(encode(image))
    assert plain is not None
    assert plain.pixels.tolist() == GREY[::10, ::10].tolist()
    exif = Image.Exif()
    exif[0x0112] = 6
    assert digits.decode._plain_png(encode(image, exif=exif)) is None


def test_errors_hide_the_decoders_message() -> None:
    data = bytearray(example(7))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(ImageError) as caught:
        pixels_of(bytes(data))
    assert str(caught.value) == "expected a whole PNG image; got one that is broken or cut short"


def test_format_name() -> None:
    for format in FORMATS:
        assert format_name(encode(GREY, format)) == format


def test_large_images_are_decoded_one_at_a_time_and_block_no_small_ones() -> None:
    large = Image.new("RGB", (2100, 2100))
    with ThreadPoolExecutor(3) as pool:
        with memory_lock():
            waiting = [pool.submit(decode, encode(large, kind)) for kind in ("PNG", "BMP", "TIFF")]
            assert decode(example(7)).whole().shape == GREY.shape
            assert not wait(waiting, 0.3).done
        assert [one.result(timeout=30).whole().shape for one in waiting] == [(2100, 2100)] * 3


def test_pillow_warnings_are_silent_and_filters_unchanged() -> None:
    code = """
import io, sys, warnings
from concurrent.futures import ThreadPoolExecutor
from PIL import Image
from digits.decode import decode

def decode_again(_):
    decode(file.getvalue()).whole()

file, before = io.BytesIO(), len(warnings.filters)
cut = b"Exif\\0\\0MM\\0*\\0\\0\\0\\x08\\0\\1\\1\\x12\\0\\3\\0\\0\\0\\1\\0\\0"
Image.new("L", (70, 70)).save(file, "JPEG", exif=cut)
sys.setswitchinterval(1e-6)
with ThreadPoolExecutor(8) as pool:
    list(pool.map(decode_again, range(400)))
print(len(warnings.filters) - before)
"""
    command = [sys.executable, "-W", "always", "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == ("0\n", "")
