"""JSON responses, and the types that several routes respond with."""

import base64
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np
from flask import Response
from msgspec import UNSET, Meta, Struct, UnsetType
from numpy.typing import NDArray
from PIL import Image

from digits.classifier import ModelVersion
from digits.finder import Box
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
    box: Annotated[
        Box | UnsetType | None,
        Meta(description="if requested: the digit's place in the upright image, or null if none was found"),
    ] = UNSET


def predict_response(recognizer: Recognizer, image: Preprocessed, *, show: bool = False) -> PredictResponse:
    """The prediction for an image; `show` adds the network's input image and the digit's box."""
    [prediction] = recognizer.predict([image])
    shown, box = (encoded(image.image), box_of(image)) if show else (UNSET, UNSET)
    return PredictResponse(**vars(prediction), model=recognizer.model, image=shown, box=box)


def box_of(image: Preprocessed) -> Box | None:
    """Where the digit is in the upright image; the extent of the ink if the image was preprocessed already."""
    if image.box:
        return image.box
    extent = Image.fromarray(image.image).getbbox()
    if extent is None:
        return None
    left, top, right, bottom = extent
    return Box(left, top, right - left, bottom - top)


def reply(value: object, status: int = 200) -> Response:
    """`value` as JSON: built-in types, dataclasses and msgspec structs."""
    return Response(msgspec.json.encode(value) + b"\n", status, content_type="application/json")


def error_response(message: str, status: int) -> Response:
    """`{"error": message}`; a long message is truncated."""
    return reply(Error(message if len(message) <= LONGEST_MESSAGE else f"{message[:LONGEST_MESSAGE]}…"), status)


def encoded(array: NDArray[np.generic]) -> str:
    """An array's bytes, in row-major order, as base64."""
    return base64.b64encode(array.tobytes()).decode("ascii")
