"""`POST /predict` and `/predict/batch`: images in, digits out."""

import base64
import re
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from flask import Blueprint, Response, current_app, request
from flask.globals import request_ctx
from msgspec import UNSET, Meta, Raw, UnsetType
from numpy.typing import NDArray

from digits import tracing
from digits.classifier import ModelVersion
from digits.decode import ImageError, decode, format_name
from digits.memory import heavy_work
from digits.open_inference import MAXIMUM_JSON, decode_base64, require_ascii
from digits.preprocess import Preprocessed, preprocess
from digits.recognizer import Confidence, Digit, Prediction, Reason, Recognizer, TenProbabilities, preprocess_loaded
from digits.registry import Registry
from digits.settings import MODELS
from service.admission import Admission, Gate
from service.operations import (
    BINARY,
    IMAGE_TYPES,
    VERSION_IN_QUERY,
    Body,
    Content,
    Operation,
    Parameter,
    described,
    json,
)
from service.request_body import body
from service.responses import reply

predict = Blueprint("predict", __name__)


# As many as a form may have parts.
MAXIMUM_IMAGES = 1000
FORM_TYPE = "multipart/form-data"


Base64 = Annotated[str, Meta(extra_json_schema={"contentEncoding": "base64"})]


class JsonImage(msgspec.Struct):
    """An image in JSON: base64 or a data URL."""

    image: Annotated[str, Meta(description="an image file in base64, or a data URL of one")]


@dataclass(frozen=True, kw_only=True)
class Answer(Prediction):
    """What is answered for an image."""

    model: ModelVersion
    image: Annotated[Base64 | UnsetType, Meta(description="if asked for: the 28×28 image that the network saw")] = UNSET


@dataclass(frozen=True)
class BatchEntry:
    """What is answered for an image of a batch; where `error` is not null, all else is."""

    digit: Digit
    confidence: Annotated[Confidence | None, Meta(description="the largest probability")]
    probabilities: TenProbabilities | None
    reason: Reason
    error: Annotated[str | None, Meta(description="why this image could not be decoded; otherwise null")]


@dataclass(frozen=True)
class BatchAnswer:
    """What is answered for a batch: an entry an image, in their order."""

    predictions: list[BatchEntry]
    model: ModelVersion


def form(images: Mapping[str, Any]) -> Content:
    """A form whose field `image` is as said."""
    schema = {"type": "object", "properties": {"image": images}, "required": ["image"]}
    return {FORM_TYPE: schema}


_FILE = {"type": "string", "format": "binary", "description": "an image file, under a file name"}
IMAGE = Body(
    dict.fromkeys(IMAGE_TYPES, BINARY) | form(_FILE) | json(JsonImage),
    {
        "the file": "--data-binary @3.png",
        "a form": "-F image=@3.png",
        "JSON": '--json "{\\"image\\": \\"$(base64 -w 0 3.png)\\"}"',
    },
    "An image, told by its bytes whatever the content type says. At most 16 MiB and 25 megapixels.",
)


def models() -> Registry:
    """The versions of the model that this process serves."""
    return current_app.extensions["models"]


def example_image() -> bytes:
    """The image whose answers the document at `/openapi.json` shows."""
    return (MODELS.parent.parent / "examples" / "3.png").read_bytes()


def _example() -> Answer:
    served = models().recognizer()
    [prediction] = served.predict([preprocess(decode(example_image()))])
    return Answer(**vars(prediction), model=served.model)


def _batch_example() -> BatchAnswer:
    served = models().recognizer()
    data = example_image()
    return BatchAnswer([_entry(one) for one in served.recognize([data, data[: len(data) // 2]])], served.model)


def recognizer() -> Recognizer:
    """The recognizer of the version asked for, `?version=`, or the default. Raises VersionError."""
    return models().recognizer(request.args.get("version") if request.query_string else None)


@predict.post("/predict")
@described(
    Operation(
        {200: json(Answer)},
        parameters=(
            Parameter("query", "show", Literal["image"], "Gives the image that the network saw, too."),
            VERSION_IN_QUERY,
        ),
        body=IMAGE,
        errors=(404, 503),
        example=_example,
    )
)
def predict_one() -> Response:
    """Reads one image. It comes as the raw body, as the field `image` of a form, or in JSON."""
    show = request.args.get("show")
    if show not in (None, "image"):
        raise ImageError(f"expected show=image or no `show`; got show={show}")
    data = received()
    with admitted():
        data = unpacked(data)
        prepared = preprocess_loaded(partial(decode, data))
        return reply(answer(prepared, encoded(prepared.image) if show else UNSET))


def admitted(images: int = 1) -> Admission:
    """Waits for this request's turn; its body has been read by then. Raises BusyError and DeadlineError."""
    gate: Gate = current_app.extensions["gate"]
    return gate.admitted(tracing.deadline(), images)


def answer(prepared: Preprocessed, image: str | UnsetType) -> Answer:
    """What is answered for an image."""
    served = recognizer()
    [prediction] = served.predict([prepared])
    return Answer(**vars(prediction), model=served.model, image=image)


def encoded(array: NDArray[np.generic]) -> str:
    """An array's bytes, row by row, in base64."""
    return base64.b64encode(array.tobytes()).decode("ascii")


@predict.post("/predict/batch")
@described(
    Operation(
        {200: json(BatchAnswer)},
        parameters=(VERSION_IN_QUERY,),
        body=Body(
            form({"type": "array", "items": _FILE, "minItems": 1, "maxItems": MAXIMUM_IMAGES}),
            {"a form": "-F image=@1.png -F image=@2.png"},
            f"Up to {MAXIMUM_IMAGES:,} images, each a field `image`, at most 16 MiB in all.",
        ),
        errors=(404, 503),
        example=_batch_example,
    )
)
def predict_batch() -> Response:
    """Reads many images. They are answered in their order; a bad one spoils only its own entry."""
    served = recognizer()
    files = [_bytes(file) for file in _files()]
    with admitted(len(files)):
        results = served.recognize(files)
    return reply(BatchAnswer([_entry(one) for one in results], served.model))


def _entry(result: Prediction | ImageError) -> BatchEntry:
    if isinstance(result, ImageError):
        return BatchEntry(None, None, None, None, str(result))
    return BatchEntry(**vars(result), error=None)


def received() -> bytes:
    """The one image in the request as it came: a file, or JSON with one in it (see `unpacked`)."""
    if request_ctx.request.mimetype != FORM_TYPE:
        return body()
    files = _files()
    if len(files) > 1:
        raise ImageError(f"expected one field `image`; got {len(files)}; /predict/batch takes many")
    return _bytes(files[0])


def unpacked(data: bytes) -> bytes:
    """The bytes of an image file that came by itself, in a form or in JSON; done in the request's turn."""
    asked = request_ctx.request
    # People send images under any content type, JSON's among them, and JSON under curl's default: the bytes decide.
    if asked.mimetype != FORM_TYPE and (_JSON.match(data) or (asked.is_json and data and format_name(data) is None)):
        with heavy_work() if len(data) > MAXIMUM_JSON else nullcontext():
            return _from_json(data)
    return data


_JSON = re.compile(rb"\s*\{")


def _bytes(file: Any) -> bytes:  # noqa: ANN401 - Werkzeug says IO, which has no `getvalue`
    """The bytes of a form's file, without another copy of them."""
    data: bytes = file.stream.getvalue()
    return data


def _files() -> list[Any]:
    files = request.files.getlist("image")
    if not files:
        files_of = [f"a file in `{name}`" for name in request.files]
        got = ", ".join(files_of + [f"text in `{name}`" for name in request.form]) or "no fields"
        raise ImageError(f"expected multipart/form-data with a file (under a file name) as `image`; got {got}")
    return files


class _RawImage(msgspec.Struct):
    image: Raw


_raw_image, _text = msgspec.json.Decoder(_RawImage), msgspec.json.Decoder(str)


def _from_json(data: bytes) -> bytes:
    expected = 'expected JSON {"image": "<base64 or data URL>"}'
    try:
        image = memoryview(_raw_image.decode(data).image).tobytes()
        require_ascii(image)
        return decode_base64(_text.decode(image))
    except msgspec.ValidationError as error:
        raise ImageError(f"{expected}; got no string `image`") from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ImageError(f"{expected}; got JSON that cannot be parsed") from error
    except ValueError as error:
        raise ImageError(f"in `image`: {error}") from error
