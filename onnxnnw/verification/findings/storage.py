"""Unchanged: all positions hold exactly the recorded values, or what recomputing them gives."""

import numpy as np

from onnxnnw.verification.findings.base import Examination, Finding
from onnxnnw.verification.slot_reads import ROUNDING

__all__ = ["find"]


def find(examination: Examination) -> list[Finding]:
    """One finding when nothing at the key's positions has changed; it says nothing of any other weight."""
    reads = examination.reads
    marked = examination.judgement.unit == "positions"
    what, count = "positions of the key" if marked else "anchors", reads.found.size
    if marked and not examination.significant and examination.record.kind == "watermark":
        return []  # without the mark, what was kept are the weights from before it
    if not count or not np.isfinite(reads.found).all():
        return []
    if np.array_equal(reads.found, reads.enrolled):
        return [Finding("unchanged", f"unchanged at all {count:,} {what}", {"positions": count})]
    deviations = examination.deviations[reads.slots]
    allowed = ROUNDING * (np.abs(reads.enrolled) + deviations)
    difference = np.abs(reads.found - reads.enrolled)
    if (difference > allowed).any():
        return []
    spread = deviations > 0
    largest = float((difference[spread] / deviations[spread]).max()) if spread.any() else 0.0
    return [
        Finding(
            "recomputed",
            f"equal at all {count:,} {what} up to the last bits, as after folding constants",
            {"positions": count, "largest_difference": float(f"{largest:.2g}")},
        )
    ]
