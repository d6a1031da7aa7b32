"""Is an order more than what the best order of any two weights reaches?

The best of all orders makes strangers agree, and weights that share a mean or a profile of taps agree in every order. So it is
held against others of the same weights: what its score has above theirs, as a share of what is left above theirs, is its excess.
The excess of strangers stays near what the largest of so many chance products reaches.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onnxnnw.alignment.balance import Cube
from onnxnnw.alignment.search import Order, score_of

__all__ = ["excess", "is_clear"]

_ELSEWHERE = ((0.5, 0.5), (0.31, 0.31), (0.5, 0.0), (0.0, 0.5))
"""Other orders: by how much of their number rows and channels are turned round."""

_LEAST, _MARGIN = 0.35, 0.15


def is_clear(ours: Cube, theirs: Cube, order: Order) -> bool:
    """Whether no stranger agrees so well, in whatever order; small weights never say so.

    Args:
        ours, theirs: Balanced weights.
    """
    if order.score <= _LEAST:
        return False
    return excess(ours, theirs, order) > max(_LEAST, _by_chance(ours) + _MARGIN)


def excess(ours: Cube, theirs: Cube, order: Order) -> float:
    """How far the score is above that of other orders, as a share of what is left above it: at most 1."""
    others = max(score_of(ours, theirs, _turned_round(order, *shares)) for shares in _ELSEWHERE)
    return (order.score - others) / (1 - others) if others < 1 else 0.0


def _by_chance(ours: Cube) -> float:
    """About what the best order of a stranger's rows and channels reaches."""
    rows, channels, taps = max(2, ours.shape[0]), max(2, ours.shape[1]), ours.shape[2]
    return math.sqrt(2 * math.log(rows) / (channels * taps)) + math.sqrt(2 * math.log(channels) / (rows * taps))


def _turned_round(order: Order, of_rows: float, of_channels: float) -> Order:
    def turned(one: NDArray[np.int64], share: float) -> NDArray[np.int64]:
        out, there = one.copy(), np.flatnonzero(one >= 0)
        out[there] = np.roll(one[there], int(share * there.size))
        return out

    return replace(order, rows=turned(order.rows, of_rows), channels=turned(order.channels, of_channels))
