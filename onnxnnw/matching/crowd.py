"""Slots of many records of one table, side by side."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onnxnnw.matching.anchor_agreement import AnchorTable, Wanted

__all__ = ["Crowd", "Rows", "Shape", "crowd_key"]

Rows = NDArray[np.int64]
Shape = tuple[int, int]


def crowd_key(wanted: Sequence[Wanted]) -> object:
    """Equal for the wanted slots of records of one slot table that can stand side by side."""
    first = wanted[0] if wanted else None
    return (
        None if first is None else first.folds is None,
        None if first is None else first.row_scales is None,
        tuple(want.positions.size for want in wanted),
        tuple(-1 if want.further is None else want.further[0].size for want in wanted),
        tuple(-1 if want.columns is None else want.columns.size for want in wanted),
    )


class Crowd:
    """The wanted slots of records of one slot table, side by side.

    Args:
        wanted: For each record its slots; all of one table, and of one ``crowd_key``.

    Attributes:
        count: How many records there are.
        slots: For each slot of the table its anchors in all records: arrays of one more dimension than in ``Wanted``.
        numbers: The slots of each shape.
    """

    def __init__(self, wanted: Sequence[Sequence[Wanted]]) -> None:
        self.count = len(wanted)
        self.slots = [_side_by_side([of[number] for of in wanted]) for number in range(len(wanted[0]))]
        self.numbers: dict[Shape, list[int]] = defaultdict(list)
        for number, want in enumerate(self.slots):
            self.numbers[want.rows, want.row_size].append(number)
        self._tables: dict[Shape | int, AnchorTable] = {}
        self._wanted = wanted

    def table(self, shape: Shape) -> AnchorTable:
        """The anchors of all slots of one shape, record after record."""
        if shape not in self._tables:
            own = [of[number] for of in self._wanted for number in self.numbers[shape]]
            self._tables[shape] = AnchorTable(own, shape)
        return self._tables[shape]

    def table_of(self, number: int) -> AnchorTable:
        """The anchors of one slot, a row for each record."""
        if number not in self._tables:
            self._tables[number] = AnchorTable([of[number] for of in self._wanted], (0, 0))
        return self._tables[number]

    def of(self, number: int, records: Rows) -> Wanted:
        """A slot in some of the records."""
        want = self.slots[number]
        if records.size == self.count:
            return want
        further = None if want.further is None else (want.further[0][records], want.further[1][records])
        return replace(
            want,
            positions=want.positions[records],
            values=want.values[records],
            further=further,
            folds=None if want.folds is None else want.folds[records],
            columns=None if want.columns is None else want.columns[records],
        )

    def some(self, numbers: Sequence[int] | None, records: Rows) -> "Crowd":
        """Some of the slots, or all, in some of the records."""
        numbers = range(len(self.slots)) if numbers is None else numbers
        return Crowd([[self._wanted[record][number] for number in numbers] for record in records.tolist()])


def _side_by_side(wanted: Sequence[Wanted]) -> Wanted:
    first = wanted[0]
    further = None
    if first.further is not None:
        both = [want.further for want in wanted if want.further is not None]
        further = np.stack([places for places, _ in both]), np.stack([values for _, values in both])
    folds = [want.folds for want in wanted if want.folds is not None]
    columns = [want.columns for want in wanted if want.columns is not None]
    return replace(
        first,
        positions=np.stack([want.positions for want in wanted]),
        values=np.stack([want.values for want in wanted]),
        further=further,
        folds=np.stack(folds) if folds else None,
        columns=np.stack(columns) if columns else None,
        row_scales=None,  # in the tables
    )
