"""Networks that were fine-tuned from a public one: their fingerprint uses the differences from it.

Each slot's counterpart in an ancestor is found by its values; a fingerprint then keeps, beside the values, what stood there in the
ancestor, and is judged by the differences (docs/reference/statistics.md).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxnnw.graph.slot import Slot
from onnxnnw.graph.slot_view import SlotView

__all__ = ["AncestorWeights", "Forerunner", "forerunners_of"]

_SAMPLE, _LEAST, _MOST = 1024, 0.5, 64


@dataclass(frozen=True)
class Forerunner:
    """The slot of an ancestor from which a slot was trained on.

    Attributes:
        slot: The ancestor's.
        transposed: Whether its rows are the other one's columns.
    """

    slot: Slot
    transposed: bool

    def values(self, positions: NDArray[np.int64], row_size: int) -> NDArray[np.float64]:
        """What stood at flat positions of the slot that has so many columns."""
        if not self.transposed:
            return self.slot.values(positions)
        return self.slot.values(positions % row_size * self.slot.row_size + positions // row_size)


def forerunners_of(view: SlotView, ancestors: Iterable[SlotView]) -> dict[int, Forerunner]:
    """Id of a slot -> the slot of an ancestor with which its values correlate most, and above .5."""
    out: dict[int, Forerunner] = {}
    best: dict[int, float] = {}
    for ancestor in ancestors:
        by_shape: dict[tuple[int, int], list[Slot]] = defaultdict(list)
        for slot in ancestor.slots:
            by_shape[slot.rows, slot.row_size].append(slot)
        for slot in view.slots:
            places = np.unique(np.linspace(0, slot.size - 1, _SAMPLE).astype(np.int64))
            own = slot.values(places)
            shape = slot.rows, slot.row_size
            known = [(other, False) for other in by_shape[shape][:_MOST]]
            known += [(other, True) for other in by_shape[shape[::-1]][:_MOST]]
            for other, transposed in known:
                found = Forerunner(other, transposed)
                alike = _correlation(own, found.values(places, slot.row_size))
                if alike > max(_LEAST, best.get(id(slot), 0.0)):
                    best[id(slot)], out[id(slot)] = alike, found
    return out


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    used = np.isfinite(one) & np.isfinite(other)
    if used.sum() < 3:
        return 0.0
    one, other = one[used] - one[used].mean(), other[used] - other[used].mean()
    size = float(np.sqrt(one @ one) * np.sqrt(other @ other))
    return float(one @ other) / size if size > 0 else 0.0


@dataclass(frozen=True)
class AncestorWeights:
    """An ancestor's values where a network's slots are, as ``methods.base.Weights``; zeros where it has no counterpart.

    Attributes:
        slots: The network's own.
        rows: Scales of their rows: differences are taken in those of the network, not of its ancestor.
        forerunners: By id of the slot.
    """

    slots: Sequence[Slot]
    rows: Sequence[NDArray[np.float64]]
    forerunners: Mapping[int, Forerunner]

    def has(self, slot: int) -> bool:
        return True

    def values(self, slot: int, positions: NDArray[np.int64]) -> NDArray[np.float64]:
        own = self.slots[slot]
        known = self.forerunners.get(id(own))
        return np.zeros(len(positions)) if known is None else known.values(positions, own.row_size)

    def array(self, slot: int) -> NDArray[np.float64]:
        own = self.slots[slot]
        return self.values(slot, np.arange(own.size)).reshape(own.rows, own.row_size)

    def row_scales(self, slot: int) -> NDArray[np.float64]:
        return self.rows[slot]

    def share(self, slots: Sequence[int]) -> float:
        return sum(self.slots[s].size for s in slots) / sum(slot.size for slot in self.slots)
