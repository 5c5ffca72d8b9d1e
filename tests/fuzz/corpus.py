"""Generated seeds for the fuzzer: small files of every format and mode, and requests of every kind."""

import base64
import gzip
import io
import json
import struct
import zlib

import numpy as np
from PIL import Image

from tests.helpers.images import runs_bmp

MODES = {
    "PNG": ("1", "L", "P", "RGB", "RGBA", "LA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB"),
    "GIF": ("1", "L", "P"),
    "TIFF": ("1", "L", "P", "RGB", "RGBA", "I;16", "I", "F", "LAB", "CMYK"),
}
VARIANTS: dict[str, tuple[dict[str, object], ...]] = {
    "JPEG": ({"progressive": True},),
    "WEBP": ({"lossless": True},),
    "TIFF": tuple({"compression": one} for one in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")),
}


def picture() -> Image.Image:
    """A 4 of a few strokes, [24, 20]."""
    pixels = np.full((24, 20), 250, np.uint8)
    pixels[3:12, 4:6] = pixels[11:13, 4:16] = pixels[3:21, 12:14] = 10
    return Image.fromarray(pixels)


def images() -> dict[str, bytes]:
    """Image files by name."""
    files = {}
    exif = Image.Exif()
    exif[0x0112] = 6
    for format, modes in MODES.items():
        for mode in modes:
            for number, options in enumerate(({}, *VARIANTS.get(format, ()))):
                if options == {"compression": "jpeg"} and mode not in ("L", "RGB"):
                    continue
                files[f"{format}-{mode}-{number}".replace(";", "-")] = _encoded(format, mode, **options)
    for format in ("PNG", "JPEG", "WEBP", "TIFF"):
        files[f"{format}-exif"] = _encoded(format, "RGB", exif=exif)
    for format in ("GIF", "WEBP", "TIFF", "PNG"):
        frames = [picture(), Image.eval(picture(), lambda shade: 255 - shade)]
        files[f"{format}-frames"] = _encoded(format, "L", save_all=True, append_images=frames)
    files["PNG-transparent"] = _encoded("PNG", "P", transparency=0)
    large = io.BytesIO()  # large enough for reduced decoding
    picture().convert("RGB").resize((160, 192)).save(large, "JPEG", quality=30)
    files["JPEG-large"] = large.getvalue()
    files["BMP-runs"] = runs_bmp(20, 24, b"\x14\x05\x00\x00" * 23 + b"\x00\x04\x01\x02\x03\x04\x10\x07\x00\x01")
    return files


def _encoded(format: str, mode: str, **options: object) -> bytes:
    image, file = picture(), io.BytesIO()
    match mode:
        case "I;16":
            image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
        case "I" | "F":
            image = Image.fromarray(np.asarray(image).astype(np.int32 if mode == "I" else np.float32))
        case "LAB":
            image = Image.merge("LAB", [image] * 3)
        case _:
            image = image.convert(mode)
    image.save(file, format, **options)
    return file.getvalue()


def tensors() -> dict[str, bytes]:
    """Inputs of the parser target: the form of the header length (absent, 0 or two bytes), then the body."""
    pixels = bytes(784)
    images = {"name": "images", "shape": [1, 28, 28], "datatype": "UINT8"}
    file = {"name": "image", "shape": [1], "datatype": "BYTES"}
    plain = {"inputs": [images | {"data": [0] * 784}], "outputs": [{"name": "is_digit"}], "id": "x"}
    nested = {"inputs": [images | {"data": np.zeros((1, 28, 28), int).tolist()}]}
    coded = {"inputs": [file | {"data": ["YWJj"]}], "parameters": {"binary_data_output": True}}
    binary = {"inputs": [images | {"parameters": {"binary_data_size": 784}}]}
    elements = {"inputs": [file | {"shape": [2], "parameters": {"binary_data_size": 11}}]}
    classes = {"inputs": [images], "outputs": [{"name": "probabilities", "parameters": {"classification": 3}}]}
    found = {
        name: b"\0\0\0" + json.dumps(request).encode()
        for name, request in {"plain": plain, "nested": nested, "coded": coded, "classes": classes}.items()
    }
    found["raw"] = b"\1\0\0" + pixels
    for name, request, rest in (("binary", binary, pixels), ("elements", elements, b"\3\0\0\0abc\0\0\0\0")):
        head = json.dumps(request).encode()
        found[name] = b"\2" + struct.pack("<H", len(head)) + head + rest
    return found


def requests() -> dict[str, bytes]:
    """Inputs of the HTTP target: the number of the route, then the body."""
    files, found = images(), {}
    file = files["PNG-L-0"]
    part = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + file + b"\r\n"
    for number, body in enumerate(
        (
            file,
            json.dumps({"image": base64.b64encode(file).decode()}).encode(),
            part + b"--b--\r\n",
            part * 2 + b"--b--\r\n",
            gzip.compress(file, mtime=0),
            zlib.compress(file),
            file,
            file,
            tensors()["plain"][3:],
            tensors()["coded"][3:],
            tensors()["raw"][3:],
        )
    ):
        found[str(number)] = bytes([number]) + body
    found |= {f"file-{name}": b"\0" + data for name, data in files.items()}
    return found
