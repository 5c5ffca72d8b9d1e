"""JSON responses, and the types that several routes respond with."""

import base64
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np
from flask import Response
from msgspec import UNSET, Meta, Struct, UnsetType
from numpy.typing import NDArray

from digits.classifier import ModelVersion
from digits.preprocess import Preprocessed
from digits.recognizer import Prediction, Recognizer

LONGEST_MESSAGE = 500
Base64 = Annotated[str, Meta(extra_json_schema={"contentEncoding": "base64"})]


class Error(Struct):
    """The message says what was expected and what was received."""

    error: str


class Live(Struct):
    """Whether the process responds."""

    live: bool


class Ready(Struct):
    """Whether the process accepts requests."""

    ready: bool
    live: bool


@dataclass(frozen=True, kw_only=True)
class PredictResponse(Prediction):
    """The prediction for one image."""

    model: ModelVersion
    image: Annotated[Base64 | UnsetType, Meta(description="if requested: the network's 28×28 input image")] = UNSET


def predict_response(recognizer: Recognizer, image: Preprocessed, shown: str | UnsetType = UNSET) -> PredictResponse:
    """The prediction for an image; `shown` is the image in base64, if requested."""
    [prediction] = recognizer.predict([image])
    return PredictResponse(**vars(prediction), model=recognizer.model, image=shown)


def reply(value: object, status: int = 200) -> Response:
    """`value` as JSON: built-in types, dataclasses and msgspec structs."""
    return Response(msgspec.json.encode(value) + b"\n", status, content_type="application/json")


def error_response(message: str, status: int) -> Response:
    """`{"error": message}`; a long message is truncated."""
    return reply(Error(message if len(message) <= LONGEST_MESSAGE else f"{message[:LONGEST_MESSAGE]}…"), status)


def encoded(array: NDArray[np.generic]) -> str:
    """An array's bytes, in row-major order, as base64."""
    return base64.b64encode(array.tobytes()).decode("ascii")
