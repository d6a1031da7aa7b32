"""A network's own slots as methods read them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.graph.slot import Slot

__all__ = ["OwnWeights"]


@dataclass(frozen=True)
class OwnWeights:
    """The network's own slots as ``methods.base.Weights``."""

    slots: Sequence[Slot]
    rows: Sequence[NDArray[np.float64]]

    def has(self, slot: int) -> bool:
        return True

    def values(self, slot: int, positions: NDArray[np.int64]) -> NDArray[np.float64]:
        return self.slots[slot].values(positions)

    def array(self, slot: int) -> NDArray[Any]:
        return self.slots[slot].array()

    def row_scales(self, slot: int) -> NDArray[np.float64]:
        return self.rows[slot]

    def share(self, slots: Sequence[int]) -> float:
        return sum(self.slots[s].size for s in slots) / sum(slot.size for slot in self.slots)
