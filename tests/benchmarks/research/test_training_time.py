from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from benchmarks.research import networks, training_time
from benchmarks.research.recipes import PEERS
from benchmarks.research.training_time import NAME, OneByOne, Theirs, main
from training.datasets.mnist import load_test, load_training

DATA, TEST = load_training().part(np.arange(1000)), load_test().part(np.arange(200))


def test_images_loaded_one_by_one_equal_those_in_memory() -> None:
    images = OneByOne(DATA, PEERS[NAME])
    assert torch.equal(images[3][0], PEERS[NAME].inputs(DATA.images[3:4])[0])
    assert [images[number][1] for number in range(9)] == DATA.labels[:9].tolist()


def test_epoch_of_theirs_learns_and_includes_loading_time() -> None:
    theirs = Theirs(PEERS[NAME], DATA, TEST)
    theirs.run_epoch()
    assert theirs.correct > 100
    assert 0 < theirs.loading < theirs.seconds
    assert theirs.optimizer.param_groups[0]["lr"] == pytest.approx(0.7)


@pytest.fixture
def order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The order of the runs, with fake times and results."""
    order: list[str] = []

    class Quick(Theirs):
        def run_epoch(self) -> None:
            order.append("theirs")
            self.epochs, self.seconds, self.loading, self.correct = (
                self.epochs + 1,
                self.seconds + 5,
                self.loading + 1,
                9910,
            )

    def run_ours(seed: int) -> tuple[float, int]:
        order.append(f"ours {seed}")
        return 3.5 + seed, 9950 + seed

    monkeypatch.setattr(training_time, "Theirs", Quick)
    monkeypatch.setattr(training_time, "run_ours", run_ours)
    monkeypatch.setattr(networks, "RUNS", tmp_path)
    monkeypatch.setattr(training_time, "RESULTS", tmp_path / "results" / "table.md")
    return order


def test_both_alternate_and_are_compared(order: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--seed", "0", "--seed", "1"])
    assert result.exit_code == 0, result.output
    assert order == ["theirs"] * 7 + ["ours 0"] + ["theirs"] * 7 + ["ours 1"]
    assert networks.trained(NAME).exists()
    table = (tmp_path / "results" / "table.md").read_text()
    assert "| pytorch/examples mnist, 14 epochs | 70 | 17.5 | 99.10% | 10,000 |" in table
    assert "| the same without loading images | 56 | 14.0 | 99.10% | 10,000 |" in table
    assert "mean | 4 | 1.0 | 99.50%, 99.51% | 10,000 |" in table


def test_skipped_epochs_are_extrapolated(order: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--seed", "0", "--epochs", "2"])
    assert result.exit_code == 0, result.output
    assert order == ["theirs"] * 2 + ["ours 0"]
    assert not networks.trained(NAME).exists()
    assert "14 epochs | 70 | 20.0 | 99.10% after 2 | 10,000 |" in (tmp_path / "results" / "table.md").read_text()
