"""Training time compared with that of pytorch/examples: `python -m benchmarks.research.training_time`.

In turn, on one thread: theirs pauses after some epochs, and ours runs whole, a seed each time. The processor's seconds
are counted, which are the clock's where there is no other work. Theirs reads its images as its script does on a CPU,
one by one through a DataLoader in the same process. What torchvision does there is imitated, as PyPI has torchvision
for PyTorch with CUDA alone.
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
from digits.recognizer import Recognizer
from training.datasets.mnist import Dataset, load_test, load_training, split
from training.evaluate import evaluate
from training.export import best_checkpoint, export

RESULTS = Path("benchmarks/results/training_time.md")
NAME = "pytorch/examples mnist"
TEST_BATCH = 1000


def spent(who: int = resource.RUSAGE_SELF) -> float:
    """The seconds of the processor that this process, or its children that have ended, have taken."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


class OneByOne(Images[tuple[Tensor, int]]):
    """MNIST as torchvision gives it: each image a Pillow image, then a tensor, then normalised."""

    def __init__(self, data: Dataset, peer: Peer) -> None:
        self.images, self.labels = torch.tensor(data.images), torch.tensor(data.labels)
        self.peer = peer

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index].numpy())
        pixels = torch.from_numpy(np.array(image, np.uint8, copy=True)).view(image.height, image.width, 1)
        scaled = pixels.permute(2, 0, 1).contiguous().float().div(255)
        middle, scale = (torch.as_tensor([one]).view(-1, 1, 1) for one in (self.peer.middle, self.peer.scale))
        return scaled.clone().sub_(middle).div_(scale), int(self.labels[index])


class Theirs:
    """The run of pytorch/examples, an epoch at a time: training, and the test after it as in the script."""

    def __init__(self, peer: Peer, data: Dataset, test: Dataset) -> None:
        self.train = DataLoader(OneByOne(data, peer), batch_size=peer.batch_size)
        self.test = DataLoader(OneByOne(test, peer), batch_size=TEST_BATCH)
        self.peer = peer
        self.network = peer.new(seed=1)
        self.optimizer = peer.optimizer(self.network)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimizer, step_size=1, gamma=peer.decay)
        self.epochs, self.seconds, self.loading, self.right = 0, 0.0, 0.0, 0

    def run_epoch(self) -> None:
        before = spent()
        train_epoch(self.network, self.optimizer, self._loaded(self.train))
        self.right = count_right(self.network, self._loaded(self.test))
        self.schedule.step()
        self.seconds += spent() - before
        self.epochs += 1

    def _loaded(self, loader: DataLoader[tuple[Tensor, int]]) -> Iterator[tuple[Tensor, Tensor]]:
        """The loader's batches, the time that it takes to load them added up."""
        batches = iter(loader)
        while True:
            before = spent()
            batch = next(batches, None)
            self.loading += spent() - before
            if batch is None:
                return
            yield batch


@torch.no_grad()
def count_right(network: nn.Sequential, batches: Iterator[tuple[Tensor, Tensor]]) -> int:
    network.eval()
    return sum(int((network(inputs).argmax(dim=1) == labels).sum()) for inputs, labels in batches)


def run_ours(seed: int) -> tuple[float, int]:
    """Trains in a process of its own, whose start counts; also how many test images the service then reads right."""
    _, validation = split(load_training())
    with tempfile.TemporaryDirectory() as directory:
        run = Path(directory) / "run"
        command = [sys.executable, "-m", "training", "train", "--quick", "--seed", str(seed), "--run", str(run)]
        before = spent(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)  # noqa: S603 - our own command
        seconds = spent(resource.RUSAGE_CHILDREN) - before
        model = export(best_checkpoint(run), validation, load_test(), Path(directory), 1)
        return seconds, evaluate(Recognizer(model, "cpu"), load_test()).correct


@click.command()
@click.option("--seed", "seeds", type=int, multiple=True, default=[0, 1, 2], show_default=True, help="Of ours.")
@click.option(
    "--epochs",
    type=click.IntRange(1, PEERS[NAME].epochs),
    default=PEERS[NAME].epochs,
    show_default=True,
    help="How many epochs of theirs are run; the others count as long as these.",
)
def main(seeds: tuple[int, ...], epochs: int) -> None:
    """Train both, write the results after each seed; theirs is kept for `benchmarks.research.networks`."""
    torch.set_num_threads(1)
    RESULTS.parent.mkdir(exist_ok=True)
    theirs = Theirs(PEERS[NAME], load_training(), load_test())
    ours = []
    for seed, part in zip(seeds, np.array_split(np.arange(epochs), len(seeds)), strict=True):
        for _ in part:
            theirs.run_epoch()
            click.echo(f"{NAME}: epoch {theirs.epochs}: {theirs.right} right, {theirs.seconds:.0f} s so far")
        ours.append(run_ours(seed))
        RESULTS.write_text(table(theirs, ours))
    if theirs.epochs == theirs.peer.epochs:
        write(theirs.network.eval(), trained(NAME))
    click.echo(RESULTS.read_text())


def table(theirs: Theirs, ours: list[tuple[float, int]]) -> str:
    """The results in Markdown."""
    count, epochs = len(load_test()), theirs.peer.epochs
    mean = float(np.mean([seconds for seconds, _ in ours]))
    right = f"{theirs.right / count:.2%}" + (f" after {theirs.epochs}" if theirs.epochs < epochs else "")
    rows = [
        (f"{NAME}, {epochs} epochs", theirs.seconds / theirs.epochs * epochs, right),
        ("the same, were its images in memory", (theirs.seconds - theirs.loading) / theirs.epochs * epochs, right),
        ("`training train --quick`, on average", mean, ", ".join(f"{right / count:.2%}" for _, right in ours)),
    ]
    lines = ["| | seconds | times ours | right on the MNIST test set | n |", "|---|---|---|---|---|"]
    lines += [f"| {name} | {taken:.0f} | {taken / mean:.1f} | {shares} | {count:,} |" for name, taken, shares in rows]
    note = (
        "Made by `python -m benchmarks.research.training_time`: seconds of the processor, on one thread; theirs by "
        f"{theirs.epochs} of its epochs, ours by {len(ours)} seed{'s' * (len(ours) > 1)}, in turn; "
        f"PyTorch {torch.__version__}, {processor()}, {datetime.now(UTC):%B %Y}."
    )
    return "\n".join([*lines, "", *textwrap.wrap(note, 120), ""])


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.research.training_time")
