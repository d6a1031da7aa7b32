"""Measurements of each slot at enrolment: its row of the slot table, its deviation, and its row and column scales.

Out-rows that are (nearly) dead and tables that were computed rather than trained take no part in a mark.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxnnw.enrolment.formulas import is_formula
from onnxnnw.enrolment.origins import is_near_identity
from onnxnnw.graph.slot import Slot
from onnxnnw.graph.uses import AS_TABLE
from onnxnnw.matching.row_scale import column_scales, row_magnitudes, row_scales
from onnxnnw.network_file.stored import Array
from onnxnnw.records.slot_table import SlotEntry

__all__ = ["MeasuredSlot", "may_carry", "measure_slot"]

_BLOCKS, _BLOCK = 64, 1024


@dataclass(frozen=True)
class MeasuredSlot:
    """One slot as enrolment found it.

    Attributes:
        entry: Its row of the slot table.
        deviation: Standard deviation of its weights.
        row_scales: Scale (root mean square) of each out-row; 1 where the slot has none.
        fold: What multiplies each out-row downstream; None where nothing does.
        folded_row_scales: The same once that is folded in.
        columns: Balanced magnitude of each input channel's columns; None where there are too few rows.
    """

    entry: SlotEntry
    deviation: float
    row_scales: NDArray[np.float64]
    fold: NDArray[np.float64] | None
    folded_row_scales: NDArray[np.float64]
    columns: NDArray[np.float64] | None


def measure_slot(slot: Slot, watermark: bool) -> MeasuredSlot:
    """Measure a slot, reading all of it once.

    Args:
        slot: A live slot.
        watermark: Whether values will be written, so that read-only slots are not eligible; else formula tables and
            identity starts are not.
    """
    array = slot.array()
    magnitudes = row_magnitudes(array)
    fold = slot.row_gain
    folded = magnitudes if fold is None else magnitudes * np.abs(fold)
    scales, folded_row_scales = row_scales(magnitudes), row_scales(folded)
    dead = np.flatnonzero(_dead(magnitudes, scales) | _dead(folded, folded_row_scales))
    finite = bool(np.isfinite(magnitudes).all())
    eligible = finite and dead.size < slot.rows and may_carry(slot, watermark)
    if eligible and not watermark:
        eligible = not is_formula(array) and not is_near_identity(array)
    entry = SlotEntry(
        name=slot.name,
        use=slot.use,
        shape=slot.shape,
        data_type=slot.tensor.type_name,
        bias=slot.bias,
        layout=slot.layout,
        row_size=slot.row_size,
        dead_rows=tuple(dead.tolist()) if dead.size < slot.rows else (),
        eligible=eligible,
    )
    scales, folded_row_scales = (np.where(np.isfinite(each), each, 1.0) for each in (scales, folded_row_scales))
    return MeasuredSlot(entry, _deviation(array), scales, fold, folded_row_scales, column_scales(array, entry.taps))


def may_carry(slot: Slot, watermark: bool) -> bool:
    """Whether a slot is eligible for a mark or a fingerprint, before its values are read.

    A matrix, kernel or embedding may; tables that elementwise operators read may be computed.
    """
    weight_of_a_layer = slot.layout not in AS_TABLE and sum(length > 1 for length in slot.shape) >= 2
    return weight_of_a_layer and not slot.shared and not (watermark and slot.read_only)


def _dead(magnitudes: NDArray[np.float64], scales: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Out-rows that are (nearly) zero."""
    dead: NDArray[np.bool_] = ~(magnitudes >= np.where(np.isfinite(scales), scales, np.inf) * (1 - 1e-9))
    return dead


def _deviation(array: Array) -> float:
    """Standard deviation of a slot from 64 blocks of 1,024 values at fixed places (all values of a small slot)."""
    flat = array.reshape(-1)
    if flat.size > _BLOCKS * _BLOCK:
        starts = (np.arange(_BLOCKS) * (flat.size - _BLOCK)) // (_BLOCKS - 1)
        flat = np.concatenate([flat[start : start + _BLOCK] for start in starts])
    deviation = float(np.std(flat[np.isfinite(flat)], dtype=np.float64)) if np.isfinite(flat).any() else 0.0
    return deviation if np.isfinite(deviation) else 0.0
