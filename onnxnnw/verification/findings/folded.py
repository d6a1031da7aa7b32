"""Folded: what multiplied a weight's outputs at enrolment, a batch normalisation as a rule, is now part of the weight."""

import numpy as np
from numpy.typing import NDArray

from onnxnnw.records.row_factors import folds_of
from onnxnnw.verification.findings.base import Examination, Finding, few, share

__all__ = ["find"]

SPREAD = 1e-3
"""Factors that vary by less are one factor: the scale of an integer product, which folds nothing."""


def find(examination: Examination) -> list[Finding]:
    """Recognised slots whose rows were multiplied by factors of their own downstream, and no longer are."""
    folds = folds_of(examination.record) or {}
    normalised = any(node.op == "BatchNormalization" for node in examination.view.live)
    taken_in = {}
    several = {number for number, fold in folds.items() if _varies(fold)}
    elsewhere = {one.name for one in examination.slot_reads if one.channels}
    for number, match in examination.matched():
        if number not in several or not match.folded or examination.record.slots[number].name in elsewhere:
            continue  # it agrees as it was stored, or not at all: what followed is gone, not folded
        now = match.slot.row_gain
        before = folds[number]
        if now is None or not _varies(now) or (not normalised and now.size == before.size and _varies(now / before)):
            size = float(np.exp(np.median(np.abs(np.log(np.abs(before[before != 0]))))))
            negative = int((before < 0).sum())
            taken_in[examination.record.slots[number].name] = {"factor": float(f"{size:.3g}"), "negative": negative}
    if not taken_in:
        return []
    return [
        Finding(
            "batch norm folded",
            f"{share(len(taken_in), len(several))} normalisations were folded into the weights before them",
            {"slots": len(taken_in), "of": len(several)},
            few(taken_in),
        )
    ]


def _varies(factors: NDArray[np.float64]) -> bool:
    """Whether factors differ from row to row."""
    usable = factors[np.isfinite(factors)]
    return bool(usable.size) and float(np.ptp(usable)) > SPREAD * float(np.abs(usable).max())
