"""Control reads: for each position, other weights that share its structure but not its origin.

Where a read is a request, and all values at the positions are the recorded ones, the controls need not be read: the elements of the
candidate are those of enrolment nearly everywhere then (`log10_equal_by_structure`), and so are the controls.
"""

import numpy as np
from numpy.typing import NDArray

from onnxnnw.methods.base import Floats, Positions, Weights
from onnxnnw.records.positions import CONTROLS, PositionPlan, control_positions, plan_of
from onnxnnw.records.record import Record
from onnxnnw.statistics import associate_fingerprint

__all__ = ["log10_equal_by_structure", "needs_no_controls", "read_beside_kept", "read_with_controls", "row_numbers"]

_ROUNDING = 1e-9
"""Of the mean of equal numbers."""


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


def read_beside_kept(record: Record, plan: PositionPlan, weights: Weights) -> tuple[Floats, Floats]:
    """Values at the positions: raw, and minus the mean that their controls had at enrolment; no control is read."""
    raw = np.full(plan.positions.size, np.nan)
    for slot in plan.numbers:
        values = weights.values(slot, plan.of(slot))
        if values is not None:
            raw[plan.slots == slot] = values
    return raw, raw - record.array("controls", plan.positions.size).astype(np.float64)


def log10_equal_by_structure(values: Floats, controls: Floats) -> float:
    """At most so likely (log10) another network has the recorded values at all N positions, if all that it shares is structure.

    Structure is what makes the weights of a column alike: zeros, a constant, few levels. Where the values of a column have the
    probabilities p, another network has an equal one with the probability sum p^2 <= max p, and a value is equal to all of its 8
    controls with sum p^9 >= (max p)^9. So the share of positions whose value is the mean of their controls, to the power of 1/9, is
    more than the share that chance makes equal, on average over columns too; and positions are drawn independently of each other.

    Args:
        values, controls: (N,), what a record has of its positions: the value, and the mean of the controls, 0 without any.
    """
    alike = int(((np.abs(values - controls) <= _ROUNDING * np.abs(values)) | (controls == 0)).sum())
    return float(values.size / (1 + CONTROLS) * np.log10((alike + 1) / (values.size + 1)))


def needs_no_controls(record: Record) -> bool:
    """Whether equal values at all positions say of the controls that they are equal too, with less doubt than p leaves."""
    if record.kind != "fingerprint" or record.parameters.keys() & {"ancestors", "linear"}:
        return False
    plan = plan_of(record)
    values, controls = (record.array(n, plan.positions.size).astype(np.float64) for n in ("values", "controls"))
    kept = values - controls
    certain = associate_fingerprint(kept, kept, plan.slots, row_numbers(record, plan)).log10_p
    return log10_equal_by_structure(values, controls) <= certain


def row_numbers(record: Record, plan: PositionPlan) -> Positions:
    """A number for the out-row of each position."""
    sizes = np.array([entry.row_size for entry in record.slots], np.int64)[plan.slots]
    rows: Positions = plan.slots * 2**40 + plan.positions // sizes
    return rows


def _minus_controls(values: Floats, there: NDArray[np.bool_]) -> Floats:
    """Each row holds an own value, then its controls; what is left after their mean is taken away."""
    beside = np.where(there, values[:, 1:], 0.0)
    with np.errstate(all="ignore"):
        out: Floats = values[:, 0] - beside.sum(1) / np.maximum(there.sum(1), 1)
    return out
