"""Quantization read literally: fewer bits of the floating-point representation of weights, stored as they were [NNW-TEC 3]."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from onnxnnw.errors import UsageError
from onnxnnw.modifications.base import Array, Changes, WeightModification, parameter, range_of
from onnxnnw.network_file.stored import StoredTensor

__all__ = ["FORMATS", "FloatQuantization"]


class _Format(NamedTuple):
    """Smallest normal exponent, bits of the mantissa, largest number, and whether a layer is scaled to that number."""

    lowest: int
    mantissa: int
    largest: float
    scaled: bool


FORMATS: Mapping[tuple[int, int], _Format] = {
    (16, 5): _Format(-14, 10, 65504.0, False),
    (16, 8): _Format(-126, 7, float(2.0**127 * (2 - 2.0**-7)), False),
    (8, 4): _Format(-6, 3, 448.0, True),
    (8, 5): _Format(-14, 2, 57344.0, True),
    (4, 2): _Format(0, 1, 6.0, True),
}
"""(Bits, bits of the exponent): IEEE 754's binary16, bfloat16, and OCP's E4M3, E5M2 and E2M1."""
_USUAL = {16: 5, 8: 4, 4: 2}


@dataclass(frozen=True)
class FloatQuantization(WeightModification):
    """Round each weight to the nearest number of a narrower floating-point format, ties to even, too large ones to its largest.

    In formats of 8 and 4 bits a layer is scaled first, so that its largest absolute weight is the format's largest number, as
    everybody who uses them does; a layer whose range is no finite number is refused.

    Args:
        bits: 16, 8 or 4.
        exponent: How many of them are the exponent: 5 (fp16) or 8 (bf16) of 16, 4 (E4M3) or 5 (E5M2) of 8, 2 (E2M1) of 4; 0
            takes the first.
    """

    name: ClassVar[str] = "float-quantization"
    bits: int = parameter("bits of the format: 16, 8 or 4")
    exponent: int = parameter(
        "bits of its exponent; 0 takes the usual number: 5 of 16 (8 is bfloat16), 4 of 8, 2 of 4", 0
    )

    def __post_init__(self) -> None:
        if (self.bits, self.exponent or _USUAL.get(self.bits, 0)) not in FORMATS:
            known = ", ".join(f"{bits} with {exponent}" for bits, exponent in FORMATS)
            raise UsageError(
                f"there is no floating-point format of {self.bits} bits with an exponent of {self.exponent}; there are {known}"
            )

    def changed(self, weights: Sequence[StoredTensor], rng: np.random.Generator) -> Changes:
        for weight in weights:
            yield weight, self._rounded(weight)

    def _rounded(self, weight: StoredTensor) -> Iterator[Array]:
        form = FORMATS[self.bits, self.exponent or _USUAL[self.bits]]
        low, high = (float(edge) for edge in range_of(weight))
        largest = max(abs(low), abs(high))
        scale = form.largest / largest if form.scaled and largest else 1.0
        for values in weight.blocks():
            yield (rounded(values.astype(np.float64) * scale, form) / scale).astype(values.dtype)


def rounded(values: Array, form: _Format) -> Array:
    """The nearest numbers of a format, float64."""
    _, exponents = np.frexp(values)  # values = f · 2^e with 0.5 ≤ f < 1: the exponent of a normal number is e - 1
    steps = np.ldexp(1.0, np.maximum(exponents - 1, form.lowest) - form.mantissa)
    nearest: Array = np.clip(np.rint(values / steps) * steps, -form.largest, form.largest)
    return nearest
