"""Folded: what multiplied a weight's outputs at enrolment (usually a batch normalisation) is now in the weight."""

import numpy as np
from numpy.typing import NDArray

from onnxnnw.records.row_factors import row_factors_of
from onnxnnw.verification.findings.base import Examination, Finding, few, share

__all__ = ["find"]

SPREAD = 1e-3
"""Factors that vary by less are one factor: the scale of an integer product, which folds nothing."""


def find(examination: Examination) -> list[Finding]:
    """Recognised slots whose rows were multiplied by factors of their own downstream, and no longer are."""
    folds = row_factors_of(examination.record) or {}
    several = {number for number, fold in folds.items() if _varies(fold)}
    if not several or _all_there(examination):
        return []
    reads = {one.name: one for one in examination.slot_reads}
    taken_in = {}
    for number, match in examination.matched():
        name = examination.record.slots[number].name
        if number not in several or name not in reads or not reads[name].folded or reads[name].channels:
            continue  # it agrees as it was stored, or not at all: what followed is gone, not folded
        now, before = match.slot.row_gain, folds[number]
        if now is None or not _varies(now) or (now.size == before.size and _varies(now / before)):
            size = float(np.exp(np.median(np.abs(np.log(np.abs(before[before != 0]))))))
            negative = int((before < 0).sum())
            taken_in[name] = {"factor": float(f"{size:.3g}"), "negative": negative}
    if not taken_in:
        return []
    return [
        Finding(
            "batch norm folded",
            f"{share(len(taken_in), len(several))} normalisations were folded into the weights before them",
            {"slots": len(taken_in), "of": len(several)},
            few(taken_in),
            version=2,
        )
    ]


def _all_there(examination: Examination) -> bool:
    """Whether the candidate has as many batch normalisations as the network had, and it had some."""
    account = examination.record.account
    before = int(account["operators"].get("BatchNormalization", 0)) if account is not None else 0
    return 0 < before <= sum(node.op == "BatchNormalization" for node in examination.view.live)


def _varies(factors: NDArray[np.float64]) -> bool:
    """Whether factors differ from row to row."""
    usable = factors[np.isfinite(factors)]
    return bool(usable.size) and float(np.ptp(usable)) > SPREAD * float(np.abs(usable).max())
