"""`POST /predict` and `/predict/batch`: images in, digits out."""

import base64
import binascii
import json
from dataclasses import asdict
from typing import Any

import numpy as np
from flask import Blueprint, Response, current_app, jsonify, request
from numpy.typing import NDArray
from werkzeug.exceptions import RequestEntityTooLarge

from service.classifier import Classifier, Prediction
from service.decode import ACCEPTED, ImageError, decode, format_name
from service.models import Models
from service.prepare import Prepared, prepare

predict = Blueprint("predict", __name__)


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
    prepared = prepared_image()
    return jsonify(answer(prepared) | ({"image": encoded(prepared.image)} if show else {}))


def prepared_image() -> Prepared:
    """The one image in the request, prepared. Raises ImageError."""
    return prepare(decode(_image()))


def answer(prepared: Prepared) -> dict[str, Any]:
    """What is answered for an image."""
    [prediction] = classifier().predict([prepared])
    return asdict(prediction) | {"model": classifier().model}


def encoded(array: NDArray[np.generic]) -> str:
    """An array's bytes, row by row, in base64."""
    return base64.b64encode(array.tobytes()).decode("ascii")


@predict.post("/predict/batch")
def predict_batch() -> Response:
    """Many images, each a multipart field `image`; a bad one spoils only its own entry."""
    results = classifier().read([file.read() for file in _files()])
    return jsonify(predictions=[_entry(one) for one in results], model=classifier().model)


_NOTHING_READ = {"digit": None, "confidence": None, "probabilities": None, "reason": None}


def _entry(result: Prediction | ImageError) -> dict[str, Any]:
    if isinstance(result, ImageError):
        return _NOTHING_READ | {"error": str(result)}
    return asdict(result) | {"error": None}


def _image() -> bytes:
    """The bytes of the one image in the request, in whichever of the three ways it came."""
    if request.mimetype == "multipart/form-data":
        files = _files()
        if len(files) > 1:
            raise ImageError(f"expected one field `image`; got {len(files)}; /predict/batch takes many")
        return files[0].read()
    body = request.get_data(cache=False)
    if request.content_length is None and request.environ["wsgi.input"].read(1):
        raise RequestEntityTooLarge  # a chunked body is cut off at the limit, and nothing says so
    # People send images under any content type, JSON's among them, and JSON under curl's default: the bytes decide.
    if format_name(body.lstrip()) == "JSON" or (request.is_json and body and format_name(body) is None):
        return _from_json(body)
    return body


def _files() -> list[Any]:
    files = request.files.getlist("image")
    if not files:
        files_of = [f"a file in `{name}`" for name in request.files]
        got = ", ".join(files_of + [f"text in `{name}`" for name in request.form]) or "no fields"
        raise ImageError(f"expected multipart/form-data with a file (under a file name) as `image`; got {got}")
    return files


def _from_json(body: bytes) -> bytes:
    expected = 'expected JSON {"image": "<base64 or data URL>"}'
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ImageError(f"{expected}; got JSON that cannot be parsed") from error
    text = content.get("image") if isinstance(content, dict) else None
    if not isinstance(text, str):
        raise ImageError(f"{expected}; got no string `image`")
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not head.endswith(";base64"):
            raise ImageError(f"{expected}; got a data URL that is not base64")
    try:
        # Line breaks are usual in base64, and so is its URL-safe alphabet.
        return base64.b64decode("".join(text.split()).translate(_URL_SAFE), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(f"expected base64 of an image ({ACCEPTED}) in `image`; got text that is not base64") from error


_URL_SAFE = str.maketrans("-_", "+/")
