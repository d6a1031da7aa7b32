"""Quantization: every layer's weights on 2**B evenly spaced levels, stored as they were [NNW-TEC 7.2.6, R]."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from onnxnnw.modifications.base import Array, Changes, WeightModification, between, parameter, range_of
from onnxnnw.network_file.stored import StoredTensor

__all__ = ["Quantization"]


@dataclass(frozen=True)
class Quantization(WeightModification):
    """Fake quantisation per tensor: ``s = (2^B - 1)/(max - min)``, ``q = round((x - min) s)``, ``x' = q/s + min``.

    A layer whose range is no finite number is refused.

    Args:
        bits: B.
    """

    name: ClassVar[str] = "quantization"
    bits: int = parameter("B: number of bits, 1 to 24")

    def __post_init__(self) -> None:
        between("the number of bits B", self.bits, 1, 24)

    def changed(self, weights: Sequence[StoredTensor], rng: np.random.Generator) -> Changes:
        for weight in weights:
            yield weight, self._quantised(weight)

    def _quantised(self, weight: StoredTensor) -> Iterator[Array]:
        low, high = range_of(weight)
        if high == low:
            yield from weight.blocks()
            return
        scale = low.dtype.type((2**self.bits - 1) / (float(high) - float(low)))
        for values in weight.blocks():
            levels = values - low
            levels *= scale
            np.rint(levels, out=levels)
            np.clip(levels, 0, 2**self.bits - 1, out=levels)
            levels /= scale
            levels += low
            yield levels
