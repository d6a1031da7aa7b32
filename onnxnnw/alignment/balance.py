"""A weight without its scales: rows and channels of equal magnitude (Sinkhorn), whatever each was multiplied with."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Balanced", "balanced", "in_channels"]

Floats = NDArray[np.float64]
Cube = NDArray[np.float32]
"""(rows, channels, taps)."""

_ROUNDS, _SETTLED = 40, 1e-6
_FLOOR = 1e-6


class Balanced(NamedTuple):
    """A weight and what its rows and channels were divided by.

    Attributes:
        values: (rows, channels, taps), every row and every channel of root mean square 1, but dead ones, which stay near 0.
        rows, channels: Positive factors: weight = values x rows x channels.
    """

    values: Cube
    rows: Floats
    channels: Floats


def in_channels(array: NDArray[np.floating], taps: int) -> Cube:
    """(rows, row_size) -> (rows, channels, taps), in float32, by its largest magnitude; what is not finite becomes 0."""
    rows, size = array.shape
    with np.errstate(all="ignore"):
        largest = float(np.max(np.abs(array), initial=0.0, where=np.isfinite(array)))
        out = np.asarray(array / largest if largest > 0 else array, np.float32)
    if not np.isfinite(out).all():
        out = np.nan_to_num(out, nan=0.0, posinf=0.0, neginf=0.0)
    return out.reshape(rows, size // taps, taps)


def balanced(cube: Cube) -> Balanced:
    """Divide rows and channels by their root mean squares in turn, until both are 1.

    It commutes with every order of rows and channels, and forgets positive factors of either.
    """
    rows, channels, taps = cube.shape
    power = np.einsum("ijt,ijt->ij", cube, cube) / np.float32(taps)
    with np.errstate(all="ignore"):
        of_rows, of_channels = np.ones(rows, np.float32), np.ones(channels, np.float32)
        for _ in range(_ROUNDS):
            former = of_channels
            of_rows = _positive(np.einsum("ij,j->i", power, 1 / of_channels) / np.float32(channels))
            of_channels = _positive(np.einsum("i,ij->j", 1 / of_rows, power) / np.float32(rows))
            if (np.abs(of_channels / former - 1) < _SETTLED).all():
                break
        by_rows, by_channels = np.sqrt(of_rows), np.sqrt(of_channels)
        values = cube / by_rows[:, None, None] / by_channels[None, :, None]
    return Balanced(np.nan_to_num(values), by_rows.astype(np.float64), by_channels.astype(np.float64))


def _positive(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Powers with dead lines raised to a millionth of the mean, so that they do not become noise."""
    mean = float(power.mean()) if power.size else 0.0
    if not 0 < mean < np.inf:
        return np.ones_like(power)
    return np.maximum(power, np.float32(_FLOOR * mean))
