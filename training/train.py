"""Trains the network of a formula, a run a seed, so that it can be interrupted at any moment and resumed.

A run is a directory `seed-<n>` with its checkpoint after every epoch. All randomness of an epoch follows from the
seed and the epoch's number, so a resumed run ends with the same weights as an unbroken one.
"""

import hashlib
import math
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from training.augment import augment
from training.datasets.mnist import CLASSES, DataError, Dataset
from training.formula import Volume, parse
from training.network import build_network, load_network, unfold_batch_norm

FORMULA = (
    "INPUT 28x28x1 -> [CONV 3x3x16 -> RELU]*2 -> POOL 2x2 -> [CONV 3x3x48 -> RELU]*2 -> POOL 2x2"
    " -> [CONV 3x3x96 pad 1 -> RELU]*2 -> FC 10"
)

QUICK_FORMULA = (
    "INPUT 28x28x1 -> CONV 4x4x16 stride 2 pad 1 -> RELU -> [CONV 3x3x32 -> RELU]*2 -> POOL 2x2"
    " -> [CONV 3x3x64 pad 1 -> RELU]*2 -> FC 10"
)

# How many drawn digits and images of no digit there are for every labelled image: 10,000 and 20,000 for MNIST's 55,000;
# and, where a network is trained on, how many photographs of these images and of drawn digits, 16,000 and 8,000.
DRAWN_PART, OUTLIER_PART = 10 / 55, 20 / 55
PHOTOGRAPHED_PART, PHOTOGRAPHED_DRAWN_PART = 16 / 55, 8 / 55

# How many images the statistics of batch norm begin with where there were none before.
STATISTICS_IMAGES = 4000


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, the data and the seed apart."""

    formula: str = FORMULA
    epochs: int = 40
    batch_size: int = 256
    learning_rate: float = 0.2
    warmup_epochs: int = 2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    dropout: float = 0.3
    weight_average: float = 0.995
    start_share: float = 0.0
    batch_norm: bool = True
    teacher_share: float = 0.0
    teacher_temperature: float = 4.0


def quick(recipe: Recipe) -> Recipe:
    """The recipe for a network in a minute, from the labelled images alone: smaller, of few epochs, no dropout."""
    return replace(recipe, formula=QUICK_FORMULA, epochs=9, dropout=0.0)


def continued(recipe: Recipe) -> Recipe:
    """The recipe for weights that are good already: an eighth of the epochs, gentle steps, no dropout.

    In the end a quarter of the weights are those of the start, so that what they knew is kept (Wortsman et al. 2022,
    "Robust fine-tuning of zero-shot models").
    """
    return replace(
        recipe,
        epochs=recipe.epochs // 8,
        learning_rate=recipe.learning_rate / 10,
        warmup_epochs=1,
        dropout=0.0,
        start_share=0.25,
        batch_norm=False,
    )


def renewed(recipe: Recipe) -> Recipe:
    """The recipe for good weights that have more to learn: a fifth of the epochs, with batch norm again, no dropout."""
    return replace(
        recipe,
        epochs=recipe.epochs // 5,
        learning_rate=recipe.learning_rate / 2,
        warmup_epochs=1,
        label_smoothing=recipe.label_smoothing / 2,
        dropout=0.0,
    )


def distilled(recipe: Recipe) -> Recipe:
    """The recipe for learning from a teacher, whose answers say more than labels, softened or not; no dropout."""
    return replace(recipe, label_smoothing=0.0, dropout=0.0, teacher_share=0.8)


def default_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def bfloat16_is_faster(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 by itself; elsewhere it is emulated, and slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def to_network_input(images: Tensor) -> Tensor:
    """uint8 [N, 28, 28] → float32 [N, 1, 28, 28] in 0–1, the one scaling there is; export puts it into the graph."""
    return images.unsqueeze(1).float() / 255


def with_no_digit(logits: Tensor) -> Tensor:
    """Logits [N, 10] → [N, 11]: the last stands for no digit and is always 0, as only differences count.

    So the ten learn to lie below 0 where there is no digit, and the logarithm of their summed exponentials, the energy,
    is the logit of there being one.
    """
    return functional.pad(logits, (0, 1))


def distillation_loss(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """How far the answers [N, n] are from the teacher's, both softened (Hinton, Vinyals, Dean 2015).

    Scaled by the temperature's square, so that its gradients stay as large as those of cross-entropy.
    """
    ours, theirs = (functional.log_softmax(one / temperature, dim=1) for one in (logits, teacher))
    return functional.kl_div(ours, theirs, reduction="batchmean", log_target=True) * temperature**2


class Run:
    """One training run: the network, its averaged weights and what they reached so far."""

    def __init__(
        self,
        recipe: Recipe,
        seed: int,
        train: Dataset,
        validation: Dataset,
        directory: Path,
        device: torch.device,
        start: Path | None = None,
        teacher: Path | None = None,
    ) -> None:
        """Begins a run in `directory`, or goes on with the one that is there. Raises DataError if that is another.

        The weights are random at first, or those of the ONNX file `start`. With the ONNX file `teacher`, a share of
        the loss, the recipe's `teacher_share`, is how far the answers are from the teacher's.
        """
        self.recipe, self.seed, self.device = recipe, seed, device
        self.checkpoint = directory / "checkpoint.pt"
        if len(train) < recipe.batch_size:
            raise DataError(f"expected at least {recipe.batch_size} images to train on; got {len(train)}")
        self.images, self.labels = (torch.from_numpy(array).to(device) for array in (train.images, train.labels))
        self.validation = tuple(torch.from_numpy(array).to(device) for array in (validation.images, validation.labels))
        self.steps = len(train) // recipe.batch_size
        self.bfloat16 = bfloat16_is_faster(device)
        torch.manual_seed(seed)
        if start is None:
            architecture = parse(recipe.formula)
            architecture.require_classifier(Volume(28, 28, 1), CLASSES)
            self.network = build_network(architecture, dropout=recipe.dropout).to(device)
        else:
            _, self.network = load_network(start, dropout=recipe.dropout)
            if recipe.batch_norm:
                some = self.images[torch.randperm(len(train))[:STATISTICS_IMAGES]].cpu()
                self.network = unfold_batch_norm(self.network, augment(to_network_input(some)))
            self.network.to(device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.teacher = None
        if teacher:
            self.teacher = load_network(teacher)[1].eval().requires_grad_(False).to(device)
            self.teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.start = [parameter.detach().clone() for parameter in self.network.parameters()]
        self.averaged = AveragedModel(
            self.network, multi_avg_fn=get_ema_multi_avg_fn(recipe.weight_average), use_buffers=True
        )
        # Biases and batch norm are few and set scales: decaying them only costs accuracy.
        parameters = list(self.network.parameters())
        groups = [
            {"params": [one for one in parameters if one.ndim > 1], "weight_decay": recipe.weight_decay},
            {"params": [one for one in parameters if one.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=True)
        self.history: list[dict[str, float]] = []
        # What a checkpoint must agree on to be gone on with.
        self.identity = {
            "recipe": asdict(recipe),
            "seed": seed,
            "data": train.sha256,
            "images": len(train),
            "validation": validation.sha256,
            "bfloat16": self.bfloat16,
            "start_sha256": _sha256(start),
            "teacher_sha256": _sha256(teacher),
        }
        if self.checkpoint.exists():
            self._load()

    def train(self) -> None:
        """Trains to the last epoch, a checkpoint after each."""
        for epoch in range(len(self.history), self.recipe.epochs):
            started = time.monotonic()
            loss = self._train_epoch(epoch)
            if epoch == self.recipe.epochs - 1:
                self._add_start()
            validation_loss, accuracy = self.validate()
            seconds = round(time.monotonic() - started, 1)
            self.history.append(
                {"loss": loss, "validation_loss": validation_loss, "validation_accuracy": accuracy, "seconds": seconds}
            )
            self._save()
            tqdm.write(
                f"seed {self.seed} epoch {epoch + 1}/{self.recipe.epochs}: loss {loss:.4f}, "
                f"validation {accuracy:.2%} right, {seconds} s"
            )

    def _train_epoch(self, epoch: int) -> float:
        torch.manual_seed(self.seed * 100_003 + epoch)
        self.network.train()
        order = torch.randperm(len(self.labels), device=self.device)
        total = torch.zeros((), device=self.device)
        size = self.recipe.batch_size
        for step in tqdm(range(self.steps), desc=f"epoch {epoch + 1}", unit="batch", leave=False, disable=None):
            batch = order[step * size : (step + 1) * size]
            images = augment(to_network_input(self.images[batch])).contiguous(memory_format=torch.channels_last)
            for group in self.optimizer.param_groups:
                group["lr"] = self._learning_rate(epoch + step / self.steps)
            loss = self._loss(images, self.labels[batch])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.averaged.update_parameters(self.network)
            total += loss.detach()
        return float(total) / self.steps

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            logits = self.network(images)
            taught = self.teacher(images) if self.teacher else None
        logits = with_no_digit(logits.float())
        loss = functional.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        if taught is None:
            return loss
        distance = distillation_loss(logits, with_no_digit(taught.float()), self.recipe.teacher_temperature)
        return loss.lerp(distance, self.recipe.teacher_share)

    @torch.no_grad()
    def _add_start(self) -> None:
        for parameter, start in zip(self.averaged.parameters(), self.start, strict=True):
            parameter.lerp_(start, self.recipe.start_share)

    def _learning_rate(self, epoch: float) -> float:
        """One cycle: up in a line, down along a cosine to nothing."""
        warmup, epochs = min(self.recipe.warmup_epochs, self.recipe.epochs / 2), self.recipe.epochs
        if epoch < warmup:
            return self.recipe.learning_rate * (epoch + 0.01) / warmup
        return self.recipe.learning_rate * (1 + math.cos(math.pi * (epoch - warmup) / (epochs - warmup))) / 2

    def validate(self) -> tuple[float, float]:
        """Cross-entropy and accuracy of the averaged weights on the validation part."""
        images, labels = self.validation
        logits = compute_logits(self.averaged.module, images)
        accuracy = (logits.argmax(dim=1) == labels).double().mean()
        return float(functional.cross_entropy(logits, labels)), float(accuracy)

    def _save(self) -> None:
        state = {
            "identity": self.identity,
            "history": self.history,
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.checkpoint)  # a kill leaves the old checkpoint or the new one, never half of one

    def _load(self) -> None:
        state = load_checkpoint(self.checkpoint, self.device)
        if state["identity"] != self.identity:
            different = [key for key, value in self.identity.items() if state["identity"].get(key) != value]
            raise DataError(
                f"{self.checkpoint}: expected the same run; its {' and '.join(different)} differ from what was asked; "
                "choose another --run directory or delete this one"
            )
        self.history = state["history"]
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])


def _sha256(path: Path | None) -> str | None:
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Reads a checkpoint. Raises DataError if the file is none."""
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        state["identity"]["recipe"]
    except Exception as error:  # torch.load raises many kinds, by what is wrong
        raise DataError(f"{path}: expected a checkpoint of `training train`; got a file that cannot be read") from error
    return dict(state)


@torch.no_grad()
def compute_logits(network: nn.Module, images: Tensor) -> Tensor:
    """Logits, float32 [N, 10], of uint8 images [N, 28, 28]."""
    network.eval()
    return torch.cat([network(to_network_input(chunk)) for chunk in images.split(1000)])
