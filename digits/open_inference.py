"""The tensors of the Open Inference Protocol V2, as JSON or as raw bytes after it (the binary tensor data extension).

https://github.com/kserve/open-inference-protocol, and Triton's docs/protocol/extension_binary_data.md and
extension_classification.md. Numbers are little-endian and row-major; each element of BYTES follows its length in four
bytes.
"""

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

from digits.base64_text import decode_base64, require_ascii
from digits.memory import memory_lock

NUMPY_TYPES = {"UINT8": "u1", "INT64": "<i8", "FP32": "<f4"}
# Datatypes by ONNX Runtime's names for them.
DATATYPES = {"tensor(uint8)": "UINT8", "tensor(int64)": "INT64", "tensor(float)": "FP32"}
# The largest JSON of a request, in bytes, apart from its data.
MAXIMUM_JSON = 2**16
# Bytes of JSON that are converted to numbers at a time.
NUMBERS_BYTES = 2**14

Values = NDArray[Any] | list[bytes]


class TensorError(Exception):
    """The request's tensors are not the expected ones; the message may be shown to the client."""


class TensorDescription(Struct):
    """A model's input or output; in `shape`, -1 stands for any size."""

    name: str
    datatype: str
    shape: list[int]


class InputTensor(Struct):
    """A request's tensor: `data`, nested or flat, or `parameters.binary_data_size` bytes after the JSON."""

    name: str
    shape: list[Annotated[int, Meta(ge=0, le=2**31 - 1)]]
    datatype: str
    data: Annotated[Raw, Meta(extra_json_schema={"type": "array"})] | UnsetType = UNSET
    parameters: dict[str, Any] = {}


class RequestedOutput(Struct):
    """An output to return; its parameters may be `binary_data` and `classification`."""

    name: str
    parameters: dict[str, Any] = {}


class InferenceRequest(Struct):
    """The JSON of a V2 inference request; unknown fields are ignored."""

    inputs: Annotated[list[InputTensor], Meta(max_length=16)]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: Annotated[list[RequestedOutput], Meta(max_length=16)] = []


class OutputTensor(Struct, omit_defaults=True):
    """A response's tensor: row-major `data`, or `parameters.binary_data_size` bytes after the JSON."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | UnsetType = UNSET
    parameters: dict[str, int] | UnsetType = UNSET


class InferenceResponse(Struct, omit_defaults=True):
    """The JSON of a V2 inference response."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str = ""


@dataclass
class Inference:
    """A request to a model with one input, whose name, datatype and shape have been checked."""

    request: InferenceRequest
    _read: Callable[[], Values]

    @property
    def count(self) -> int:
        """The number of images, by the tensor's shape."""
        return self.request.inputs[0].shape[0]

    def take_values(self) -> Values:
        """The tensor; can be called once, since what it was made from is not kept. Raises TensorError."""
        values = self._read()
        self.request.inputs[0].data = UNSET
        del self._read
        return values


class _TensorData(Struct):
    data: Raw = Raw()


class _RequestData(Struct):
    inputs: tuple[_TensorData]  # so that never more than one is made into an object


_decoder, _data_decoder = msgspec.json.Decoder(InferenceRequest), msgspec.json.Decoder(_RequestData)


def decode_request(body: bytes, header_length: str | None, expected: TensorDescription) -> Inference:
    """Decodes the body of a request to a model with one input. Raises TensorError.

    `header_length` is the header `Inference-Header-Content-Length`: how many of the bytes are JSON, all without it; 0
    says that the body is the tensor of one image and nothing else.
    """
    text = str(len(body)) if header_length is None else header_length
    if not (text.isascii() and text.isdigit()) or len(text) > 18 or int(text) > len(body):
        raise TensorError(f"expected Inference-Header-Content-Length from 0 to the body's {len(body)}; got {text[:20]}")
    length = int(text)
    if header_length is not None and length == 0:
        shape = [1 if size == -1 else size for size in expected.shape]
        tensor = InputTensor(expected.name, shape, expected.datatype)
        request = InferenceRequest([tensor], parameters={"binary_data_output": True})
        # A single element of BYTES needs no length in front of it.
        return Inference(request, lambda: [body] if expected.datatype == "BYTES" else from_bytes(tensor, body))
    request, rest = _decode_json(memoryview(body)[:length]), memoryview(body)[length:]
    if [one.name for one in request.inputs] != [expected.name]:
        got = ", ".join(repr(one.name) for one in request.inputs) or "none"
        raise TensorError(f"expected one input, `{expected.name}`; got {got}")
    [tensor] = request.inputs
    wanted = [size if want == -1 else want for size, want in zip(tensor.shape, expected.shape, strict=False)]
    faults = []
    if tensor.datatype != expected.datatype:
        faults.append(f"expected datatype {expected.datatype}; got {tensor.datatype[:20]}")
    if len(tensor.shape) != len(expected.shape) or tensor.shape != wanted:
        faults.append(f"expected shape {expected.shape}; got {str(tensor.shape)[:100]}")
    if faults:
        raise TensorError(f"input `{tensor.name}`: {', and '.join(faults)}{_conversion(expected)}")
    size = tensor.parameters.get("binary_data_size")
    if size is None:
        if rest:
            raise TensorError(f"expected no bytes after the JSON without binary_data_size; got {len(rest)}")
        return Inference(request, partial(_from_json, tensor))
    if type(size) is not int or size != len(rest):
        raise TensorError(f"expected binary_data_size to count what follows the JSON, {len(rest)} bytes; got {size}")
    if tensor.data is not UNSET:
        raise TensorError(f"input `{tensor.name}`: expected data or binary_data_size; got both")
    return Inference(request, partial(from_bytes, tensor, rest))


def _conversion(expected: TensorDescription) -> str:
    """How to convert images to a tensor of bytes: what clients get wrong first is also wrong in two other ways."""
    if expected.datatype != "UINT8":
        return ""
    shape = ", ".join(map(str, expected.shape))
    return (
        f". The model takes UINT8 of shape {expected.shape}, ink 255 on paper 0. With NumPy, convert x from 0 to 1 by "
        f"`(255 * x).round().astype('uint8').reshape({shape})`, from 0 to 255 without `255 *`"
    )


def _decode_json(header: memoryview) -> InferenceRequest:
    try:
        with memory_lock(len(header) > MAXIMUM_JSON):
            if len(header) > MAXIMUM_JSON:
                [tensor] = _data_decoder.decode(header).inputs
                if (other := len(header) - len(tensor.data)) > MAXIMUM_JSON:
                    raise TensorError(f"expected at most {MAXIMUM_JSON} bytes of JSON besides the data; got {other}")
            return _decoder.decode(header)
    except msgspec.ValidationError as error:
        raise TensorError(f"expected an inference request of protocol V2; got JSON where: {error}") from error
    # msgspec finds a lone surrogate only when it makes the string.
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        expected = "an inference request of protocol V2, with Inference-Header-Content-Length if bytes follow its JSON"
        raise TensorError(f"expected {expected}; got JSON that cannot be parsed") from error


def from_bytes(tensor: InputTensor | OutputTensor, data: bytes | memoryview) -> Values:
    """The values of a tensor from the bytes after the JSON. Raises TensorError."""
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
        position = start + int.from_bytes(data[position:start], "little")
        elements.append(bytes(data[start:position]))
    if position != len(data) or len(elements) != count:
        raise TensorError(
            f"input `{tensor.name}`: expected {count} elements of BYTES, each after its length in 4 bytes; "
            f"got {len(data)} bytes that do not split into them"
        )
    return elements


def _from_json(tensor: InputTensor) -> Values:
    if tensor.data is UNSET:
        raise TensorError(f"input `{tensor.name}`: expected data or binary_data_size; got neither")
    try:
        with memory_lock(len(tensor.data) > MAXIMUM_JSON):
            data = memoryview(tensor.data).tobytes()
            return _texts(tensor, data) if tensor.datatype == "BYTES" else numbers(tensor, data)
    except msgspec.ValidationError as error:
        expected = TensorDescription(tensor.name, tensor.datatype, [-1, *tensor.shape[1:]])
        message = f"expected data of {tensor.datatype}; got JSON where: {error}{_conversion(expected)}"
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        message = "expected data in JSON; got JSON that cannot be parsed"
    except ValueError as error:
        message = str(error)
    raise TensorError(f"input `{tensor.name}`: {message}")


def _texts(tensor: InputTensor, data: bytes) -> list[bytes]:
    [count] = tensor.shape
    # Base64 has no quotation marks, so the data cannot hold more strings than this.
    if (quotes := data.count(b'"')) != 2 * count:
        raise ValueError(f"expected {count} strings in base64; got {quotes // 2}")
    require_ascii(data)
    return [decode_base64(text) for text in msgspec.json.decode(data, type=list[str])]


def numbers(tensor: InputTensor, data: bytes) -> NDArray[Any]:
    """Numbers in JSON, flat or in lists nested like the tensor's shape. Raises ValueError and ValidationError.

    They are converted in pieces, since Python's numbers take much memory.
    """
    count, marks = math.prod(tensor.shape), data.translate(None, _NUMBERS_AND_SPACE)
    if count > len(data) or marks not in (_brackets([count]), _brackets(tensor.shape)):
        got = "other lists" if b"[" in marks[1:] else f"{marks.count(b',') + 1} numbers, flat"
        if marks.strip(b"[],"):
            got = "something other than numbers and lists"
        expected = f"{count} numbers of {tensor.datatype}, flat or in lists of shape {tensor.shape}"
        raise ValueError(f"expected {expected}; got {got}")
    del marks
    kind = np.dtype(NUMPY_TYPES[tensor.datatype])
    number: Any = float if kind.kind == "f" else Annotated[int, Meta(ge=np.iinfo(kind).min, le=np.iinfo(kind).max)]
    decoder = msgspec.json.Decoder(list[number])
    data = data.translate(None, b"[]")
    values, filled, start = np.empty(count, kind), 0, 0
    while filled < count:
        end = data.find(b",", start + NUMBERS_BYTES)
        end = len(data) if end < 0 else end
        try:
            some = decoder.decode(b"[%b]" % data[start:end])
        except msgspec.ValidationError as error:
            before, place, after = re.split(r"(?<=\$\[)(\d+)", str(error), maxsplit=1)
            raise msgspec.ValidationError(f"{before}{filled + int(place)}{after}") from error
        values[filled : filled + len(some)] = some
        filled, start = filled + len(some), end + 1
    return values.reshape(tensor.shape)


_NUMBERS_AND_SPACE = b"0123456789+-.eE \t\n\r"


def is_nested(data: bytes, shape: Sequence[int]) -> bool:
    """Whether JSON is lists of numbers nested like this shape."""
    return math.prod(shape) <= len(data) and data.translate(None, _NUMBERS_AND_SPACE) == _brackets(shape)


def _brackets(shape: Sequence[int]) -> bytes:
    """The brackets and commas of JSON lists of this shape."""
    marks = b""
    for size in reversed(shape):
        marks = b"[" + ((marks + b",") * size)[:-1] + b"]"
    return marks


def check_outputs(inference: Inference, outputs: Sequence[TensorDescription]) -> None:
    """Raises TensorError if the request asks for outputs that the model does not have, or not in that form."""
    are_scores = {one.name: len(one.shape) == 2 and one.datatype.startswith("FP") for one in outputs}
    requested: set[str] = set()
    for one in inference.request.outputs:
        if one.name not in are_scores:
            raise TensorError(f"expected outputs among {', '.join(are_scores)}; got {one.name!r}")
        if one.name in requested:
            raise TensorError(f"expected each output once; got {one.name!r} twice")
        requested.add(one.name)
        if (count := one.parameters.get("classification")) is None:
            continue
        if not are_scores[one.name]:
            raise TensorError(f"expected classification of scores, with one row per image; got {one.name!r}")
        if type(count) is not int or count < 1:
            raise TensorError(f"expected classification to be a number of classes, 1 or more; got {count!r}")


def encode_response(
    inference: Inference, model: Mapping[str, Any], outputs: Mapping[str, Values], labels: Sequence[str]
) -> tuple[bytes, int | None]:
    """The body of a response, and how many of its bytes are JSON if binary tensors follow, otherwise None.

    Contains the requested outputs, which have passed `check_outputs`, or all. `labels` names the classes for
    `classification`.
    """
    request = inference.request
    binary_by_default = request.parameters.get("binary_data_output") is True
    tensors: list[OutputTensor] = []
    parts: list[bytes] = []
    for one in request.outputs or map(RequestedOutput, outputs):
        values = outputs[one.name]
        if (count := one.parameters.get("classification")) is not None:
            values = _classes(values, count, labels)
        shape = [len(values)] if isinstance(values, list) else list(values.shape)
        tensor = OutputTensor(one.name, _datatype(values), shape)
        if one.parameters.get("binary_data", binary_by_default) is True:
            parts.append(to_bytes(values))
            tensor.parameters = {"binary_data_size": len(parts[-1])}
        else:
            flat = _flat(values)
            tensor.data = [element.decode() for element in flat] if tensor.datatype == "BYTES" else flat
        tensors.append(tensor)
    header = msgspec.json.encode(InferenceResponse(model["name"], model["version"], tensors, request.id))
    return b"".join([header, *parts]), len(header) if parts else None


def _datatype(values: Values) -> str:
    if isinstance(values, list) or values.dtype == object:
        return "BYTES"
    return next(name for name, kind in NUMPY_TYPES.items() if values.dtype == kind)


def _flat(values: Values) -> list[Any]:
    return values if isinstance(values, list) else values.ravel().tolist()


def to_bytes(values: Values) -> bytes:
    """The bytes of a tensor after the JSON."""
    if isinstance(values, np.ndarray) and values.dtype != object:
        return values.tobytes()
    return b"".join(struct.pack("<I", len(element)) + element for element in _flat(values))


def _classes(values: Values, count: int, labels: Sequence[str]) -> NDArray[np.object_]:
    """The `count` largest of each row, as BYTES `value:index:label`."""
    assert isinstance(values, np.ndarray)
    order = np.argsort(-values, axis=1, kind="stable")[:, :count]
    rows = zip(values, order.tolist(), strict=True)
    texts = [f"{row[index]:f}:{index}:{labels[index]}".encode() for row, best in rows for index in best]
    return np.array(texts, object).reshape(order.shape)
