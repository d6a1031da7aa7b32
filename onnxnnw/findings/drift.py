"""Values changed: how many, and how much in units of their slot's deviation."""

import numpy as np

from onnxnnw.findings.base import Examination, Finding

__all__ = ["find"]

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
        relative = (reads.found[known] - reads.enrolled[known]) / deviation[known]
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
