"""Noise: nearly all values moved, as Gaussian numbers of one size in units of each layer's deviation."""

import math

from onnxnnw.verification.changes import SMALLEST, shape_of
from onnxnnw.verification.findings.base import Examination, Finding, few

__all__ = ["find"]

MIN_READS, MIN_SLOTS = 100, 2
LIMIT = 3.5
"""z beyond which changes are not Gaussian, or not of one size: one noisy network in a thousand."""


def find(examination: Examination) -> list[Finding]:
    """S with its uncertainty, where the changes are Gaussian and of the same S in every layer."""
    loose = examination.loose
    shape = shape_of(loose)
    everywhere = len(loose) >= 0.9 * len(examination.slot_reads)
    if not everywhere or shape.reads < MIN_READS or len(shape.sizes) < MIN_SLOTS or shape.size < SMALLEST:
        return []
    if abs(shape.peaked) > LIMIT or shape.uneven > LIMIT:
        return []
    margin = 1.96 * shape.size / math.sqrt(2 * shape.reads)
    return [
        Finding(
            "noise",
            f"all layers carry Gaussian noise of S ≈ {shape.size:.2g} ± {margin:.1g} times their own deviation",
            {"s": float(f"{shape.size:.4g}"), "margin": float(f"{margin:.2g}"), "reads": shape.reads},
            few({name: {"s": float(f"{size:.4g}")} for name, size in shape.sizes.items()}),
        )
    ]
