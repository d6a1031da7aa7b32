"""Round mark values to the slot's quantisation grid: a value off the grid would give its position away."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.graph.slot_view import SlotView
from onnxnnw.methods import nct
from onnxnnw.records.positions import PositionPlan, plan_of
from onnxnnw.records.record import Record

__all__ = ["on_grid", "rounded_to_grid"]


def on_grid(record: Record, view: SlotView) -> Record:
    """The record with the values that are written, where the grid of a slot rounds them; itself where none does.

    Weights that were quantised and stored as floats have few levels in each out-row, or trailing bits that are all zero. A value
    beside that grid would name its position. Called when all is bound that the mark depends on.
    """
    if not nct.is_added(record):
        return record
    plan = plan_of(record)
    values = nct.mark_values(record, plan)
    out = rounded_to_grid(values, plan, record, view)
    return record if np.array_equal(out, values) else record.with_measured(written=out.astype("<f8"))


def rounded_to_grid(
    values: NDArray[np.float64], plan: PositionPlan, record: Record, view: SlotView
) -> NDArray[np.float64]:
    """Mark values at the positions of a plan, on the grids of their slots; each alone, whatever the others are."""
    out = values.copy()
    for slot in plan.numbers:
        chosen = np.flatnonzero(plan.slots == slot)
        array = view.slots[slot].array()
        bits = _spare_bits(array)
        if bits:
            out[chosen] = _without_bits(out[chosen], bits)
        some = array[:_ROWS][array[:_ROWS] != 0]  # zeros of a pruned network are no level
        if 2 * _levels(some).size > some.size:
            continue
        whole = _levels(array)
        for place in chosen.tolist():
            row = array[plan.positions[place] // record.slots[slot].row_size]
            levels = _levels(row)
            own = levels if 4 * levels.size <= np.count_nonzero(row) else whole
            out[place] = own[np.abs(own - out[place]).argmin()]
    return out


_ROWS = 64
"""Out-rows of a slot that are looked at for repeated levels."""


def _spare_bits(array: NDArray[Any]) -> int:
    """Trailing zero bits that all float32 values of a slot share, as those have that were float16 or bfloat16 once."""
    if array.dtype != np.float32 or not array.size:
        return 0
    together = int(np.bitwise_or.reduce(np.ascontiguousarray(array).view(np.uint32), axis=None))
    return (together & -together).bit_length() - 1 if together & (2**23 - 1) else 0


def _without_bits(values: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    """Values rounded to float32 with trailing zero bits."""
    raw = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    rounded = (raw + (1 << (bits - 1))) >> np.uint64(bits) << np.uint64(bits)
    return rounded.astype(np.uint32).view(np.float32).astype(np.float64)


def _levels(values: NDArray[Any]) -> NDArray[Any]:
    """The distinct values, ascending; np.unique would import numpy.ma."""
    ordered = np.sort(values, axis=None)
    return ordered[np.concatenate(([True], ordered[1:] != ordered[:-1]))] if ordered.size else ordered
