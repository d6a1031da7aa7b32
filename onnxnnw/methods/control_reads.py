"""Control reads: for each position, other weights that share its structure but not its origin."""

import numpy as np
from numpy.typing import NDArray

from onnxnnw.methods.base import Floats, Weights
from onnxnnw.records.positions import PositionPlan, control_positions
from onnxnnw.records.record import Record

__all__ = ["read_with_controls"]


def read_with_controls(record: Record, plan: PositionPlan, weights: Weights) -> tuple[Floats, Floats, Floats]:
    """Values at the positions: raw, minus the mean of their controls, and the same divided by the scale of each out-row.

    The scales are those of the candidate itself, so the last is NaN where only raw values are read.
    """
    count = plan.positions.size
    raw, corrected, row_scaled = (np.full(count, np.nan) for _ in range(3))
    controls = control_positions(record, plan)
    for slot in plan.numbers:
        chosen = np.flatnonzero(plan.slots == slot)
        own, beside = plan.positions[chosen], controls[chosen]
        there = beside >= 0
        both = np.concatenate([own, beside[there]])
        values = weights.values(slot, both)
        if values is None:
            continue
        raw[chosen] = values[: own.size]
        corrected[chosen] = _minus_controls(values, there)
        scales = weights.row_scales(slot)
        if scales is not None:
            with np.errstate(all="ignore"):
                scaled = values / scales[both // record.slots[slot].row_size]
            row_scaled[chosen] = _minus_controls(scaled, there)
    return raw, corrected, row_scaled


def _minus_controls(values: Floats, there: NDArray[np.bool_]) -> Floats:
    """``values`` holds the own values, then each one's controls; what is left after their means are taken away."""
    own = len(there)
    beside = np.zeros(there.shape)
    beside[there] = values[own:]
    with np.errstate(all="ignore"):
        out: Floats = values[:own] - beside.sum(1) / np.maximum(there.sum(1), 1)
    return out
