import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from digits.classifier import Classifier
from digits.recognizer import Recognizer
from tests.helpers.finding import finder, preprocess
from tests.helpers.paths import ROOT
from training.commands import main
from training.datasets.mnist import NO_DIGIT, Dataset, load_training, split
from training.export import (
    REJECTED_SHARE,
    SURE_SHARE,
    Calibration,
    ExportError,
    best_checkpoint,
    build_model,
    calibrate,
    expected_outputs,
    export,
    next_version,
    require_parity,
    write_explanation,
)
from training.formula import parse
from training.network import build_network, fold_batch_norm
from training.recipes import Recipe
from training.train import Run

CPU = torch.device("cpu")
DATA, VALIDATION = split(load_training().part(np.arange(1200)))
TEST = load_training().part(np.arange(2000, 2200))
RECIPE = Recipe(
    "INPUT 28x28x1 -> CONV 4x4x8 stride 3 -> RELU -> POOL 3x3 -> FC 10", epochs=2, batch_size=100, weight_average=0.5
)
FORMULAS = [
    "INPUT 28x28x1 -> FC 10",
    "INPUT 28x28x1 -> [CONV 3x3x4 pad 1 -> RELU]*2 -> POOL 2x2 -> CONV 5x5x6 stride 3 -> RELU -> FC 7 -> RELU -> FC 10",
]


def random_images(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("run")
    for seed in (0, 1):
        Run(RECIPE, seed, DATA, VALIDATION, directory / f"seed-{seed}", CPU).train()
    return directory


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("count", [1, 2, 63, 200])
def test_onnx_runtime_agrees_with_pytorch(formula: str, count: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    architecture = parse(formula)
    network = fold_batch_norm(build_network(architecture))
    calibration = Calibration(temperature=0.7, energy_middle=2.5, energy_scale=0.3)
    onnx.save(build_model(architecture, network, calibration), tmp_path / "model.onnx")
    images = random_images(count)
    got = Classifier(tmp_path / "model.onnx", "cpu").classify(images)
    for ours, theirs in zip(got, expected_outputs(network, calibration, images), strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-5)


def test_disagreement_with_pytorch_fails_the_export(tmp_path: Path) -> None:
    torch.manual_seed(0)
    architecture = parse(FORMULAS[0])
    network = build_network(architecture)
    calibration = Calibration(1, 0, 1)
    onnx.save(build_model(architecture, network, calibration), tmp_path / "model.onnx")
    classifier = Classifier(tmp_path / "model.onnx", "cpu")
    require_parity(classifier, network, calibration, random_images(3))
    with pytest.raises(ExportError, match="of PyTorch's"):
        require_parity(classifier, network, Calibration(1.01, 0, 1), random_images(3))


def test_exported_file_carries_its_metadata(run: Path, tmp_path: Path) -> None:
    checkpoint = best_checkpoint(run)
    path = export(checkpoint, VALIDATION, TEST, tmp_path / "digits", 3, finder().file)
    assert path == tmp_path / "digits" / "3" / "model.onnx"
    assert 'name: "digits"' in (tmp_path / "digits" / "config.pbtxt").read_text()
    assert not list(tmp_path.rglob("*.partial"))
    recognizer = Recognizer(path, "cpu")
    classifier = recognizer.classifier
    metadata = classifier.metadata
    assert classifier.model == {"name": "digits", "version": "3"}
    assert metadata["formula"] == RECIPE.formula
    assert json.loads(metadata["labels"]) == [str(digit) for digit in range(10)]
    assert metadata["training_data_sha256"] == DATA.sha256
    assert metadata["test_images"] == "200"
    probabilities, is_digit = classifier.classify(TEST.images)
    digits = [prediction.digit for prediction in recognizer.predict([preprocess(image) for image in TEST.images])]
    assert int(metadata["test_correct"]) == (np.array(digits) == TEST.labels).sum() > 0
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert is_digit.min() >= 0
    assert is_digit.max() <= 1


def test_exported_graph_has_only_the_formulas_layers(run: Path, tmp_path: Path) -> None:
    model = onnx.load(export(best_checkpoint(run), VALIDATION, TEST, tmp_path, 1, finder().file))
    layers = [node.op_type for node in model.graph.node if node.name.startswith("layer_")]
    assert layers == ["Conv", "Relu", "MaxPool", "Gemm"]


@pytest.mark.parametrize("formula", FORMULAS)
def test_explanation_has_the_models_outputs_and_all_activations(formula: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    architecture = parse(formula)
    network = fold_batch_norm(build_network(architecture))
    model, path = tmp_path / "model.onnx", tmp_path / "explain.onnx"
    graph = build_model(architecture, network, Calibration(0.7, 2.5, 0.3))
    onnx.helper.set_model_props(graph, {"formula": formula})
    onnx.save(graph, model)
    write_explanation(model, path)
    images = random_images(3)
    outputs = (Classifier(one, "cpu").classify(images) for one in (model, path))
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(*outputs, strict=True))
    session = InferenceSession(path)
    described = json.loads(session.get_modelmeta().custom_metadata_map["layers"])
    x = torch.from_numpy(images).unsqueeze(1).float() / 255
    modules = [module for module in network if not isinstance(module, torch.nn.Flatten)]
    for layer, module in zip(described, [torch.nn.Identity(), *modules], strict=True):
        with torch.no_grad():
            x = module(x.flatten(1) if isinstance(module, torch.nn.Linear) else x)
        [output] = session.run([layer["name"]], {"images": images})
        np.testing.assert_allclose(output, x.numpy(), rtol=1e-4, atol=1e-5)
        assert x[0].numel() == np.prod(layer["output"])
        if layer["parameters"]:
            weights, biases = session.run([f"{layer['name']}_weights", f"{layer['name']}_biases"], {"images": images})
            assert weights.size + biases.size == layer["parameters"]


def test_foreign_file_cannot_be_explained(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    result = CliRunner().invoke(main, ["explain", str(tmp_path / "model.onnx")])
    assert result.exit_code == 2
    assert "expected an ONNX file of `digits export`" in " ".join(result.output.split())


def test_shipped_explanations_are_up_to_date(tmp_path: Path) -> None:
    for model in (ROOT / "models" / "digits").glob("*/model.onnx"):
        write_explanation(model, tmp_path / "explain.onnx")
        assert (tmp_path / "explain.onnx").read_bytes() == model.with_name("explain.onnx").read_bytes()


def test_seed_with_the_best_validation_is_exported(run: Path) -> None:
    accuracies = {
        seed: torch.load(run / f"seed-{seed}" / "checkpoint.pt")["history"][-1]["validation_accuracy"]
        for seed in (0, 1)
    }
    best = max(accuracies, key=lambda seed: accuracies[seed])
    assert accuracies[0] != accuracies[1]
    assert best_checkpoint(run).parent.name == f"seed-{best}"


def test_unfinished_runs_and_other_data_are_rejected(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="expected a finished run"):
        best_checkpoint(tmp_path)
    with pytest.raises(ExportError, match="expected the data the network was trained on"):
        export(best_checkpoint(run), TEST, TEST, tmp_path, 1, finder().file)
    assert not list(tmp_path.iterdir())


def test_next_version_ignores_other_folders(tmp_path: Path) -> None:
    assert next_version(tmp_path) == 1
    for name in ("2", "10", "notes", "²", "٣٣", "0099", "9" * 19):
        (tmp_path / name).mkdir()
    assert next_version(tmp_path) == 11


def test_calibration_fixes_is_digit_for_digits_and_negatives() -> None:
    torch.manual_seed(0)
    network = fold_batch_norm(build_network(parse(FORMULAS[0])))
    negatives = Dataset(random_images(200), np.full(200, NO_DIGIT))
    calibration = calibrate(network, VALIDATION, negatives)
    digits, others = (expected_outputs(network, calibration, one.images)[1] for one in (VALIDATION, negatives))
    assert (digits < 0.5).float().mean() <= REJECTED_SHARE + 1 / len(VALIDATION)
    assert (others > 0.99).float().mean() <= SURE_SHARE
