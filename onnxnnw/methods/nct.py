"""No-Constraint Traceability: N secret positions, read (fingerprint) or written (watermark) [NNW-TEC 7.2].

NCT-Key K = f(I): the record holds the secret and the slot table, from which the ordered positions I are derived anew; I
is never stored. Mark values are derived from the key and everything else in the record, never read from it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import CapacityError, UnreadableRecord
from onnxnnw.graph.stored import round_to
from onnxnnw.keys import Key
from onnxnnw.methods.base import Floats, Judgement, Method, Positions, Reads, Weights
from onnxnnw.records import Record, SlotEntry
from onnxnnw.statistics import (
    Association,
    associate_fingerprint,
    associate_watermark,
    correlations,
    log10_of_either,
)

__all__ = ["ANCHORS", "CONTROLS", "NCT", "Plan", "anchor_positions", "draw_positions", "mark", "mark_values", "plan_of"]

ANCHORS = 32
"""Anchors per slot: 8 lose the right slot once weights have drifted to r = .8."""

CONTROLS = 8
"""Control reads per position of a fingerprint."""

MIN_EFFECT = 0.25
_IDENTICAL, _IDENTICAL_READS = 0.98, 8
_VIEWS = 2  # raw and gauge


@dataclass(frozen=True)
class Plan:
    """The ordered positions I.

    Attributes:
        slots: Slot number of each position.
        positions: Flat canonical position in its slot.
    """

    slots: Positions
    positions: Positions

    def of(self, slot: int) -> Positions:
        """The positions in one slot, in the order of I."""
        positions: Positions = self.positions[self.slots == slot]
        return positions


def capacity(entries: Sequence[SlotEntry]) -> int:
    """M: elements among which positions are drawn."""
    return sum(entry.capacity for entry in entries)


def draw_positions(
    key: Key, context: bytes, entries: Sequence[SlotEntry], count: int, skipped: Sequence[int] = ()
) -> Plan:
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
    total = capacity(entries)
    needed = count + ANCHORS * len(entries)
    if 2 * needed > total:
        room = max(0, total // 2 - ANCHORS * len(entries))
        raise CapacityError(
            f"{count} positions do not fit: the network has {total:,} eligible weights in {len(entries)} slots, "
            f"which is room for {room:,} positions"
        )
    drawn = draws(key, context, entries, count + len(skipped))
    out = np.asarray(skipped, np.int64)
    return Plan(np.delete(drawn.slots, out), np.delete(drawn.positions, out))


def draws(key: Key, context: bytes, entries: Sequence[SlotEntry], count: int) -> Plan:
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
    return Plan(slots, positions)


def _skip_dead(inside: Positions, entry: SlotEntry) -> Positions:
    """Index among the elements of live rows -> flat canonical position."""
    if not entry.dead_rows:
        return inside
    row, column = inside // entry.row_size, inside % entry.row_size
    return _live_rows(entry)[row] * entry.row_size + column


def _live_rows(entry: SlotEntry) -> Positions:
    rows = np.arange(entry.live_rows + len(entry.dead_rows))
    return np.delete(rows, np.asarray(entry.dead_rows, np.int64))


def plan_of(record: Record) -> Plan:
    """The positions of a record.

    Raises:
        UnreadableRecord: Its slot table has no room for them.
    """
    skipped = record.arrays.get("skipped", np.empty(0, "<i8"))
    count = record.number_of_positions
    if skipped.dtype.kind != "i" or (skipped.size and (skipped[0] < 0 or (np.diff(skipped) <= 0).any())):
        raise UnreadableRecord("the record's array 'skipped' is impossible")
    if skipped.size and skipped[-1] >= count + skipped.size:
        raise UnreadableRecord("the record's array 'skipped' is impossible")
    try:
        return draw_positions(record.key, record.positions_context, record.slots, count, skipped.tolist())
    except (CapacityError, IndexError) as error:
        raise UnreadableRecord(f"the record contradicts itself: {error}") from None


def anchor_positions(record: Record, plan: Plan) -> list[Positions]:
    """Positions outside the mark by which slots are recognised: up to 32 per slot."""
    out = []
    for number, entry in enumerate(record.slots):
        barred = np.unique(plan.of(number))
        live = entry.live_rows * entry.row_size
        count = max(0, min(ANCHORS, live - barred.size))
        stream = record.key.stream(f"anchors/{number}", record.positions_context)
        inside = barred
        if entry.dead_rows:
            row = np.searchsorted(_live_rows(entry), barred // entry.row_size)
            inside = row * entry.row_size + barred % entry.row_size
        out.append(_skip_dead(stream.indices(count, live, inside.tolist()), entry))
    return out


def control_positions(record: Record, plan: Plan) -> Positions:
    """For each position, 8 others that share its structure but not its origin.

    The same canonical column in other live out-rows; for a table of rows (Gather), other columns of the same row. They
    are drawn without replacement: the k-th is word k of the position modulo the number of others still left.

    Returns:
        (N, 8); -1 where a slot has fewer others.
    """
    count = plan.positions.size
    words = np.frombuffer(record.key.stream("nct/controls", record.positions_context).take(count * CONTROLS * 8), "<u8")
    row_size = np.array([entry.row_size for entry in record.slots], np.int64)[plan.slots]
    gather = np.array([entry.layout == "gather" for entry in record.slots])[plan.slots]
    row, column = plan.positions // row_size, plan.positions % row_size
    lines = np.where(gather, row_size, np.array([entry.live_rows for entry in record.slots], np.int64)[plan.slots])
    own = np.where(gather, column, 0)
    for slot in np.unique(plan.slots[~gather]).tolist():
        chosen = plan.slots == slot
        own[chosen] = np.searchsorted(_live_rows(record.slots[slot]), row[chosen])
    drawn = _distinct_others(words.reshape(count, CONTROLS), lines, own)
    out = np.where(gather[:, None], row[:, None] * row_size[:, None] + drawn, -1)
    for slot in np.unique(plan.slots[~gather]).tolist():
        chosen = np.flatnonzero(plan.slots == slot)
        rows = _live_rows(record.slots[slot])
        out[chosen] = rows[drawn[chosen].clip(0, rows.size - 1)] * row_size[chosen, None] + column[chosen, None]
    out[drawn < 0] = -1
    return out


def _distinct_others(words: NDArray[np.uint64], lines: Positions, own: Positions) -> Positions:
    """Per row of words: distinct numbers below ``lines`` other than ``own``; -1 where none are left."""
    none_left = np.iinfo(np.int64).max
    taken = [own]
    for k in range(words.shape[1]):
        left = lines - 1 - k
        value = (words[:, k] % np.maximum(left, 1).astype(np.uint64)).astype(np.int64)
        for other in np.sort(taken, axis=0):
            value += value >= other
        taken.append(np.where(left > 0, value, none_left))
    drawn = np.stack(taken[1:], axis=1)
    return np.where(drawn == none_left, -1, drawn)


def mark_values(record: Record, plan: Plan) -> Floats:
    """What the watermark writes: strength x deviation of the slot x z, or an absolute deviation x z, as stored."""
    z = record.key.stream("nct/values", record.values_context).normals(plan.positions.size)
    try:
        if "value_std" in record.parameters:
            values = z * _positive(record.parameters["value_std"])
        else:
            deviations = record.array("deviations", len(record.slots)).astype(np.float64)
            values = z * _positive(record.parameters["strength"]) * deviations[plan.slots]
        for slot in np.unique(plan.slots).tolist():
            chosen = plan.slots == slot
            values[chosen] = round_to(values[chosen], record.slots[slot].data_type)
    except (KeyError, ValueError):
        raise UnreadableRecord("the record's strength or an element type is missing or impossible") from None
    return values


def _positive(text: int | str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError(text)
    return number


def mark(record: Record) -> dict[str, tuple[Positions, Floats]]:
    """The mark as a pure function of the record: slot name -> (flat canonical positions, values).

    A file applies it through ``graph.patch``, a torch module by ``p[np.unravel_index(positions, p.shape)] = values``.
    """
    plan = plan_of(record)
    values = mark_values(record, plan)
    return {
        record.slots[slot].name: (plan.of(slot), values[plan.slots == slot]) for slot in np.unique(plan.slots).tolist()
    }


class NCT(Method):
    """Judges NCT watermarks and fingerprints."""

    name: ClassVar[str] = "nct"

    def judge(self, record: Record, weights: Weights, log10_rate: float) -> Judgement:
        if record.kind == "watermark":
            return _judge_watermark(record, weights, log10_rate)
        if record.kind == "fingerprint":
            return _judge_fingerprint(record, weights, log10_rate)
        raise UnreadableRecord(f"NCT knows no {record.kind!r} records")


def _read(record: Record, plan: Plan, read: Callable[[int, Positions], Floats | None]) -> Floats:
    """Values at all positions; NaN where a slot has no counterpart."""
    out = np.full(plan.positions.size, np.nan)
    for slot in np.unique(plan.slots).tolist():
        chosen = plan.slots == slot
        found = read(slot, plan.positions[chosen])
        if found is not None:
            out[chosen] = found
    return out


def _row_gains(record: Record, weights: Weights, slot: int, positions: Positions) -> Floats | None:
    gains = weights.gains(slot)
    return None if gains is None else gains[positions // record.slots[slot].row_size]


def views(record: Record, weights: Weights) -> list[Association]:
    """The strict test in each view (raw, then gauge), not yet paid for; what calibration measures."""
    plan = plan_of(record)
    if record.kind == "watermark":
        return _watermark_views(record, plan, weights)[1]
    rows = _rows(record, plan)
    return [
        associate_fingerprint(pair.found, pair.enrolled, plan.slots, rows) for pair in _pairs(record, plan, weights)[1]
    ]


def _watermark_views(record: Record, plan: Plan, weights: Weights) -> tuple[Floats, list[Association]]:
    """What was read at the positions, and the test of each view."""
    z = record.key.stream("nct/values", record.values_context).normals(plan.positions.size)
    raw = _read(record, plan, weights.values)
    gains = _read(record, plan, lambda slot, positions: _row_gains(record, weights, slot, positions))
    out = [associate_watermark(raw, z, plan.slots)]
    if np.isfinite(gains).any():
        with np.errstate(all="ignore"):
            gauged = raw * record.array("row_gains", plan.positions.size).astype(np.float64) / gains
        out.append(associate_watermark(gauged, z, plan.slots))
    return raw, out


def _judge_watermark(record: Record, weights: Weights, log10_rate: float) -> Judgement:
    plan = plan_of(record)
    raw, associations = _watermark_views(record, plan, weights)
    best = min(associations, key=lambda view: view.log10_p)
    paid = Association(log10_of_either(best.log10_p, _VIEWS), best.effect, associations[0].read)
    enrolled = mark_values(record, plan)
    return Judgement(
        paid, paid.log10_p <= log10_rate, correlations(raw, enrolled), Reads(plan.slots, plan.positions, enrolled, raw)
    )


@dataclass(frozen=True)
class _Pair:
    """Control-corrected values of the candidate and of enrolment in one view."""

    found: Floats
    enrolled: Floats


def _pairs(record: Record, plan: Plan, weights: Weights) -> tuple[Floats, list[_Pair]]:
    """What was read at the positions, and the two sides of each view."""
    count = plan.positions.size
    raw, corrected, gauged = read_with_controls(record, plan, weights)
    enrolled = record.array("values", count).astype(np.float64)
    out = [_Pair(corrected, enrolled - record.array("controls", count).astype(np.float64))]
    if np.isfinite(gauged).any():
        out.append(_Pair(gauged, record.array("gauged", count).astype(np.float64)))
    return raw, out


def _rows(record: Record, plan: Plan) -> Positions:
    """A number for the out-row of each position."""
    sizes = np.array([entry.row_size for entry in record.slots], np.int64)[plan.slots]
    rows: Positions = plan.slots * 2**40 + plan.positions // sizes
    return rows


def _judge_fingerprint(record: Record, weights: Weights, log10_rate: float) -> Judgement:
    plan = plan_of(record)
    raw, pairs = _pairs(record, plan, weights)
    rows = _rows(record, plan)
    outcomes = [_fingerprint_view(pair, plan, rows, record, weights, log10_rate) for pair in pairs]
    association, significant, shared = min(outcomes, key=lambda outcome: (not outcome[1], outcome[0].log10_p))
    notes = (f"shares {shared} identical slots",) if shared and not significant else ()
    enrolled = record.array("values", plan.positions.size).astype(np.float64)
    reads = Reads(plan.slots, plan.positions, enrolled, raw)
    return Judgement(association, significant, correlations(raw, enrolled), reads, shared, notes)


def _fingerprint_view(
    pair: _Pair, plan: Plan, rows: Positions, record: Record, weights: Weights, log10_rate: float
) -> tuple[Association, bool, int]:
    """One view's association, whether it may say ``traced``, and how many near-identical slots were set aside."""
    whole = _paid(associate_fingerprint(pair.found, pair.enrolled, plan.slots, rows))
    if not _holds(whole, log10_rate):
        return whole, False, 0
    identical = _identical_slots(pair, plan)
    carried = np.isin(plan.slots, identical)
    few = len(identical) <= max(3, len(record.slots) // 10) and carried.sum() <= plan.positions.size / 2
    if not identical or not few or weights.share(identical) > 0.5:
        return whole, True, 0
    rest = _paid(
        associate_fingerprint(pair.found[~carried], pair.enrolled[~carried], plan.slots[~carried], rows[~carried])
    )
    if rest.read and _holds(rest, log10_rate):
        return whole, True, 0
    return rest, False, len(identical)


def _paid(association: Association) -> Association:
    return Association(log10_of_either(association.log10_p, _VIEWS), association.effect, association.read)


def _holds(association: Association, log10_rate: float) -> bool:
    return association.log10_p <= log10_rate and association.effect >= MIN_EFFECT


def _identical_slots(pair: _Pair, plan: Plan) -> list[int]:
    """Slots whose values correlate above .98 over at least 8 reads."""
    out = []
    for slot in np.unique(plan.slots).tolist():
        chosen = (plan.slots == slot) & np.isfinite(pair.found) & np.isfinite(pair.enrolled)
        if (
            chosen.sum() >= _IDENTICAL_READS
            and correlations(pair.found[chosen], pair.enrolled[chosen]).pearson > _IDENTICAL
        ):
            out.append(slot)
    return out


def read_with_controls(record: Record, plan: Plan, weights: Weights) -> tuple[Floats, Floats, Floats]:
    """Values at the positions: raw, minus the mean of their controls, and the same in the gauge of each out-row.

    The gauge is that of the candidate itself, so the last is NaN where only raw values are read.
    """
    count = plan.positions.size
    raw, corrected, gauged = (np.full(count, np.nan) for _ in range(3))
    controls = control_positions(record, plan)
    for slot in np.unique(plan.slots).tolist():
        chosen = np.flatnonzero(plan.slots == slot)
        own, beside = plan.positions[chosen], controls[chosen]
        there = beside >= 0
        both = np.concatenate([own, beside[there]])
        values = weights.values(slot, both)
        if values is None:
            continue
        raw[chosen] = values[: own.size]
        corrected[chosen] = _minus_controls(values, there)
        gains = weights.gains(slot)
        if gains is not None:
            with np.errstate(all="ignore"):
                scaled = values / gains[both // record.slots[slot].row_size]
            gauged[chosen] = _minus_controls(scaled, there)
    return raw, corrected, gauged


def _minus_controls(values: Floats, there: NDArray[np.bool_]) -> Floats:
    """``values`` holds the own values, then each one's controls; what is left after their means are taken away."""
    own = len(there)
    beside = np.zeros(there.shape)
    beside[there] = values[own:]
    with np.errstate(all="ignore"):
        out: Floats = values[:own] - beside.sum(1) / np.maximum(there.sum(1), 1)
    return out
