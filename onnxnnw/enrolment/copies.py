"""Weights stored twice, bit for bit: exporters untie embeddings, and give each branch of a decoder its own copy.

They count as one, like weights that are tied. Marked alone, a copy would tell every position to whoever compares the two; read
twice, it would count as evidence twice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onnxnnw.graph.slot import Slot
from onnxnnw.graph.slot_view import SlotView
from onnxnnw.graph.uses import AS_TABLE
from onnxnnw.records.positions import plan_of
from onnxnnw.records.record import Record

__all__ = ["Copy", "copies_of", "said_of", "why_alone", "without_copies"]

Positions = NDArray[np.int64]

_SAMPLED = 64


@dataclass(frozen=True, eq=False)
class Copy:
    """A slot whose values are a bit-exact copy of another slot's.

    Attributes:
        slot: The copy.
        of: The other one: the first that can be marked, if any can.
        transposed: Whether its rows are the other's columns.
    """

    slot: Slot
    of: Slot
    transposed: bool

    def positions(self, positions: Positions) -> Positions:
        """Where in the copy the elements at some positions of the original are."""
        return _turned(positions, self.of.row_size, self.of.rows) if self.transposed else positions


def copies_of(slots: Sequence[Slot]) -> list[Copy]:
    """Slots that are bit-equal to another one, as they are or transposed, in the same type of elements.

    A few elements of each are looked at first, so that only what may be equal is read as a whole. Slots of one number again and
    again are no copies of each other.
    """
    known: dict[tuple[object, ...], list[Slot]] = {}
    out: list[Copy] = []
    for slot in sorted(slots, key=_cannot_be_marked):  # what can be marked comes before what cannot
        found = next((copy for copy in _candidates(slot, known) if _equal(copy)), None)
        if found is not None:
            out.append(found)
            continue
        places = _places(slot.size)
        values = slot.values(places)
        if (values != values[0]).any():
            known.setdefault(_key(slot, slot.rows, slot.row_size, values), []).append(slot)
    return out


def _cannot_be_marked(slot: Slot) -> bool:
    return bool(slot.shared or slot.read_only or slot.layout in AS_TABLE)


def _candidates(slot: Slot, known: dict[tuple[object, ...], list[Slot]]) -> list[Copy]:
    places = _places(slot.size)
    same = known.get(_key(slot, slot.rows, slot.row_size, slot.values(places)), ())
    out = [Copy(slot, other, False) for other in same]
    if len(slot.shape) == 2:
        turned = slot.values(_turned(places, slot.rows, slot.row_size))
        others = known.get(_key(slot, slot.row_size, slot.rows, turned), ())
        out += [Copy(slot, other, True) for other in others if len(other.shape) == 2]
    return out


def _key(slot: Slot, rows: int, row_size: int, values: NDArray[np.float64]) -> tuple[object, ...]:
    return slot.tensor.data_type, rows, row_size, values.tobytes()


def _places(size: int) -> Positions:
    """Fixed positions, spread over all elements."""
    count = min(_SAMPLED, size)
    places: Positions = np.arange(count, dtype=np.int64) * (size - 1) // max(1, count - 1)
    return places


def _turned(positions: Positions, row_size: int, rows: int) -> Positions:
    """Positions in a (rows, row_size) matrix as those in its transpose."""
    return positions % row_size * rows + positions // row_size


def _equal(copy: Copy) -> bool:
    one, other = copy.slot.array(), copy.of.array()
    return np.array_equal(one.T if copy.transposed else one, other)


def without_copies(view: SlotView) -> tuple[SlotView, list[Copy]]:
    """Split slots into originals and bit-exact copies of earlier ones."""
    copies = copies_of(view.slots)
    if not copies:
        return view, []
    again = {id(copy.slot) for copy in copies}
    kept = [(slot, node) for slot, node in zip(view.slots, view.nodes, strict=True) if id(slot) not in again]
    return replace(view, slots=[slot for slot, _ in kept], nodes=[node for _, node in kept]), copies


def said_of(copies: Sequence[Copy], record: Record) -> Iterator[str]:
    """A warning about copies: that the mark was written to them too, or why not."""
    marked = {record.slots[number].name for number in plan_of(record).numbers}
    copies = [copy for copy in copies if copy.of.name in marked]
    tied = [copy for copy in copies if not why_alone(copy)]
    if tied:
        yield (
            f"{len(tied)} weights are stored once more, bit for bit, such as {tied[0].of.name[:80]} as {tied[0].slot.name[:80]}: "
            "the mark was written to both"
        )
    for copy in copies:
        if why_alone(copy):
            yield (
                f"{copy.of.name[:80]} is stored once more as {copy.slot.name[:80]}, where the mark was not written, since "
                f"{why_alone(copy)}: who compares the two sees where it is"
            )


def why_alone(copy: Copy) -> str:
    """Why a copy cannot be marked like its original; empty where it can."""
    if copy.slot.read_only:
        return copy.slot.read_only
    return "something else reads it too" if copy.slot.shared else ""
