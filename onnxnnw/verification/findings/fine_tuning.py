"""Fine-tuning: values drifted, by another amount in every layer, or in some layers and not in others."""

import numpy as np

from onnxnnw.verification.findings.base import Examination, Finding, few, share
from onnxnnw.verification.slot_reads import SMALLEST, shape_of

__all__ = ["find"]

MIN_READS = 64
LIMIT = 3.5
FLAT = 3.5
"""Changes that are spread evenly are rounding, whatever their size in each layer."""


ROUNDED = 2.0**-8
"""Rounding to sixteen bits moves values by a third of that at most, in deviations; layers differ, since large values move more."""


def find(examination: Examination) -> list[Finding]:
    """Drift per layer, where it differs by more than chance, and nothing that rounds values explains it."""
    changed, slots = examination.freely_changed, examination.slot_reads
    steady = [one for one in slots if not one.reduced_precision and one.same.all()]
    shape = shape_of(changed)
    if len(changed) + len(steady) < 0.9 * len(slots) or shape.reads < MIN_READS or shape.size < SMALLEST:
        return []
    frozen = sum(one.found.size for one in steady) >= MIN_READS
    if shape.geary_z > FLAT or not (shape.bartlett_z > LIMIT or frozen) or not shape.sizes:
        return []
    sizes = np.array([*shape.sizes.values(), *([0.0] if frozen else [])])
    if examination.exact_in and sizes.max() < ROUNDED:
        return []
    return [
        Finding(
            "fine-tuned",
            f"values drifted in {share(len(changed), len(slots))} layers, by {sizes.min():.2g} to {sizes.max():.2g} "
            "of their deviation: another amount in every layer, as training leaves them",
            {
                "layers": len(changed),
                "smallest": float(f"{sizes.min():.4g}"),
                "largest": float(f"{sizes.max():.4g}"),
                "unevenness": round(shape.bartlett_z, 2),
            },
            few({name: {"relative_rms": float(f"{size:.4g}")} for name, size in shape.sizes.items()}),
        )
    ]
