import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from click.testing import CliRunner

from benchmarks.research import networks
from benchmarks.research.networks import FIRST_FORMULA, is_beaten, main, multiply_adds, render, shipped, timed
from benchmarks.research.recipes import PEERS, Peer, count_correct, train, write
from digits.classifier import Classifier
from digits.session import ModelFile, load_session
from digits.settings import ModelSettings
from training.datasets.mnist import load_test, load_training
from training.formula import parse

DATA = load_training().part(np.arange(3000))
TEST = load_test().part(np.arange(500))


@pytest.mark.parametrize(
    ("name", "parameters", "cost"),
    [
        ("pytorch/examples mnist", 1_199_882, 11_992_448),
        ("Keras simple_mnist_convnet", 34_826, 2_440_960),
        ("ONNX zoo mnist-12", 5_994, 786_560),
    ],
)
def test_peers_have_the_published_size_and_the_same_outputs_in_onnx(
    name: str, parameters: int, cost: int, tmp_path: Path
) -> None:
    network = PEERS[name].new(0).eval()
    assert sum(one.numel() for one in network.parameters()) == parameters
    path = tmp_path / "model.onnx"
    write(network, path)
    assert multiply_adds(path) == cost
    inputs = PEERS[name].inputs(TEST.images[:50])
    logits = load_session(ModelFile.read(path), "cpu").run(["logits"], {"inputs": inputs.numpy()})[0]
    np.testing.assert_allclose(logits, network(inputs).detach().numpy(), atol=1e-5)


def test_multiply_adds_match_the_formula() -> None:
    path = ModelSettings().model_path
    assert multiply_adds(path) == parse(Classifier(path, "cpu").metadata["formula"]).multiply_adds
    assert parse(FIRST_FORMULA).multiply_adds == 7_344_000


@pytest.mark.parametrize("name", PEERS)
def test_peers_learn(name: str, tmp_path: Path) -> None:
    write(train(replace(PEERS[name], epochs=2), DATA), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    assert count_correct(session, PEERS[name], TEST) > 350


def test_held_out_images_are_not_trained_on() -> None:
    peer: Peer = replace(PEERS["Keras simple_mnist_convnet"], batch_size=100)
    labels = torch.cat([labels for _, labels in peer.batches(DATA)])
    assert len(labels) == 2700
    assert labels.bincount().tolist() == np.bincount(DATA.labels[:2700]).tolist()


def test_networks_are_timed_relative_to_the_first() -> None:
    path = ModelSettings().model_path
    first, again = timed([path, path], rounds=5)
    assert first["ratio"] == 1
    assert 0.3 < again["ratio"] < 3
    assert first["microseconds"] > 0


def test_newest_version_of_each_formula_is_included() -> None:
    formulas = [Classifier(path, "cpu").metadata["formula"] for path in shipped().values()]
    assert len(set(formulas)) == len(formulas)
    assert ModelSettings().model_path.resolve() in [path.resolve() for path in shipped().values()]


def test_pareto_front() -> None:
    assert is_beaten((2, 2), (1, 2))
    assert not is_beaten((2, 2), (2, 2))
    assert not is_beaten((2, 2), (1, 3))


def test_published_table_matches_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = json.loads(networks.RESULTS.read_text())
    assert networks.TABLE.read_text() == render(results["networks"], results["conditions"])
    monkeypatch.setattr(networks, "TABLE", tmp_path / "table.md")
    monkeypatch.setattr(networks, "PLOT", tmp_path / "plot.png")
    result = CliRunner().invoke(main, ["--draw"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "plot.png").stat().st_size > 10_000


def test_missing_network_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "RUNS", tmp_path)
    for name in ("RESULTS", "TABLE", "PLOT"):
        monkeypatch.setattr(networks, name, (tmp_path / "results").with_suffix(getattr(networks, name).suffix))
    monkeypatch.setattr(networks, "load_test", lambda: TEST)
    result = CliRunner().invoke(main, ["--rounds", "1"])
    assert result.exit_code == 0, result.output
    assert "skipped ONNX zoo mnist-12, " in result.output
    assert "| digits, version " in (tmp_path / "results.md").read_text()
    assert (tmp_path / "results.png").stat().st_size > 10_000
