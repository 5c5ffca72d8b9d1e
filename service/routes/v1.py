"""`/v1`: the V1 protocol of TensorFlow Serving and KServe, which serves `digits`."""

from typing import Annotated

from flask import Blueprint, Response
from msgspec import UNSET, Meta, Struct, UnsetType

from digits.decode import ImageError
from digits.instances import InstancesRequest, decode_instances
from digits.recognizer import Confidence, Digit, Prediction, Reason, Recognizer, TenProbabilities
from service.context import admitted, example_image, registry
from service.openapi import VERSION_IN_PATH, Body, Operation, json
from service.request_body import MAXIMUM_IMAGES, body
from service.responses import reply

v1 = Blueprint("v1", __name__, url_prefix="/v1")

NAME = "digits"


class InstancePrediction(Struct):
    """The prediction for an instance; `error` says why an image could not be decoded, and all else is then null."""

    digit: Digit
    confidence: Annotated[Confidence | None, Meta(description="the largest probability")]
    probabilities: TenProbabilities | None
    reason: Reason
    error: str | UnsetType = UNSET


class InstancesResponse(Struct):
    """The predictions for the instances of a request, in their order."""

    predictions: list[InstancePrediction]


class VersionStatus(Struct):
    """A version's state, as TensorFlow Serving has it."""

    version: str
    state: str
    status: dict[str, str]


class ModelStatus(Struct):
    """Whether the model is ready, as KServe has it, and its versions, as TensorFlow Serving has them."""

    name: str
    ready: bool
    model_version_status: list[VersionStatus]


class ModelNames(Struct):
    """The names of the models."""

    models: list[str]


def _recognizer(version: int | None) -> Recognizer:
    return registry().recognizer(None if version is None else str(version))


def _example() -> InstancesResponse:
    return InstancesResponse([_entry(one) for one in registry().recognizer().recognize([example_image()])])


@v1.get("/models")
@Operation({200: json(ModelNames)})
def models() -> Response:
    """Lists the models."""
    return reply(ModelNames([NAME]))


@v1.get(f"/models/{NAME}")
@v1.get(f"/models/{NAME}/versions/<int:version>")  # otherwise the path of `:predict` would be a version, too
@Operation({200: json(ModelStatus)}, (VERSION_IN_PATH,), errors=(404,))
def status(version: int | None = None) -> Response:
    """Tells whether the model, or a version of it, is ready."""
    _recognizer(version)
    fine = {"error_code": "OK", "error_message": ""}
    versions = registry().versions if version is None else [str(version)]
    return reply(ModelStatus(NAME, True, [VersionStatus(one, "AVAILABLE", fine) for one in versions]))


@v1.post(f"/models/{NAME}:predict")
@v1.post(f"/models/{NAME}/versions/<int:version>:predict")
@Operation(
    {200: json(InstancesResponse, _example)},
    (VERSION_IN_PATH,),
    body=Body(
        json(InstancesRequest),
        {"JSON": '--json "{\\"instances\\": [{\\"b64\\": \\"$(base64 -w 0 3.png)\\"}]}"'},
        f"Up to {MAXIMUM_IMAGES:,} images: files in base64, or lists of 28×28 grey pixels from 0 to 255.",
    ),
    errors=(404, 503),
)
def predict(version: int | None = None) -> Response:
    """Recognizes the digits in many images. A file that cannot be decoded affects only its own entry."""
    served = _recognizer(version)
    data = [body()]
    with admitted() as admission:
        instances = decode_instances(data.pop(), MAXIMUM_IMAGES)
        admission.has(len(instances))
        results = served.predict_each(served.preprocess_each(instances))
        return reply(InstancesResponse([_entry(one) for one in results]))


def _entry(result: Prediction | ImageError) -> InstancePrediction:
    if isinstance(result, ImageError):
        return InstancePrediction(None, None, None, None, str(result))
    return InstancePrediction(**vars(result))
