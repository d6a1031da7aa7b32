"""How a network is trained: optimizers, schedules and recipes, as data that a checkpoint and a card can name."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from onnxnnw.errors import UnknownName, UsageError

__all__ = ["SCHEDULES", "Adam", "Constant", "Decay", "OneCycle", "Recipe", "Schedule", "Sgd", "adjusted", "resumed"]


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
class Constant:
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


SCHEDULES: Mapping[str, Constant | OneCycle | Decay] = {
    "constant": Constant(),
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
    schedule: Constant | OneCycle | Decay = field(default_factory=Constant)
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
    return Recipe(epochs, recipe.batch, optimizer, Constant(), recipe.repeats, adversarial=False)
