"""The images in a request of TensorFlow Serving's and KServe's V1 protocol: files in base64, or lists of grey pixels.

https://www.tensorflow.org/tfx/serving/api_rest
"""

import math
import re
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta, Raw, Struct

from digits.base64_text import decode_base64, require_ascii
from digits.decode import ImageError, Pixels
from digits.memory import memory_lock
from digits.open_inference import MAXIMUM_JSON, InputTensor, is_nested, numbers
from digits.preprocess import SIZE

EXPECTED = 'expected JSON {"instances": [...]}, with images as {"b64": "<base64>"} or as 28×28 lists of 0 to 255'
_FILE = {"type": "object", "properties": {"b64": {"type": "string"}}, "required": ["b64"]}
_NUMBER = {"type": "number", "minimum": 0, "maximum": 255}
_ROW = {"type": "array", "items": _NUMBER, "minItems": SIZE, "maxItems": SIZE}
_INSTANCE = {"anyOf": [_FILE, {"type": "string"}, {**_ROW, "items": _ROW}]}
_IS_LIST = re.compile(rb"\s*\[")
_IS_NUMBERS = re.compile(rb"\s*\[\s*[\[\d.+-]")

# A file's bytes, grey pixels, uint8 [28, 28], or why there are none.
Instance = bytes | Pixels | ImageError


class InstancesError(Exception):
    """The request is invalid; the message may be shown to the client."""


class TooManyInstancesError(InstancesError):
    """The request has more images than accepted."""


class InstancesRequest(Struct):
    """The JSON of a V1 request; unknown fields are ignored."""

    instances: Annotated[Raw, Meta(extra_json_schema={"type": "array", "items": _INSTANCE})]


_request, _values = msgspec.json.Decoder(InstancesRequest), msgspec.json.Decoder(list[Any])


def decode_instances(body: bytes, most: int) -> list[Instance]:
    """The images in a request, in their order, at most so many. Raises InstancesError.

    Files are in base64, as {"b64": …}, as a string, or as the only field of an object. Pixels may be 28×28 lists, 784
    numbers, or have one channel; if none exceeds 1, they are scaled by 255.
    """
    try:
        with memory_lock(len(body) > MAXIMUM_JSON):
            data = memoryview(_request.decode(body).instances).tobytes()
            if not _IS_LIST.match(data):
                raise InstancesError(f"{EXPECTED}; got no list `instances`")
            if _IS_NUMBERS.match(data):
                return list(_pixels(data, most))
            require_ascii(data)
            # Before any object is made: base64 has none of these characters, and a data URL a comma.
            if data.count(b",") > 2 * most or data.count(b"{") > 2 * most:
                raise TooManyInstancesError(f"expected at most {most} instances; got more")
            texts = [_text(one) for one in _values.decode(data)]
            if len(texts) > most:
                raise TooManyInstancesError(f"expected at most {most} instances; got {len(texts)}")
            return [_file(text) for text in texts]
    except msgspec.ValidationError as error:
        raise InstancesError(f"{EXPECTED}; got JSON where: {error}") from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InstancesError(f"{EXPECTED}; got JSON that cannot be parsed") from error
    except ValueError as error:
        raise InstancesError(f"{EXPECTED}; in `instances`: {error}") from error


def _pixels(data: bytes, most: int) -> Pixels:
    count = data.count(b",") + 1
    images = count // SIZE**2
    if images > most:
        raise TooManyInstancesError(f"expected at most {most} instances; got {images}")
    if not images:
        raise ValueError(f"expected {SIZE**2} numbers for each image; got {count}")
    shapes = ([images, SIZE, SIZE], [images, SIZE**2], [images, SIZE, SIZE, 1])
    shape = next((one for one in shapes if math.prod(one) == count and is_nested(data, one)), shapes[0])
    values = numbers(InputTensor("instances", shape, "FP32"), data)
    low, high = float(values.min()), float(values.max())
    if not 0 <= low <= high <= 255:
        raise ValueError(f"expected numbers from 0 to 255; got {low:g} to {high:g}")
    return (values * (255 if high <= 1 else 1)).round().astype(np.uint8).reshape(-1, SIZE, SIZE)


def _text(instance: Any) -> str:  # noqa: ANN401 - JSON of any kind
    """The base64 in an instance."""
    if isinstance(instance, dict) and "b64" not in instance and len(instance) == 1:
        [instance] = instance.values()
    text = instance.get("b64") if isinstance(instance, dict) else instance
    if not isinstance(text, str):
        raise InstancesError(f"{EXPECTED}; got an instance that is neither")
    return text


def _file(text: str) -> bytes | ImageError:
    try:
        return decode_base64(text)
    except ValueError as error:
        return ImageError(str(error))
