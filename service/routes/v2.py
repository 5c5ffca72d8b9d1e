"""`/v2`: the Open Inference Protocol V2, with the model as it is, `digits`, and behind preparation, `digits-image`.

Errors, content types and bodies are those that Triton's, KServe's and MLServer's clients understand.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
import numpy as np
from flask import Blueprint, Response, request
from msgspec import Meta, Struct

from digits import __version__
from digits.classifier import CLASSES
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
from digits.recognizer import Prediction, Recognizer
from digits.registry import VersionError
from service.current import admitted, example_image, registry
from service.openapi import BINARY, Body, Operation, VersionNumber, json, parameter
from service.request_body import RequestTooLargeError, body
from service.request_image import MAXIMUM_IMAGES
from service.responses import error_response, reply
from service.routes.health import Live, Ready, stopping

v2 = Blueprint("v2", __name__, url_prefix="/v2")

EXTENSIONS = ["binary_tensor_data", "classification", "model_configuration", "model_repository"]


class Server(Struct):
    """What this server is."""

    name: str
    version: str
    extensions: list[str]


class Answering(Struct):
    """Which ONNX file answers: its name and version, and its SHA-256 in hexadecimal."""

    name: str
    version: str
    sha256: str


class ModelMetadata(Struct):
    """A model's inputs and outputs and its versions."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorDescription]
    outputs: list[TensorDescription]
    parameters: Answering


class ModelReady(Struct):
    """A model can be asked."""

    name: str
    ready: bool


class ConfiguredTensor(Struct):
    """A tensor in Triton's words; in `dims`, -1 stands for any size."""

    name: str
    data_type: str
    dims: list[int]


class ModelConfiguration(Struct):
    """What Triton's `config.pbtxt` says."""

    name: str
    platform: str
    max_batch_size: int
    input: list[ConfiguredTensor]
    output: list[ConfiguredTensor]


class RepositoryEntry(Struct):
    """A version of a model."""

    name: str
    version: str
    state: str
    reason: str


@dataclass(frozen=True)
class Served:
    """A model of the protocol: what it takes, what it gives, and how one comes of the other."""

    platform: str
    backend: str  # the platform in Triton's words
    describe: Callable[[Recognizer], tuple[TensorDescription, list[TensorDescription]]]
    infer: Callable[[Recognizer, Values], dict[str, Values]]


def _describe_digits(recognizer: Recognizer) -> tuple[TensorDescription, list[TensorDescription]]:
    """The ONNX file's own input and outputs."""
    session = recognizer.classifier.session
    [images], outputs = (
        [
            TensorDescription(
                one.name, DATATYPES[one.type], [size if isinstance(size, int) else -1 for size in one.shape]
            )
            for one in side
        ]
        for side in (session.get_inputs(), session.get_outputs())
    )
    return images, outputs


def _infer_digits(recognizer: Recognizer, images: Values) -> dict[str, Values]:
    assert isinstance(images, np.ndarray)
    probabilities, is_digit = recognizer.classifier.classify(images)
    return {"probabilities": probabilities, "is_digit": is_digit}


_IMAGE = TensorDescription("image", "BYTES", [-1])
_ANSWERS = [
    TensorDescription("digit", "INT64", [-1]),
    TensorDescription("confidence", "FP32", [-1]),
    TensorDescription("probabilities", "FP32", [-1, CLASSES]),
    TensorDescription("reason", "BYTES", [-1]),
    TensorDescription("error", "BYTES", [-1]),
]


def _infer_digits_image(recognizer: Recognizer, files: Values) -> dict[str, Values]:
    assert isinstance(files, list)
    results = recognizer.recognize(files)
    nothing = Prediction(None, 0.0, (0.0,) * CLASSES, None)
    predictions = [one if isinstance(one, Prediction) else nothing for one in results]
    return {
        "digit": np.array([-1 if one.digit is None else one.digit for one in predictions], np.int64),
        "confidence": np.array([one.confidence for one in predictions], np.float32),
        "probabilities": np.array([one.probabilities for one in predictions], np.float32).reshape(-1, CLASSES),
        "reason": [(one.reason or "").encode() for one in predictions],
        "error": [b"" if isinstance(one, Prediction) else str(one).encode() for one in results],
    }


SERVED: Mapping[str, Served] = {
    "digits": Served("onnx_onnxv1", "onnxruntime_onnx", _describe_digits, _infer_digits),
    "digits-image": Served("digits_image", "digits_image", lambda _: (_IMAGE, _ANSWERS), _infer_digits_image),
}


class ModelNameError(VersionError):
    """No model of that name is served; the message may be shown to the sender."""


def _served(name: str) -> Served:
    if name not in SERVED:
        raise ModelNameError(f"expected a model that is served, one of {', '.join(SERVED)}; got {name}")
    return SERVED[name]


_NAME = parameter("path", "name", Literal[tuple(SERVED)], "The model's name.", "digits-image")
_VERSION = parameter("path", "version", VersionNumber, "The model's version.", lambda: registry().versions[0])
_MODEL = (_NAME, _VERSION)


@v2.get("")
@v2.get("/")
@Operation({200: json(Server)})
def server() -> Response:
    """Says what this server is."""
    return reply(Server("digits", __version__, EXTENSIONS))


@v2.get("/health/live")
@Operation({200: json(Live)})
def live() -> Response:
    """Answers while the process does."""
    return reply(Live(True))


@v2.get("/health/ready")
@Operation({200: json(Ready), 503: json(Ready)})
def ready() -> Response:
    """Says whether the process takes requests. Every version of the model has made its warm-up prediction by then."""
    return reply(Ready(not stopping(), True), 503 if stopping() else 200)


@v2.get("/models/<name>")
@v2.get("/models/<name>/versions/<version>")
@Operation({200: json(ModelMetadata)}, _MODEL, errors=(404,))
def model(name: str, version: str | None = None) -> Response:
    """Gives a model's inputs and outputs and its versions, and which ONNX file answers."""
    served, recognizer = _served(name), registry().recognizer(version)
    taken, given = served.describe(recognizer)
    answering = Answering(**recognizer.model, sha256=recognizer.classifier.sha256)
    return reply(ModelMetadata(name, registry().versions, served.platform, [taken], given, answering))


@v2.get("/models/<name>/ready")
@v2.get("/models/<name>/versions/<version>/ready")
@Operation({200: json(ModelReady)}, _MODEL, errors=(404,))
def model_ready(name: str, version: str | None = None) -> Response:
    """Says whether a model, or a version of it, can be asked."""
    _served(name)
    registry().recognizer(version)
    return reply(ModelReady(name, True))


@v2.get("/models/<name>/config")
@v2.get("/models/<name>/versions/<version>/config")
@Operation({200: json(ModelConfiguration)}, _MODEL, errors=(404,))
def model_configuration(name: str, version: str | None = None) -> Response:
    """Gives what Triton's `config.pbtxt` says, in JSON."""
    served, recognizer = _served(name), registry().recognizer(version)
    taken, given = served.describe(recognizer)
    inputs, outputs = (
        [ConfiguredTensor(one.name, f"TYPE_{one.datatype}", one.shape) for one in side] for side in ([taken], given)
    )
    return reply(ModelConfiguration(name, served.backend, 0, inputs, outputs))


_HEADER_LENGTH = "Inference-Header-Content-Length"
_INFERENCE = Body(
    json(InferenceRequest) | {"application/octet-stream": BINARY},
    {
        "JSON": '--json \'{"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": '
        "[\"'$(base64 -w 0 3.png)'\"]}]}'",
        "a file alone": f"-H '{_HEADER_LENGTH}: 0' --data-binary @3.png --output -",
    },
    f"Tensors in JSON; or, with `{_HEADER_LENGTH}`, JSON and the tensors' bytes behind it.",
)


def _example() -> InferenceResponse:
    recognizer = registry().recognizer()
    files: Values = [example_image()]
    inference = Inference(InferenceRequest([]), lambda: files)
    outputs = _infer_digits_image(recognizer, files)
    answer, _ = encode_response(inference, {**recognizer.model, "name": "digits-image"}, outputs, [])
    return msgspec.json.decode(answer, type=InferenceResponse)


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
            "How many of the body's bytes are JSON; 0: the body is one image's tensor and nothing else.",
        ),
    ),
    body=_INFERENCE,
    errors=(404, 503),
    headers={_HEADER_LENGTH: "How many of the answer's bytes are JSON, where bytes of tensors follow."},
)
def infer(name: str, version: str | None = None) -> Response:
    """Runs a model. Tensors in, tensors out, in JSON or as bytes behind it."""
    served, recognizer = _served(name), registry().recognizer(version)
    taken, given = served.describe(recognizer)
    data = [body()]
    with admitted() as admission:
        inference = decode_request(data.pop(), request.headers.get(_HEADER_LENGTH), taken)
        check_outputs(inference, given)
        if taken.datatype == "BYTES" and inference.count > MAXIMUM_IMAGES:
            raise RequestTooLargeError(f"expected at most {MAXIMUM_IMAGES} images; got {inference.count}")
        images = inference.take_values()
        admission.has(len(images))
        outputs = served.infer(recognizer, images)
    written = recognizer.classifier.metadata.get("labels")
    labels: list[str] = msgspec.json.decode(written) if written else [str(one) for one in range(CLASSES)]
    answer, header_length = encode_response(inference, {**recognizer.model, "name": name}, outputs, labels)
    response = Response(answer, mimetype="application/json" if header_length is None else "application/octet-stream")
    if header_length is not None:
        response.headers[_HEADER_LENGTH] = str(header_length)
    return response


@v2.post("/repository/index")
@Operation({200: json(list[RepositoryEntry])})
def repository() -> Response:
    """Lists every model and version that can be asked."""
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
    """Refuses to change what is served. SIGHUP to the server does that, never a request."""
    return error_response(f"expected SIGHUP to the server, which then serves what {name} has; got a request", 501)
