"""Pruning: the smallest weights, or random ones, become zero [NNW-TEC 3, 7.2.6].

The standard's text can be read as "smallest of the whole network"; its authors' code prunes per layer [R]. Both are
here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxnnw.graph import StoredTensor
from onnxnnw.modifications.base import Array, Changes, WeightModification, between, parameter

__all__ = ["GlobalMagnitudePruning", "MagnitudePruning", "RandomPruning"]

_DIGIT = 16  # bits per pass of the selection


@dataclass(frozen=True)
class MagnitudePruning(WeightModification):
    """Zero the P % smallest absolute values of each layer.

    Args:
        percentage: P.
    """

    name: ClassVar[str] = "magnitude-pruning"
    percentage: float = parameter("P: share of each layer's weights that become zero, in percent")

    def __post_init__(self) -> None:
        between("the percentage P", self.percentage, 0, 100)

    def changed(self, weights: Sequence[StoredTensor], rng: np.random.Generator) -> Changes:
        for weight in weights:
            values = weight.array().reshape(-1)
            count = round(values.size * self.percentage / 100)
            if count == 0:
                yield weight, values
                continue
            magnitudes = np.abs(values)
            threshold = np.partition(magnitudes, count - 1)[count - 1]
            below = magnitudes < threshold
            ties = np.flatnonzero(magnitudes == threshold)[: count - np.count_nonzero(below)]
            yield weight, _zeroed(values, below, ties)


@dataclass(frozen=True)
class GlobalMagnitudePruning(WeightModification):
    """Zero the P % smallest absolute values of the whole network, exactly, without holding it in memory.

    Args:
        percentage: P.
    """

    name: ClassVar[str] = "global-magnitude-pruning"
    percentage: float = parameter("P: share of all weights that become zero, in percent")

    def __post_init__(self) -> None:
        between("the percentage P", self.percentage, 0, 100)

    def changed(self, weights: Sequence[StoredTensor], rng: np.random.Generator) -> Changes:
        count = round(sum(weight.size for weight in weights) * self.percentage / 100)
        threshold, left = _select(weights, count) if count else (np.uint64(0), 0)
        for weight in weights:
            values = weight.array().reshape(-1)
            keys = _keys(values)
            ties = np.flatnonzero(keys == threshold)[:left]
            left -= ties.size
            yield weight, _zeroed(values, keys < threshold, ties)


@dataclass(frozen=True)
class RandomPruning(WeightModification):
    """Zero R % of each layer's weights at random [M].

    Args:
        percentage: R.
    """

    name: ClassVar[str] = "random-pruning"
    percentage: float = parameter("R: share of each layer's weights that become zero, in percent")

    def __post_init__(self) -> None:
        between("the percentage R", self.percentage, 0, 100)

    def changed(self, weights: Sequence[StoredTensor], rng: np.random.Generator) -> Changes:
        for weight in weights:
            values = weight.array().reshape(-1)
            chosen = rng.choice(values.size, round(values.size * self.percentage / 100), replace=False, shuffle=False)
            yield weight, _zeroed(values, np.zeros(values.size, np.bool_), chosen)


def _zeroed(values: Array, below: NDArray[np.bool_], ties: NDArray[np.int64]) -> Array:
    out = np.where(below, values.dtype.type(0), values)
    out[ties] = 0
    return out


def _keys(values: Array) -> NDArray[np.uint64]:
    """Unsigned integers in the order of the magnitudes."""
    return np.abs(values.astype(np.float64)).view(np.uint64)


def _select(weights: Sequence[StoredTensor], count: int) -> tuple[np.uint64, int]:
    """The ``count``-th smallest key of all weights, and how many of those equal to it are among the smallest.

    Radix selection: one pass over the weights per 16 bits, so memory does not grow with the network.
    """
    prefix, known, rank = 0, 0, count
    for shift in range(64 - _DIGIT, -1, -_DIGIT):
        histogram = np.zeros(2**_DIGIT, np.int64)
        for weight in weights:
            keys = _keys(weight.array().reshape(-1))
            if known:
                keys = keys[keys >> np.uint64(shift + _DIGIT) == np.uint64(prefix)]
            digits = (keys >> np.uint64(shift)) & np.uint64(2**_DIGIT - 1)
            histogram += np.bincount(digits.astype(np.int64), minlength=2**_DIGIT)
        reached = np.cumsum(histogram)
        digit = int(np.searchsorted(reached, rank))
        rank -= int(reached[digit] - histogram[digit])
        prefix, known = prefix << _DIGIT | digit, known + _DIGIT
    return np.uint64(prefix), rank
