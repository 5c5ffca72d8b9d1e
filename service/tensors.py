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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from numpy.typing import NDArray

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


@dataclass(frozen=True)
class Inference:
    """A request whose input tensor has been read."""

    request: InferenceRequest
    values: Values


_decoder = msgspec.json.Decoder(InferenceRequest)


def decode_request(body: bytes, header_length: str | None, expected: TensorDescription) -> Inference:
    """Reads the body of a request to a model with one input.

    `header_length` is the header `Inference-Header-Content-Length`: how many of the bytes are JSON; without it, all; 0
    says that the body is one image's tensor and nothing else. Raises TensorError.
    """
    length = _header_length(header_length, len(body))
    if header_length is not None and length == 0:
        return Inference(_raw_request(body, expected), _raw_values(body, expected))
    request = _parsed(body[:length])
    if [one.name for one in request.inputs] != [expected.name]:
        got = ", ".join(repr(one.name) for one in request.inputs) or "none"
        raise TensorError(f"expected one input, `{expected.name}`; got {got}")
    [tensor] = request.inputs
    _check_description(tensor, expected)
    size, rest = tensor.parameters.get("binary_data_size"), body[length:]
    if size is None:
        if rest:
            raise TensorError(f"expected no bytes behind the JSON without binary_data_size; got {len(rest)}")
        return Inference(request, _from_json(tensor))
    if not isinstance(size, int) or isinstance(size, bool) or size != len(rest):
        raise TensorError(f"expected binary_data_size to be what lies behind the JSON, {len(rest)} bytes; got {size}")
    if tensor.data is not UNSET:
        raise TensorError(f"input `{tensor.name}`: expected data or binary_data_size; got both")
    return Inference(request, from_bytes(tensor, rest))


def _header_length(text: str | None, total: int) -> int:
    if text is None:
        return total
    if not (text.isascii() and text.isdigit()) or len(text) > 18 or int(text) > total:
        raise TensorError(f"expected Inference-Header-Content-Length from 0 to the body's {total}; got {text[:20]}")
    return int(text)


def _parsed(header: bytes) -> InferenceRequest:
    try:
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


def _raw_values(body: bytes, expected: TensorDescription) -> Values:
    """A batch of one; an element of BYTES needs no length before it, because it is all there is."""
    [tensor] = _raw_request(body, expected).inputs
    return [body] if expected.datatype == "BYTES" else from_bytes(tensor, body)


def from_bytes(tensor: InputTensor | OutputTensor, data: bytes) -> Values:
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


def _elements(tensor: InputTensor | OutputTensor, data: bytes, count: int) -> list[bytes]:
    elements: list[bytes] = []
    position = 0
    while position < len(data) and len(elements) < count:
        start = position + 4
        position = start + struct.unpack_from("<I", data, position)[0] if start <= len(data) else len(data) + 1
        elements.append(data[start:position])
    if position != len(data) or len(elements) != count:
        raise TensorError(
            f"input `{tensor.name}`: expected {count} elements of BYTES, each behind its length in 4 bytes; "
            f"got {len(data)} bytes that do not divide so"
        )
    return elements


def _from_json(tensor: InputTensor) -> Values:
    if tensor.data is UNSET:
        raise TensorError(f"input `{tensor.name}`: expected data or binary_data_size; got neither")
    if tensor.datatype == "BYTES":
        texts = _decoded(tensor, tensor.data, list[str])
        if len(texts) != tensor.shape[0]:
            raise TensorError(f"input `{tensor.name}`: expected {tensor.shape[0]} texts; got {len(texts)}")
        return [_from_base64(tensor.name, text) for text in texts]
    return _numbers(tensor, tensor.data)


def _decoded(tensor: InputTensor, data: Raw, kind: Any) -> Any:  # noqa: ANN401 - what `kind` says
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise TensorError(
            f"input `{tensor.name}`: expected data of {tensor.datatype}; got some where: {error}"
        ) from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise TensorError(f"input `{tensor.name}`: expected data in JSON; got what cannot be parsed") from error


def _from_base64(name: str, text: str) -> bytes:
    try:
        return decode_base64(text)
    except ValueError as error:
        raise TensorError(f"input `{name}`: {error}") from error


def decode_base64(text: str) -> bytes:
    """Bytes of base64 or of a data URL in base64. Raises ValueError, which says what was expected."""
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not head.endswith(";base64"):
            raise ValueError("expected base64 or a data URL in base64; got a data URL that is not base64")
    try:
        # Line breaks are usual in base64, and so is its URL-safe alphabet.
        return base64.b64decode("".join(text.split()).translate(_URL_SAFE), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("expected base64; got text that is not base64") from error


_URL_SAFE = str.maketrans("-_", "+/")


def _numbers(tensor: InputTensor, data: Raw) -> NDArray[Any]:
    kind = np.dtype(NUMPY_TYPES[tensor.datatype])
    lists: Any = float if kind.kind == "f" else Annotated[int, Meta(ge=np.iinfo(kind).min, le=np.iinfo(kind).max)]
    # Typed, so that nothing but numbers is ever made of it; nested as deep as the shape, or flat.
    for _ in tensor.shape if _NESTED.match(data) else [None]:
        lists = list[lists]
    try:
        array = np.array(_decoded(tensor, data, lists), kind)
    except ValueError as error:
        raise TensorError(
            f"input `{tensor.name}`: expected shape {tensor.shape}; got lists of unequal length"
        ) from error
    if array.size != math.prod(tensor.shape) or array.shape not in (tuple(tensor.shape), (array.size,)):
        raise TensorError(
            f"input `{tensor.name}`: expected data of shape {tensor.shape}, nested or flat; got {list(array.shape)}"
        )
    return array.reshape(tensor.shape)


_NESTED = re.compile(rb"\s*\[\s*\[")


def encode_response(
    inference: Inference, model: Mapping[str, str], outputs: Mapping[str, Values], labels: Sequence[str]
) -> tuple[bytes, int | None]:
    """The body of an answer, and how many of its bytes are JSON where binary tensors follow, otherwise None.

    Gives the outputs that were asked for, or all. `labels` name the classes for `classification`. Raises TensorError.
    """
    request = inference.request
    wanted = request.outputs or [RequestedOutput(name) for name in outputs]
    binary_by_default = request.parameters.get("binary_data_output") is True
    tensors: list[OutputTensor] = []
    parts: list[bytes] = []
    for one in wanted:
        if one.name not in outputs:
            raise TensorError(f"expected outputs among {', '.join(outputs)}; got {one.name!r}")
        values = outputs[one.name]
        if (count := one.parameters.get("classification")) is not None:
            values = _classes(one.name, values, count, labels)
        shape = [len(values)] if isinstance(values, list) else list(values.shape)
        tensor = OutputTensor(one.name, _datatype(values), shape)
        if one.name in [other.name for other in tensors]:
            raise TensorError(f"expected each output once; got {one.name!r} twice")
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


def _classes(name: str, values: Values, count: object, labels: Sequence[str]) -> NDArray[np.object_]:
    """The `count` largest of each row, as BYTES `value:index:label`."""
    if isinstance(values, list) or values.ndim != 2:
        raise TensorError(f"expected classification of an output with a row an image; got {name!r}")
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise TensorError(f"expected classification to be a number of classes, 1 or more; got {count!r}")
    count = min(count, values.shape[1])
    order = np.argsort(-values, axis=1, kind="stable")[:, :count]
    classes = np.empty(order.shape, object)
    for (row, place), index in np.ndenumerate(order):
        classes[row, place] = f"{values[row, index]:f}:{index}:{labels[int(index)]}".encode()
    return classes
