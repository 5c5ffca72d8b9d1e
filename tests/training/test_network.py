import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from digits.classifier import Classifier
from digits.settings import ModelSettings
from training.datasets.mnist import DataError
from training.export import random_images
from training.formula import parse
from training.network import build_network, fold_batch_norm, load_network

FORMULA = "INPUT 28x28x1 -> [CONV 3x3x4 pad 1 -> RELU]*2 -> POOL 2x2 -> CONV 5x5x6 stride 3 -> FC 7 -> RELU -> FC 10"


def parameters(network: nn.Module) -> int:
    return sum(one.numel() for one in network.parameters())


def test_network_matches_the_formula() -> None:
    architecture = parse(FORMULA)
    network = build_network(architecture, batch_norm=False)
    assert parameters(network) == architecture.parameters
    x = torch.zeros(2, 1, 28, 28)
    sizes = []
    for module in network:
        x = module(x)
        if x.ndim == 4:
            sizes.append(tuple(x.shape[1:]))
    expected = [layer.output for layer in architecture.layers[1:] if layer.output.width > 1]
    assert sizes == [(one.depth, one.height, one.width) for one in expected]
    assert x.shape == (2, 10)


def test_formula_of_one_fc_is_a_linear_classifier() -> None:
    network = build_network(parse("INPUT 28x28x1 -> FC 10"))
    assert [type(module) for module in network] == [nn.Flatten, nn.Linear]


def test_folding_batch_norm_keeps_the_function() -> None:
    torch.manual_seed(0)
    architecture = parse(FORMULA)
    network = build_network(architecture, dropout=0.5)
    network.train()(torch.randn(64, 1, 28, 28) * 3 + 1)  # so that batch norm has statistics
    images = torch.rand(5, 1, 28, 28)
    expected = network.eval()(images)
    folded = fold_batch_norm(network)
    torch.testing.assert_close(folded(images), expected, rtol=1e-4, atol=1e-5)
    assert parameters(folded) == architecture.parameters
    assert not any(isinstance(module, nn.BatchNorm2d | nn.Dropout) for module in folded)


def test_network_loads_from_the_shipped_file(classifier: Classifier) -> None:
    architecture, network = load_network(ModelSettings().model_path)
    assert architecture.formula == classifier.metadata["formula"]
    images = random_images(20)
    expected, _ = classifier.classify(images)
    with torch.no_grad():
        logits = network.eval()(torch.from_numpy(images).unsqueeze(1) / 255)
    temperature = json.loads(classifier.metadata["calibration"])["temperature"]
    assert np.abs((logits / temperature).softmax(dim=1).numpy() - expected).max() < 1e-4


def test_foreign_file_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(DataError, match="expected an ONNX file of `digits export`"):
        load_network(path)
