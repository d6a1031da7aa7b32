"""Records in groups that are held against a candidate side by side, with what depends on them alone, as far as there is room."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from onnxnnw.candidate import Anchors
from onnxnnw.errors import UnreadableRecord
from onnxnnw.graph.slot_view import SlotView
from onnxnnw.matching.anchor_agreement import Wanted, row_agreements
from onnxnnw.matching.crowd import Crowd, crowd_key
from onnxnnw.matching.match import AGREEMENT
from onnxnnw.matching.read_before import SlotsAtHand
from onnxnnw.records.record import Record
from onnxnnw.records.row_factors import unit_change
from onnxnnw.together.fingerprints import Fingerprints, can_stand_together

__all__ = ["Group", "PreparedRecords"]

AT_ONCE = 256
"""Records that are held against a candidate side by side."""

KEPT = 96 * 2**20
"""Bytes of what depends on records alone that are kept from one candidate to the next."""

_MOST_SLOTS, _MOST_POSITIONS, _MOST_ROWS = 2**16, 2**18, 2**40
_ROUNDING = 1e-9
_OVERHEAD = 2_000


@dataclass(frozen=True, eq=False)
class Group:
    """Records of one slot table that stand side by side.

    Attributes:
        records: They.
        anchors: Theirs, one for each record.
        crowd: Their slots.
        fingerprints: What their judgement needs; None where each is judged by itself.
    """

    records: tuple[Record, ...]
    anchors: tuple[Anchors, ...]
    crowd: Crowd
    fingerprints: Fingerprints | None

    @cached_property
    def nbytes(self) -> int:
        """Bytes that it takes, roughly."""
        slots = self.crowd.slots
        numbers = sum(want.positions.nbytes + want.values.nbytes for want in slots)
        numbers += sum(array.nbytes for want in slots for array in want.further or ())
        of_fingerprints = 0 if self.fingerprints is None else self.fingerprints.nbytes
        return 6 * numbers + of_fingerprints + _OVERHEAD * len(slots) * len(self.anchors)

    def surely_other(self, view: SlotView, at_hand: SlotsAtHand | None) -> NDArray[np.bool_]:
        """Of which records ``slots_as_enrolled`` certainly finds nothing."""
        count = len(self.anchors)
        other, slots = np.zeros(count, np.bool_), view.by_name()
        entries = self.records[0].slots
        for entry in entries:
            slot = slots.get(entry.name)
            if slot is None or slot.shape != entry.shape or slot.use != entry.use or slot.layout != entry.layout:
                return ~other
        for number, entry in enumerate(entries):
            slot, want = slots[entry.name], self.crowd.slots[number]
            whole = None if at_hand is None else at_hand.of(slot)
            read = None if whole is None else whole.at(want.positions)
            if read is None:
                read = slot.values(want.positions.reshape(-1)).reshape(want.positions.shape)
            with np.errstate(over="ignore"):
                changed = (read.astype(np.float32) != want.values).any(axis=1)
            unlike = ~other & changed & (row_agreements(read, want.values) <= AGREEMENT - _ROUNDING)
            for record in np.flatnonzero(unlike).tolist():
                anchors = self.anchors[record]
                folds = anchors.folds if anchors.bound else None
                ratio = None if folds is None else unit_change(slot.row_gain, folds.get(number))
                if ratio is not None:
                    with np.errstate(all="ignore"):
                        folded = read[record] * ratio[want.positions[record] // slot.row_size]
                    z = row_agreements(folded[None], want.values[record][None])[0]
                    unlike[record] = z <= AGREEMENT - _ROUNDING
            other |= unlike
            if other.all():
                break
        return other


class PreparedRecords:
    """Records in groups; each group is made when it is first asked for.

    Args:
        records: Any; those that contradict themselves are in no group.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self._room = KEPT
        self._kept: dict[int, list[Group]] = {}
        self._batches: list[list[Record]] = []
        self._batch_of: dict[int, int] = {}
        known: dict[int, int] = {}  # records of one folder share their tables, which take long to compare
        tables: dict[object, int] = {}
        open_: dict[int, int] = {}
        for record in records:
            if id(record.slots) not in known:
                known[id(record.slots)] = tables.setdefault(record.slots, len(tables))
            table = known[id(record.slots)]
            batch = open_.get(table)
            if batch is None or len(self._batches[batch]) >= _at_once(record):
                batch = open_[table] = len(self._batches)
                self._batches.append([])
            self._batches[batch].append(record)
            self._batch_of[id(record)] = batch

    def batch_of(self, record: Record) -> int | None:
        """The number of the records that are prepared together with one; None where it is none of these records."""
        return self._batch_of.get(id(record))

    def groups(self, batch: int) -> list[Group]:
        """Records that were numbered together, in groups."""
        if batch in self._kept:
            return self._kept[batch]
        made = _grouped(self._batches[batch])
        size = sum(group.nbytes for group in made)
        if size <= self._room:
            self._room -= size
            self._kept[batch] = made
        return made


def _at_once(record: Record) -> int:
    positions = record.parameters.get("positions", 0)
    many = positions if isinstance(positions, int) and positions > 0 else 1
    return max(1, min(AT_ONCE, _MOST_SLOTS // max(1, len(record.slots)), _MOST_POSITIONS // many))


def _grouped(records: Sequence[Record]) -> list[Group]:
    alike: dict[tuple[object, int], list[tuple[Record, Anchors, list[Wanted]]]] = defaultdict(list)
    for record in records:
        try:
            anchors = Anchors(record)
            wanted = anchors.wanted()
        except UnreadableRecord:  # it is named where it is looked at
            continue
        if not wanted or any(want.rows >= _MOST_ROWS for want in wanted):
            continue
        count = record.number_of_positions if can_stand_together(record) else 0
        alike[crowd_key(wanted), count].append((record, anchors, wanted))
    out = []
    for (_, count), several in alike.items():
        some = tuple(record for record, _, _ in several)
        crowd = Crowd([wanted for _, _, wanted in several])
        out.append(Group(some, tuple(own for _, own, _ in several), crowd, Fingerprints(some) if count else None))
    return out
