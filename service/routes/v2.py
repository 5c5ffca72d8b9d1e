"""`/v2`: the Open Inference Protocol V2. `digits` is the network itself; `digits-image` takes image files that show one
digit, and `digits-page` pages.

Errors, content types and bodies are those that the clients of Triton, KServe and MLServer understand.
"""

from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from typing import Annotated, Literal

import msgspec
import numpy as np
from flask import Blueprint, Response, request
from msgspec import Meta, Struct

from digits import __version__
from digits.classifier import CLASSES
from digits.decode import ImageError
from digits.open_inference import (
    DATATYPES,
    Inference,
    InferenceRequest,
    InferenceResponse,
    TensorDescription,
    Values,
    check_outputs,
    decode_request,
    encode_response,
)
from digits.preprocess import Preprocessed
from digits.recognizer import Prediction, Recognizer
from digits.registry import VersionError
from service.context import admitted, example_image, registry, stopping
from service.openapi import BINARY, VERSION_IN_PATH, Body, Operation, json, parameter
from service.request_body import MAXIMUM_IMAGES, RequestTooLargeError, body
from service.responses import Live, Ready, box_of, error_response, reply

v2 = Blueprint("v2", __name__, url_prefix="/v2")

EXTENSIONS = ["binary_tensor_data", "classification", "model_configuration", "model_repository"]


class Server(Struct):
    """The server's name, version and protocol extensions."""

    name: str
    version: str
    extensions: list[str]


class ServedFile(Struct):
    """The served version, and the SHA-256 of its finder.onnx followed by its model.onnx, in hexadecimal."""

    name: str
    version: str
    sha256: str


class ModelMetadata(Struct):
    """A model's versions, inputs and outputs."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorDescription]
    outputs: list[TensorDescription]
    parameters: ServedFile


class ModelReady(Struct):
    """Whether a model is ready for inference."""

    name: str
    ready: bool


class ConfiguredTensor(Struct):
    """A tensor in Triton's configuration; -1 in `dims` stands for any size."""

    name: str
    data_type: str
    dims: list[int]


class ModelConfiguration(Struct):
    """A model's configuration, like Triton's `config.pbtxt`."""

    name: str
    platform: str
    max_batch_size: int
    input: list[ConfiguredTensor]
    output: list[ConfiguredTensor]


class RepositoryEntry(Struct):
    """A version of a model in the repository."""

    name: str
    version: str
    state: str
    reason: str


@dataclass(frozen=True)
class Served:
    """A model of the protocol."""

    platform: str
    triton_platform: str
    describe: Callable[[Recognizer], tuple[TensorDescription, list[TensorDescription]]]
    infer: Callable[[Recognizer, Values], dict[str, Values]]


def _describe_digits(recognizer: Recognizer) -> tuple[TensorDescription, list[TensorDescription]]:
    """The ONNX file's input and outputs."""
    session = recognizer.classifier.session
    images, *outputs = [
        TensorDescription(one.name, DATATYPES[one.type], [size if isinstance(size, int) else -1 for size in one.shape])
        for one in (*session.get_inputs(), *session.get_outputs())
    ]
    return images, outputs


def _infer_digits(recognizer: Recognizer, images: Values) -> dict[str, Values]:
    assert isinstance(images, np.ndarray)
    probabilities, is_digit = recognizer.classifier.classify(images)
    return {"probabilities": probabilities, "is_digit": is_digit}


_IMAGE = TensorDescription("image", "BYTES", [-1])
_OUTPUTS = [
    TensorDescription("digit", "INT64", [-1]),
    TensorDescription("confidence", "FP32", [-1]),
    TensorDescription("probabilities", "FP32", [-1, CLASSES]),
    TensorDescription("reason", "BYTES", [-1]),
    TensorDescription("error", "BYTES", [-1]),
    TensorDescription("box", "INT64", [-1, 4]),
]


def _infer_digits_image(recognizer: Recognizer, files: Values) -> dict[str, Values]:
    assert isinstance(files, list)
    images = recognizer.preprocess_each(files)
    results = recognizer.predict_each(images)
    nothing = Prediction(None, 0.0, (0.0,) * CLASSES, None)
    predictions = [one if isinstance(one, Prediction) else nothing for one in results]
    return {
        "digit": np.array([-1 if one.digit is None else one.digit for one in predictions], np.int64),
        "confidence": np.array([one.confidence for one in predictions], np.float32),
        "probabilities": np.array([one.probabilities for one in predictions], np.float32).reshape(-1, CLASSES),
        "reason": [(one.reason or "").encode() for one in predictions],
        "error": [b"" if isinstance(one, Prediction) else str(one).encode() for one in results],
        "box": np.array([_box(one) for one in images], np.int64).reshape(-1, 4),
    }


_PAGE_OUTPUTS = [
    TensorDescription("image", "INT64", [-1]),
    TensorDescription("digit", "INT64", [-1]),
    TensorDescription("confidence", "FP32", [-1]),
    TensorDescription("box", "INT64", [-1, 4]),
    TensorDescription("line", "INT64", [-1]),
    TensorDescription("position", "INT64", [-1]),
    TensorDescription("turned", "INT64", [-1]),
    TensorDescription("error", "BYTES", [-1]),
]


def _infer_digits_page(recognizer: Recognizer, files: Values) -> dict[str, Values]:
    """One row for every digit of every page; `image` counts the pages. `turned` and `error` have one for every page."""
    assert isinstance(files, list)
    results = recognizer.read_each(files)
    found = [
        (number, one)
        for number, result in enumerate(results)
        if not isinstance(result, ImageError)
        for one in result.digits
    ]
    return {
        "image": np.array([number for number, _ in found], np.int64),
        "digit": np.array([-1 if one.digit is None else one.digit for _, one in found], np.int64),
        "confidence": np.array([one.confidence for _, one in found], np.float32),
        "box": np.array([astuple(one.box) for _, one in found], np.int64).reshape(-1, 4),
        "line": np.array([-1 if one.line is None else one.line for _, one in found], np.int64),
        "position": np.array([-1 if one.position is None else one.position for _, one in found], np.int64),
        "turned": np.array([0 if isinstance(one, ImageError) else one.turned for one in results], np.int64),
        "error": [str(one).encode() if isinstance(one, ImageError) else b"" for one in results],
    }


def _box(image: Preprocessed | ImageError) -> tuple[int, int, int, int]:
    """Left, top, width and height; -1 each if no digit was found."""
    box = box_of(image) if isinstance(image, Preprocessed) else None
    return (box.left, box.top, box.width, box.height) if box else (-1, -1, -1, -1)


SERVED: Mapping[str, Served] = {
    "digits": Served("onnx_onnxv1", "onnxruntime_onnx", _describe_digits, _infer_digits),
    "digits-image": Served("digits_image", "digits_image", lambda _: (_IMAGE, _OUTPUTS), _infer_digits_image),
    "digits-page": Served("digits_page", "digits_page", lambda _: (_IMAGE, _PAGE_OUTPUTS), _infer_digits_page),
}


def _served(name: str) -> Served:
    if name not in SERVED:
        raise VersionError(f"expected a model that is served, one of {', '.join(SERVED)}; got {name}")
    return SERVED[name]


_NAME = parameter("path", "name", Literal[tuple(SERVED)], "The model's name.", "digits-image")
_MODEL = (_NAME, VERSION_IN_PATH)


@v2.get("")
@v2.get("/")
@Operation({200: json(Server)})
def server() -> Response:
    """Returns the server's name, version and protocol extensions."""
    return reply(Server("digits", __version__, EXTENSIONS))


@v2.get("/health/live")
@Operation({200: json(Live)})
def live() -> Response:
    """Responds as long as the process does."""
    return reply(Live(True))


@v2.get("/health/ready")
@Operation({200: json(Ready), 503: json(Ready)})
def ready() -> Response:
    """Tells whether the process accepts requests. A ready process has warmed up every model version."""
    return reply(Ready(not stopping(), True), 503 if stopping() else 200)


@v2.get("/models/<name>")
@v2.get("/models/<name>/versions/<version>")
@Operation({200: json(ModelMetadata)}, _MODEL, errors=(404,))
def model(name: str, version: str | None = None) -> Response:
    """Returns a model's versions, inputs and outputs, and the served ONNX file."""
    served, recognizer = _served(name), registry().recognizer(version)
    image, outputs = served.describe(recognizer)
    file = ServedFile(**recognizer.model, sha256=recognizer.sha256)
    return reply(ModelMetadata(name, registry().versions, served.platform, [image], outputs, file))


@v2.get("/models/<name>/ready")
@v2.get("/models/<name>/versions/<version>/ready")
@Operation({200: json(ModelReady)}, _MODEL, errors=(404,))
def model_ready(name: str, version: str | None = None) -> Response:
    """Tells whether a model, or a version of it, is ready for inference."""
    _served(name)
    registry().recognizer(version)
    return reply(ModelReady(name, True))


@v2.get("/models/<name>/config")
@v2.get("/models/<name>/versions/<version>/config")
@Operation({200: json(ModelConfiguration)}, _MODEL, errors=(404,))
def model_configuration(name: str, version: str | None = None) -> Response:
    """Returns a model's configuration, like Triton's `config.pbtxt`."""
    served, recognizer = _served(name), registry().recognizer(version)
    image, outputs = served.describe(recognizer)
    configured, *others = [ConfiguredTensor(one.name, f"TYPE_{one.datatype}", one.shape) for one in (image, *outputs)]
    return reply(ModelConfiguration(name, served.triton_platform, 0, [configured], others))


_HEADER_LENGTH = "Inference-Header-Content-Length"
_INFERENCE = Body(
    json(InferenceRequest) | {"application/octet-stream": BINARY},
    {
        "JSON": '--json \'{"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": '
        "[\"'$(base64 -w 0 3.png)'\"]}]}'",
        "a file alone": f"-H '{_HEADER_LENGTH}: 0' --data-binary @3.png --output -",
    },
    f"Tensors as JSON; or, with `{_HEADER_LENGTH}`, JSON followed by the tensors' bytes.",
)


def _example() -> InferenceResponse:
    recognizer = registry().recognizer()
    files: Values = [example_image()]
    inference = Inference(InferenceRequest([]), lambda: files)
    outputs = _infer_digits_image(recognizer, files)
    encoded, _ = encode_response(inference, {**recognizer.model, "name": "digits-image"}, outputs, [])
    return msgspec.json.decode(encoded, type=InferenceResponse)


@v2.post("/models/<name>/infer")
@v2.post("/models/<name>/versions/<version>/infer")
@Operation(
    {200: json(InferenceResponse, _example) | {"application/octet-stream": BINARY}},
    parameters=(
        *_MODEL,
        parameter(
            "header",
            _HEADER_LENGTH,
            Annotated[str, Meta(pattern="^[0-9]{1,18}$")],
            "The length of the body's JSON in bytes; 0 if the body is a single image's tensor and nothing else.",
        ),
    ),
    body=_INFERENCE,
    errors=(404, 503),
    headers={_HEADER_LENGTH: "The length of the response's JSON in bytes, if tensors' bytes follow."},
)
def infer(name: str, version: str | None = None) -> Response:
    """Runs a model. Tensors are sent and returned as JSON, or as bytes after it."""
    served, recognizer = _served(name), registry().recognizer(version)
    image, described = served.describe(recognizer)
    data = [body()]
    with admitted() as admission:
        inference = decode_request(data.pop(), request.headers.get(_HEADER_LENGTH), image)
        check_outputs(inference, described)
        if image.datatype == "BYTES" and inference.count > MAXIMUM_IMAGES:
            raise RequestTooLargeError(f"expected at most {MAXIMUM_IMAGES} images; got {inference.count}")
        images = inference.take_values()
        admission.has(len(images))
        outputs = served.infer(recognizer, images)
    written = recognizer.classifier.metadata.get("labels")
    labels: list[str] = msgspec.json.decode(written) if written else [str(one) for one in range(CLASSES)]
    encoded, header_length = encode_response(inference, {**recognizer.model, "name": name}, outputs, labels)
    response = Response(encoded, mimetype="application/json" if header_length is None else "application/octet-stream")
    if header_length is not None:
        response.headers[_HEADER_LENGTH] = str(header_length)
    return response


@v2.post("/repository/index")
@Operation({200: json(list[RepositoryEntry])})
def repository() -> Response:
    """Lists all models and versions."""
    return reply([RepositoryEntry(name, version, "READY", "") for name in SERVED for version in registry().versions])


@v2.post("/repository/models/<name>/<action>")
@Operation(
    {},
    parameters=(
        parameter("path", "name", str, "Any model's name.", "digits"),
        parameter("path", "action", str, "Such as `load` or `unload`.", "load"),
    ),
    errors=(501,),
)
def change_repository(name: str, action: str) -> Response:
    """Always fails. Send SIGHUP to the server to reload its models."""
    return error_response(f"expected SIGHUP to the server to reload {name}; got a request", 501)
