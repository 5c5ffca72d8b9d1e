"""`POST /explain` and `GET /explain/<layer>`: the digit on its way through the network."""

from functools import partial
from typing import Any

import numpy as np
from flask import Blueprint, Response, request

from service.classifier import prepare_loaded
from service.decode import decode
from service.layers import LayerError, Layers, Values
from service.predict import admitted, answer, encoded, image, models
from service.replies import error_response, reply

explain = Blueprint("explain", __name__, url_prefix="/explain")


def layers() -> Layers:
    """The layers of the version asked for, as in `classifier`. Raises VersionError."""
    return models().layers(request.args.get("version"))


@explain.post("")
def explain_image() -> Response:
    """What `/predict` answers, the image that the network saw, and every layer with its feature maps."""
    data = image()
    with admitted():
        prepared = prepare_loaded(partial(decode, data))
        described = zip(layers().described(), layers().outputs(prepared.image), strict=True)
        return reply(
            answer(prepared)
            | {"image": encoded(prepared.image), "layers": [layer | _maps(output) for layer, output in described]}
        )


@explain.get("/<name>")
def explain_weights(name: str) -> Response:
    """A layer's weights and biases, float32, little-endian, in base64."""
    weights, biases = layers().weights(name)
    response = reply(
        {
            "name": name,
            "shape": weights.shape,
            "weights": encoded(weights.astype("<f4")),
            "biases": encoded(biases.astype("<f4")),
        }
    )
    # The same until another model is served, which the tag then tells.
    response.add_etag()
    response.cache_control.no_cache = True
    response.make_conditional(request)
    return response


def _maps(output: Values) -> dict[str, Any]:
    """Feature maps as bytes, 0 for the least of all the layer's values and 255 for the largest."""
    low, high = float(output.min()), float(output.max())
    scale = 255 / (high - low) if high > low else 0.0
    return {"minimum": low, "maximum": high, "maps": encoded(((output - low) * scale).round().astype(np.uint8))}


@explain.errorhandler(LayerError)
def _layer_error(error: LayerError) -> Response:
    return error_response(str(error), 404)
