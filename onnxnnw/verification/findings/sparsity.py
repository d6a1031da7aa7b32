"""Zeros: positions that held a value and are zero now, as after pruning."""

from collections.abc import Sequence

import numpy as np

from onnxnnw.verification.findings.base import Examination, Finding, few
from onnxnnw.verification.slot_reads import SlotReads

__all__ = ["find"]

MIN_SHARE = 0.004
SMALL, EVEN, MIN_PAIRS = 0.15, 0.1, 200
"""A zero was larger than a value that was kept in so few of all pairs where the smallest were chosen; in about half where size did
not count. In between nothing is said of how they were chosen."""

ROUNDED, FINE = 4.0, 0.5
"""What is smaller than so many times the median change of a slot's other values may have been rounded to zero with them, where that
is less than so much of the median value: coarser rounding is a finding of its own."""


def find(examination: Examination) -> list[Finding]:
    """The share of the mark's positions that became zero, where it is 0.4 % or more and the mark is there.

    Rounding makes zeros too: slots that are stored in a narrow type do not count, nor zeros of values so small that what
    happened to the others explains them, nor a single zero among others that changed.
    """
    slots = [one for one in examination.slot_reads if not one.reduced_precision and (one.enrolled != 0).any()]
    if not slots or not examination.significant:
        return []
    zeros = np.concatenate([one.zeroed[one.enrolled != 0] for one in slots])
    part = float(zeros.mean())
    told = [_unexplained(one) for one in slots]
    unexplained = sum(count for count, _ in told)
    if unexplained < MIN_SHARE * zeros.size or (unexplained < 2 and any(changed for _, changed in told)):
        return []
    order = _order(slots)
    smallest = order is not None and order < SMALL
    how = " (the smallest ones, as magnitude pruning leaves)" if smallest else ""
    if order is not None and abs(order - 0.5) < EVEN:
        how = " (whatever their size)"
    return [
        Finding(
            "pruned",
            f"{part:.1%} of the mark's weights are zero now{how}",
            {"share": round(part, 4), "by_magnitude": int(smallest), "read": zeros.size},
            few({one.name: {"share": round(float(one.zeroed.mean()), 4)} for one in slots if one.zeroed.any()}),
            version=2,
        )
    ]


def _unexplained(one: SlotReads) -> tuple[int, bool]:
    """How many zeros are not what small changes of all values leave, and whether the others changed."""
    zero, sizes = one.zeroed & (one.enrolled != 0), np.abs(one.enrolled)
    kept = ~one.zeroed & (one.enrolled != 0) & np.isfinite(one.found)
    if not kept.any():
        return int(zero.sum()), False
    change = float(np.median(np.abs(one.found[kept] - one.enrolled[kept])))
    small = ROUNDED * change if ROUNDED * change < FINE * np.median(sizes[kept]) else 0.0
    return int((zero & (sizes > small)).sum()), change > 0


def _order(slots: Sequence[SlotReads]) -> float | None:
    """How often what is zero now was larger than what is not, within one slot [Mann, Whitney 1947]; None where too few say it."""
    larger, pairs = 0.0, 0
    for one in slots:
        sizes, zero = np.abs(one.enrolled), one.zeroed
        kept = np.sort(sizes[~zero & (one.found != 0)])
        gone = sizes[zero]
        if kept.size and gone.size:
            larger += float(np.searchsorted(kept, gone).sum())
            pairs += kept.size * gone.size
    return larger / pairs if pairs >= MIN_PAIRS else None
