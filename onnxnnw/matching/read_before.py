"""Slot values that were already read."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onnxnnw.graph.slot import Slot

__all__ = ["ReadBefore", "ReadWhole", "SlotsAtHand", "among"]

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]


class ReadBefore:
    """Values of a slot that were read already; many small reads cost more than one."""

    def __init__(self, places: Positions, values: Floats) -> None:
        order = np.argsort(places)
        self._places, self._values = places[order], values[order]

    def at(self, places: Positions) -> Floats | None:
        """The values there; None where not all of them were read."""
        if not self._places.size:
            return None
        found = self._places.searchsorted(places)
        if found.size and found.max() >= self._places.size:
            return None
        return self._values[found] if (self._places[found] == places).all() else None


class ReadWhole:
    """All values of a slot."""

    def __init__(self, slot: Slot) -> None:
        self.all_values = slot.constant.take(np.arange(slot.size))

    def at(self, places: Positions) -> Floats | None:
        """The values there."""
        return self.all_values[places].astype(np.float64)


class SlotsAtHand:
    """A candidate's slots that are read whole, once, where many records are held against it.

    Args:
        slots: The candidate's.
        room: Elements of all slots together that may be kept.
    """

    def __init__(self, slots: Sequence[Slot], room: int) -> None:
        self._may: set[int] = set()
        for slot in sorted(slots, key=lambda slot: slot.size):
            room -= slot.size
            remote = any(tensor.source is not None and tensor.source.is_remote for tensor in slot.constant.stored())
            if room >= 0 and not remote:  # of what lies elsewhere a few elements are asked for, never all
                self._may.add(id(slot))
        self._slots, self._read = slots, dict[int, ReadWhole]()

    def of(self, slot: Slot) -> ReadWhole | None:
        """All of a slot; None where it is too large, or lies elsewhere."""
        if id(slot) not in self._may:
            return None
        if id(slot) not in self._read:
            self._read[id(slot)] = ReadWhole(slot)
        return self._read[id(slot)]


def among(positions: Positions, ascending: Positions) -> NDArray[np.bool_]:
    """Which positions are among a few; ``np.isin`` sorts both each time."""
    if not ascending.size:
        return np.zeros(positions.shape, np.bool_)
    found: NDArray[np.bool_] = (
        ascending[np.searchsorted(ascending, positions).clip(max=ascending.size - 1)] == positions
    )
    return found
