"""Trains the finder on generated pages. An interrupted run resumes from its last checkpoint.

All randomness between two checkpoints follows from the seed and the step, so a resumed run ends with the same weights
as an uninterrupted one.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from training.datasets.mnist import DataError
from training.finder.layouts import LAYOUTS
from training.finder.network import OFFSET_UNIT, SIZE_UNIT, Finder, Maps, Widths, normalized
from training.finder.pages import CELL, PAGE, RUN
from training.train import bfloat16_is_faster, default_device, load_averaged, save_checkpoint

KINDS = [layout.__name__ for layout in LAYOUTS]
# Digits smaller than this, in pixels, need not be placed more precisely.
SMALLEST = 12
# Where the heat is a local maximum of at least this, there is a digit; unless a hotter one lies within this part of its
# size.
LEAST_HEAT, APART = 0.4, 0.3
# A centre is found if it is this near, by the digit's size, but a cell's width at least.
NEAR = 0.3


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, the pages and the seed apart."""

    widths: Widths = Widths()
    steps: int = 32_000
    batch_size: int = 32
    learning_rate: float = 3e-3
    warmup_steps: int = 500
    weight_decay: float = 1e-2
    weight_average: float = 0.999
    steps_per_checkpoint: int = 500
    # The loss: cross-entropy and Dice of the ink, cross-entropy of the heat, distances of centres and sizes.
    dice: float = 0.5
    heat: float = 4.0
    offsets: float = 1.0
    sizes: float = 0.2


class Pages:
    """Pages in files of `training.finder.pages`, read where they lie."""

    def __init__(self, directory: Path) -> None:
        self.shards = [np.load(path, mmap_mode="r") for path in sorted(directory.glob("*.npy"))]
        if not self.shards or any(shard.dtype != PAGE for shard in self.shards):
            raise DataError(f"{directory}: expected pages; make them with `python -m training.finder.pages`")
        self.ends = np.cumsum([len(shard) for shard in self.shards])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def take(self, numbers: Sequence[int] | NDArray[np.int64]) -> NDArray[np.void]:
        shards = np.searchsorted(self.ends, numbers, side="right")
        return np.stack(
            [self.shards[shard][number - self.ends[shard]] for shard, number in zip(shards, numbers, strict=True)]
        )


@dataclass(frozen=True)
class Batch:
    """Pages as tensors: `images` float32 [N, H, W], 0 to 1, and what Maps should be, `offsets` and `sizes` in pixels.

    `sizes` is 0 for cells without ink.
    """

    images: Tensor
    ink: Tensor
    heat: Tensor
    offsets: Tensor
    sizes: Tensor

    @classmethod
    def of(cls, pages: NDArray[np.void], device: torch.device) -> "Batch":
        fields = [torch.from_numpy(np.ascontiguousarray(pages[name])).to(device).float() for name in FIELDS]
        return cls(fields[0] / 255, fields[1] / 255, fields[2] / 255, fields[3], fields[4])


FIELDS = ("image", "ink", "heat", "offsets", "sizes")


def augment(images: Tensor) -> Tensor:
    """Some images light on dark, some with less contrast, some brighter or darker in the middle shades; 0 to 1."""

    def each(low: float, high: float, share: float, otherwise: float) -> Tensor:
        values = low + (high - low) * torch.rand(len(images), 1, 1, device=images.device)
        return torch.where(torch.rand(len(images), 1, 1, device=images.device) < share, values, otherwise)

    images = torch.where(each(1, 1, 0.25, 0) > 0, 1 - images, images)
    images = images.clamp(min=1e-4) ** torch.exp(each(-0.6, 0.6, 0.4, 0))
    contrast = torch.exp(each(-2.0, 0, 0.3, 0))
    return ((images - 0.5) * contrast + 0.5).mul(255).round() / 255


def loss_of(maps: Maps, batch: Batch, recipe: Recipe) -> Tensor:
    ink = maps.ink.sigmoid()
    both, either = (ink * batch.ink).sum(dim=(1, 2)), (ink + batch.ink).sum(dim=(1, 2))
    dice = 1 - (2 * both + 20) / (either + 20)
    is_inked = batch.sizes > 0
    sizes = batch.sizes.clamp(min=SMALLEST)
    missed = (maps.offsets * OFFSET_UNIT - batch.offsets).abs().sum(dim=1) / sizes
    misjudged = (maps.sizes - (batch.sizes.clamp(min=1) / SIZE_UNIT).log2()).abs()
    count = is_inked.sum().clamp(min=1)
    return (
        functional.binary_cross_entropy_with_logits(maps.ink, batch.ink)
        + recipe.dice * dice.mean()
        + recipe.heat * functional.binary_cross_entropy_with_logits(maps.heat, batch.heat)
        + recipe.offsets * (missed * is_inked).sum() / count
        + recipe.sizes * (misjudged * is_inked).sum() / count
    )


def find_centres(heat: Tensor, sizes: Tensor) -> NDArray[np.float32]:
    """The digits' centres in one image's heat, 0 to 1, and sizes in pixels: float32 [n, 3], down, right, size."""
    is_peak = (heat == functional.max_pool2d(heat[None], 3, 1, 1)[0]) & (heat > LEAST_HEAT)
    rows, columns = is_peak.nonzero(as_tuple=True)
    order = heat[rows, columns].argsort(descending=True)
    found: list[tuple[float, float, float]] = []
    for row, column, size in zip(
        rows[order].tolist(), columns[order].tolist(), sizes[rows, columns][order].tolist(), strict=True
    ):
        down, right = (row + 0.5) * CELL, (column + 0.5) * CELL
        if all(math.hypot(down - one[0], right - one[1]) > APART * max(size, one[2]) for one in found):
            found.append((down, right, size))
    return np.array(found, np.float32).reshape(-1, 3)


def matched(found: NDArray[np.float32], true: NDArray[np.float32]) -> int:
    """How many of the true centres are found, each by another one."""
    count, left = 0, list(range(len(found)))
    for down, right, size in true:
        distances = [math.hypot(found[one][0] - down, found[one][1] - right) for one in left]
        if distances and min(distances) < max(CELL, NEAR * size):
            left.pop(int(np.argmin(distances)))
            count += 1
    return count


@torch.no_grad()
def evaluate(network: torch.nn.Module, pages: Pages, device: torch.device, most: int = 2000) -> dict[str, float]:
    """How well the network finds ink and digits, for each kind of page.

    `iou`: intersection over union of the ink above one half; `recall` and `precision`: of the digits' centres; `count`:
    the share of pages on which the number of digits is right.
    """
    network.eval()
    sums = {name: np.zeros(7) for name in KINDS}
    for start in range(0, min(len(pages), most), 50):
        records = pages.take(np.arange(start, min(start + 50, len(pages))))
        batch = Batch.of(records, device)
        maps: Maps = network(normalized(batch.images))
        is_ink, should = maps.ink > 0, batch.ink > 0.5
        both, either = ((is_ink & should).sum(dim=(1, 2)).tolist(), (is_ink | should).sum(dim=(1, 2)).tolist())
        heat, sizes = maps.heat.sigmoid(), SIZE_UNIT * maps.sizes.exp2()
        for number, record in enumerate(records):
            found = find_centres(heat[number], sizes[number])
            true = record["centres"][: record["count"]].astype(np.float32)
            sums[KINDS[record["kind"]]] += (
                1,
                both[number] / max(either[number], 1) if record["count"] else float(either[number] < 20),
                matched(found, true),
                len(true),
                len(found),
                len(found) == len(true),
                len(found) > len(true),
            )
    result: dict[str, float] = {}
    for name, one in sums.items():
        count, iou, hits, true_count, found_count, right, more = one.tolist()
        result[f"{name}_iou"] = iou / max(count, 1)
        if name != "none":
            result |= {f"{name}_recall": hits / max(true_count, 1), f"{name}_precision": hits / max(found_count, 1)}
        result |= {f"{name}_count": right / max(count, 1), f"{name}_too_many": more / max(count, 1)}
    return {name: round(value, 4) for name, value in result.items()}


class Run:
    """One training run: the network, its averaged weights and what they reached so far."""

    def __init__(self, recipe: Recipe, seed: int, pages: Path, directory: Path, device: torch.device) -> None:
        """Begins a run in `directory`, or resumes the one that is there. Raises DataError if that is another."""
        self.recipe, self.seed, self.device, self.pages = recipe, seed, device, pages
        self.validation = Pages(pages / "validation")
        self.checkpoint = directory / "checkpoint.pt"
        torch.manual_seed(seed)
        self.network = Finder(recipe.widths).to(device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged = AveragedModel(
            self.network, multi_avg_fn=get_ema_multi_avg_fn(recipe.weight_average), use_buffers=True
        )
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self.step = 0
        self.history: list[dict[str, float]] = []
        self.identity = {"recipe": asdict(recipe), "seed": seed}
        if self.checkpoint.exists():
            self._load()

    def train(self) -> None:
        """Trains to the last step, with a checkpoint every few minutes."""
        while self.step < self.recipe.steps:
            started = time.monotonic()
            loss = self._train_some()
            seconds = time.monotonic() - started
            result = {"step": float(self.step), "loss": round(loss, 4), "seconds": round(seconds, 1)}
            if self.step % (4 * self.recipe.steps_per_checkpoint) == 0 or self.step >= self.recipe.steps:
                result |= evaluate(self.averaged.module, self.validation, self.device)
            self.history.append(result)
            self._save()
            tqdm.write(" ".join(f"{name} {value:g}" for name, value in result.items()))

    def _train_some(self) -> float:
        """Trains until the next checkpoint is due, on pages drawn from those that exist by now."""
        pages = Pages(self.pages / "training")
        random = np.random.default_rng((self.seed, self.step))
        torch.manual_seed(self.seed * 1_000_003 + self.step)
        self.network.train()
        total, count = 0.0, min(self.recipe.steps_per_checkpoint, self.recipe.steps - self.step)
        for _ in tqdm(range(count), desc=f"step {self.step}", unit="batch", leave=False, disable=None):
            records = pages.take(random.integers(len(pages), size=self.recipe.batch_size))
            batch = Batch.of(records, self.device)
            images = normalized(augment(batch.images)).contiguous(memory_format=torch.channels_last)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16_is_faster(self.device)):
                maps = self.network(images)
            loss = loss_of(maps, batch, self.recipe)
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            for group in self.optimizer.param_groups:
                group["lr"] = self._learning_rate()
            self.optimizer.step()
            self.averaged.update_parameters(self.network)
            total += float(loss.detach())
            self.step += 1
        return total / count

    def _learning_rate(self) -> float:
        """One cycle: up in a line, down along a cosine to nothing."""
        warmup, steps = min(self.recipe.warmup_steps, self.recipe.steps // 2), self.recipe.steps
        if self.step < warmup:
            return self.recipe.learning_rate * (self.step + 1) / warmup
        return self.recipe.learning_rate * (1 + math.cos(math.pi * (self.step - warmup) / (steps - warmup))) / 2

    def _save(self) -> None:
        state = {
            "identity": self.identity,
            "step": self.step,
            "history": self.history,
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        save_checkpoint(self.checkpoint, state)

    def _load(self) -> None:
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        if state["identity"] != self.identity:
            different = [key for key, value in self.identity.items() if state["identity"].get(key) != value]
            raise DataError(
                f"{self.checkpoint}: expected the same run; its {' and '.join(different)} differ from what was asked; "
                "choose another --run directory or delete this one"
            )
        self.step, self.history = state["step"], state["history"]
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])


def load_finder(checkpoint: Path) -> Finder:
    """The network of a checkpoint with its averaged weights, ready for use."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    network = Finder(Widths(**state["identity"]["recipe"]["widths"]))
    load_averaged(network, state)
    return network.eval()


def train(pages: Path, run: Path, seed: int = 0, recipe: Recipe | None = None) -> Path:
    """Trains a finder on the pages of `make_pages`, or resumes the run in that directory; returns its checkpoint.

    Raises DataError if there are no pages, or if the directory holds another run.
    """
    training = Run(recipe or Recipe(), seed, pages, run, default_device())
    training.train()
    return training.checkpoint


@click.command()
@click.option("--pages", type=click.Path(exists=True, file_okay=False, path_type=Path), default=RUN, show_default=True)
@click.option("--run", type=click.Path(file_okay=False, path_type=Path), default=RUN / "seed-0", show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--steps", type=click.IntRange(min=1), default=Recipe.steps, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), help="How many CPU threads; all unless given.")
def main(pages: Path, run: Path, seed: int, steps: int, threads: int | None) -> None:
    """Train the finder on the pages of `python -m training.finder.pages`. Re-run the same command to resume."""
    if threads:
        torch.set_num_threads(threads)
    try:
        train(pages, run, seed, Recipe(steps=steps))
    except DataError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
