"""The affine map of a weight's out-rows up to the next non-linear operator."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from onnxnnw.network_file.stored import Array

Gains = NDArray[np.float64]

__all__ = ["Gains", "OutRows"]


@dataclass
class OutRows:
    """The out-rows of a weight at one point downstream: factor and shift so far.

    Attributes:
        value: The value that carries them.
        gain: What they have been multiplied by, per out-row.
        axis: Their axis, counted from the right (-1 is the last one).
        rank: Dimensions of the value; None where it is not known.
        rescaled: Whether a factor that is not constant would be a scale of the activations.
        shift: What was added to them since, per out-row; None where that cannot be told.
        used: The values that were multiplied or added.
    """

    value: int
    gain: Gains
    axis: int
    rank: int | None
    rescaled: bool
    shift: Gains | None = None
    used: list[int] = field(default_factory=list)

    def multiply(self, factor: Array | None) -> bool:
        """Take a factor in, if it has one number for all or one for each out-row."""
        if factor is None or not self._fits(factor):
            return False
        numbers = factor.astype(np.float64).reshape(-1)
        with np.errstate(all="ignore"):
            self.gain = self.gain * numbers
            self.shift = None if self.shift is None else self.shift * numbers
        return True

    def add(self, summand: Array | None, sign: float = 1.0) -> None:
        """Take a summand in; what is neither one number nor one for each out-row makes the shift unknown."""
        if self.shift is None:
            return
        if summand is None or not self._fits(summand):
            self.shift = None
            return
        with np.errstate(all="ignore"):
            self.shift = self.shift + sign * summand.astype(np.float64).reshape(-1)

    def negate(self) -> None:
        """Turn the sign."""
        self.gain = -self.gain
        self.shift = None if self.shift is None else -self.shift

    def _fits(self, numbers: Array) -> bool:
        if numbers.size not in (1, self.gain.size):
            return False
        return numbers.size == 1 or (len(numbers.shape) >= -self.axis and numbers.shape[self.axis] == self.gain.size)
