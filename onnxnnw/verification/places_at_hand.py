"""Positions that marks share with others whose records are at hand: all of them sorted once."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onnxnnw.methods.nct import NCT
from onnxnnw.records.positions import plan_of
from onnxnnw.records.record import Record

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
        several, copies = [], set()
        for record in records:
            if record.method != NCT.name or (record.is_for_recipient and record.positions_key in copies):
                continue  # copies for recipients share all positions, as they should
            if record.is_for_recipient:
                copies.add(record.positions_key)
            several.append(self._of(record))
        everything = np.concatenate([*several, np.empty(0, np.int64)])
        self._places, self._counts = np.unique(everything, return_counts=True)

    def shared(self, record: Record) -> int:
        """How many positions one of these records shares with each of the others, together."""
        if record.method != NCT.name or not self._places.size:
            return 0
        own = self._of(record)
        return int((self._counts[np.searchsorted(self._places, own)] - 1).sum())

    def _of(self, record: Record) -> NDArray[np.int64]:
        plan = plan_of(record)
        names = [self._names.setdefault(entry.name, len(self._names)) for entry in record.slots]
        out: NDArray[np.int64] = np.unique(np.array(names, np.int64)[plan.slots] * _ROOM + plan.positions % _ROOM)
        return out
