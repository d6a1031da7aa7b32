"""The slot table of a record: each slot as it was at enrolment."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from onnxnnw.errors import UnreadableRecord
from onnxnnw.records.canonical_json import canonical, integer, text

__all__ = ["SlotEntry", "SlotTable", "table_bytes"]


@dataclass(frozen=True)
class SlotEntry:
    """One slot as it was at enrolment.

    Attributes:
        name: Scoped name of the stored tensor.
        use: Operator and input.
        shape: Canonical shape.
        data_type: Stored element type, e.g. ``float``.
        bias: Name of the bias beside it.
        layout: How the operator reads it.
        row_size: Elements in one out-row.
        dead_rows: Out-rows that were (nearly) zero and take no part.
        eligible: Whether mark positions may lie in it; anchors lie in every slot.
    """

    name: str
    use: str
    shape: tuple[int, ...]
    data_type: str
    bias: str
    layout: str
    row_size: int
    dead_rows: tuple[int, ...]
    eligible: bool

    @cached_property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @cached_property
    def live_rows(self) -> int:
        """Out-rows that take part."""
        return self.size // self.row_size - len(self.dead_rows)

    @property
    def taps(self) -> int:
        """Elements of a row that read the same input channel, side by side: the kernel's of a convolution."""
        kernel = math.prod(self.shape[2:]) if self.layout.startswith("conv") else 1
        return kernel if self.row_size % kernel == 0 else 1

    @cached_property
    def capacity(self) -> int:
        """Elements in which mark positions may lie."""
        return self.live_rows * self.row_size if self.eligible else 0

    def to_json(self) -> dict[str, Any]:
        """As the record keeps it."""
        return {
            "name": self.name,
            "use": self.use,
            "shape": list(self.shape),
            "data_type": self.data_type,
            "bias": self.bias,
            "layout": self.layout,
            "row_size": self.row_size,
            "dead_rows": list(self.dead_rows),
            "eligible": int(self.eligible),
        }

    @classmethod
    def from_json(cls, document: Any) -> "SlotEntry":
        """An entry that was written by ``to_json``.

        Raises:
            UnreadableRecord, KeyError, TypeError, ValueError: It is none.
        """
        shape = tuple(integer(n) for n in document["shape"])
        size = math.prod(shape)
        row_size = integer(document["row_size"])
        dead = tuple(integer(n) for n in document["dead_rows"])
        if len(shape) < 2 or min(shape) < 1 or not 0 < size < 2**62 or row_size < 1 or size % row_size:
            raise UnreadableRecord("a slot with an impossible shape")
        if list(dead) != sorted(set(dead)) or (dead and not 0 <= dead[0] <= dead[-1] < size // row_size):
            raise UnreadableRecord("a slot with impossible dead rows")
        texts = [text(document[key]) for key in ("name", "use", "data_type", "bias", "layout")]
        name, use, data_type, bias, layout = texts
        eligible = integer(document["eligible"])
        if eligible not in (0, 1):
            raise UnreadableRecord("a slot that is neither eligible nor not")
        return cls(name, use, shape, data_type, bias, layout, row_size, dead, bool(eligible))


class SlotTable(tuple[SlotEntry, ...]):
    """The slots of a record that was read; those of one network share their table, and what is written of it."""

    @cached_property
    def canonical(self) -> bytes:
        """As it stands in the record."""
        return canonical([slot.to_json() for slot in self])


def table_bytes(slots: Sequence[SlotEntry]) -> bytes:
    """A slot table as it stands in the record."""
    return slots.canonical if isinstance(slots, SlotTable) else canonical([slot.to_json() for slot in slots])
