import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from digits.settings import ModelSettings
from tests.helpers.images import example_pixels
from training.commands import main
from training.datasets.mnist import DataError, Dataset, load_training, split
from training.formula import FormulaError
from training.network import load_network
from training.recipes import DISTILL, FINE_TUNE, QUICK, Recipe
from training.train import Run, distillation_loss, load_checkpoint

CPU = torch.device("cpu")
SMALL = Recipe("INPUT 28x28x1 -> CONV 4x4x16 stride 4 -> RELU -> FC 10", epochs=3, batch_size=100, weight_average=0.9)
DATA, VALIDATION = split(load_training().part(np.arange(2400)))


class Killed(Exception):
    pass


def weights(directory: Path) -> dict[str, torch.Tensor]:
    averaged: dict[str, torch.Tensor] = load_checkpoint(directory / "checkpoint.pt", CPU)["averaged"]
    return averaged


def test_training_reduces_the_loss(tmp_path: Path) -> None:
    run = Run(SMALL, 0, DATA, VALIDATION, tmp_path, CPU)
    run.train()
    assert len(run.history) == 3
    assert run.history[-1]["validation_accuracy"] > 0.6
    assert run.history[-1]["loss"] < run.history[0]["loss"]


def test_resumed_run_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Run(SMALL, 0, DATA, VALIDATION, tmp_path / "whole", CPU).train()

    interrupted = Run(SMALL, 0, DATA, VALIDATION, tmp_path / "resumed", CPU)
    train_epoch = interrupted._train_epoch

    def killed_in_the_second(epoch: int) -> float:
        loss = train_epoch(epoch)
        if epoch == 1:
            raise Killed
        return loss

    monkeypatch.setattr(interrupted, "_train_epoch", killed_in_the_second)
    with pytest.raises(Killed):
        interrupted.train()
    resumed = Run(SMALL, 0, DATA, VALIDATION, tmp_path / "resumed", CPU)
    assert len(resumed.history) == 1
    resumed.train()

    expected, got = weights(tmp_path / "whole"), weights(tmp_path / "resumed")
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_fine_tuned_weights_keep_a_share_of_the_start(tmp_path: Path) -> None:
    start = ModelSettings().model_path
    _, network = load_network(start)
    parameters = dict(network.named_parameters())
    for share in (0.0, 0.5, 1.0):
        recipe = replace(FINE_TUNE, epochs=1, start_share=share)
        Run(recipe, 0, DATA, VALIDATION, tmp_path / str(share), CPU, start).train()
    none, half, everything = (weights(tmp_path / str(share)) for share in (0.0, 0.5, 1.0))
    for name, parameter in parameters.items():
        torch.testing.assert_close(everything[f"module.{name}"], parameter)
        torch.testing.assert_close(half[f"module.{name}"], (none[f"module.{name}"] + parameter) / 2)


def test_distillation_loss_is_the_softened_kl_divergence() -> None:
    teacher, logits = torch.tensor([[2.0, 0.0], [0.0, 4.0]]), torch.tensor([[0.0, 0.0], [0.0, 4.0]])
    high, low = torch.sigmoid(torch.tensor([1.0, -1.0]))
    expected = 4 * (high * torch.log(2 * high) + low * torch.log(2 * low)) / 2
    torch.testing.assert_close(distillation_loss(logits, teacher, 2), expected)


def test_student_learns_from_its_teacher_alone(tmp_path: Path) -> None:
    wrong = Dataset(DATA.images, np.roll(DATA.labels, 1))
    recipe = replace(DISTILL, formula=SMALL.formula, epochs=3, batch_size=100, weight_average=0.9, teacher_share=1.0)
    run = Run(recipe, 0, wrong, VALIDATION, tmp_path, CPU, teacher=ModelSettings().model_path)
    run.train()
    assert run.history[-1]["validation_accuracy"] > 0.6
    with pytest.raises(DataError, match="got another teacher_sha256"):
        Run(recipe, 0, wrong, VALIDATION, tmp_path, CPU)


def test_seed_determines_the_weights(tmp_path: Path) -> None:
    one_epoch = Recipe(SMALL.formula, epochs=1, batch_size=100)
    for seed in (0, 1):
        Run(one_epoch, seed, DATA, VALIDATION, tmp_path / str(seed), CPU).train()
    first, second = weights(tmp_path / "0"), weights(tmp_path / "1")
    assert not torch.equal(first["module.0.weight"], second["module.0.weight"])


def test_checkpoint_of_another_run_is_rejected(tmp_path: Path) -> None:
    one_epoch = Recipe(SMALL.formula, epochs=1, batch_size=100)
    Run(one_epoch, 0, DATA, VALIDATION, tmp_path, CPU).train()
    with pytest.raises(DataError, match="got another seed"):
        Run(one_epoch, 1, DATA, VALIDATION, tmp_path, CPU)


def test_unreadable_checkpoint_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(DataError, match="expected a checkpoint"):
        Run(SMALL, 0, DATA, VALIDATION, tmp_path, CPU)


def test_too_few_images_and_unsuitable_formulas_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected at least 100 images"):
        Run(SMALL, 0, DATA.part(np.arange(90)), VALIDATION, tmp_path, CPU)
    with pytest.raises(FormulaError, match="expected FC 10"):
        Run(Recipe("INPUT 28x28x1 -> FC 9"), 0, DATA, VALIDATION, tmp_path, CPU)


def test_linear_classifier_trains(tmp_path: Path) -> None:
    run = Run(Recipe("INPUT 28x28x1 -> FC 10", epochs=1, batch_size=100), 0, DATA, VALIDATION, tmp_path, CPU)
    run.train()
    assert run.history[-1]["validation_accuracy"] > 0.3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """29 images of each digit, one subfolder per digit."""
    for digit in range(10):
        (tmp_path / "data" / str(digit)).mkdir(parents=True)
        image = Image.fromarray(example_pixels(digit))
        for number in range(29):
            image.rotate(number - 14, fillcolor=255).save(tmp_path / "data" / str(digit) / f"{number}.png")
    return tmp_path / "data"


def test_command_trains_on_a_folder_of_labelled_images(folder: Path, tmp_path: Path) -> None:
    arguments = ["train", "--data", str(folder), "--run", str(tmp_path / "run")]
    options = ["--formula", "INPUT 28x28x1 -> FC 10", "--epochs", "1", "--seed", "4"]
    result = CliRunner().invoke(main, arguments + options)
    assert result.exit_code == 0, result.output
    assert "seed 4:" in result.output
    labels_alone = load_checkpoint(tmp_path / "run" / "seed-4" / "checkpoint.pt", CPU)["identity"]

    teacher = ModelSettings().model_path
    result = CliRunner().invoke(main, [*arguments, *options[:-1], "5", "--teacher", str(teacher)])
    assert result.exit_code == 0, result.output
    taught = load_checkpoint(tmp_path / "run" / "seed-5" / "checkpoint.pt", CPU)["identity"]
    assert taught["teacher_sha256"] == hashlib.sha256(teacher.read_bytes()).hexdigest()
    assert taught["images"] == labels_alone["images"] > 266  # generated ones too


def test_quick_command_trains_on_labelled_images_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.datasets.mnist.load_training", lambda _: load_training().part(np.arange(2400)))
    result = CliRunner().invoke(main, ["train", "--quick", "--epochs", "1", "--seed", "4", "--run", str(tmp_path)])
    assert result.exit_code == 0, result.output
    identity = load_checkpoint(tmp_path / "seed-4" / "checkpoint.pt", CPU)["identity"]
    assert identity["images"] == 2200
    assert identity["recipe"]["formula"] == QUICK.formula


def test_command_explains_errors(tmp_path: Path) -> None:
    for options, message in [
        (["--formula", "INPUT 28x28x1 -> FC"], "expected FC n, for example FC 10; got the end"),
        (["--data", str(tmp_path)], "expected IDX files"),
        (["--quick", "--teacher", str(ModelSettings().model_path)], "or --teacher; got both"),
    ]:
        result = CliRunner().invoke(main, ["train", "--run", str(tmp_path / "run"), *options])
        assert result.exit_code == 2
        assert message in result.output
