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
    own, controls = plan.positions[:, None], control_positions(record, plan)
    there = controls >= 0
    order = np.argsort(plan.slots, kind="stable")
    places = np.concatenate([own, np.where(there, controls, own)], axis=1)[order]  # what is not there is not counted
    there = there[order]
    read, scales = np.full(places.shape, np.nan), None
    ends = np.searchsorted(plan.slots[order], plan.numbers, side="right").tolist()
    for slot, start, end in zip(plan.numbers, [0, *ends], ends, strict=False):
        flat = places[start:end].reshape(-1)
        values, gauge = weights.values(slot, flat), weights.row_scales(slot)
        if values is not None:
            read[start:end] = values.reshape(-1, places.shape[1])
            if gauge is not None:
                scales = np.full(places.shape, np.nan) if scales is None else scales
                scales[start:end] = gauge[flat // record.slots[slot].row_size].reshape(-1, places.shape[1])
    raw, corrected, row_scaled = (np.full(len(read), np.nan) for _ in range(3))
    raw[order], corrected[order] = read[:, 0], _minus_controls(read, there)
    if scales is not None:
        with np.errstate(all="ignore"):
            row_scaled[order] = _minus_controls(read / scales, there)
    return raw, corrected, row_scaled


def _minus_controls(values: Floats, there: NDArray[np.bool_]) -> Floats:
    """Each row holds an own value, then its controls; what is left after their mean is taken away."""
    beside = np.where(there, values[:, 1:], 0.0)
    with np.errstate(all="ignore"):
        out: Floats = values[:, 0] - beside.sum(1) / np.maximum(there.sum(1), 1)
    return out
