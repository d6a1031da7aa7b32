"""Values changed: how many, and how much in units of their slot's deviation."""

import numpy as np
from numpy.typing import NDArray

from onnxnnw.findings.base import Examination, Finding
from onnxnnw.methods.base import Reads

__all__ = ["find"]

FREE = 2.0
"""Factors between 1/2 and 2 are drift; beyond, a change of scale."""

LARGEST = 1e300
"""What is reported where squares overflow: JSON has no infinity."""


def find(examination: Examination) -> list[Finding]:
    """Positions whose value differs from what was kept, where the mark is there at all."""
    reads = examination.reads
    usable = np.isfinite(reads.found)
    changed = usable & (reads.found != reads.enrolled)
    if not changed.any() or not examination.significant:
        return []
    deviation = examination.deviations
    known = usable & (deviation > 0)
    with np.errstate(all="ignore"):
        relative = (_rescaled(reads)[known] - reads.enrolled[known]) / deviation[known]
        size = float(np.sqrt(np.mean(relative**2))) if known.any() else 0.0
    size = min(size, LARGEST)
    count, whole = int(changed.sum()), int(usable.sum())
    return [
        Finding(
            "values changed",
            f"{count:,} of {whole:,} values at the mark's positions changed, "
            f"by {size:.2g} of their layer's deviation (RMS)",
            {"changed": count, "read": whole, "relative_rms": float(f"{size:.4g}")},
        )
    ]


def _rescaled(reads: Reads) -> NDArray[np.float64]:
    """What was found, in the scale of enrolment: an integer operator or a folded factor multiplies a whole slot."""
    out = reads.found.copy()
    for slot in sorted(set(reads.slots.tolist())):
        chosen = (reads.slots == slot) & np.isfinite(reads.found)
        power, product = (
            float(reads.enrolled[chosen] @ reads.enrolled[chosen]),
            float(reads.enrolled[chosen] @ out[chosen]),
        )
        factor = product / power if power > 0 else 0.0
        if factor > 0 and not 1 / FREE < factor < FREE:
            out[chosen] /= factor
    return out
