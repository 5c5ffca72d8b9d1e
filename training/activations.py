"""model.onnx → explain.onnx: the same graph with every layer's activations, weights and biases as outputs."""

import json
from typing import Any

import onnx
from onnx import TensorProto, helper

from training.formula import Layer, parse


def with_activations(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a model of `digits export` with more outputs.

    Activations are named after their layer, the first `input`: float32 [N, D, H, W], or [N, n] from the first FC on.
    `<layer>_weights` is [K, D, F, F] for CONV or [n, neurons] for FC, `<layer>_biases` [K] or [n]. The metadata entry
    `layers` describes the layers in JSON.
    """
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    layers = parse(metadata["formula"]).layers
    names = ["input", *(node.name for node in model.graph.node if node.name.startswith("layer_"))]
    kinds = [layer.kind for layer in layers]
    first_flat = kinds.index("FC") if "FC" in kinds else len(kinds)
    for index, (name, layer) in enumerate(zip(names, layers, strict=True)):
        volume = layer.output
        shape = [volume.depth] if index >= first_flat else [volume.depth, volume.height, volume.width]
        extended.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape]))
    for constant in model.graph.initializer:
        if constant.name.endswith(("_weights", "_biases")):
            output = helper.make_tensor_value_info(constant.name, TensorProto.FLOAT, constant.dims)
            extended.graph.output.append(output)
    descriptions = [_describe(name, layer) for name, layer in zip(names, layers, strict=True)]
    helper.set_model_props(extended, metadata | {"layers": json.dumps(descriptions)})
    onnx.checker.check_model(extended, full_check=True)
    return extended


def _describe(name: str, layer: Layer) -> dict[str, Any]:
    """Volumes are width, height and depth."""
    return {
        "name": name,
        "kind": layer.kind,
        "text": str(layer),
        "input": [layer.input.width, layer.input.height, layer.input.depth],
        "output": [layer.output.width, layer.output.height, layer.output.depth],
        "size": layer.size,
        "stride": layer.stride,
        "padding": layer.padding,
        "receptive_field": list(layer.receptive_field),
        "jump": layer.jump,
        "start": layer.start,
        "weights_per_filter": layer.weights_per_filter,
        "parameters": layer.parameters,
        "multiply_adds": layer.multiply_adds,
    }
