"""`/v2`: the Open Inference Protocol V2, with the model as it is, `digits`, and behind preparation, `digits-image`.

Errors, content types and bodies are those that Triton's, KServe's and MLServer's clients understand.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flask import Blueprint, Response, request

from service import __version__
from service.bodies import body
from service.classifier import CLASSES, Classifier, Prediction
from service.decode import ImageTooLargeError
from service.health import stopping
from service.predict import MAXIMUM_IMAGES, admitted, models
from service.replies import error_response, reply
from service.tensors import DATATYPES, TensorDescription, TensorError, Values, decode_request, encode_response

v2 = Blueprint("v2", __name__, url_prefix="/v2")

EXTENSIONS = ["binary_tensor_data", "classification", "model_configuration", "model_repository"]


@dataclass(frozen=True)
class Served:
    """A model of the protocol: what it takes, what it gives, and how one comes of the other."""

    platform: str
    describe: Callable[[Classifier], tuple[TensorDescription, list[TensorDescription]]]
    infer: Callable[[Classifier, Values], dict[str, Values]]


def _describe_digits(classifier: Classifier) -> tuple[TensorDescription, list[TensorDescription]]:
    """The ONNX file's own input and outputs."""
    [images], outputs = (
        [
            TensorDescription(
                one.name, DATATYPES[one.type], [size if isinstance(size, int) else -1 for size in one.shape]
            )
            for one in side
        ]
        for side in (classifier.session.get_inputs(), classifier.session.get_outputs())
    )
    return images, outputs


def _infer_digits(classifier: Classifier, images: Values) -> dict[str, Values]:
    assert isinstance(images, np.ndarray)
    probabilities, is_digit = classifier.classify(images)
    return {"probabilities": probabilities, "is_digit": is_digit}


_IMAGE = TensorDescription("image", "BYTES", [-1])
_ANSWERS = [
    TensorDescription("digit", "INT64", [-1]),
    TensorDescription("confidence", "FP32", [-1]),
    TensorDescription("probabilities", "FP32", [-1, CLASSES]),
    TensorDescription("reason", "BYTES", [-1]),
    TensorDescription("error", "BYTES", [-1]),
]


def _infer_digits_image(classifier: Classifier, files: Values) -> dict[str, Values]:
    assert isinstance(files, list)
    if len(files) > MAXIMUM_IMAGES:
        raise ImageTooLargeError(f"expected at most {MAXIMUM_IMAGES} images; got {len(files)}")
    results = classifier.read(files)
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
    "digits": Served("onnx_onnxv1", _describe_digits, _infer_digits),
    "digits-image": Served("digits_image", lambda _: (_IMAGE, _ANSWERS), _infer_digits_image),
}


class ModelNameError(Exception):
    """No model of that name is served; the message may be shown to the sender."""


def _served(name: str) -> Served:
    if name not in SERVED:
        raise ModelNameError(f"expected a model that is served, one of {', '.join(SERVED)}; got {name}")
    return SERVED[name]


@v2.get("")
@v2.get("/")
def server() -> Response:
    """What this server is."""
    return reply({"name": "digits", "version": __version__, "extensions": EXTENSIONS})


@v2.get("/health/live")
def live() -> Response:
    """The process answers."""
    return reply({"live": True})


@v2.get("/health/ready")
def ready() -> Response:
    """Every version of the model has made its warm-up prediction, and the process is not about to stop."""
    return reply({"ready": not stopping(), "live": True}, 503 if stopping() else 200)


@v2.get("/models/<name>")
@v2.get("/models/<name>/versions/<version>")
def model(name: str, version: str | None = None) -> Response:
    """A model's inputs and outputs and its versions."""
    served, classifier = _served(name), models().classifier(version)
    taken, given = served.describe(classifier)
    described = {"name": name, "versions": models().versions, "platform": served.platform}
    return reply(described | {"inputs": [taken], "outputs": given})


@v2.get("/models/<name>/ready")
@v2.get("/models/<name>/versions/<version>/ready")
def model_ready(name: str, version: str | None = None) -> Response:
    """Whether a model, or a version of it, can be asked."""
    _served(name)
    models().classifier(version)
    return reply({"name": name, "ready": True})


@v2.get("/models/<name>/config")
@v2.get("/models/<name>/versions/<version>/config")
def model_configuration(name: str, version: str | None = None) -> Response:
    """What Triton's `config.pbtxt` says, in JSON."""
    served, classifier = _served(name), models().classifier(version)
    taken, given = served.describe(classifier)
    sides = {
        side: [{"name": one.name, "data_type": f"TYPE_{one.datatype}", "dims": one.shape} for one in tensors]
        for side, tensors in (("input", [taken]), ("output", given))
    }
    return reply({"name": name, "platform": served.platform, "max_batch_size": 0} | sides)


@v2.post("/models/<name>/infer")
@v2.post("/models/<name>/versions/<version>/infer")
def infer(name: str, version: str | None = None) -> Response:
    """Tensors in, tensors out, in JSON or, with `Inference-Header-Content-Length`, as bytes behind it."""
    served, classifier = _served(name), models().classifier(version)
    taken, _ = served.describe(classifier)
    inference = decode_request(body(), request.headers.get("Inference-Header-Content-Length"), taken)
    with admitted(len(inference.values)):
        outputs = served.infer(classifier, inference.values)
    labels: list[str] = json.loads(classifier.metadata.get("labels", json.dumps([str(one) for one in range(CLASSES)])))
    answer, header_length = encode_response(inference, {"name": name, "version": classifier.version}, outputs, labels)
    response = Response(answer, mimetype="application/json" if header_length is None else "application/octet-stream")
    if header_length is not None:
        response.headers["Inference-Header-Content-Length"] = str(header_length)
    return response


@v2.post("/repository/index")
def repository() -> Response:
    """Every model and version that can be asked."""
    entries: list[dict[str, Any]] = [
        {"name": name, "version": version, "state": "READY", "reason": ""}
        for name in SERVED
        for version in models().versions
    ]
    return reply(entries)


@v2.post("/repository/models/<name>/<action>")
def change_repository(name: str, action: str) -> Response:
    """What is served is changed by SIGHUP, never by a request."""
    return error_response(f"expected SIGHUP to the server, which then serves what {name} has; got a request", 501)


@v2.errorhandler(TensorError)
def _tensor_error(error: TensorError) -> Response:
    return error_response(str(error), 400)


@v2.errorhandler(ModelNameError)
def _model_name_error(error: ModelNameError) -> Response:
    return error_response(str(error), 404)
