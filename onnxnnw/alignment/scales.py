"""By what rows and channels of a candidate must be multiplied to stand in the reference's unit."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["scales_of"]

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]
Places = tuple[Positions, Positions]

_SAMPLED = 64
_ROUNDS = 4
_NOTHING = 1e-5
"""Scales that differ so little from 1 are 1: values that nobody multiplied stay what they are, bit for bit."""


def scales_of(
    reference: NDArray[Any], candidate: NDArray[Any], places: Places, counterparts: Places
) -> tuple[Floats, Floats]:
    """Factors of rows and channels: reference is about candidate x rows x channels.

    Medians of ratios, in turn: single values that were replaced do not count. The middle of the channels' factors is 1.

    Args:
        reference, candidate: (rows, channels, taps); values that are 0 on either side are left out.
        places: Rows and channels of the reference.
        counterparts: Those of the candidate, in their order.
    """
    (ours, our_channels), (theirs, their_channels) = places, counterparts
    along, across = _some(len(ours)), _some(len(our_channels))

    def ratios(rows: Positions, channels: Positions) -> Floats:
        with np.errstate(all="ignore"):
            mine = reference[ours[rows][:, None], our_channels[channels]].astype(np.float64)
            out: Floats = np.log(np.abs(mine / candidate[theirs[rows][:, None], their_channels[channels]]))
        return out

    ratio = ratios(np.arange(len(ours)), across)
    down = ratios(along, np.arange(len(our_channels)))
    rows, channels = np.zeros(len(ours)), np.zeros(len(our_channels))
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
