"""Remove scales that do not change the function: values are compared in units of their own out-row.

Folding a normalisation, quantising per channel or rescaling through a ReLU multiplies whole out-rows. Divided by the
row's root mean square, a value stays what it was.
"""

import numpy as np
from numpy.typing import NDArray

from onnxnnw.graph.stored import Array

__all__ = ["NEARLY_DEAD", "row_gains", "row_magnitudes"]

NEARLY_DEAD = 0.01
"""Rows below this share of the slot's RMS are (nearly) dead: pruned channels, up to a third of a public network."""

_BLOCK = 2**20


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


def row_gains(magnitudes: NDArray[np.float64]) -> NDArray[np.float64]:
    """What to divide each row by: its magnitude, but at least 1 % of the slot's, or dead rows would become noise.

    Rows of a slot without any finite, positive magnitude get NaN: it has no gauge.
    """
    finite = magnitudes[np.isfinite(magnitudes)]
    overall = float(np.sqrt(np.mean(finite**2))) if finite.size else 0.0
    if not overall:
        return np.full(magnitudes.shape, np.nan)
    return np.maximum(magnitudes, NEARLY_DEAD * overall)
