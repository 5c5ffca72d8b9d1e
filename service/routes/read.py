"""`POST /read`: a page in, all its digits out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from flask import Blueprint, Response
from msgspec import UNSET, Meta, UnsetType

from digits import tracing
from digits.classifier import ModelVersion
from digits.decode import ImageError, pixels_in
from digits.recognizer import ReadDigit, Reading, Recognizer
from service.context import admitted, asked, example_image, recognizer, registry
from service.openapi import IMAGE, VERSION_IN_QUERY, Operation, json, parameter
from service.request_body import RequestError
from service.request_image import received, unpacked
from service.responses import Base64, encoded, reply

# A page counts as one image for every so many pixels that it has begun.
PIXELS_PER_IMAGE = 4_000_000

read = Blueprint("read", __name__)


@dataclass(frozen=True, kw_only=True)
class ShownDigit(ReadDigit):
    """A digit on a page, or a mark that was found and is none."""

    image: Annotated[Base64 | UnsetType, Meta(description="if requested: the network's 28×28 input image")] = UNSET


@dataclass(frozen=True, kw_only=True)
class ReadResponse(Reading):
    """All digits on a page, in reading order."""

    digits: Sequence[ShownDigit]
    model: ModelVersion


def _example() -> ReadResponse:
    return _response(registry().recognizer(), example_image())


@read.post("/read")
@Operation(
    {200: json(ReadResponse, _example)},
    parameters=(
        parameter("query", "show", Literal["images"], "Adds the network's 28×28 input image of each digit."),
        VERSION_IN_QUERY,
    ),
    body=IMAGE,
    errors=(404, 503),
)
def read_page() -> Response:
    """Reads every digit on a page: a number, a column of readings, a form. The image is sent as to `/predict`."""
    show = asked("show")
    if show not in (None, "images"):
        raise RequestError(f"expected show=images or no `show`; got show={show}")
    data = received()
    with admitted() as admission:
        page = unpacked(data)
        admission.has(math.ceil(_pixels_in(page) / PIXELS_PER_IMAGE))
        return reply(_response(recognizer(), page, show=show is not None))


def _pixels_in(page: bytes) -> int:
    try:
        return pixels_in(page)
    except ImageError:
        tracing.outcome(tracing.BROKEN)
        raise


def _response(served: Recognizer, page: bytes, *, show: bool = False) -> ReadResponse:
    reading, images = served.read_with_images(page)
    digits = [
        ShownDigit(**vars(digit), image=encoded(image) if show else UNSET)
        for digit, image in zip(reading.digits, images, strict=True)
    ]
    return ReadResponse(lines=reading.lines, digits=digits, turned=reading.turned, model=served.model)
