"""By what rows and channels of a candidate must be multiplied to stand in the reference's unit."""

import numpy as np
from numpy.typing import NDArray

from onnxnnw.alignment.balance import Cube

__all__ = ["scales_of"]

Floats = NDArray[np.float64]

_SAMPLED = 64
_ROUNDS = 4
_NOTHING = 1e-5
"""Scales that differ so little from 1 are 1: values that nobody multiplied stay what they are, bit for bit."""


def scales_of(reference: Cube, candidate: Cube) -> tuple[Floats, Floats]:
    """Factors of rows and channels: reference is about candidate x rows x channels, both in one order.

    Medians of ratios, in turn: single values that were replaced do not count. The middle of the channels' factors is 1.

    Args:
        reference, candidate: (rows, channels, taps) of one shape; values that are 0 on either side are left out.
    """
    with np.errstate(all="ignore"):
        ratio = np.log(np.abs(reference[:, _some(reference.shape[1])] / candidate[:, _some(reference.shape[1])]))
        down = np.log(np.abs(reference[_some(reference.shape[0])] / candidate[_some(reference.shape[0])]))
    rows, channels = np.zeros(reference.shape[0]), np.zeros(reference.shape[1])
    across = _some(reference.shape[1])
    along = _some(reference.shape[0])
    for _ in range(_ROUNDS):
        rows = _middles((ratio - channels[across][None, :, None]).reshape(len(rows), -1))
        channels = _middles((down - rows[along][:, None, None]).transpose(1, 0, 2).reshape(len(channels), -1))
        middle = float(np.median(channels)) if channels.size else 0.0
        channels, rows = channels - middle, rows + middle
    rows[np.abs(rows) < _NOTHING], channels[np.abs(channels) < _NOTHING] = 0, 0
    return np.exp(rows.clip(-60, 60)), np.exp(channels.clip(-60, 60))


def _some(count: int) -> NDArray[np.int64]:
    """So many at even distances."""
    return np.linspace(0, count - 1, min(count, _SAMPLED)).astype(np.int64)


def _middles(ratios: NDArray[np.floating]) -> Floats:
    """The median of each line, without what is not finite; 0 where nothing is."""
    ordered = np.sort(np.where(np.isfinite(ratios), ratios, np.inf), axis=1)
    count = np.isfinite(ordered).sum(1)
    lines = np.arange(len(ratios))
    middle = (
        ordered[lines, np.maximum(count - 1, 0) // 2] + ordered[lines, np.minimum(count // 2, ordered.shape[1] - 1)]
    )
    return np.where(count > 0, np.where(np.isfinite(middle), middle, 0.0) / 2, 0.0).astype(np.float64)
