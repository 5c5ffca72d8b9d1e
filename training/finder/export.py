"""A trained finder → an ONNX file that carries all its constants."""

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession
from torch import Tensor, nn

from training.export import IR_VERSION, OPSET, ExportError
from training.finder.network import (
    LEAST_DEVIATION,
    OFFSET_UNIT,
    SIZE_UNIT,
    Finder,
    Joint,
    fold_batch_norm,
    normalized,
)
from training.finder.train import load_finder

PARITY_TOLERANCE = 1e-3


class _Graph:
    """Collects nodes and constants; every method returns its output's name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:  # noqa: ANN401
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: float | list[float] | list[int] | Tensor) -> str:
        values = value.detach().numpy() if isinstance(value, Tensor) else np.array(value)
        kind = np.int64 if values.dtype == np.int64 else np.float32
        self.constants.append(numpy_helper.from_array(values.astype(kind), name))
        return name

    def convolution(self, x: str, module: nn.Conv2d, name: str) -> str:
        inputs = [x, self.constant(f"{name}_weights", module.weight)]
        if module.bias is not None:
            inputs.append(self.constant(f"{name}_biases", module.bias))
        window = {"kernel_shape": module.kernel_size, "strides": module.stride, "dilations": module.dilation}
        assert not isinstance(module.padding, str)
        return self.node("Conv", inputs, name, pads=list(module.padding) * 2, group=module.groups, **window)

    def sequence(self, x: str, modules: nn.Module, name: str) -> str:
        """Convolutions, each with its ReLU, and Sequentials of them, whose batch norm is folded."""
        for number, module in enumerate(modules.children()):
            match module:
                case nn.Conv2d():
                    x = self.convolution(x, module, f"{name}_{number}")
                case nn.ReLU():
                    x = self.node("Relu", [x], f"{name}_{number}")
                case nn.Sequential():
                    x = self.sequence(x, module, f"{name}_{number}")
        return x

    def joint(self, coarse: str, fine: str, module: Joint, name: str) -> str:
        reduced = self.convolution(coarse, module.reduce, f"{name}_reduced")
        scales = self.constant(f"{name}_scales", [1.0, 1.0, 2.0, 2.0])
        options = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        enlarged = self.node("Resize", [reduced, "", scales], f"{name}_enlarged", **options)
        added = self.node("Relu", [self.node("Add", [enlarged, fine], f"{name}_sum")], f"{name}_joined")
        return self.sequence(added, module.join, name)


def build_model(network: Finder) -> onnx.ModelProto:
    """The graph of a finder whose batch norm is folded.

    images uint8 [N, H, W], both sides multiples of 16 → ink float32 [N, H, W], 0 to 1, and for cells of 4×4 pixels heat
    [N, H/4, W/4], 0 to 1, offsets [N, 2, H/4, W/4] and sizes [N, H/4, W/4], both in pixels.
    """
    graph = _Graph()
    node, constant = graph.node, graph.constant
    images = node("Mul", [node("Cast", ["images"], "floats", to=TensorProto.FLOAT), constant("scale", 1 / 255)], "grey")
    centred = node("Sub", [images, node("ReduceMean", [images], "mean", axes=[1, 2])], "centred")
    squares = node("ReduceMean", [node("Mul", [centred, centred], "squares")], "variance", axes=[1, 2])
    deviation = node("Add", [node("Sqrt", [squares], "deviation"), constant("least", LEAST_DEVIATION)], "divisor")
    scaled = node("Div", [centred, deviation], "normalized")
    x = node("Unsqueeze", [scaled, constant("channel", [1])], "input")
    half = graph.sequence(x, network.to_half, "half")
    quarter = graph.sequence(half, network.to_quarter, "quarter")
    eighth = graph.sequence(quarter, network.to_eighth, "eighth")
    sixteenth = graph.sequence(eighth, network.to_sixteenth, "sixteenth")
    eighth = graph.joint(sixteenth, eighth, network.back_to_eighth, "back_to_eighth")
    quarter = graph.joint(eighth, quarter, network.back_to_quarter, "back_to_quarter")
    half = graph.joint(quarter, half, network.back_to_half, "back_to_half")
    pixels = node(
        "DepthToSpace", [graph.convolution(half, network.ink, "ink_of_2x2")], "pixels", blocksize=2, mode="CRD"
    )
    channel = [constant("channel_axis", [1])]
    node("Sigmoid", [node("Squeeze", [pixels, *channel], "ink_logits")], "ink")
    places = graph.sequence(quarter, network.places, "places")
    parts = ["heat_map", "offset_maps", "size_map"]
    graph.nodes.append(helper.make_node("Split", [places, constant("parts", [1, 2, 1])], parts, name="split", axis=1))
    node("Sigmoid", [node("Squeeze", ["heat_map", *channel], "heat_logits")], "heat")
    node("Mul", ["offset_maps", constant("offset_unit", float(OFFSET_UNIT))], "offsets")
    size = node("Squeeze", ["size_map", *channel], "size_logarithms")
    node("Mul", [node("Pow", [constant("two", 2.0), size], "powers"), constant("size_unit", float(SIZE_UNIT))], "sizes")
    outputs: dict[str, list[str | int | None]] = {
        "ink": ["N", "H", "W"],
        "heat": ["N", "H/4", "W/4"],
        "offsets": ["N", 2, "H/4", "W/4"],
        "sizes": ["N", "H/4", "W/4"],
    }
    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            "finder",
            [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W"])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="digits",
    )


def export(checkpoint: Path, path: Path) -> None:
    """Writes finder.onnx of a checkpoint, after checking that it computes the same. Raises ExportError."""
    network = fold_batch_norm(load_finder(checkpoint))
    model = build_model(network)
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    metadata = {
        "name": "finder",
        "parameters": str(sum(one.numel() for one in network.parameters())),
        "recipe": json.dumps(state["identity"]),
        "history": json.dumps(state["history"]),
    }
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    require_parity(model, network)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    onnx.save(model, partial)
    partial.replace(path)


@torch.no_grad()
def require_parity(model: onnx.ModelProto, network: Finder) -> None:
    """Raises ExportError where ONNX Runtime and PyTorch disagree, on random images of several shapes."""
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    for shape in ((1, 128, 128), (3, 64, 160), (2, 16, 16)):
        images = random.integers(0, 256, shape, dtype=np.uint8)
        images[0] = 255
        ink, heat, offsets, sizes = session.run(None, {"images": images})
        maps = network(normalized(torch.from_numpy(images).float() / 255))
        pairs = [
            (ink, maps.ink.sigmoid()),
            (heat, maps.heat.sigmoid()),
            (offsets / OFFSET_UNIT, maps.offsets),
            (np.log2(sizes / SIZE_UNIT), maps.sizes),
        ]
        difference = max(float(np.abs(ours - theirs.numpy()).max()) for ours, theirs in pairs)
        if not difference <= PARITY_TOLERANCE:
            raise ExportError(
                f"expected outputs within {PARITY_TOLERANCE} of PyTorch's; got a difference of {difference:.2g}"
            )


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
def main(checkpoint: Path, output: Path) -> None:
    """Write the finder of a checkpoint as OUTPUT, an ONNX file."""
    try:
        export(checkpoint, output)
    except ExportError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
