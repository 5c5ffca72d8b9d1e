"""The tensors of the Open Inference Protocol V2, in JSON and as raw bytes behind it (the binary tensor data extension).

https://github.com/kserve/open-inference-protocol, and Triton's docs/protocol/extension_binary_data.md and
extension_classification.md. Numbers are little-endian, row by row; of BYTES, each element's length in four bytes comes
first.
"""

import base64
import binascii
import math
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from numpy.typing import NDArray

from digits.memory import memory_lock

NUMPY_TYPES = {"UINT8": "u1", "INT64": "<i8", "FP32": "<f4"}
# An ONNX model's types, as ONNX Runtime names them, that a V2 model here can have.
DATATYPES = {"tensor(uint8)": "UINT8", "tensor(int64)": "INT64", "tensor(float)": "FP32"}

Values = NDArray[Any] | list[bytes]


class TensorError(Exception):
    """The request's tensors are not those that were expected; the message may be shown to the sender."""


class TensorDescription(Struct):
    """A tensor that a model takes or gives; in `shape`, -1 stands for any size."""

    name: str
    datatype: str
    shape: list[int]


class InputTensor(Struct):
    """A tensor of a request: `data`, nested or flat, or `parameters.binary_data_size` bytes behind the JSON."""

    name: str
    shape: list[Annotated[int, Meta(ge=0, le=2**31 - 1)]]
    datatype: str
    data: Annotated[Raw, Meta(extra_json_schema={"type": "array"})] | UnsetType = UNSET
    parameters: dict[str, Any] = {}


class RequestedOutput(Struct):
    """An output to answer; its parameters may be `binary_data` and `classification`."""

    name: str
    parameters: dict[str, Any] = {}


class InferenceRequest(Struct):
    """The JSON of a V2 inference; all else that clients add to it is left aside."""

    inputs: Annotated[list[InputTensor], Meta(max_length=16)]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: Annotated[list[RequestedOutput], Meta(max_length=16)] = []


class OutputTensor(Struct, omit_defaults=True):
    """A tensor of an answer, with `data` in row-major order, or `parameters.binary_data_size` bytes behind the JSON."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | UnsetType = UNSET
    parameters: dict[str, int] | UnsetType = UNSET


class InferenceResponse(Struct, omit_defaults=True):
    """The JSON of a V2 answer."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str = ""


@dataclass
class Inference:
    """A request to a model with one input, whose description fits the model's."""

    request: InferenceRequest
    _read: Callable[[], Values]

    @property
    def count(self) -> int:
        """How many images the tensor has by its shape."""
        return self.request.inputs[0].shape[0]

    def take_values(self) -> Values:
        """The tensor, once: what it was made of is not kept. Raises TensorError."""
        values = self._read()
        self.request.inputs[0].data = UNSET
        del self._read
        return values


# How many bytes a request's JSON may have besides its data.
MAXIMUM_JSON = 2**16


class _TensorData(Struct):
    data: Raw = Raw()


class _RequestData(Struct):
    # So long that no more than one is ever made into an object.
    inputs: tuple[_TensorData]


_decoder, _data_decoder = msgspec.json.Decoder(InferenceRequest), msgspec.json.Decoder(_RequestData)


def decode_request(body: bytes, header_length: str | None, expected: TensorDescription) -> Inference:
    """Reads the body of a request to a model with one input.

    `header_length` is the header `Inference-Header-Content-Length`: how many of the bytes are JSON; without it, all; 0
    says that the body is one image's tensor and nothing else. Raises TensorError.
    """
    length = _header_length(header_length, len(body))
    header, rest = memoryview(body)[:length], memoryview(body)[length:]
    if header_length is not None and length == 0:
        request = _raw_request(body, expected)
        # An element of BYTES needs no length before it, because it is all there is.
        bytes_alone = expected.datatype == "BYTES"
        return Inference(request, lambda: [body] if bytes_alone else from_bytes(request.inputs[0], body))
    request = _parsed(header)
    if [one.name for one in request.inputs] != [expected.name]:
        got = ", ".join(repr(one.name) for one in request.inputs) or "none"
        raise TensorError(f"expected one input, `{expected.name}`; got {got}")
    [tensor] = request.inputs
    _check_description(tensor, expected)
    size = tensor.parameters.get("binary_data_size")
    if size is None:
        if rest:
            raise TensorError(f"expected no bytes behind the JSON without binary_data_size; got {len(rest)}")
    elif not isinstance(size, int) or isinstance(size, bool) or size != len(rest):
        raise TensorError(f"expected binary_data_size to be what lies behind the JSON, {len(rest)} bytes; got {size}")
    elif tensor.data is not UNSET:
        raise TensorError(f"input `{tensor.name}`: expected data or binary_data_size; got both")
    return Inference(request, partial(_from_json, tensor) if size is None else partial(from_bytes, tensor, rest))


def _header_length(text: str | None, total: int) -> int:
    if text is None:
        return total
    if not (text.isascii() and text.isdigit()) or len(text) > 18 or int(text) > total:
        raise TensorError(f"expected Inference-Header-Content-Length from 0 to the body's {total}; got {text[:20]}")
    return int(text)


def _parsed(header: memoryview) -> InferenceRequest:
    try:
        with memory_lock(len(header) > MAXIMUM_JSON):
            if len(header) > MAXIMUM_JSON:
                [tensor] = _data_decoder.decode(header).inputs
                if (besides := len(header) - len(tensor.data)) > MAXIMUM_JSON:
                    raise TensorError(f"expected at most {MAXIMUM_JSON} bytes of JSON besides the data; got {besides}")
            return _decoder.decode(header)
    except msgspec.ValidationError as error:
        raise TensorError(f"expected an inference request of protocol V2; got JSON where: {error}") from error
    # A lone surrogate in a string is found only where the string is made.
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise TensorError(
            "expected an inference request of protocol V2 in JSON, with Inference-Header-Content-Length where bytes "
            "follow it; got JSON that cannot be parsed"
        ) from error


def _check_description(tensor: InputTensor, expected: TensorDescription) -> None:
    if tensor.datatype != expected.datatype:
        raise TensorError(f"input `{tensor.name}`: expected datatype {expected.datatype}; got {tensor.datatype}")
    fits = len(tensor.shape) == len(expected.shape) and all(
        want in (-1, size) for size, want in zip(tensor.shape, expected.shape, strict=True)
    )
    if not fits:
        raise TensorError(f"input `{tensor.name}`: expected shape {expected.shape}; got {tensor.shape}")


def _raw_request(body: bytes, expected: TensorDescription) -> InferenceRequest:
    shape = [1 if size == -1 else size for size in expected.shape]
    tensor = InputTensor(expected.name, shape, expected.datatype, parameters={"binary_data_size": len(body)})
    return InferenceRequest([tensor], parameters={"binary_data_output": True})


def from_bytes(tensor: InputTensor | OutputTensor, data: bytes | memoryview) -> Values:
    """The values of a tensor from the bytes behind the JSON. Raises TensorError."""
    count = math.prod(tensor.shape)
    if tensor.datatype == "BYTES":
        return _elements(tensor, data, count)
    kind = np.dtype(NUMPY_TYPES[tensor.datatype])
    if len(data) != count * kind.itemsize:
        raise TensorError(
            f"input `{tensor.name}`: expected {count * kind.itemsize} bytes for shape {tensor.shape} of "
            f"{tensor.datatype}; got {len(data)}"
        )
    return np.frombuffer(data, kind).reshape(tensor.shape)


def _elements(tensor: InputTensor | OutputTensor, data: bytes | memoryview, count: int) -> list[bytes]:
    elements: list[bytes] = []
    position = 0
    while position < len(data) and len(elements) < count:
        start = position + 4
        position = start + struct.unpack_from("<I", data, position)[0] if start <= len(data) else len(data) + 1
        elements.append(bytes(data[start:position]))
    if position != len(data) or len(elements) != count:
        raise TensorError(
            f"input `{tensor.name}`: expected {count} elements of BYTES, each behind its length in 4 bytes; "
            f"got {len(data)} bytes that do not divide so"
        )
    return elements


def _from_json(tensor: InputTensor) -> Values:
    if tensor.data is UNSET:
        raise TensorError(f"input `{tensor.name}`: expected data or binary_data_size; got neither")
    with memory_lock(len(tensor.data) > MAXIMUM_JSON):
        data = memoryview(tensor.data).tobytes()
        return _texts(tensor, data) if tensor.datatype == "BYTES" else _numbers(tensor, data)


def _texts(tensor: InputTensor, data: bytes) -> list[bytes]:
    [count] = tensor.shape
    # Base64 has no quotation marks: no more texts than these can be made of the data.
    if (quotes := data.count(b'"')) != 2 * count:
        raise TensorError(f"input `{tensor.name}`: expected {count} texts in base64; got {quotes // 2}")
    try:
        require_ascii(data)
        return [decode_base64(text) for text in msgspec.json.decode(data, type=list[str])]
    except msgspec.ValidationError as error:
        raise TensorError(f"input `{tensor.name}`: expected data of BYTES; got some where: {error}") from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise TensorError(f"input `{tensor.name}`: expected data in JSON; got what cannot be parsed") from error
    except ValueError as error:
        raise TensorError(f"input `{tensor.name}`: {error}") from error


def require_ascii(data: bytes) -> None:
    """Raises ValueError if texts in JSON, which should be base64, have other letters, which is said of them.

    With a single one, Python would take up to four bytes for every letter of the text.
    """
    if not data.isascii() or _ESCAPED_BEYOND_ASCII.search(data):
        raise ValueError(NOT_BASE64)


NOT_BASE64 = "expected base64; got text that is not base64"
_ESCAPED_BEYOND_ASCII = re.compile(rb"\\u(?!00[0-7])")


def decode_base64(text: str) -> bytes:
    """Bytes of base64 or of a data URL in base64. Raises ValueError, which says what was expected."""
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not head.endswith(";base64"):
            raise ValueError("expected base64 or a data URL in base64; got a data URL that is not base64")
    try:
        # Line breaks are usual in base64, and so is its URL-safe alphabet.
        return base64.b64decode(text.encode("ascii").translate(_URL_SAFE, _SPACE), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(NOT_BASE64) from error


_URL_SAFE, _SPACE = bytes.maketrans(b"-_", b"+/"), b" \t\n\r\v\f"


def _numbers(tensor: InputTensor, data: bytes) -> NDArray[Any]:
    """Numbers, flat or in lists nested as the shape is; only a piece of the data at a time becomes Python's numbers."""
    count, marks = math.prod(tensor.shape), data.translate(None, _NUMBERS_AND_SPACE)
    if count > len(data) or marks not in (_marks([count]), _marks(tensor.shape)):
        raise TensorError(
            f"input `{tensor.name}`: expected {count} numbers of {tensor.datatype}, flat or in lists of shape "
            f"{tensor.shape}; got {_told_by(marks)}"
        )
    del marks
    kind = np.dtype(NUMPY_TYPES[tensor.datatype])
    number: Any = float if kind.kind == "f" else Annotated[int, Meta(ge=np.iinfo(kind).min, le=np.iinfo(kind).max)]
    decoder = msgspec.json.Decoder(list[number])
    data = data.translate(None, b"[]")
    values, filled, start = np.empty(count, kind), 0, 0
    try:
        while filled < count:
            end = data.find(b",", start + NUMBERS_BYTES)
            end = len(data) if end < 0 else end
            some = decoder.decode(b"[%b]" % data[start:end])
            values[filled : filled + len(some)] = some
            filled, start = filled + len(some), end + 1
    except msgspec.ValidationError as error:
        wrong = re.sub(r"(?<=\$\[)\d+", lambda place: str(filled + int(place[0])), str(error))
        raise TensorError(
            f"input `{tensor.name}`: expected numbers of {tensor.datatype}; got one where: {wrong}"
        ) from error
    except msgspec.DecodeError as error:
        raise TensorError(f"input `{tensor.name}`: expected data in JSON; got what cannot be parsed") from error
    return values.reshape(tensor.shape)


# How many bytes of JSON are made into Python's numbers at a time.
NUMBERS_BYTES = 2**14
_NUMBERS_AND_SPACE = b"0123456789+-.eE \t\n\r"


def _marks(shape: Sequence[int]) -> bytes:
    """The brackets and commas of JSON lists of this shape."""
    marks = b""
    for size in reversed(shape):
        marks = b"[" + ((marks + b",") * size)[:-1] + b"]"
    return marks


def _told_by(marks: bytes) -> str:
    if marks.strip(b"[],"):
        return "something other than numbers and lists"
    return "other lists" if b"[" in marks[1:] else f"{marks.count(b',') + 1} numbers, flat"


def check_outputs(inference: Inference, outputs: Sequence[TensorDescription]) -> None:
    """Raises TensorError where the request asks for outputs that the model has not, or not in that way."""
    descriptions = {one.name: one for one in outputs}
    asked: set[str] = set()
    for one in inference.request.outputs:
        if one.name not in descriptions:
            raise TensorError(f"expected outputs among {', '.join(descriptions)}; got {one.name!r}")
        if one.name in asked:
            raise TensorError(f"expected each output once; got {one.name!r} twice")
        asked.add(one.name)
        if (count := one.parameters.get("classification")) is None:
            continue
        if len(descriptions[one.name].shape) != 2:
            raise TensorError(f"expected classification of an output with a row an image; got {one.name!r}")
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise TensorError(f"expected classification to be a number of classes, 1 or more; got {count!r}")


def encode_response(
    inference: Inference, model: Mapping[str, Any], outputs: Mapping[str, Values], labels: Sequence[str]
) -> tuple[bytes, int | None]:
    """The body of an answer, and how many of its bytes are JSON where binary tensors follow, otherwise None.

    Gives the outputs that were asked for, which have passed `check_outputs`, or all. `labels` name the classes for
    `classification`.
    """
    request = inference.request
    wanted = request.outputs or [RequestedOutput(name) for name in outputs]
    binary_by_default = request.parameters.get("binary_data_output") is True
    tensors: list[OutputTensor] = []
    parts: list[bytes] = []
    for one in wanted:
        values = outputs[one.name]
        if (count := one.parameters.get("classification")) is not None:
            values = _classes(values, count, labels)
        shape = [len(values)] if isinstance(values, list) else list(values.shape)
        tensor = OutputTensor(one.name, _datatype(values), shape)
        if one.parameters.get("binary_data", binary_by_default) is True:
            parts.append(to_bytes(values))
            tensor.parameters = {"binary_data_size": len(parts[-1])}
        else:
            tensor.data = _to_json(values)
        tensors.append(tensor)
    response = InferenceResponse(model["name"], model["version"], tensors, request.id)
    header = msgspec.json.encode(response)
    return b"".join([header, *parts]), len(header) if parts else None


def _datatype(values: Values) -> str:
    if isinstance(values, list) or values.dtype == object:
        return "BYTES"
    return next(name for name, kind in NUMPY_TYPES.items() if np.dtype(kind) == values.dtype)


def to_bytes(values: Values) -> bytes:
    """The bytes of a tensor behind the JSON."""
    if _datatype(values) == "BYTES":
        flat = values if isinstance(values, list) else values.ravel()
        return b"".join(struct.pack("<I", len(element)) + element for element in flat)
    assert isinstance(values, np.ndarray)
    return values.tobytes()


def _to_json(values: Values) -> list[Any]:
    if _datatype(values) == "BYTES":
        flat = values if isinstance(values, list) else values.ravel()
        return [element.decode() for element in flat]
    assert isinstance(values, np.ndarray)
    return values.ravel().tolist()


def _classes(values: Values, count: int, labels: Sequence[str]) -> NDArray[np.object_]:
    """The `count` largest of each row, as BYTES `value:index:label`."""
    assert isinstance(values, np.ndarray)
    order = np.argsort(-values, axis=1, kind="stable")[:, : min(count, values.shape[1])]
    classes = np.empty(order.shape, object)
    for (row, place), index in np.ndenumerate(order):
        classes[row, place] = f"{values[row, index]:f}:{index}:{labels[int(index)]}".encode()
    return classes
