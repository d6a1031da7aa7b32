"""One-to-one assignment of rows of features: exact where that is quick, else mutual best pairs first and the rest in blocks.

Nothing here takes longer for hostile features than for others: the exact method sees at most ``EXACT`` lines at once.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["EXACT", "assign", "assign_scores", "product"]

Positions = NDArray[np.int64]
Features = NDArray[np.float32]

EXACT = 640
"""Lines that are assigned exactly (Hungarian) at once."""

_BLOCK = 256
_ROUNDS = 10
_ONE_THREAD, _WORTH_THREADS = 2**18, 2**26
"""Multiplications up to which BLAS uses one thread, and from which on several are worth it."""

_WHOLE = 2**25
"""Scores that are held at once; above, only each line's best is kept, block by block."""


def product(ours: Features, theirs: Features) -> Features:
    """(n, k) x (m, k) -> (n, m) inner products.

    Products of middling size are taken in parts so small that BLAS starts no threads: where cores are busy these wait for each
    other longer than they compute.
    """
    work = theirs.shape[0] * theirs.shape[1]
    if len(ours) * work > _WORTH_THREADS:
        return ours @ theirs.T
    step = max(1, _ONE_THREAD // max(1, work))
    out = np.empty((len(ours), len(theirs)), np.float32)
    for start in range(0, len(ours), step):
        np.matmul(ours[start : start + step], theirs.T, out=out[start : start + step])
    return out


def assign(ours: Features, theirs: Features, either_sign: bool = False) -> Positions:
    """For each row of ``ours`` another row of ``theirs``, so that the sum of inner products is (nearly) largest.

    Args:
        ours, theirs: (n, k) and (m, k).
        either_sign: Whether magnitudes of inner products count.

    Returns:
        (n,) row numbers of ``theirs``; -1 for those left over where n > m.
    """
    if len(ours) * len(theirs) <= _WHOLE:
        scores = product(ours, theirs)
        return assign_scores(np.abs(scores, out=scores) if either_sign else scores)
    return _by_blocks(ours, theirs, either_sign)


def assign_scores(scores: Features) -> Positions:
    """The same from a table of scores (n, m)."""
    if not np.isfinite(scores.sum(dtype=np.float64)):
        scores = np.nan_to_num(scores, nan=0.0, posinf=0.0, neginf=0.0)
    n, m = scores.shape
    out = np.full(n, -1, np.int64)
    if not n or not m:
        return out
    if max(n, m) <= EXACT:
        _exactly(scores, np.arange(n), np.arange(m), out)
        return out
    rows, columns = np.arange(n), np.arange(m)
    left = scores
    for _ in range(_ROUNDS):
        best = left.argmax(1)
        mutual = left.argmax(0)[best] == np.arange(len(rows))
        out[rows[mutual]] = columns[best[mutual]]
        taken = np.zeros(len(columns), np.bool_)
        taken[best[mutual]] = True
        few = 8 * mutual.sum() < len(rows)
        rows, columns = rows[~mutual], columns[~taken]
        if few or not rows.size or not columns.size or max(rows.size, columns.size) <= EXACT:
            break
        left = left[np.ix_(~mutual, ~taken)]
    _in_blocks(scores, rows, columns, out)
    return out


def _exactly(scores: Features, rows: Positions, columns: Positions, out: Positions) -> None:
    from scipy.optimize import linear_sum_assignment

    chosen, found = linear_sum_assignment(scores, maximize=True)
    out[rows[chosen]] = columns[found]


def _in_blocks(scores: Features, rows: Positions, columns: Positions, out: Positions) -> None:
    """Assign what is left: all at once if it is little, else in blocks as they come."""
    if not rows.size or not columns.size:
        return
    if max(rows.size, columns.size) <= EXACT:
        _exactly(scores[np.ix_(rows, columns)], rows, columns, out)
        return
    count = -(-min(rows.size, columns.size) // _BLOCK)
    for some, others in zip(np.array_split(rows, count), np.array_split(columns, count), strict=True):
        if min(some.size, others.size) and max(some.size, others.size) > 8 * _BLOCK:
            some, others = some[: 2 * _BLOCK], others[: 2 * _BLOCK]
        _exactly(scores[np.ix_(some, others)], some, others, out)


def _by_blocks(ours: Features, theirs: Features, either_sign: bool) -> Positions:
    """Mutual best pairs in a few rounds, with no more scores at once than a block's; the rest in the order they come."""
    out = np.full(len(ours), -1, np.int64)
    rows, columns = np.arange(len(ours)), np.arange(len(theirs))
    for _ in range(_ROUNDS):
        if len(rows) * len(columns) <= _WHOLE:
            break
        best, of_columns = _best_of_both(ours[rows], theirs[columns], either_sign)
        mutual = of_columns[best] == np.arange(len(rows))
        out[rows[mutual]] = columns[best[mutual]]
        taken = np.zeros(len(columns), np.bool_)
        taken[best[mutual]] = True
        few = mutual.sum() < len(rows) // 8
        rows, columns = rows[~mutual], columns[~taken]
        if few:
            break
    if rows.size and columns.size:
        if len(rows) * len(columns) <= _WHOLE:
            inner = assign(ours[rows], theirs[columns], either_sign)
            out[rows[inner >= 0]] = columns[inner[inner >= 0]]
        else:
            count = min(rows.size, columns.size)
            out[rows[:count]] = columns[:count]
    return out


def _best_of_both(ours: Features, theirs: Features, either_sign: bool) -> tuple[Positions, Positions]:
    """Each row's best column and each column's best row."""
    step = max(1, _WHOLE // 2 // len(theirs))
    best = np.empty(len(ours), np.int64)
    of_columns = np.zeros(len(theirs), np.int64)
    height = np.full(len(theirs), -np.inf, np.float32)
    for start in range(0, len(ours), step):
        scores = np.nan_to_num(ours[start : start + step] @ theirs.T)
        scores = np.abs(scores) if either_sign else scores
        best[start : start + step] = scores.argmax(1)
        highest = scores.argmax(0)
        value = scores[highest, np.arange(len(theirs))]
        better = value > height
        of_columns[better], height[better] = highest[better] + start, value[better]
    return best, of_columns
