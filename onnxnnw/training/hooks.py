"""Hooks of the training loop, and what a training reports."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from onnxnnw.methods.base import Hooks
from onnxnnw.recipes import Precision

__all__ = ["Cost", "Epoch", "Hooks", "Trained", "TrainingProgress", "write_values"]

Module = Any


def write_values(module: Module, values: Mapping[str, tuple[NDArray[Any], NDArray[Any]]]) -> None:
    """Write values at flat positions (C order) of parameters, by name, whatever their memory format.

    Args:
        values: Parameter name -> (flat positions, values).
    """
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for name, (positions, new) in values.items():
            target = parameters[name]
            where = tuple(torch.from_numpy(axis) for axis in np.unravel_index(positions, tuple(target.shape)))
            # reshape(-1) would write to a copy under channels_last, and say nothing
            target[where] = torch.from_numpy(np.ascontiguousarray(new)).to(target)


@dataclass(frozen=True)
class Epoch:
    """One finished epoch.

    Args:
        number: 1 for the first.
        loss: Mean over its batches.
        metric: The task's metric on the test samples given, None without them.
        seconds: Time in batches alone: no test, no checkpoint.
    """

    number: int
    loss: float
    metric: float | None
    seconds: float
    batches: int


@dataclass(frozen=True)
class Cost:
    """The standard's cost of injection [NNW-NNT]: an epoch's time over its batches, batch iterations, memory."""

    seconds_per_batch: float
    iterations: int
    peak_memory_bytes: int


@dataclass(frozen=True)
class Trained:
    """A trained module on the CPU, in evaluation mode, with the history of its training and what it was computed in."""

    module: Module
    history: tuple[Epoch, ...]
    cost: Cost
    precision: Precision


class TrainingProgress(Protocol):
    """Receives the progress of a training: batches from time to time, and every epoch."""

    def batch(self, epoch: int, done: int, batches: int, loss: float) -> None: ...

    def epoch(self, epoch: Epoch) -> None: ...
