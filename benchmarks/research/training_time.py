"""Training time compared with pytorch/examples: `python -m benchmarks.research.training_time`.

Measures CPU seconds on one thread and alternates: some epochs of theirs, then a whole run of ours with one seed. Theirs
reads images as its script does on a CPU, one at a time through a DataLoader in the same process. Their transforms are
reimplemented, as PyPI has torchvision only for PyTorch with CUDA.
"""

import os
import resource
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as Images

from benchmarks.performance.conditions import processor
from benchmarks.research.networks import trained
from benchmarks.research.recipes import PEERS, Peer, train_epoch, write
from benchmarks.tables import table
from digits.recognizer import Recognizer
from training.datasets.mnist import Dataset, load_test, load_training, split
from training.evaluate import evaluate
from training.export import best_checkpoint, export
from training.served import served_finder

RESULTS = Path("benchmarks/results/training_time.md")
NAME = "pytorch/examples mnist"
TEST_BATCH = 1000


def cpu_seconds(who: int = resource.RUSAGE_SELF) -> float:
    """CPU seconds used by this process, or by its children that have ended."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


class OneByOne(Images[tuple[Tensor, int]]):
    """MNIST as torchvision loads it: each image a Pillow image, then a tensor, then normalised."""

    def __init__(self, data: Dataset, peer: Peer) -> None:
        self.images, self.labels = torch.tensor(data.images), torch.tensor(data.labels)
        self.peer = peer

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index].numpy())
        pixels = torch.from_numpy(np.array(image, np.uint8, copy=True)).view(image.height, image.width, 1)
        scaled = pixels.permute(2, 0, 1).contiguous().float().div(255)
        mean, scale = (torch.as_tensor([one]).view(-1, 1, 1) for one in (self.peer.mean, self.peer.scale))
        return scaled.clone().sub_(mean).div_(scale), int(self.labels[index])


class Theirs:
    """The run of pytorch/examples, one epoch at a time: training and then testing, as in the script."""

    def __init__(self, peer: Peer, data: Dataset, test: Dataset) -> None:
        self.train = DataLoader(OneByOne(data, peer), batch_size=peer.batch_size)
        self.test = DataLoader(OneByOne(test, peer), batch_size=TEST_BATCH)
        self.peer = peer
        self.network = peer.new(seed=1)
        self.optimizer = peer.optimizer(self.network)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimizer, step_size=1, gamma=peer.decay)
        self.epochs, self.seconds, self.loading, self.correct = 0, 0.0, 0.0, 0

    def run_epoch(self) -> None:
        before = cpu_seconds()
        train_epoch(self.network, self.optimizer, self._loaded(self.train))
        self.correct = count_correct(self.network, self._loaded(self.test))
        self.schedule.step()
        self.seconds += cpu_seconds() - before
        self.epochs += 1

    def _loaded(self, loader: DataLoader[tuple[Tensor, int]]) -> Iterator[tuple[Tensor, Tensor]]:
        """The loader's batches; adds up the time to load them."""
        batches = iter(loader)
        while True:
            before = cpu_seconds()
            batch = next(batches, None)
            self.loading += cpu_seconds() - before
            if batch is None:
                return
            yield batch


@torch.no_grad()
def count_correct(network: nn.Sequential, batches: Iterator[tuple[Tensor, Tensor]]) -> int:
    network.eval()
    return sum(int((network(inputs).argmax(dim=1) == labels).sum()) for inputs, labels in batches)


def run_ours(seed: int) -> tuple[float, int]:
    """CPU seconds of training in a new process, its start included, and the number of correct test images."""
    _, validation = split(load_training())
    with tempfile.TemporaryDirectory() as directory:
        run = Path(directory) / "run"
        command = [sys.executable, "-m", "training", "train", "--quick", "--seed", str(seed), "--run", str(run)]
        before = cpu_seconds(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)  # noqa: S603 - our own command
        seconds = cpu_seconds(resource.RUSAGE_CHILDREN) - before
        model = export(best_checkpoint(run), validation, load_test(), Path(directory), 1, served_finder().file)
        return seconds, evaluate(Recognizer(model, "cpu"), load_test()).correct


@click.command()
@click.option(
    "--seed", "seeds", type=int, multiple=True, default=[0, 1, 2], show_default=True, help="Seed of our runs."
)
@click.option(
    "--epochs",
    type=click.IntRange(1, PEERS[NAME].epochs),
    default=PEERS[NAME].epochs,
    show_default=True,
    help="Epochs of theirs to run; the others are extrapolated.",
)
def main(seeds: tuple[int, ...], epochs: int) -> None:
    """Train both; write the results after each seed, and their network for `benchmarks.research.networks`."""
    torch.set_num_threads(1)
    RESULTS.parent.mkdir(exist_ok=True)
    theirs = Theirs(PEERS[NAME], load_training(), load_test())
    ours = []
    for seed, part in zip(seeds, np.array_split(np.arange(epochs), len(seeds)), strict=True):
        for _ in part:
            theirs.run_epoch()
            click.echo(f"{NAME}: epoch {theirs.epochs}: {theirs.correct} correct, {theirs.seconds:.0f} s so far")
        ours.append(run_ours(seed))
        RESULTS.write_text(render(theirs, ours))
    if theirs.epochs == theirs.peer.epochs:
        write(theirs.network.eval(), trained(NAME))
    click.echo(RESULTS.read_text())


def render(theirs: Theirs, ours: list[tuple[float, int]]) -> str:
    """The results in Markdown."""
    count, epochs = len(load_test()), theirs.peer.epochs
    mean = float(np.mean([seconds for seconds, _ in ours]))
    accuracy = f"{theirs.correct / count:.2%}" + (f" after {theirs.epochs}" if theirs.epochs < epochs else "")
    rows = [
        (f"{NAME}, {epochs} epochs", theirs.seconds / theirs.epochs * epochs, accuracy),
        ("the same without loading images", (theirs.seconds - theirs.loading) / theirs.epochs * epochs, accuracy),
        ("`digits train --quick`, mean", mean, ", ".join(f"{correct / count:.2%}" for _, correct in ours)),
    ]
    cells = [(name, f"{taken:.0f}", f"{taken / mean:.1f}", shown, f"{count:,}") for name, taken, shown in rows]
    note = (
        "Made by `python -m benchmarks.research.training_time`: CPU seconds on one thread; theirs from "
        f"{theirs.epochs} of its epochs, ours from {len(ours)} seed{'s' * (len(ours) > 1)}, alternating; "
        f"PyTorch {torch.__version__}, {processor()}, {datetime.now(UTC):%B %Y}."
    )
    heads = ["", "seconds", "relative to ours", "accuracy on the MNIST test set", "n"]
    return f"{table(heads, cells)}\n\n{textwrap.fill(note, 120)}\n"


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.research.training_time")
