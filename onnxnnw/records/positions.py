"""Positions, anchors and control reads of a mark, derived from a key and a slot table; stored nowhere.

Every method shares the anchors, by which a candidate's slots are recognised; they never lie on the mark.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import CapacityError, UnreadableRecord
from onnxnnw.records.drawn_together import indices_of_many
from onnxnnw.records.key import Key
from onnxnnw.records.record import Record
from onnxnnw.records.slot_table import SlotEntry

__all__ = [
    "ANCHORS",
    "CONTROLS",
    "NO_PLAN",
    "SAMPLES",
    "PositionPlan",
    "anchor_positions",
    "anchors_of",
    "by_slot",
    "capacity",
    "control_positions",
    "controls_ahead",
    "draw_positions",
    "draws",
    "places_of",
    "plan_of",
    "refuse_no_room",
    "sample_positions",
]

Positions = NDArray[np.int64]

ANCHORS = 32
"""Anchors per slot: 8 lose the right slot once weights have drifted to r = .8."""

MAX_ANCHORS = 1024

CONTROLS = 8
"""Control reads per position of a fingerprint."""


@dataclass(frozen=True)
class PositionPlan:
    """The ordered positions I.

    Attributes:
        slots: Slot number of each position.
        positions: Flat canonical position in its slot.
    """

    slots: Positions
    positions: Positions

    @cached_property
    def numbers(self) -> list[int]:
        """The slots that hold positions, ascending (``np.unique`` would import numpy.ma, which costs every start)."""
        return sorted(set(self.slots.tolist()))

    def of(self, slot: int) -> Positions:
        """The positions in one slot, in the order of I."""
        positions: Positions = self.positions[self.slots == slot]
        return positions


NO_PLAN = PositionPlan(np.empty(0, np.int64), np.empty(0, np.int64))
"""Where the mark of a method without positions lies."""


def capacity(entries: Sequence[SlotEntry]) -> int:
    """M: elements among which positions are drawn."""
    return sum(entry.capacity for entry in entries)


def refuse_no_room(entries: Sequence[SlotEntry], count: int) -> None:
    """Refuse more positions than there are eligible elements.

    Raises:
        CapacityError: N and the anchors together exceed half of the eligible elements.
    """
    total = capacity(entries)
    needed = count + ANCHORS * len(entries)
    if 2 * needed > total:
        room = max(0, total // 2 - ANCHORS * len(entries))
        raise CapacityError(
            f"{count} positions do not fit: the network has {total:,} eligible weights in {len(entries)} slots, "
            f"which is room for {room:,} positions"
        )


def draw_positions(
    key: Key, context: bytes, entries: Sequence[SlotEntry], count: int, skipped: Sequence[int] = ()
) -> PositionPlan:
    """Draw I uniformly without replacement over the eligible elements.

    Args:
        key: The secret.
        context: c1 of the record.
        entries: The slot table.
        count: N.
        skipped: Ordinals of accepted draws to leave out, because another mark holds those positions.

    Raises:
        CapacityError: N and the anchors together exceed half of the eligible elements.
    """
    refuse_no_room(entries, count)
    drawn = draws(key, context, entries, count + len(skipped))
    if not len(skipped):
        return drawn
    out = np.asarray(skipped, np.int64)
    return PositionPlan(np.delete(drawn.slots, out), np.delete(drawn.positions, out))


def draws(key: Key, context: bytes, entries: Sequence[SlotEntry], count: int) -> PositionPlan:
    """The first draws of a key, whether or not a mark of so many would be allowed."""
    sizes = np.array([entry.capacity for entry in entries], np.int64)
    drawn = key.stream("nct/positions", context).indices(count, int(sizes.sum()))
    ends = np.cumsum(sizes)
    slots = np.searchsorted(ends, drawn, side="right").astype(np.int64)
    positions = drawn - (ends - sizes)[slots]
    for slot, entry in enumerate(entries):
        if entry.dead_rows and entry.eligible:
            chosen = slots == slot
            positions[chosen] = _skip_dead(positions[chosen], entry)
    return PositionPlan(slots, positions)


def _skip_dead(inside: Positions, entry: SlotEntry) -> Positions:
    """Index among the elements of live rows -> flat canonical position."""
    if not entry.dead_rows:
        return inside
    return _live_row(entry, inside // entry.row_size) * entry.row_size + inside % entry.row_size


def _live_row(entry: SlotEntry, number: Positions) -> Positions:
    """The ``number``-th live row; costs nothing for rows that a record merely claims."""
    dead = np.asarray(entry.dead_rows, np.int64)
    rows: Positions = number + np.searchsorted(dead - np.arange(dead.size), number, side="right")
    return rows


def _number_of_live_row(entry: SlotEntry, row: Positions) -> Positions:
    """How many live rows come before a live row: the inverse of ``_live_row``."""
    numbers: Positions = row - np.searchsorted(np.asarray(entry.dead_rows, np.int64), row)
    return numbers


def plan_of(record: Record) -> PositionPlan:
    """The positions of a record; drawn once, and kept with it.

    Raises:
        UnreadableRecord: Its slot table has no room for them.
    """
    known: PositionPlan | None = vars(record).get("_plan")
    if known is None:
        known = vars(record)["_plan"] = _drawn(record)
    return known


def _drawn(record: Record) -> PositionPlan:
    skipped = record.arrays.get("skipped", np.empty(0, "<i8"))
    count = record.number_of_positions
    if skipped.dtype.kind != "i" or (skipped.size and (skipped[0] < 0 or (np.diff(skipped) <= 0).any())):
        raise UnreadableRecord("the record's array 'skipped' is impossible")
    if skipped.size and skipped[-1] >= count + skipped.size:
        raise UnreadableRecord("the record's array 'skipped' is impossible")
    try:
        return draw_positions(record.placement_key, record.positions_context, record.slots, count, skipped.tolist())
    except (CapacityError, IndexError) as error:
        raise UnreadableRecord(f"the record contradicts itself: {error}") from None


def anchor_positions(record: Record, plan: PositionPlan) -> list[Positions]:
    """Positions outside the mark by which slots are recognised: up to so many per slot as the record says.

    Raises:
        UnreadableRecord: It says an impossible number.
    """
    wanted = record.parameters.get("anchors", ANCHORS)
    if not isinstance(wanted, int) or not 1 <= wanted <= MAX_ANCHORS:
        raise UnreadableRecord("the record's parameter 'anchors' is impossible")
    marked = by_slot(plan, len(record.slots))
    below = [entry.live_rows * entry.row_size for entry in record.slots]
    counts = [max(0, min(wanted, live - barred.size)) for live, barred in zip(below, marked, strict=True)]
    return _drawn_beside(record, "anchors", counts, below, marked)


def by_slot(plan: PositionPlan, count: int) -> list[Positions]:
    """The positions in each of so many slots, in the order of I."""
    order = np.argsort(plan.slots, kind="stable")
    ends = np.searchsorted(plan.slots[order], np.arange(count - 1), side="right")
    return np.split(plan.positions[order], ends) if count else []


def _drawn_beside(
    record: Record, purpose: str, counts: Sequence[int], below: Sequence[int], taken: Sequence[Positions]
) -> list[Positions]:
    """Positions in live rows of each slot, apart from those that are taken."""
    barred = list(taken)
    for number, entry in enumerate(record.slots):
        if entry.dead_rows and counts[number]:
            row = _number_of_live_row(entry, taken[number] // entry.row_size)
            barred[number] = row * entry.row_size + taken[number] % entry.row_size
    drawn = indices_of_many(record.placement_key, purpose, record.positions_context, counts, below, barred)
    return [_skip_dead(inside, entry) for inside, entry in zip(drawn, record.slots, strict=True)]


SAMPLES = 512
"""Elements of all slots that are looked at to say how much of a candidate is explained, beside the anchors."""

MAX_SAMPLES = 2**16


def sample_positions(record: Record, plan: PositionPlan, anchors: Sequence[Positions]) -> list[Positions]:
    """Positions outside mark and anchors, in every slot in proportion to its size; none in older records.

    Raises:
        UnreadableRecord: The record says an impossible number.
    """
    wanted = record.parameters.get("samples", 0)
    if not isinstance(wanted, int) or not 0 <= wanted <= MAX_SAMPLES:
        raise UnreadableRecord("the record's parameter 'samples' is impossible")
    sizes = [entry.live_rows * entry.row_size for entry in record.slots]
    total = max(1, sum(sizes))
    taken = [np.concatenate(both) for both in zip(by_slot(plan, len(sizes)), anchors, strict=True)]
    counts = [
        max(0, min(-(-wanted * size // total), size - there.size)) if wanted else 0
        for size, there in zip(sizes, taken, strict=True)
    ]
    return _drawn_beside(record, "samples", counts, sizes, taken)


def anchors_of(record: Record) -> list[Positions]:
    """The anchors of a record; one of a method without positions has anchors all the same."""
    return anchor_positions(record, plan_of(record) if "positions" in record.parameters else NO_PLAN)


def control_positions(record: Record, plan: PositionPlan) -> Positions:
    """For each position, 8 others that share its structure but not its origin.

    The same canonical column in other live out-rows; for a table of rows (Gather), other columns of the same row. They
    are drawn without replacement: the k-th is word k of the position modulo the number of others still left.

    Returns:
        (N, 8); -1 where a slot has fewer others.
    """
    known: Positions | None = vars(record).pop("_controls", None)
    return _controls([record], plan) if known is None else known


def controls_ahead(records: Sequence[Record]) -> None:
    """Draw the controls of several records of one slot table together, which each takes out when it asks for its own."""
    together: dict[int, list[Record]] = {}
    for record in records:
        if record.kind == "fingerprint" and "controls" in record.arrays:
            with suppress(UnreadableRecord):  # it is named where it is looked at
                plan_of(record)
                together.setdefault(id(record.slots), []).append(record)
    for several in together.values():
        plans = [plan_of(record) for record in several]
        whole = PositionPlan(np.concatenate([p.slots for p in plans]), np.concatenate([p.positions for p in plans]))
        drawn, start = _controls(several, whole), 0
        for record, plan in zip(several, plans, strict=True):
            vars(record)["_controls"] = drawn[start : start + plan.positions.size]
            start += plan.positions.size


def _controls(records: Sequence[Record], plan: PositionPlan) -> Positions:
    """The controls of the positions of records that share a slot table, one record after the other."""
    count, record = plan.positions.size, records[0]
    streams = (
        one.placement_key.stream("nct/controls", one.positions_context).take(one.number_of_positions * CONTROLS * 8)
        for one in records
    )
    words = np.frombuffer(b"".join(streams), "<u8")
    row_size = np.array([entry.row_size for entry in record.slots], np.int64)[plan.slots]
    gather = np.array([entry.layout == "gather" for entry in record.slots])[plan.slots]
    row, column = plan.positions // row_size, plan.positions % row_size
    lines = np.where(gather, row_size, np.array([entry.live_rows for entry in record.slots], np.int64)[plan.slots])
    own = np.where(gather, column, row)
    with_dead = [
        slot for slot in plan.numbers if record.slots[slot].dead_rows and record.slots[slot].layout != "gather"
    ]
    for slot in with_dead:
        chosen = plan.slots == slot
        own[chosen] = _number_of_live_row(record.slots[slot], row[chosen])
    drawn = _distinct_others(words.reshape(count, CONTROLS), lines, own)
    rows = drawn
    if with_dead:
        rows = drawn.copy()
        for slot in with_dead:
            chosen = np.flatnonzero(plan.slots == slot)
            rows[chosen] = _live_row(record.slots[slot], drawn[chosen].clip(0))
    out = rows * np.where(gather, 1, row_size)[:, None] + np.where(gather, row * row_size, column)[:, None]
    out[drawn < 0] = -1
    return out


def _distinct_others(words: NDArray[np.uint64], lines: Positions, own: Positions) -> Positions:
    """Per row of words: distinct numbers below ``lines`` other than ``own``; -1 where none are left."""
    none_left = np.iinfo(np.int64).max
    left = lines[:, None] - 1 - np.arange(words.shape[1])
    values = np.ascontiguousarray((words % np.maximum(left, 1).astype(np.uint64)).astype(np.int64).T)
    gone = left.T <= 0
    some_gone = bool(gone.any())
    taken = np.empty((len(values), own.size), np.int64)  # ascending in each column
    taken[0] = own
    for k, value in enumerate(values):
        passed = taken[: k + 1] - np.arange(k + 1)[:, None] <= value  # as if it passed them one by one
        value += np.add.reduce(passed.view(np.int8), axis=0, dtype=np.int8)
        if some_gone:
            value[gone[k]] = none_left
        if k + 1 < len(values):
            new = value.copy()
            for place in range(k + 1):
                lower = np.minimum(taken[place], new)
                np.maximum(taken[place], new, out=new)
                taken[place] = lower
            taken[k + 1] = new
    if some_gone:
        values[values == none_left] = -1
    return values.T


def places_of(record: Record) -> set[tuple[str, int]]:
    """The positions by name: what two marks in one network may share."""
    plan = plan_of(record)
    return {(record.slots[s].name, p) for s, p in zip(plan.slots.tolist(), plan.positions.tolist(), strict=True)}
