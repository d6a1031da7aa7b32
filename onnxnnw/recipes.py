"""Optimizers, schedules and recipes of a training as data that a checkpoint and a card can name."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Protocol

from onnxnnw.errors import UnknownName, UsageError

__all__ = [
    "SCHEDULES",
    "UNSAID",
    "Adam",
    "ConstantRate",
    "Decay",
    "OneCycle",
    "Precision",
    "Recipe",
    "Schedule",
    "Sgd",
    "adjusted",
    "find_precision",
    "resumed",
    "usual_precision",
]


class Precision(StrEnum):
    """What a training computes in where that is safe; weights and their updates are float32 in either."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


UNSAID = Precision.BFLOAT16
"""Of checkpoints, results and cards that do not say theirs: once all trainings computed in it."""


def find_precision(name: str) -> Precision | None:
    """The precision of this name; None for an empty one, which leaves it to the processor.

    Raises:
        UnknownName: There is none.
    """
    if name and name not in list(Precision):
        raise UnknownName("precision", name, Precision)
    return Precision(name) if name else None


def usual_precision(device: str | None = None) -> Precision:
    """What a training computes in where nobody says: bfloat16 where the processor multiplies in it, else float32.

    GPUs do so from compute capability 8.0 on, x86 processors with AVX512-BF16 or AMX. Without these, torch imitates bfloat16
    and takes many times as long; on ARM it was never measured with convolutions trained, so float32 it is there too.

    Args:
        device: As ``training.Trainer`` has it.
    """
    import torch

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device != "cpu":
        with torch.cuda.device(device):
            return _precision(torch.cuda.is_bf16_supported(including_emulation=False))
    usable = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)  # absent where torch has no oneDNN
    instructions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    there = any(getattr(torch.cpu, name, lambda: False)() for name in instructions)
    # oneDNN alone says yes to AVX512 without BF16, and no where ONEDNN_MAX_CPU_ISA forbids what is there
    return _precision(there and usable is not None and usable())


def _precision(multiplied: bool) -> Precision:
    return Precision.BFLOAT16 if multiplied else Precision.FLOAT32


@dataclass(frozen=True)
class Sgd:
    """Stochastic gradient descent with momentum."""

    rate: float
    momentum: float = 0.9
    weight_decay: float = 0.0
    nesterov: bool = True

    def build(self, parameters: Any) -> Any:
        """The optimizer of these parameters."""
        import torch

        return torch.optim.SGD(
            parameters, self.rate, self.momentum, weight_decay=self.weight_decay, nesterov=self.nesterov
        )


@dataclass(frozen=True)
class Adam:
    """Adam, without weight decay."""

    rate: float
    beta1: float = 0.9
    beta2: float = 0.999

    def build(self, parameters: Any) -> Any:
        """The optimizer of these parameters."""
        import torch

        return torch.optim.Adam(parameters, self.rate, (self.beta1, self.beta2))


class Schedule(Protocol):
    """Progress of the training, 0 to 1 -> the share of the optimizer's rate."""

    def __call__(self, progress: float) -> float: ...


@dataclass(frozen=True)
class ConstantRate:
    """The same rate throughout."""

    def __call__(self, progress: float) -> float:
        return 1.0


@dataclass(frozen=True)
class OneCycle:
    """Up to the full rate along half a cosine, then down to nearly nothing [Smith 2018]."""

    warmup: float = 0.3
    start: float = 0.04

    def __call__(self, progress: float) -> float:
        if progress < self.warmup:
            return self.start + (1 - self.start) * (1 - math.cos(math.pi * progress / self.warmup)) / 2
        return (1 + math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup))) / 2


@dataclass(frozen=True)
class Decay:
    """The full rate for the first part, then a straight line to nothing, as pix2pix does."""

    after: float = 0.5

    def __call__(self, progress: float) -> float:
        return min(1.0, (1 - progress) / (1 - self.after))


SCHEDULES: Mapping[str, ConstantRate | OneCycle | Decay] = {
    "constant": ConstantRate(),
    "one-cycle": OneCycle(),
    "decay": Decay(),
}
"""The schedules by the name that users give."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a training does, apart from data and seed.

    Args:
        epochs: Epochs in all.
        batch: Samples per batch.
        repeats: How often an epoch sees each sample, in new crops: small image sets have short epochs.
        fidelity: Weight of the loss beside the adversarial one, where there is an adversary (pix2pix's λ of L1).
        adversarial: Whether a network that has an adversary is trained against it.
    """

    epochs: int
    batch: int
    optimizer: Sgd | Adam
    schedule: ConstantRate | OneCycle | Decay = field(default_factory=ConstantRate)
    repeats: int = 1
    fidelity: float = 1.0
    adversarial: bool = field(default=True, repr=False)  # in no checkpoint's identity, which older ones would not have

    def __post_init__(self) -> None:
        if self.epochs < 0 or self.batch < 1 or self.repeats < 1:
            raise UsageError(f"epochs must be at least 0, batch and repeats at least 1: {self}")
        if not (math.isfinite(self.optimizer.rate) and self.optimizer.rate > 0):
            raise UsageError(f"the learning rate must be positive and finite, not {self.optimizer.rate}")


def adjusted(recipe: Recipe, epochs: int | None, rate: float | None, schedule: str | None) -> Recipe:
    """The recipe with what a user asks for instead; None keeps the recipe's own.

    Raises:
        UnknownName: No schedule has this name.
    """
    if schedule is not None and schedule not in SCHEDULES:
        raise UnknownName("schedule", schedule, SCHEDULES)
    return replace(
        recipe,
        epochs=recipe.epochs if epochs is None else epochs,
        optimizer=recipe.optimizer if rate is None else replace(recipe.optimizer, rate=rate),
        schedule=recipe.schedule if schedule is None else SCHEDULES[schedule],
    )


def resumed(recipe: Recipe, epochs: int, rate: float = 0.0) -> Recipe:
    """How a finished training is resumed for some more epochs [R: notes, "Fine-tuning"].

    Classifiers and segmenters use SGD with a constant rate of 0.01, momentum 0.9 and weight decay 5e-4; image networks keep
    their own optimizer at its full rate, without an adversary, whose weights no ONNX file holds.

    Args:
        rate: Another learning rate; 0 takes the usual one.
    """
    usual = recipe.optimizer
    optimizer = Sgd(0.01, 0.9, 5e-4, nesterov=False) if isinstance(usual, Sgd) else usual
    if rate:
        optimizer = replace(optimizer, rate=rate)
    return Recipe(epochs, recipe.batch, optimizer, ConstantRate(), recipe.repeats, adversarial=False)
