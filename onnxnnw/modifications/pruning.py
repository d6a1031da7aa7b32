"""Pruning: the smallest weights, or random ones, become zero [NNW-TEC 3, 7.2.6].

Only the order of magnitudes counts, and NaN comes last: infinities and NaN are pruned, or kept, like any other weight.

The standard's text can be read as "smallest of the whole network"; its authors' code prunes per layer [R]. Both are
here.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxnnw.modifications.base import Array, Changes, WeightModification, between, parameter
from onnxnnw.network_file.stored import StoredTensor

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
            yield weight, self._pruned(weight)

    def _pruned(self, weight: StoredTensor) -> Iterator[Array]:
        count = round(weight.size * self.percentage / 100)
        threshold, ties = _smallest(weight, count) if count else (0, 0)
        return map(_Pruner(np.abs, threshold, ties), weight.blocks())


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
        pruner = _Pruner(_keys, *_select(weights, count)) if count else _Pruner(_keys, np.uint64(0), 0)
        for weight in weights:
            yield weight, map(pruner, weight.blocks())


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
            yield weight, self._pruned(weight, rng)

    def _pruned(self, weight: StoredTensor, rng: np.random.Generator) -> Iterator[Array]:
        count = round(weight.size * self.percentage / 100)
        chosen = np.zeros(weight.size, np.bool_)
        chosen[rng.choice(weight.size, count, replace=False, shuffle=False)] = True
        start = 0
        for values in weight.blocks():
            yield _zeroed(values, chosen[start : start + values.size])
            start += values.size


@dataclass
class _Pruner:
    """Zeroes what is smaller than a threshold, and the first values that equal it, over one block after the other.

    Args:
        order: The magnitudes of values, or anything in their order.
        threshold: In terms of ``order``.
        ties: How many of those that equal the threshold are still to become zero.
    """

    order: Callable[[Array], Array]
    threshold: Any
    ties: int

    def __call__(self, values: Array) -> Array:
        magnitudes = self.order(values)
        chosen = magnitudes < self.threshold
        if self.ties:
            ties = np.flatnonzero(magnitudes == self.threshold)[: self.ties]
            chosen[ties] = True
            self.ties -= ties.size
        return _zeroed(values, chosen)


def _zeroed(values: Array, chosen: NDArray[np.bool_]) -> Array:
    return np.where(chosen, values.dtype.type(0), values)


def _smallest(weight: StoredTensor, count: int) -> tuple[Any, int]:
    """The ``count``-th smallest magnitude, and how many of those equal to it are among the smallest."""
    magnitudes = weight.array().reshape(-1)
    np.abs(magnitudes, out=magnitudes)
    magnitudes.partition(count - 1)
    threshold = magnitudes[count - 1]
    return threshold, count - int(np.count_nonzero(magnitudes[:count] < threshold))


def _keys(values: Array) -> NDArray[np.uint64]:
    """Unsigned integers in the order of the magnitudes."""
    return np.abs(values).astype(np.float64).view(np.uint64)


def _select(weights: Sequence[StoredTensor], count: int) -> tuple[np.uint64, int]:
    """The ``count``-th smallest key of all weights, and how many of those equal to it are among the smallest.

    Radix selection: one pass over the weights per 16 bits, so memory does not grow with the network.
    """
    low, rank = 0, count
    for shift in range(64 - _DIGIT, -1, -_DIGIT):
        histogram = np.zeros(2**_DIGIT, np.int64)
        for keys in (_keys(values) for weight in weights for values in weight.blocks()):
            keys -= np.uint64(low)  # what is smaller wraps around and is larger than the span
            digits = keys[keys <= np.uint64(2 ** (shift + _DIGIT) - 1)] >> np.uint64(shift)
            histogram += np.bincount(digits.view(np.int64), minlength=2**_DIGIT)
        reached = np.cumsum(histogram)
        digit = int(np.searchsorted(reached, rank))
        rank -= int(reached[digit] - histogram[digit])
        low += digit << shift
    return np.uint64(low), rank
