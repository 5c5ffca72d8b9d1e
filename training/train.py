"""Trains a network by a recipe, one resumable run per seed.

A run is a directory `seed-<n>` whose checkpoint is replaced after every epoch. The seed and the epoch's number fix all
randomness of an epoch, so a resumed run ends with the same weights as an uninterrupted one.
"""

import hashlib
import math
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from digits.classifier import CLASSES
from training.augment import augment
from training.datasets.mnist import DataError, Dataset
from training.formula import Volume, parse
from training.network import build_network, load_network
from training.recipes import Recipe


def default_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def bfloat16_is_faster(device: torch.device) -> bool:
    """Whether the hardware has bfloat16 arithmetic; emulated, it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def to_network_input(images: Tensor) -> Tensor:
    """uint8 [N, 28, 28] → float32 [N, 1, 28, 28] from 0 to 1; export puts the same scaling into the graph."""
    return images.unsqueeze(1).float() / 255


def with_no_digit(logits: Tensor) -> Tensor:
    """Appends a logit of 0 for the class "no digit": [N, 10] → [N, 11]. It can be constant, as only differences matter.

    The ten logits thus learn to be negative for images without a digit, and their log-sum-exp, the energy, is the logit
    of "is a digit".
    """
    return functional.pad(logits, (0, 1))


def distillation_loss(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL divergence from the teacher's softened outputs [N, n] (Hinton, Vinyals, Dean 2015).

    Multiplied by the squared temperature, so that gradients stay as large as those of cross-entropy.
    """
    ours, theirs = (functional.log_softmax(one / temperature, dim=1) for one in (logits, teacher))
    return functional.kl_div(ours, theirs, reduction="batchmean", log_target=True) * temperature**2


class Run:
    """One training run: the network, its averaged weights and the history of its epochs."""

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
        """Starts a run in `directory` or resumes the one there. Raises DataError if that one differs.

        Training starts from random weights, or from the ONNX file `start`, without batch norm. `teacher`, an ONNX file,
        adds the distillation loss with the weight `recipe.teacher_share`.
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
            self.network = build_network(architecture, dropout=recipe.dropout)
        else:
            _, self.network = load_network(start, dropout=recipe.dropout)
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.teacher = None
        if teacher:
            self.teacher = load_network(teacher)[1].eval().requires_grad_(False)
            self.teacher.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.start = [parameter.detach().clone() for parameter in self.network.parameters()]
        self.averaged = AveragedModel(
            self.network, multi_avg_fn=get_ema_multi_avg_fn(recipe.weight_average), use_buffers=True
        )
        # Biases and batch norm are few and set scales: decaying them costs accuracy.
        parameters = list(self.network.parameters())
        groups = [
            {"params": [one for one in parameters if one.ndim > 1], "weight_decay": recipe.weight_decay},
            {"params": [one for one in parameters if one.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=True)
        self.history: list[dict[str, float]] = []
        # Only a checkpoint with the same identity is resumed.
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
        """Trains to the last epoch; writes a checkpoint after each."""
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
                f"validation accuracy {accuracy:.2%}, {seconds} s"
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
            target = self.teacher(images) if self.teacher else None
        logits = with_no_digit(logits.float())
        loss = functional.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        if target is None:
            return loss
        distance = distillation_loss(logits, with_no_digit(target.float()), self.recipe.teacher_temperature)
        return loss.lerp(distance, self.recipe.teacher_share)

    @torch.no_grad()
    def _add_start(self) -> None:
        for parameter, start in zip(self.averaged.parameters(), self.start, strict=True):
            parameter.lerp_(start, self.recipe.start_share)

    def _learning_rate(self, epoch: float) -> float:
        """Linear warm-up, then a cosine down to 0."""
        warmup, epochs = min(self.recipe.warmup_epochs, self.recipe.epochs / 2), self.recipe.epochs
        if epoch < warmup:
            return self.recipe.learning_rate * (epoch + 0.01) / warmup
        return self.recipe.learning_rate * (1 + math.cos(math.pi * (epoch - warmup) / (epochs - warmup))) / 2

    def validate(self) -> tuple[float, float]:
        """Cross-entropy and accuracy of the averaged weights on the validation set."""
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
        save_checkpoint(self.checkpoint, state)

    def _load(self) -> None:
        state = load_checkpoint(self.checkpoint, self.device)
        if state["identity"] != self.identity:
            different = [key for key, value in self.identity.items() if state["identity"].get(key) != value]
            raise DataError(
                f"{self.checkpoint}: expected a checkpoint of the same run; got another {' and '.join(different)}; "
                "choose another --run directory or delete this one"
            )
        self.history = state["history"]
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])


def _sha256(path: Path | None) -> str | None:
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Reads a checkpoint. Raises DataError if the file is not one."""
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        state["identity"]["recipe"]
    except Exception as error:  # torch.load raises whatever its unpickler meets
        raise DataError(f"{path}: expected a checkpoint of `digits train`; got an unreadable file") from error
    return dict(state)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint; a kill leaves the old one or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def load_averaged(network: nn.Module, state: dict[str, Any]) -> None:
    """Gives a network the averaged weights of a checkpoint."""
    averaged = {name.removeprefix("module."): value for name, value in state["averaged"].items()}
    network.load_state_dict({name: averaged[name] for name in network.state_dict()})


@torch.no_grad()
def compute_logits(network: nn.Module, images: Tensor) -> Tensor:
    """Logits, float32 [N, 10], of uint8 images [N, 28, 28]."""
    network.eval()
    return torch.cat([network(to_network_input(chunk)) for chunk in images.split(1000)])
