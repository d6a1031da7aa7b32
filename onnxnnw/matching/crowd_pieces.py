"""Whether slots of many records may be spread over several of a candidate's: ``assembly`` for all of them at once."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onnxnnw.constants.arrays import Positions
from onnxnnw.graph.slot import Slot
from onnxnnw.matching.anchor_agreement import MIN_ANCHORS, Wanted, row_agreements
from onnxnnw.matching.assembly import COLUMNS, FIRST, HOPELESS, MAX_TAKES, ROWS, Search, folded_values, values_of

__all__ = ["CrowdSearch"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_ROUNDING = 1e-9
"""Sums in another order differ by less."""


class CrowdSearch(Search):
    """The search of ``assembly`` for the same slots of many records, as long as it finds nothing.

    Args:
        slots, free, enough: See ``assembly.assembled``.
        count: How many records there are.
    """

    def __init__(self, slots: Sequence[Slot], free: Sequence[int], enough: float, count: int) -> None:
        super().__init__(slots, free, enough)
        self.takes_of = np.full(count, MAX_TAKES)

    def finds_nothing(self, want: Wanted) -> Flags:
        """In which records nothing was found of a slot.

        Args:
            want: It in all records, see ``crowd.Crowd``.
        """
        return self._no_run(want) & self._no_places(want, ROWS) & self._no_places(want, COLUMNS)

    def _no_run(self, want: Wanted) -> Flags:
        nothing = np.ones(self.takes_of.size, np.bool_)
        for axis, run in self.possible_runs(want):
            for order in self.possible_orders(want, axis):
                going = self.takes_of > 0
                if not going.any():
                    break
                z = self._all_together(want, run, axis, order, going)
                nothing &= ~(going & (z > self.enough - _ROUNDING))
        return nothing

    def _all_together(
        self, want: Wanted, run: Sequence[int], axis: int, order: Positions | None, going: Flags
    ) -> Floats:
        """Agreement of a run with all anchors of each record; 0 where it is not looked at to its end."""
        row, column = want.positions // want.row_size, want.positions % want.row_size
        row = row if order is None else order[row]
        along = row if axis == ROWS else column
        found = np.full((2, *row.shape), np.nan)
        going, looked = going.copy(), np.zeros(going.size, np.bool_)
        expected = want.values, folded_values(want)
        start = 0
        for index in run:
            slot = self.slots[index]
            stop = start + (slot.rows if axis == ROWS else slot.row_size)
            own = (along >= start) & (along < stop) & going[:, None]
            self.takes_of -= own.any(axis=1)
            if own.any():
                at = (row[own] - start, column[own]) if axis == ROWS else (row[own], column[own] - start)
                found[:, own] = values_of(slot, at[0] * slot.row_size + at[1])
            start = stop
            ready = going & ~looked
            ready[ready] = np.isfinite(found[0, ready]).sum(axis=1) >= FIRST
            if ready.any():
                looked |= ready
                z = [row_agreements(each[ready], kept[ready]) for each, kept in zip(found, expected, strict=True)]
                going[np.flatnonzero(ready)[np.maximum(*z) < HOPELESS - _ROUNDING]] = False
        out = np.zeros(going.size)
        z = [row_agreements(each[going], kept[going]) for each, kept in zip(found, expected, strict=True)]
        out[going] = np.maximum(*z)
        return out

    def _no_places(self, want: Wanted, axis: int) -> Flags:
        nothing = np.ones(self.takes_of.size, np.bool_)
        if want.further is None:
            return nothing
        positions, values = want.further
        for start, piece, placed in self.placings(want, axis, positions):
            several = placed.sum(axis=1) >= MIN_ANCHORS
            if not several.any():
                continue
            own = placed[several]
            read = np.full((2, *own.shape), np.nan)
            read[:, own] = self.values_in(piece, positions[several][own], want.row_size, axis, start)
            z = np.maximum(*(row_agreements(each, values[several]) for each in read))
            nothing[several] &= z <= self.enough - _ROUNDING
        return nothing
