"""Grouped convolutions: groups in another order, and in each its rows and channels."""

from collections.abc import Sequence

import numpy as np

from onnxnnw.alignment.assignment import assign_scores
from onnxnnw.alignment.balance import Cube, balanced
from onnxnnw.alignment.search import Order, Start, find_order
from onnxnnw.alignment.signatures import signatures

__all__ = ["group_orders"]

_NEAR = 4
"""Candidate groups that each group is held against: those with the likest values."""


def group_orders(ours: Cube, theirs: Cube, groups: int, their_groups: int, starts: Sequence[Start]) -> list[Order]:
    """The order of each reference group's rows and channels; rows are numbered through all of the candidate's.

    Args:
        ours, theirs: (rows, channels of a group, taps).
        groups, their_groups: How many groups there are.
        starts: Rows known from elsewhere say which group is which.
    """
    mine = [balanced(part).values for part in np.split(ours, groups)]
    others = [balanced(part).values for part in np.split(theirs, their_groups)]
    size, their_size = len(ours) // groups, len(theirs) // their_groups
    likeness = _likeness(mine, others)
    for start in starts:
        if start.rows is not None and len(start.rows) == len(ours):
            for group in range(groups):
                known = start.rows[group * size : (group + 1) * size]
                counts = np.bincount(known[(known >= 0) & (known < len(theirs))] // their_size, minlength=their_groups)
                likeness[group] += 10 * np.ptp(likeness) * counts / max(1, size)
    near = np.argsort(-likeness, axis=1)[:, :_NEAR]
    found: dict[tuple[int, int], Order] = {}
    scores = np.full((groups, their_groups), -1.0, np.float32)
    for group, candidates in enumerate(near.tolist()):
        for other in candidates:
            found[group, other] = find_order(mine[group], others[other])
            scores[group, other] = found[group, other].score
            if scores[group, other] > 0.9:
                break
    chosen = assign_scores(scores)
    return [_numbered(group, int(other), found, their_size, mine[group]) for group, other in enumerate(chosen)]


def _likeness(mine: Sequence[Cube], others: Sequence[Cube]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """How alike the values of groups are, in whatever order."""
    ours = np.stack([part.reshape(-1, part.shape[2]) for part in mine])
    theirs = np.stack([part.reshape(-1, part.shape[2]) for part in others])
    one, other = signatures(ours, theirs)
    return np.asarray(one @ other.T, np.float32)


def _numbered(group: int, other: int, found: dict[tuple[int, int], Order], size: int, mine: Cube) -> Order:
    order = found.get((group, other))
    if order is None:
        rows, channels, _ = mine.shape
        nothing = np.full(rows, -1, np.int64), np.full(channels, -1, np.int64)
        return Order(*nothing, np.ones(rows, np.float32), np.ones(channels, np.float32), 0.0)
    rows = np.where(order.rows >= 0, order.rows + other * size, -1)
    return Order(rows, order.channels, order.row_signs, order.channel_signs, order.score)
