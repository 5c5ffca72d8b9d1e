"""The PyTorch network of a formula; what is exported consists of the formula's own layers only."""

from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import nn

from training.datasets.mnist import DataError
from training.formula import Architecture, parse


def build_network(architecture: Architecture, *, batch_norm: bool = True, dropout: float = 0.0) -> nn.Sequential:
    """Builds the network with random weights: float32 [N, D, H, W] → logits float32 [N, n] for a last layer FC n.

    Batch norm after every CONV and dropout before every FC are training aids that `fold_batch_norm` removes.
    """
    modules: list[nn.Module] = []
    flat = False
    for layer in architecture.layers:
        match layer.kind:
            case "CONV":
                channels, window = (layer.input.depth, layer.output.depth), (layer.size, layer.stride, layer.padding)
                modules.append(nn.Conv2d(*channels, *window, bias=not batch_norm))
                if batch_norm:
                    modules.append(nn.BatchNorm2d(layer.output.depth))
            case "RELU":
                modules.append(nn.ReLU())
            case "POOL":
                modules.append(nn.MaxPool2d(layer.size, layer.stride))
            case "FC":
                if not flat:
                    modules.append(nn.Flatten())
                    flat = True
                if dropout:
                    modules.append(nn.Dropout(dropout))
                modules.append(nn.Linear(layer.input.neurons, layer.output.depth))
    return nn.Sequential(*modules)


@torch.no_grad()
def fold_batch_norm(network: nn.Sequential) -> nn.Sequential:
    """The same function without batch norm, merged into the CONV before it, and without dropout."""
    folded: list[nn.Module] = []
    for module in network.eval():
        if isinstance(module, nn.BatchNorm2d):
            convolution = folded[-1]
            assert isinstance(convolution, nn.Conv2d)
            folded[-1] = nn.utils.fuse_conv_bn_eval(convolution, module)
        elif not isinstance(module, nn.Dropout):
            folded.append(module)
    return nn.Sequential(*folded).eval()


@torch.no_grad()
def load_network(path: Path, *, dropout: float = 0.0) -> tuple[Architecture, nn.Sequential]:
    """Reads the formula and its network, without batch norm, from a file of `digits export`. Raises DataError."""
    try:
        model = onnx.load(path)
        architecture = parse(next(entry.value for entry in model.metadata_props if entry.key == "formula"))
        constants = {one.name: torch.tensor(numpy_helper.to_array(one)) for one in model.graph.initializer}
        network = build_network(architecture, batch_norm=False, dropout=dropout)
        layers = [node.input for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
        modules = [module for module in network if isinstance(module, nn.Conv2d | nn.Linear)]
        for module, (_, weights, biases) in zip(modules, layers, strict=True):
            assert module.bias is not None
            module.weight.copy_(constants[weights])
            module.bias.copy_(constants[biases])
    except Exception as error:  # onnx, NumPy and PyTorch each raise their own errors for a foreign file
        raise DataError(f"{path}: expected an ONNX file of `digits export`; got another file") from error
    return architecture, network
