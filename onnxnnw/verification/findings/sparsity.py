"""Zeros: positions that held a value and hold none now, as after pruning."""

import numpy as np

from onnxnnw.verification.findings.base import Examination, Finding, few

__all__ = ["find"]

MIN_SHARE = 0.004


def find(examination: Examination) -> list[Finding]:
    """The share of the mark's positions that became zero, where it is 0.4 % or more and the mark is there.

    Rounding to few levels makes zeros too, so slots that are stored in a narrow type do not count.
    """
    slots = [one for one in examination.slot_reads if not one.narrow and (one.enrolled != 0).any()]
    if not slots or not examination.significant:
        return []
    zeros = np.concatenate([one.zeroed[one.enrolled != 0] for one in slots])
    part = float(zeros.mean())
    if part < MIN_SHARE:
        return []
    kept = np.concatenate([np.abs(one.enrolled[one.enrolled != 0]) / max(one.deviation, 1e-300) for one in slots])
    smallest = bool(np.median(kept[zeros]) < np.median(kept)) and (
        zeros.all() or kept[zeros].max() <= 1.5 * kept[~zeros].min()
    )
    how = "the smallest ones, as magnitude pruning leaves" if smallest else "whatever their size"
    return [
        Finding(
            "pruned",
            f"{part:.1%} of the mark's weights are zero now ({how})",
            {"share": round(part, 4), "by_magnitude": int(smallest), "read": zeros.size},
            few({one.name: {"share": round(float(one.zeroed.mean()), 4)} for one in slots if one.zeroed.any()}),
        )
    ]
