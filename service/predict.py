"""`POST /predict` and `/predict/batch`: images in, digits out."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import msgspec
import numpy as np
from flask import Blueprint, Response, current_app, g, request
from numpy.typing import NDArray

from service.bodies import body
from service.classifier import Classifier, Prediction, prepare_loaded
from service.decode import ImageError, decode, format_name
from service.models import Models
from service.observe import metrics
from service.prepare import Prepared
from service.replies import reply
from service.tensors import decode_base64

predict = Blueprint("predict", __name__)


# As many as a form may have parts.
MAXIMUM_IMAGES = 1000


def models() -> Models:
    """The versions of the model that this process serves."""
    return current_app.extensions["models"]


def classifier() -> Classifier:
    """The classifier of the version asked for, `?version=`, or the default. Raises VersionError."""
    return models().classifier(request.args.get("version"))


@predict.post("/predict")
def predict_one() -> Response:
    """One image: the raw body, the multipart field `image`, or JSON. With `?show=image`, what the network saw too."""
    show = request.args.get("show")
    if show not in (None, "image"):
        raise ImageError(f"expected show=image or no `show`; got show={show}")
    data = image()
    with admitted():
        prepared = prepare_loaded(partial(decode, data))
        return reply(answer(prepared) | ({"image": encoded(prepared.image)} if show else {}))


@contextmanager
def admitted(images: int = 1) -> Iterator[None]:
    """Waits for this request's turn; its body has been read by then. Raises BusyError and DeadlineError."""
    with current_app.extensions["gate"].admitted(g.deadline):
        metrics().images_in_flight.inc(images)
        try:
            yield
        finally:
            metrics().images_in_flight.dec(images)


def answer(prepared: Prepared) -> dict[str, Any]:
    """What is answered for an image."""
    [prediction] = classifier().predict([prepared])
    return vars(prediction) | {"model": classifier().model}


def encoded(array: NDArray[np.generic]) -> str:
    """An array's bytes, row by row, in base64."""
    return base64.b64encode(array.tobytes()).decode("ascii")


@predict.post("/predict/batch")
def predict_batch() -> Response:
    """Many images, each a multipart field `image`; a bad one spoils only its own entry."""
    served = classifier()
    files = [file.read() for file in _files()]
    with admitted(len(files)):
        results = served.read(files)
    return reply({"predictions": [_entry(one) for one in results], "model": served.model})


_NOTHING_READ = {"digit": None, "confidence": None, "probabilities": None, "reason": None}


def _entry(result: Prediction | ImageError) -> dict[str, Any]:
    if isinstance(result, ImageError):
        return _NOTHING_READ | {"error": str(result)}
    return vars(result) | {"error": None}


def image() -> bytes:
    """The bytes of the one image in the request, in whichever of the three ways it came."""
    if request.mimetype == "multipart/form-data":
        files = _files()
        if len(files) > 1:
            raise ImageError(f"expected one field `image`; got {len(files)}; /predict/batch takes many")
        return files[0].read()
    data = body()
    # People send images under any content type, JSON's among them, and JSON under curl's default: the bytes decide.
    if format_name(data.lstrip()) == "JSON" or (request.is_json and data and format_name(data) is None):
        return _from_json(data)
    return data


def _files() -> list[Any]:
    files = request.files.getlist("image")
    if not files:
        files_of = [f"a file in `{name}`" for name in request.files]
        got = ", ".join(files_of + [f"text in `{name}`" for name in request.form]) or "no fields"
        raise ImageError(f"expected multipart/form-data with a file (under a file name) as `image`; got {got}")
    return files


class JsonImage(msgspec.Struct):
    """An image in JSON: base64 or a data URL."""

    image: str


_json_image = msgspec.json.Decoder(JsonImage)


def _from_json(data: bytes) -> bytes:
    expected = 'expected JSON {"image": "<base64 or data URL>"}'
    try:
        text = _json_image.decode(data).image
    except msgspec.ValidationError as error:
        raise ImageError(f"{expected}; got no string `image`") from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ImageError(f"{expected}; got JSON that cannot be parsed") from error
    try:
        return decode_base64(text)
    except ValueError as error:
        raise ImageError(f"in `image`: {error}") from error
