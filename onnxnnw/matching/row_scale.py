"""Row and column scales of a weight: values are compared after dividing out rescaling that changes no function.

Folding a normalisation, quantising per channel or rescaling through a ReLU multiplies whole out-rows. Divided by the
row's root mean square, a value stays what it was. Rescaling through a ReLU multiplies the next weight's columns too: those
are balanced against the rows (Sinkhorn), where the anchors say that it happened.
"""

import numpy as np
from numpy.typing import NDArray

from onnxnnw.network_file.stored import Array

__all__ = ["BALANCED_ROWS", "NEARLY_DEAD", "column_scales", "row_magnitudes", "row_scales"]

NEARLY_DEAD = 0.01
"""Rows below this share of the slot's RMS are (nearly) dead: pruned channels, up to a third of a public network."""

BALANCED_ROWS = 16
"""From so few rows on a column's magnitude says more of the column than of each value in it."""

_BLOCK = 2**20
_SAMPLED_ROWS, _SAMPLED, _ROUNDS, _SETTLED = 32, 2**20, 30, 1e-4
_FLOOR = 1e-12


def row_magnitudes(array: Array) -> NDArray[np.float64]:
    """Root mean square of each row of a (rows, row_size) array; not finite where the row is not."""
    out = np.empty(len(array))
    step = max(1, _BLOCK // max(1, array.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(array), step):
            block = array[start : start + step]
            out[start : start + step] = np.einsum("ij,ij->i", block, block)
    magnitudes: NDArray[np.float64] = np.sqrt(out / max(1, array.shape[1]))
    return magnitudes


def row_scales(magnitudes: NDArray[np.float64]) -> NDArray[np.float64]:
    """What to divide each row by: its magnitude, but at least 1 % of the slot's, or dead rows would become noise.

    Rows of a slot without any finite, positive magnitude get NaN: it has no scale.
    """
    finite = magnitudes[np.isfinite(magnitudes)]
    overall = float(np.sqrt(np.mean(finite**2))) if finite.size else 0.0
    if not overall:
        return np.full(magnitudes.shape, np.nan)
    return np.maximum(magnitudes, NEARLY_DEAD * overall)


def column_scales(array: Array, taps: int = 1) -> NDArray[np.float64] | None:
    """Magnitude of each column of a (rows, row_size) array once its rows are of equal magnitude, and the other way round.

    Args:
        array: The weights; what is not finite has no scale.
        taps: So many columns side by side count as one: what a kernel's taps read of one channel is multiplied together.

    Rows and columns are normalised in turn (Sinkhorn), on up to 32 rows at fixed places: multiplying rows or columns by
    positive numbers multiplies the result by the same numbers, up to one for all. None where there are too few rows.
    """
    rows, columns = array.shape
    count = min(rows, _SAMPLED_ROWS, _SAMPLED // max(1, columns))
    if count < BALANCED_ROWS:
        return None
    with np.errstate(all="ignore"):
        sample = array[np.arange(count) * rows // count]
        power = np.square((sample / np.abs(sample).max(initial=0)).astype(np.float64))
        power = power[power.any(axis=1)]
        power = power.reshape(len(power), columns // taps, taps).sum(axis=2)  # (rows, columns / taps)
        if len(power) < BALANCED_ROWS or not np.isfinite(power).all():
            return None
        scales = np.ones(columns // taps)
        for _ in range(_ROUNDS):
            lines = np.einsum("ij,j->i", power, 1 / scales)  # not BLAS, whose threads wait for each other
            weights = 1 / np.maximum(lines, _FLOOR * lines.mean())
            former, scales = scales, np.einsum("i,ij->j", weights, power)
            scales = np.maximum(scales, _FLOOR * scales.mean())
            if (np.abs(scales / former - 1) < _SETTLED).all():
                break
        balanced: NDArray[np.float64] = np.sqrt(scales / scales.mean())
    return balanced if np.isfinite(balanced).all() and balanced.min() > 0 else None
