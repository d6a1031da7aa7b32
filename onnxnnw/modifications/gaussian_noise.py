"""Gaussian noise: ``w += N(0, S sigma)`` per layer, sigma the deviation of that layer's weights [NNW-TEC 7.2.6, R]."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from onnxnnw.graph import StoredTensor
from onnxnnw.modifications.base import Changes, WeightModification, between, parameter

__all__ = ["GaussianNoise"]


@dataclass(frozen=True)
class GaussianNoise(WeightModification):
    """Add zero-mean Gaussian noise to every layer.

    Args:
        ratio: S, the noise's deviation in units of the layer's population standard deviation.
    """

    name: ClassVar[str] = "gaussian-noise"
    ratio: float = parameter("S: deviation of the noise in units of each layer's own")

    def __post_init__(self) -> None:
        between("the ratio S", self.ratio, 0, 1e6)

    def changed(self, weights: Sequence[StoredTensor], rng: np.random.Generator) -> Changes:
        for weight in weights:
            values = weight.array()
            wide = np.float64 if values.dtype == np.float64 else np.float32
            noise = rng.standard_normal(values.shape, dtype=wide)
            noise *= wide(self.ratio * np.std(values, dtype=np.float64))
            noise += values
            yield weight, noise
