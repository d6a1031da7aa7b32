"""Features of a row that do not depend on the order of its columns: its sorted values, tap by tap."""

import numpy as np
from numpy.typing import NDArray

from onnxnnw.alignment.balance import Cube

__all__ = ["QUANTILES", "signatures"]

QUANTILES = 64

_BLOCK = 2**22


def signatures(ours: Cube, theirs: Cube) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features of the rows of two balanced weights whose inner products are largest where the rows hold the same values.

    Args:
        ours, theirs: (rows, channels, taps), channels in any order and number.

    Returns:
        (rows, k) each: inner product = half the squared norm that both share minus half their squared distance.
    """
    count = min(QUANTILES, ours.shape[1], theirs.shape[1])
    one, other = _quantiles(ours, count), _quantiles(theirs, count)
    mean = one.mean(0)
    one, other = one - mean, other - mean
    # one more column each turns distances into inner products: x.y - |y|^2 / 2
    lengths = np.einsum("ij,ij->i", other, other)
    return (
        np.concatenate([one, np.ones((len(one), 1), np.float32)], 1),
        np.concatenate([other, -lengths[:, None] / 2], 1),
    )


def _quantiles(cube: Cube, count: int) -> NDArray[np.float32]:
    rows, channels, taps = cube.shape
    at = (np.arange(count) + 0.5) / count * channels - 0.5
    low = np.clip(np.floor(at).astype(np.int64), 0, channels - 1)
    high = np.minimum(low + 1, channels - 1)
    share = np.clip(at - low, 0, 1).astype(np.float32)
    out = np.empty((rows, taps, count), np.float32)
    step = max(1, _BLOCK // max(1, channels * taps))
    for start in range(0, rows, step):
        ordered = np.sort(cube[start : start + step].transpose(0, 2, 1), axis=2)
        out[start : start + step] = ordered[..., low] * (1 - share) + ordered[..., high] * share
    return out.reshape(rows, taps * count)
