"""Groups of records that are compared with a candidate at once; what depends on the records alone is kept, in bounded memory."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from onnxnnw.candidate import Anchors
from onnxnnw.errors import UnreadableRecord
from onnxnnw.graph.slot_view import SlotView
from onnxnnw.matching.anchor_agreement import row_agreements
from onnxnnw.matching.crowd import Crowd, crowd_key
from onnxnnw.matching.match import AGREEMENT
from onnxnnw.matching.read_before import SlotsAtHand
from onnxnnw.records.positions import SAMPLES
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
        anchors: Theirs, one for each record, as many in each slot.
        fingerprints: What their judgement needs; None where each is judged by itself.
    """

    records: tuple[Record, ...]
    anchors: tuple[Anchors, ...]
    fingerprints: Fingerprints | None

    @cached_property
    def nbytes(self) -> int:
        """Bytes that it takes, roughly."""
        first = self.anchors[0]
        numbers = sum(places.nbytes for places in first.positions) + 8 * SAMPLES
        of_fingerprints = 0 if self.fingerprints is None else self.fingerprints.nbytes
        return (12 * numbers + _OVERHEAD * len(first.positions)) * len(self.anchors) + of_fingerprints

    @cached_property
    def crowd(self) -> Crowd | None:
        """Their slots; None where they cannot stand side by side. Records of whose slots none is looked for do without."""
        try:
            wanted = [anchors.wanted() for anchors in self.anchors]
        except UnreadableRecord:  # it is named where it is looked at
            return None
        return Crowd(wanted) if len({crowd_key(each) for each in wanted}) == 1 else None

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
            slot = slots[entry.name]
            places = np.stack([anchors.positions[number] for anchors in self.anchors])
            values = np.stack([anchors.values[number] for anchors in self.anchors])
            whole = None if at_hand is None else at_hand.of(slot)
            read = None if whole is None else whole.at(places)
            if read is None:
                read = slot.values(places.reshape(-1)).reshape(places.shape)
            with np.errstate(over="ignore"):
                changed = (read.astype(np.float32) != values).any(axis=1)
            unlike = ~other & changed & (row_agreements(read, values) <= AGREEMENT - _ROUNDING)
            for record in np.flatnonzero(unlike).tolist():
                anchors = self.anchors[record]
                folds = anchors.folds if anchors.bound else None
                ratio = None if folds is None else unit_change(slot.row_gain, folds.get(number))
                if ratio is not None:
                    with np.errstate(all="ignore"):
                        folded = read[record] * ratio[places[record] // slot.row_size]
                    z = row_agreements(folded[None], values[record][None])[0]
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
    """Records of one slot table in groups."""
    entries = records[0].slots
    if not entries or any(entry.live_rows + len(entry.dead_rows) >= _MOST_ROWS for entry in entries):
        return []
    alike: dict[object, list[tuple[Record, Anchors]]] = defaultdict(list)
    for record in records:
        try:
            anchors = Anchors(record)
        except UnreadableRecord:  # it is named where it is looked at
            continue
        count = record.number_of_positions if can_stand_together(record) else 0
        sizes = tuple(places.size for places in anchors.positions)
        samples = "samples" in anchors.record.arrays
        alike[sizes, anchors.folds is None, anchors.row_scales is None, samples, count].append((record, anchors))
    out = []
    for several in alike.values():
        some = tuple(record for record, _ in several)
        own = Fingerprints(some) if can_stand_together(some[0]) else None
        out.append(Group(some, tuple(anchors for _, anchors in several), own))
    return out
