"""A weight as alignment sees it: rows, channels and taps, read lazily."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from onnxnnw.graph.slot import Slot
from onnxnnw.graph.slot_view import SlotView

__all__ = ["Weight", "kind_of", "weight_of", "weights_of"]


@dataclass(frozen=True, eq=False)
class Weight:
    """A weight of one network.

    Attributes:
        name: Under which it is stored; names are tried first and prove nothing.
        rows, row_size: Of its canonical layout.
        taps: Elements of a row that read the same channel, side by side.
        groups: Parts of the rows that read channels of their own (grouped convolutions); 1 for a depthwise one, whose rows
            have one channel each.
        kind: Weights of different kinds are never held together: convolutions, tables, all others.
        read: Gives all values, (rows, row_size); called again each time they are needed, and kept nowhere.
    """

    name: str
    rows: int
    row_size: int
    taps: int
    groups: int
    kind: str
    read: Callable[[], NDArray[Any]] = field(repr=False)

    @property
    def channels(self) -> int:
        """Channels that a row reads."""
        return self.row_size // self.taps

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.rows * self.row_size


def weight_of(slot: Slot, groups: int = 1) -> Weight:
    """A slot as a weight.

    Args:
        slot: A slot of an opened network; it is read when the weight is.
        groups: Of the convolution that uses it.
    """
    kind, taps = kind_of(slot.layout, slot.shape, slot.row_size)
    apart = groups if slot.row_size > taps and groups > 1 and slot.rows % groups == 0 else 1
    return Weight(slot.name, slot.rows, slot.row_size, taps, apart, kind, slot.array)


def kind_of(layout: str, shape: Sequence[int], row_size: int) -> tuple[str, int]:
    """Kind and taps of a weight, which stay as they are whatever channels are added, removed or moved."""
    taps = math.prod(shape[2:]) if layout.startswith("conv") else 1
    kind = layout if layout in ("gather", "add", "table", "rnn") else "product"
    return kind, 1 if row_size % taps else taps


def weights_of(view: SlotView) -> list[Weight]:
    """All slots of a network as weights, in their order."""
    return [
        weight_of(slot, node.integer("group", 1) if slot.layout.startswith("conv") else 1)
        for slot, node in zip(view.slots, view.nodes, strict=True)
    ]
