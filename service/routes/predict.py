"""`POST /predict` and `POST /predict/batch`: images in, digits out."""

from dataclasses import dataclass
from typing import Annotated, Literal

from flask import Blueprint, Response
from msgspec import Meta

from digits.classifier import ModelVersion
from digits.decode import ImageError
from digits.recognizer import CONFIDENCE, Confidence, Digit, Prediction, Reason, Recognizer, TenProbabilities
from service.context import admitted, asked, example_image, recognizer, registry
from service.openapi import IMAGE, IMAGES, VERSION_IN_QUERY, Operation, json, parameter
from service.request_body import RequestError
from service.request_image import received, received_many, unpacked, unpacked_or_error
from service.responses import PredictResponse, predict_response, reply

predict = Blueprint("predict", __name__)


@dataclass(frozen=True)
class BatchPrediction:
    """The prediction for one image of a batch; either `error` or everything else is null."""

    digit: Digit
    confidence: Annotated[Confidence | None, Meta(description=CONFIDENCE)]
    probabilities: TenProbabilities | None
    reason: Reason
    error: Annotated[str | None, Meta(description="why the image could not be decoded, or null")]


@dataclass(frozen=True)
class BatchResponse:
    """The predictions for a batch: one per image, in the same order."""

    predictions: list[BatchPrediction]
    model: ModelVersion


def _example() -> PredictResponse:
    served = registry().recognizer()
    return predict_response(served, served.decode_and_preprocess(example_image()))


def _batch_example() -> BatchResponse:
    data = example_image()
    return _batch(registry().recognizer(), [data, data[: len(data) // 2]])


@predict.post("/predict")
@Operation(
    {200: json(PredictResponse, _example)},
    parameters=(
        parameter("query", "show", Literal["image"], "Adds the network's 28×28 input image, and the digit's box."),
        VERSION_IN_QUERY,
    ),
    body=IMAGE,
    errors=(404, 503),
)
def predict_one() -> Response:
    """Recognizes the digit in an image. Send it as the raw body, as the field `image` of a form, or in JSON. `/read`
    reads images of several digits."""
    show = asked("show")
    if show not in (None, "image"):
        raise RequestError(f"expected show=image or no `show`; got show={show}")
    data = received()
    with admitted():
        served = recognizer()
        image = served.decode_and_preprocess(unpacked(data))
        return reply(predict_response(served, image, show=show is not None))


@predict.post("/predict/batch")
@Operation({200: json(BatchResponse, _batch_example)}, parameters=(VERSION_IN_QUERY,), body=IMAGES, errors=(404, 503))
def predict_batch() -> Response:
    """Recognizes the digits in many images. Predictions keep their order; a bad image affects only its own entry."""
    served = recognizer()
    images = received_many()
    with admitted(len(images)):
        return reply(_batch(served, images))


def _batch(served: Recognizer, received: list[bytes]) -> BatchResponse:
    images = served.preprocess_each(map(unpacked_or_error, received))
    return BatchResponse([_entry(one) for one in served.predict_each(images)], served.model)


def _entry(result: Prediction | ImageError) -> BatchPrediction:
    if isinstance(result, ImageError):
        return BatchPrediction(None, None, None, None, str(result))
    return BatchPrediction(**vars(result), error=None)
