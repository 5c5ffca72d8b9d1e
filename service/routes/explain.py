"""`POST /explain` and `GET /explain/<layer>`: what every layer of the network computes for an image."""

from dataclasses import dataclass, field
from typing import Annotated

import msgspec
import numpy as np
from flask import Blueprint, Response, request
from msgspec import Meta

from digits.activations import Activations, Layer, Values
from digits.finder import Box
from digits.preprocess import Preprocessed
from service.context import admitted, asked, recognizer, registry
from service.openapi import IMAGE, VERSION_IN_QUERY, Operation, json, parameter
from service.request_image import received, unpacked
from service.responses import Base64, PredictResponse, box_of, encoded, predict_response, reply

explain = Blueprint("explain", __name__, url_prefix="/explain")


class LayerMaps(Layer, kw_only=True):
    """A layer with its feature maps."""

    minimum: float
    maximum: float
    maps: Annotated[
        Base64, Meta(description="bytes [depth, height, width], 0 for the layer's `minimum` and 255 for its `maximum`")
    ]


class FoundInk(msgspec.Struct):
    """The ink of the digit as the finder sees it, spread over the box; its pixels may be coarser than the image's."""

    shape: Annotated[list[int], Meta(min_length=2, max_length=2, description="[height, width]")]
    values: Annotated[Base64, Meta(description="bytes [height, width], 0 for paper to 255 for certain ink")]


@dataclass(frozen=True, kw_only=True)
class Explanation(PredictResponse):
    """The prediction for an image, the ink that was found in it, and the activations of every layer."""

    image: Annotated[Base64, Meta(description="the network's 28×28 input image")] = field()
    box: Annotated[Box | None, Meta(description="the digit's place in the upright image, or null")] = field()
    ink: Annotated[FoundInk | None, Meta(description="the digit's ink, or null")]
    layers: list[LayerMaps]


class LayerWeights(msgspec.Struct):
    """A layer's weights and biases, float32, little-endian."""

    name: str
    shape: Annotated[tuple[int, ...], Meta(description="[filters, depth, height, width] or [neurons, inputs]")]
    weights: Base64
    biases: Base64


def activations() -> Activations:
    """The activations of the requested version. Raises VersionError."""
    return registry().activations(asked("version"))


@explain.post("")
@Operation({200: json(Explanation)}, parameters=(VERSION_IN_QUERY,), body=IMAGE, errors=(404, 503))
def explain_image() -> Response:
    """Shows how an image is recognized. The response is that of `/predict` with every layer's feature maps."""
    data = received()
    with admitted():
        served = recognizer()
        image = served.decode_and_preprocess(unpacked(data))
        outputs = zip(activations().layers(), activations().outputs(image.image), strict=True)
        layers = [_maps(layer, output) for layer, output in outputs]
        response = vars(predict_response(served, image, show=True))
        return reply(Explanation(**response, ink=_found_ink(image), layers=layers))


@explain.get("/<layer>")
@Operation(
    {200: json(LayerWeights), 304: {}},
    parameters=(
        parameter("path", "layer", str, "A layer with weights, by its `name`.", "layer_1_conv"),
        VERSION_IN_QUERY,
        parameter("header", "If-None-Match", str, "The `ETag` of a cached response."),
    ),
    errors=(404,),
    headers={"ETag": "Changes when another model is served."},
)
def explain_weights(layer: str) -> Response:
    """Returns a layer's weights and biases."""
    weights, biases = activations().weights(layer)
    response = reply(LayerWeights(layer, weights.shape, encoded(weights.astype("<f4")), encoded(biases.astype("<f4"))))
    response.add_etag()
    response.cache_control.no_cache = True
    response.make_conditional(request)
    return response


def _found_ink(image: Preprocessed) -> FoundInk | None:
    if image.ink is not None:
        ink = (255 * image.ink).round().astype(np.uint8)
    elif box := box_of(image):
        ink = image.image[box.top : box.top + box.height, box.left : box.left + box.width]
    else:
        return None
    return FoundInk(list(ink.shape), encoded(ink))


def _maps(layer: Layer, output: Values) -> LayerMaps:
    """Feature maps as bytes: 0 is the layer's smallest value, 255 its largest."""
    low, high = float(output.min()), float(output.max())
    scale = 255 / (high - low) if high > low else 0.0
    maps = encoded(((output - low) * scale).round().astype(np.uint8))
    return LayerMaps(**msgspec.structs.asdict(layer), minimum=low, maximum=high, maps=maps)
