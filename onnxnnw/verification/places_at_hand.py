"""Positions that a mark shares with the marks of other given records."""

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import UnreadableRecord
from onnxnnw.methods.nct import NCT
from onnxnnw.records.positions import plan_of
from onnxnnw.records.record import Record
from onnxnnw.records.slot_table import SlotEntry

__all__ = ["PlacesAtHand"]

_ROOM = 2**44
"""Positions of one slot; larger ones are nobody's."""


class PlacesAtHand:
    """The positions of many records.

    Args:
        records: Any; those of other methods have no positions.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self._names: dict[str, int] = {}
        self._tables: dict[int, tuple[Sequence[SlotEntry], NDArray[np.int64]]] = {}
        several, groups = [], set()
        for record in records:
            group = id(record) if record.positions_key is None else record.positions_key
            if record.method != NCT.name or group in groups:
                continue  # copies for recipients lie at the same positions, all of them, as they should
            groups.add(group)
            with suppress(UnreadableRecord):  # it is named where it is looked at
                several.append(self._of(record))
        everything = np.concatenate([*several, np.empty(0, np.int64)])
        self._places, self._counts = np.unique(everything, return_counts=True)

    def shared(self, record: Record) -> int:
        """How many positions one of these records shares with each of the others, together."""
        if record.method != NCT.name or not self._places.size:
            return 0
        own = self._of(record)
        at = np.minimum(np.searchsorted(self._places, own), self._places.size - 1)
        return int((self._counts[at] - 1)[self._places[at] == own].sum())

    def _of(self, record: Record) -> NDArray[np.int64]:
        plan = plan_of(record)
        names = self._numbers(record.slots)
        out: NDArray[np.int64] = names[plan.slots] * _ROOM + plan.positions % _ROOM
        once = np.unique(names).size == names.size and plan.positions.max(initial=0) < _ROOM
        return out if once else np.unique(out)

    def _numbers(self, slots: Sequence[SlotEntry]) -> NDArray[np.int64]:
        """A number for the name of each slot; records of one network share their table."""
        if id(slots) not in self._tables:
            names = [self._names.setdefault(entry.name, len(self._names)) for entry in slots]
            self._tables[id(slots)] = slots, np.array(names, np.int64)
        return self._tables[id(slots)][1]
