"""The PyTorch network of a formula, and its trained form: the formula, literally."""

import torch
from torch import nn

from training.architecture import Architecture


def build_network(architecture: Architecture, *, batch_norm: bool = True, dropout: float = 0.0) -> nn.Sequential:
    """Builds the network, its weights random.

    Takes float32 [N, D, H, W] and gives logits, float32 [N, n] for a last layer FC n. Batch norm after every CONV
    and dropout before every FC are aids in training; `fold_batch_norm` makes them part of the weights or drops them.
    """
    modules: list[nn.Module] = []
    flat = False
    for layer in architecture.layers:
        match layer.kind:
            case "CONV":
                modules.append(
                    nn.Conv2d(
                        layer.input.depth,
                        layer.output.depth,
                        layer.size,
                        layer.stride,
                        layer.padding,
                        bias=not batch_norm,
                    )
                )
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
    """The same function with only the formula's own layers: every batch norm becomes part of the CONV before it."""
    folded: list[nn.Module] = []
    for module in network.eval():
        if isinstance(module, nn.BatchNorm2d):
            convolution = folded[-1]
            assert isinstance(convolution, nn.Conv2d)
            folded[-1] = nn.utils.fuse_conv_bn_eval(convolution, module)
        elif not isinstance(module, nn.Dropout):
            folded.append(module)
    return nn.Sequential(*folded).eval()
