"""Checkpoint → model.onnx with all its constants, explain.onnx, and Triton's configuration, each verified."""

import json
import math
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from digits.classifier import CLASSES, Classifier
from digits.recognizer import Recognizer
from digits.session import ModelFile
from digits.settings import VERSION
from digits.version import EXPLANATION, FINDER
from training.activations import with_activations
from training.datasets.generated import generate_unseen_negatives
from training.datasets.mnist import Dataset
from training.evaluate import evaluate
from training.formula import Architecture, parse
from training.network import build_network, fold_batch_norm
from training.train import compute_logits, load_averaged, load_checkpoint

NAME = "digits"
# The oldest opset with every operator used here, and the file format of its time: older servers load the model too.
OPSET = 17
IR_VERSION = 8
PARITY_TOLERANCE = 1e-5
# Share of digits that the default threshold may reject: 2 of the 5,000 of the validation set.
REJECTED_SHARE = 0.0004
# Share of images without a digit, of kinds not trained on, that may be taken for one at 0.99. If these are a tenth of
# all images, 99.9 % of what is read at 0.99 shows a digit.
SURE_SHARE = 0.01
# The least `energy_scale`, should hardly any negative look like a digit.
STEEPEST = 0.1


class ExportError(Exception):
    """The network cannot be exported, or the exported file computes something else."""


@dataclass(frozen=True)
class Calibration:
    """Turns logits into probabilities and `is_digit`; fitted on the validation set.

    `temperature` divides the logits. `is_digit` is the sigmoid of (energy - `energy_middle`) / `energy_scale`; the
    energy is the log-sum-exp of the logits.
    """

    temperature: float
    energy_middle: float
    energy_scale: float


def best_checkpoint(run: Path) -> Path:
    """The finished seed with the best validation accuracy; the lower validation loss breaks ties."""
    cpu = torch.device("cpu")
    found = {path: load_checkpoint(path, cpu) for path in sorted(run.glob("seed-*/checkpoint.pt"))}
    finished = {
        path: state["history"][-1]
        for path, state in found.items()
        if len(state["history"]) == state["identity"]["recipe"]["epochs"]
    }
    if not finished:
        raise ExportError(f"{run}: expected a finished run, seed-<n>/checkpoint.pt; got {len(found)} unfinished")
    return max(finished, key=lambda path: (finished[path]["validation_accuracy"], -finished[path]["validation_loss"]))


def next_version(models: Path) -> int:
    """One more than the highest existing version."""
    return 1 + max((int(path.name) for path in models.glob("*") if VERSION.fullmatch(path.name)), default=0)


def export(
    checkpoint: Path, validation: Dataset, test: Dataset | None, models: Path, version: int, finder: ModelFile
) -> Path:
    """Writes `models/<version>/model.onnx` and `explain.onnx`, verified, `finder.onnx`, and `models/config.pbtxt`.

    `validation` must be the validation set of the training run; the model is calibrated on it, and on images without a
    digit of kinds that it was not trained on. Accuracy on `test`, if given, through the serving pipeline, goes into the
    metadata. Raises ExportError.
    """
    state = load_checkpoint(checkpoint, torch.device("cpu"))
    identity = state["identity"]
    if validation.sha256 != identity["validation"]:
        raise ExportError(
            f"expected the data the network was trained on, validation set sha256 {identity['validation']}; "
            f"got {validation.sha256}"
        )
    architecture = parse(identity["recipe"]["formula"])
    recipe = identity["recipe"]
    trained = build_network(architecture, batch_norm=recipe["batch_norm"], dropout=recipe["dropout"])
    load_averaged(trained, state)
    network = fold_batch_norm(trained)
    calibration = calibrate(network, validation, generate_unseen_negatives())
    model = build_model(architecture, network, calibration)
    metadata = {
        "name": NAME,
        "version": str(version),
        "formula": architecture.formula,
        "labels": json.dumps([str(digit) for digit in range(CLASSES)]),
        "parameters": str(architecture.parameters),
        "multiply_adds": str(architecture.multiply_adds),
        "training_data_sha256": identity["data"],
        "training_data_images": str(identity["images"]),
        "start_sha256": identity["start_sha256"] or "",
        "teacher_sha256": identity["teacher_sha256"] or "",
        "recipe": json.dumps(identity["recipe"] | {"seed": identity["seed"]}),
        "calibration": json.dumps(vars(calibration)),
        "history": json.dumps(state["history"]),
    }
    with tempfile.TemporaryDirectory() as directory:
        partial = Path(directory) / "model.onnx"
        partial.with_name(FINDER).write_bytes(finder.data)
        _save(model, metadata, partial)
        if test:
            results = evaluate(Recognizer(partial, "cpu"), test)
            metadata |= {"test_images": str(results.count), "test_correct": str(results.correct)}
            _save(model, metadata, partial)
        images = np.concatenate([validation.images, random_images(256)])
        require_parity(Classifier(partial, "cpu"), network, calibration, images)
        path = models / str(version) / "model.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_explanation(partial, path.with_name(EXPLANATION))
        _move(partial.with_name(FINDER), path.with_name(FINDER))
        _move(partial, path)
        config = Path(directory) / "config.pbtxt"
        config.write_text(TRITON_CONFIG)
        _move(config, models / "config.pbtxt")
    return path


def write_explanation(model: Path, path: Path) -> None:
    """Writes the explain.onnx of a model. Raises ExportError."""
    with tempfile.TemporaryDirectory() as directory:
        partial = Path(directory) / path.name
        try:
            onnx.save(with_activations(onnx.load(model)), partial)
        except Exception as error:  # onnx raises protobuf's, its checker's and Python's own errors for a foreign file
            raise ExportError(f"{model}: expected an ONNX file of `digits export`; got another file") from error
        images = random_images(256)
        pairs = zip(Classifier(model, "cpu").classify(images), Classifier(partial, "cpu").classify(images), strict=True)
        if not all(np.array_equal(one, other) for one, other in pairs):
            raise ExportError(f"{path}: expected the outputs of {model}; got others")
        _move(partial, path)


def _save(model: onnx.ModelProto, metadata: dict[str, str], path: Path) -> None:
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _move(source: Path, target: Path) -> None:
    """Replaces the target atomically, also from another file system."""
    partial = target.with_name(target.name + ".partial")
    partial.write_bytes(source.read_bytes())
    os.replace(partial, target)


def calibrate(network: nn.Module, digits: Dataset, negatives: Dataset) -> Calibration:
    """Finds the temperature with the least cross-entropy on the digits, and two energies that fix `is_digit`.

    The share REJECTED_SHARE of the digits gets less than 0.5, the share SURE_SHARE of the negatives more than 0.99.
    """
    logits, others = (compute_logits(network, torch.from_numpy(one.images)) for one in (digits, negatives))
    labels = torch.from_numpy(digits.labels)
    candidates = torch.logspace(-1, 1, 401).tolist()
    temperature = min(candidates, key=lambda one: float(functional.cross_entropy(logits / one, labels)))
    middle = float(torch.quantile(logits.logsumexp(dim=1), REJECTED_SHARE))
    sure = float(torch.quantile(others.logsumexp(dim=1), 1 - SURE_SHARE))
    return Calibration(temperature, middle, max((sure - middle) / math.log(99), STEEPEST))


def build_model(architecture: Architecture, network: nn.Sequential, calibration: Calibration) -> onnx.ModelProto:
    """The graph: images uint8 [N, 28, 28] → probabilities float32 [N, 10] and is_digit float32 [N]."""
    nodes: list[onnx.NodeProto] = []
    constants: list[TensorProto] = []

    def constant(name: str, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        constants.append(numpy_helper.from_array(values, name))
        return name

    def node(operator: str, inputs: list[str], output: str, **attributes: Any) -> str:  # noqa: ANN401
        nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def scalar(name: str, value: float) -> str:
        return constant(name, np.array(value, np.float32))

    size = architecture.input
    x = node("Cast", ["images"], "floats", to=TensorProto.FLOAT)
    x = node("Mul", [x, scalar("pixel_scale", 1 / 255)], "scaled")
    x = node("Reshape", [x, constant("input_shape", np.array([-1, size.depth, size.height, size.width]))], "input")
    flat = False
    weights = iter([module for module in network if isinstance(module, nn.Conv2d | nn.Linear)])
    for number, layer in enumerate(architecture.layers[1:], start=1):
        # The outputs are named after the layers, numbered as `describe` lists them.
        name = f"layer_{number}_{layer.kind.lower()}"
        window = {"kernel_shape": [layer.size] * 2, "strides": [layer.stride] * 2}
        if layer.kind in ("CONV", "FC"):
            module = next(weights)
            assert module.bias is not None
            inputs = [
                constant(f"{name}_weights", module.weight.detach().numpy()),
                constant(f"{name}_biases", module.bias.detach().numpy()),
            ]
        match layer.kind:
            case "CONV":
                x = node("Conv", [x, *inputs], name, pads=[layer.padding] * 4, **window)
            case "RELU":
                x = node("Relu", [x], name)
            case "POOL":
                x = node("MaxPool", [x], name, **window)
            case "FC":
                if not flat:
                    x = node("Flatten", [x], "flat", axis=1)
                    flat = True
                x = node("Gemm", [x, *inputs], name, transB=1)
    tempered = node("Div", [x, scalar("temperature", calibration.temperature)], "tempered")
    node("Softmax", [tempered], "probabilities", axis=1)
    energy = node("ReduceLogSumExp", [x], "energy", axes=[1], keepdims=0)
    above = node("Sub", [energy, scalar("energy_middle", calibration.energy_middle)], "energy_above")
    scaled = node("Div", [above, scalar("energy_scale", calibration.energy_scale)], "energy_scaled")
    node("Sigmoid", [scaled], "is_digit")
    graph = helper.make_graph(
        nodes,
        NAME,
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", size.height, size.width])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", CLASSES]),
            helper.make_tensor_value_info("is_digit", TensorProto.FLOAT, ["N"]),
        ],
        constants,
    )
    return helper.make_model(
        graph, producer_name="training.export", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )


def expected_outputs(network: nn.Module, calibration: Calibration, images: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    """What the graph must return, computed by PyTorch: probabilities [N, 10] and is_digit [N]."""
    logits = compute_logits(network, torch.from_numpy(images))
    is_digit = torch.sigmoid((torch.logsumexp(logits, dim=1) - calibration.energy_middle) / calibration.energy_scale)
    return (logits / calibration.temperature).softmax(dim=1), is_digit


def require_parity(
    classifier: Classifier, network: nn.Module, calibration: Calibration, images: NDArray[np.uint8]
) -> None:
    """Raises ExportError if ONNX Runtime and PyTorch disagree on an image."""
    pairs = zip(classifier.classify(images), expected_outputs(network, calibration, images), strict=True)
    difference = max(float(np.abs(ours - theirs.numpy()).max()) for ours, theirs in pairs)
    if not difference <= PARITY_TOLERANCE:
        raise ExportError(f"expected outputs within {PARITY_TOLERANCE} of PyTorch's; got {difference:.2g} apart")


def random_images(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, 28, 28), dtype=np.uint8)


TRITON_CONFIG = """\
# Triton Inference Server loads the parent of this folder as its model repository.
name: "digits"
platform: "onnxruntime_onnx"
# The batch is the tensors' own first dimension, so that clients see the same shapes as at this service.
max_batch_size: 0
# Triton's default is to serve only the highest version.
version_policy: { all: { } }
input [ { name: "images" data_type: TYPE_UINT8 dims: [ -1, 28, 28 ] } ]
output [
  { name: "probabilities" data_type: TYPE_FP32 dims: [ -1, 10 ] },
  { name: "is_digit" data_type: TYPE_FP32 dims: [ -1 ] }
]
"""
