"""`POST /predict` and `/predict/batch`: images in, digits out."""

from dataclasses import dataclass
from typing import Annotated, Literal

from flask import Blueprint, Response, request
from msgspec import UNSET, Meta, UnsetType

from digits.classifier import ModelVersion
from digits.decode import ImageError, decode
from digits.preprocess import Preprocessed, preprocess
from digits.recognizer import Confidence, Digit, Prediction, Reason, Recognizer, TenProbabilities, decode_and_preprocess
from service.current import admitted, example_image, recognizer, registry
from service.openapi import VERSION_IN_QUERY, Operation, json, parameter
from service.request_body import RequestError
from service.request_image import IMAGE, IMAGES, form_files, received, unpacked
from service.responses import Base64, encoded, reply

predict = Blueprint("predict", __name__)


@dataclass(frozen=True, kw_only=True)
class PredictResponse(Prediction):
    """The prediction for one image."""

    model: ModelVersion
    image: Annotated[Base64 | UnsetType, Meta(description="if requested: the 28×28 image that the network saw")] = UNSET


@dataclass(frozen=True)
class BatchPrediction:
    """The prediction for one image of a batch; where `error` is not null, everything else is."""

    digit: Digit
    confidence: Annotated[Confidence | None, Meta(description="the largest probability")]
    probabilities: TenProbabilities | None
    reason: Reason
    error: Annotated[str | None, Meta(description="why this image could not be decoded; otherwise null")]


@dataclass(frozen=True)
class BatchResponse:
    """The predictions for a batch: one entry per image, in their order."""

    predictions: list[BatchPrediction]
    model: ModelVersion


def _example() -> PredictResponse:
    return prediction(registry().recognizer(), preprocess(decode(example_image())))


def _batch_example() -> BatchResponse:
    data = example_image()
    return _batch(registry().recognizer(), [data, data[: len(data) // 2]])


@predict.post("/predict")
@Operation(
    {200: json(PredictResponse, _example)},
    parameters=(
        parameter("query", "show", Literal["image"], "Adds the image that the network saw."),
        VERSION_IN_QUERY,
    ),
    body=IMAGE,
    errors=(404, 503),
)
def predict_one() -> Response:
    """Reads one image. Send it as the raw body, as the field `image` of a form, or in JSON."""
    show = request.args.get("show")
    if show not in (None, "image"):
        raise RequestError(f"expected show=image or no `show`; got show={show}")
    data = received()
    with admitted():
        data = unpacked(data)
        image = decode_and_preprocess(data)
        return reply(prediction(recognizer(), image, encoded(image.image) if show else UNSET))


def prediction(served: Recognizer, image: Preprocessed, shown: str | UnsetType = UNSET) -> PredictResponse:
    """The prediction for an image; `shown` is the image in base64, if requested."""
    [predicted] = served.predict([image])
    return PredictResponse(**vars(predicted), model=served.model, image=shown)


@predict.post("/predict/batch")
@Operation({200: json(BatchResponse, _batch_example)}, parameters=(VERSION_IN_QUERY,), body=IMAGES, errors=(404, 503))
def predict_batch() -> Response:
    """Reads many images. Answers keep their order; a bad image affects only its own entry."""
    served = recognizer()
    files = form_files()
    with admitted(len(files)):
        return reply(_batch(served, files))


def _batch(served: Recognizer, files: list[bytes]) -> BatchResponse:
    return BatchResponse([_entry(one) for one in served.recognize(files)], served.model)


def _entry(result: Prediction | ImageError) -> BatchPrediction:
    if isinstance(result, ImageError):
        return BatchPrediction(None, None, None, None, str(result))
    return BatchPrediction(**vars(result), error=None)
