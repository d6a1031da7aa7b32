"""Gaussian noise: ``w += N(0, S sigma)`` per layer, sigma the deviation of that layer's weights [NNW-TEC 7.2.6, R]."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from onnxnnw.modifications.base import Array, Changes, WeightModification, between, parameter, refuse_not_finite
from onnxnnw.network_file.stored import StoredTensor

__all__ = ["GaussianNoise"]

_BLOCK = 2**16


@dataclass(frozen=True)
class GaussianNoise(WeightModification):
    """Add zero-mean Gaussian noise to every layer.

    A layer whose standard deviation is no finite number is refused.

    Args:
        ratio: S, the noise's deviation in units of the layer's population standard deviation.
    """

    name: ClassVar[str] = "gaussian-noise"
    ratio: float = parameter("S: deviation of the noise in units of each layer's own")

    def __post_init__(self) -> None:
        between("the ratio S", self.ratio, 0, 1e6)

    def changed(self, weights: Sequence[StoredTensor], rng: np.random.Generator) -> Changes:
        for weight in weights:
            yield weight, self._noisy(weight, rng)

    def _noisy(self, weight: StoredTensor, rng: np.random.Generator) -> Iterator[Array]:
        with np.errstate(all="ignore"):
            deviation = self.ratio * _deviation(weight)
        refuse_not_finite(weight, "standard deviation", deviation)
        for values in weight.blocks():
            noise = rng.standard_normal(values.size, dtype=values.dtype)
            noise *= values.dtype.type(deviation)
            noise += values
            yield noise


def _deviation(weight: StoredTensor) -> np.float64:
    """``numpy.std`` in double precision, to the bit, without its copy of the whole tensor in that precision."""
    values = weight.array()
    mean = np.mean(values, dtype=np.float64)
    deviation: np.float64 = np.sqrt(_squares(values.reshape(-1), mean) / values.size)
    return deviation


def _squares(values: Array, mean: np.float64) -> np.float64:
    """Sum of squared differences from the mean, halved into blocks where NumPy's pairwise summation halves."""
    if values.size > _BLOCK:
        half = values.size // 2
        half -= half % 8
        return _squares(values[:half], mean) + _squares(values[half:], mean)
    differences = values - mean
    differences *= differences
    total: np.float64 = np.sum(differences)
    return total
