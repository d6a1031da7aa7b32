"""Noise: nearly all values moved, as Gaussian numbers of one size in units of each layer's deviation."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from onnxnnw.verification.findings.base import Examination, Finding, few, freely_changed_of
from onnxnnw.verification.slot_reads import SMALLEST, SlotReads, shape_of
from onnxnnw.verification.units import clustered

__all__ = ["find"]

MIN_READS, MIN_SLOTS = 100, 2
LIMIT = 3.5
"""z beyond which changes are not Gaussian, or not of one size: one noisy network in a thousand."""


def find(examination: Examination) -> list[Finding]:
    """S with its uncertainty, where the changes are Gaussian and of the same S in every layer."""
    changed = examination.freely_changed
    shape = shape_of(changed)
    everywhere = len(changed) >= 0.9 * len(examination.slot_reads)
    if not everywhere or shape.reads < MIN_READS or len(shape.sizes) < MIN_SLOTS or shape.size < SMALLEST:
        return []
    if abs(shape.geary_z) > LIMIT or shape.bartlett_z > LIMIT:
        return []
    further = freely_changed_of(examination.more_reads)
    wider = shape_of(further)
    if abs(wider.geary_z) > LIMIT or wider.bartlett_z > LIMIT or not all(abs(z) <= LIMIT for z in _structure(further)):
        return []  # looked at more closely, these are rounded, or trained
    margin = 1.96 * shape.size / math.sqrt(2 * shape.reads)
    return [
        Finding(
            "noise",
            f"all layers carry Gaussian noise of S ≈ {shape.size:.2g} ± {margin:.1g} times their own deviation",
            {"s": float(f"{shape.size:.4g}"), "margin": float(f"{margin:.2g}"), "reads": shape.reads},
            few({name: {"s": float(f"{size:.4g}")} for name, size in shape.sizes.items()}),
            version=2,
        )
    ]


def _structure(changed: Sequence[SlotReads]) -> Iterator[float]:
    """z of changes, and of their sizes, that rows or input channels share, as gradients leave them."""
    chosen = []
    for one in changed:
        usable = ~one.same & ~one.zeroed
        if one.moved.size == int(usable.sum()) and one.moved.any():
            chosen.append((one.moved / np.sqrt(np.mean(one.moved**2)), one.rows[usable], one.input_channels[usable]))
    moves = [each[0] for each in chosen]
    for values in (moves, [np.abs(each) - np.abs(each).mean() for each in moves]):
        for axis in (1, 2):
            yield clustered(values, [each[axis] for each in chosen])[0]
