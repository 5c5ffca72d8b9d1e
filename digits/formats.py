"""The names of file formats by their bytes, and of the kinds of images that cannot be decoded."""

from itertools import islice

from digits.limits import jpeg_segments
from digits.tiff import undecodable_tiff

# Formats that are accepted, sent by mistake or made by phones: (offset, bytes, name).
_SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (8, b"WEBP", "WEBP"),
    (0, b"GIF8", "GIF"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (0, b"II+\x00", "TIFF"),
    (0, b"MM\x00+", "TIFF"),
    (0, b"BM", "BMP"),
    (0, b"P7\n", "PAM"),
    (0, b"Pf\n", "PFM"),
    (0, b"PF\n", "PFM"),
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
_NETPBM = {b"P1": "PBM", b"P2": "PGM", b"P3": "PPM", b"P4": "PBM", b"P5": "PGM", b"P6": "PPM"}
# By the brands of a file in ISO's base format; HEIC's come first, since phones list more general ones, too.
_BRANDS = (
    ("HEIC", (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")),
    ("AVIF", (b"avif", b"avis")),
    ("HEIF", (b"mif1", b"mif2", b"msf1", b"miaf")),
)
_TO_JPEG = "convert it to JPEG or PNG, for example with"
_PHONE = "or set the phone's camera to JPEG (iPhone: Settings, Camera, Formats, Most Compatible)"
ADVICE = {
    "HEIC": f"{_TO_JPEG} `heif-convert photo.heic photo.jpg`, {_PHONE}",
    "HEIF": f"{_TO_JPEG} `heif-convert photo.heif photo.jpg`, {_PHONE}",
    "AVIF": f"{_TO_JPEG} `avifdec photo.avif photo.png`",
    "JPEG XL": f"{_TO_JPEG} `djxl photo.jxl photo.png`",
    "JPEG 2000": f"{_TO_JPEG} `opj_decompress -i photo.jp2 -o photo.png`",
}
# Kinds of JPEG by the marker of their frame.
_JPEG_KINDS = {0xF7: "JPEG-LS", 0xC5: "hierarchical JPEG", 0xC6: "hierarchical JPEG", 0xC7: "hierarchical JPEG"}
_JPEG_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # the others are no frames


def format_name(data: bytes) -> str | None:
    """The name of the file format by its first bytes, None if it is unknown."""
    if data[4:8] == b"ftyp":
        brands = {data[place : place + 4] for place in range(8, min(int.from_bytes(data[:4]), 128), 4)}
        return next((name for name, some in _BRANDS if not brands.isdisjoint(some)), "an MP4 or QuickTime video")
    if data[2:3] in b" \t\n\r#" and data[:2] in _NETPBM:
        return _NETPBM[data[:2]]
    return next((name for offset, sign, name in _SIGNATURES if data[offset : offset + len(sign)] == sign), None)


def undecodable_kind(data: bytes) -> str | None:
    """Which kind of JPEG or TIFF this is, if it is one that cannot be decoded; otherwise None."""
    match format_name(data):
        case "JPEG":
            return _undecodable_jpeg(data)
        case "TIFF":
            return undecodable_tiff(data)
    return None


def _undecodable_jpeg(data: bytes) -> str | None:
    for marker, start in islice(jpeg_segments(data), 1000):
        if marker in _JPEG_FRAMES and start < len(data):
            kind = _JPEG_KINDS.get(marker)
            return kind or (None if data[start] == 8 else f"a JPEG of {data[start]} bits per sample")
    return None
