"""Published networks for MNIST, each trained by its published recipe.

Reimplementations of pytorch/examples (mnist/main.py), keras.io ("Simple MNIST convnet") and CNTK's tutorial 103D, the
source of mnist-12 in ONNX's model zoo.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from tqdm import tqdm

from training.datasets.mnist import Dataset
from training.export import IR_VERSION, OPSET

Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Peer:
    """A network and its recipe.

    The last share `held_out` of the images is not trained on. `decay` multiplies the learning rate after each epoch.
    `mean` and `scale` normalise the pixels, which are 0 to 1.
    """

    build: Callable[[], nn.Sequential]
    optimizer: Callable[[nn.Sequential], Optimizer]
    epochs: int
    batch_size: int
    shuffled: bool
    source: str
    decay: float = 1.0
    held_out: float = 0.0
    mean: float = 0.0
    scale: float = 1.0
    uniform_weights: bool = False

    def inputs(self, images: NDArray[np.uint8]) -> Tensor:
        """uint8 [N, 28, 28] → float32 [N, 1, 28, 28], normalised."""
        return (torch.tensor(images).unsqueeze(1).float() / 255 - self.mean) / self.scale

    def new(self, seed: int) -> nn.Sequential:
        """The untrained network, initialised as by the recipe's library."""
        torch.manual_seed(seed)
        network = self.build()
        for module in network if self.uniform_weights else []:
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        return network

    def batches(self, data: Dataset) -> Iterator[tuple[Tensor, Tensor]]:
        """An epoch, from memory."""
        count = len(data) - round(self.held_out * len(data))
        inputs, labels = self.inputs(data.images), torch.tensor(data.labels)
        order = torch.randperm(count) if self.shuffled else torch.arange(count)
        for chosen in order.split(self.batch_size):
            yield inputs[chosen], labels[chosen]


def _pytorch_examples() -> nn.Sequential:
    convolutions = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)]
    hidden = [nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*convolutions, *hidden, nn.Linear(128, 10))


def _keras() -> nn.Sequential:
    convolutions = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Dropout(0.5), nn.Linear(1600, 10))


def _mnist_12() -> nn.Sequential:
    first = [nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(8, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3)]
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(256, 10))


PEERS = {
    "pytorch/examples mnist": Peer(
        _pytorch_examples,
        lambda network: torch.optim.Adadelta(network.parameters(), lr=1.0),
        epochs=14,
        batch_size=64,
        shuffled=False,  # the script does not shuffle without an accelerator
        source="https://github.com/pytorch/examples/blob/main/mnist/main.py",
        decay=0.7,
        mean=0.1307,
        scale=0.3081,
    ),
    "Keras simple_mnist_convnet": Peer(
        _keras,
        lambda network: torch.optim.Adam(network.parameters(), lr=1e-3, eps=1e-7),
        epochs=15,
        batch_size=128,
        shuffled=True,
        source="https://keras.io/examples/vision/mnist_convnet/",
        held_out=0.1,
        uniform_weights=True,
    ),
    "ONNX zoo mnist-12": Peer(
        _mnist_12,
        lambda network: torch.optim.SGD(network.parameters(), lr=0.2),
        epochs=10,
        batch_size=64,
        shuffled=True,
        source="https://github.com/onnx/models/tree/main/validated/vision/classification/mnist",
        uniform_weights=True,
    ),
}


def train_epoch(network: nn.Sequential, optimizer: Optimizer, batches: Batches) -> None:
    network.train()
    for inputs, labels in batches:
        optimizer.zero_grad()
        functional.cross_entropy(network(inputs), labels).backward()
        optimizer.step()


def train(peer: Peer, data: Dataset, seed: int = 0) -> nn.Sequential:
    """Trains a network by its recipe."""
    network = peer.new(seed)
    optimizer = peer.optimizer(network)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=peer.decay)
    for _ in tqdm(range(peer.epochs), unit="epoch", disable=None):
        train_epoch(network, optimizer, peer.batches(data))
        schedule.step()
    return network.eval()


def write(network: nn.Sequential, path: Path) -> None:
    """Writes an ONNX file: `inputs` float32 [N, 1, 28, 28] → `logits` float32 [N, 10]."""
    nodes, constants = [], []
    name = "inputs"
    for number, module in enumerate(one for one in network if not isinstance(one, nn.Dropout)):
        inputs = [name]
        attributes: dict[str, Any] = {}
        match module:
            case nn.Conv2d() | nn.Linear():
                for part in ("weight", "bias"):
                    inputs.append(f"{part}_{number}")
                    constants.append(numpy_helper.from_array(getattr(module, part).detach().numpy(), inputs[-1]))
                kind = "Conv" if isinstance(module, nn.Conv2d) else "Gemm"
                attributes = {"pads": [module.padding[0]] * 4} if isinstance(module, nn.Conv2d) else {"transB": 1}
            case nn.MaxPool2d():
                kind, size = "MaxPool", [module.kernel_size] * 2
                attributes = {"kernel_shape": size, "strides": size}
            case _:
                kind = {nn.ReLU: "Relu", nn.Flatten: "Flatten"}[type(module)]
        name = f"output_{number}"
        nodes.append(helper.make_node(kind, inputs, [name], **attributes))
    nodes[-1].output[0] = "logits"
    graph = helper.make_graph(
        nodes,
        "peer",
        [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, ["N", 1, 28, 28])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def count_correct(session: onnxruntime.InferenceSession, peer: Peer, data: Dataset) -> int:
    """The number of images read correctly."""
    logits = session.run(["logits"], {"inputs": peer.inputs(data.images).numpy()})[0]
    return int((logits.argmax(axis=1) == data.labels).sum())
