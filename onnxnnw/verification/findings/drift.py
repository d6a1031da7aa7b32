"""Values changed: how many, and how much in units of their slot's deviation."""

import numpy as np

from onnxnnw.verification.findings.base import Examination, Finding, few

__all__ = ["find"]

LARGEST = 1e300
"""What is reported where squares overflow: JSON has no infinity."""


def find(examination: Examination) -> list[Finding]:
    """Positions whose value differs from the recorded one, if the mark is there at all."""
    reads = examination.reads
    usable = np.isfinite(reads.found)
    if not examination.significant or np.array_equal(reads.found[usable], reads.enrolled[usable]):
        return []
    slots = examination.slot_reads
    changed, whole = sum(int((~one.same).sum()) for one in slots), sum(one.found.size for one in slots)
    if not changed:
        return []
    sizes = {}
    power = 0.0
    for one in slots:
        if one.deviation > 0:
            with np.errstate(all="ignore"):
                squares = ((one.found / one.factor - one.enrolled) / one.deviation) ** 2
            power += float(squares.sum())
            sizes[one.name] = {"relative_rms": float(f"{min(LARGEST, float(np.sqrt(squares.mean()))):.4g}")}
    size = min(LARGEST, float(np.sqrt(power / max(1, whole))))
    return [
        Finding(
            "values changed",
            f"{changed:,} of {whole:,} values at the record's positions changed, "
            f"by {size:.2g} of their layer's deviation (RMS)",
            {"changed": changed, "read": whole, "relative_rms": float(f"{size:.4g}")},
            few(sizes),
        )
    ]
