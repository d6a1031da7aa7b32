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


def find(examination: Examination) -> list[Finding]:
    """The share of the mark's positions that became zero, where it is 0.4 % or more and the mark is there.

    Rounding to few levels makes zeros too, so slots that are stored in a narrow type do not count.
    """
    slots = [one for one in examination.slot_reads if not one.reduced_precision and (one.enrolled != 0).any()]
    if not slots or not examination.significant:
        return []
    zeros = np.concatenate([one.zeroed[one.enrolled != 0] for one in slots])
    part = float(zeros.mean())
    if part < MIN_SHARE:
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
