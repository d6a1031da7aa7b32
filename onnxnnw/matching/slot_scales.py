"""A candidate's slots and the scales of their rows and columns, read and measured once for all records that are held against it."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from onnxnnw.graph.slot import Slot
from onnxnnw.matching.row_scale import column_scales, row_magnitudes, row_scales
from onnxnnw.network_file.stored import Array

__all__ = ["SlotArrays", "SlotScales"]

Scales = NDArray[np.float64]


class SlotScales:
    """Scales measured so far: one number for each row or column of a slot, the same for every record."""

    def __init__(self) -> None:
        self._measured: dict[tuple[Slot, str, bool, int], Scales | None] = {}

    def of_rows(self, slot: Slot, array: Array, folded: bool) -> Scales:
        """The scales of a slot's rows.

        Args:
            array: The slot's values, (rows, row_size).
            folded: Whether what multiplies its rows downstream is folded into them.
        """
        scales = self._once((slot, "rows", folded, 0), lambda: row_scales(row_magnitudes(array)))
        assert scales is not None
        return scales

    def of_columns(self, slot: Slot, array: Array, folded: bool, taps: int) -> Scales | None:
        """The scales of a slot's columns, ``taps`` of them side by side counted as one; None where there are too few rows."""
        return self._once((slot, "columns", folded, taps), lambda: column_scales(array, taps))

    def _once(self, key: tuple[Slot, str, bool, int], measure: Callable[[], Scales | None]) -> Scales | None:
        if key not in self._measured:
            self._measured[key] = measure()
        return self._measured[key]


class SlotArrays:
    """Whole slots and the scales of their rows, kept in bounded memory.

    Args:
        room: Bytes of all slots together that may be kept.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._kept: dict[Slot, tuple[Array, Scales]] = {}

    def of(self, slot: Slot) -> Array:
        """All values of a slot."""
        if slot in self._kept:
            return self._kept[slot][0]
        array = slot.array()
        if array.nbytes <= self._room:
            self._room -= array.nbytes
            self._kept[slot] = array, row_scales(row_magnitudes(array))
        return array

    def scales(self, slot: Slot, array: Array) -> Scales:
        """The scales of the rows of an array that was made of a slot; they are known where it is the slot as it is."""
        kept = self._kept.get(slot)
        return kept[1] if kept is not None and kept[0] is array else row_scales(row_magnitudes(array))
