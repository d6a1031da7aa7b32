"""Zeros: positions that held a value and hold none now, as after pruning."""

import numpy as np

from onnxnnw.findings.base import Examination, Finding

__all__ = ["find"]

MIN_SHARE = 0.01


def find(examination: Examination) -> list[Finding]:
    """The share of the mark's positions that became zero, where it is 1 % or more and the mark is there."""
    reads = examination.reads
    usable = np.isfinite(reads.found) & (reads.enrolled != 0)
    if not usable.any() or not examination.significant:
        return []
    zeros = reads.found[usable] == 0
    part = float(zeros.mean())
    if part < MIN_SHARE:
        return []
    kept = np.abs(reads.enrolled[usable] / examination.deviations[usable].clip(1e-300))
    smallest = bool(np.median(kept[zeros]) < np.median(kept)) and (
        zeros.all() or kept[zeros].max() <= 1.5 * kept[~zeros].min()
    )
    how = "the smallest ones, as magnitude pruning leaves" if smallest else "whatever their size"
    return [
        Finding(
            "pruned",
            f"{part:.0%} of the mark's weights are zero now ({how})",
            {"share": round(part, 4), "by_magnitude": int(smallest)},
        )
    ]
