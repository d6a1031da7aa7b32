"""No-Constraint Traceability: N secret positions, read (fingerprint) or written (watermark) [NNW-TEC 7.2].

NCT-Key K = f(I): the record holds the secret and the slot table, from which the ordered positions I are derived anew; I
is never stored. Mark values are derived from the key and everything else in the record, never read from it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import numpy as np

from onnxnnw.errors import UnreadableRecord
from onnxnnw.methods.base import Candidate, Floats, Judgement, Method, Positions, Reads, Standard, View, Weights
from onnxnnw.methods.control_reads import read_beside_kept, read_with_controls, row_numbers
from onnxnnw.methods.effects import alike_anyway, least_effect
from onnxnnw.network_file.stored import round_to
from onnxnnw.records.positions import PositionPlan, plan_of
from onnxnnw.records.record import Record
from onnxnnw.standard.grids import SIGNIFICANCE
from onnxnnw.statistics import (
    Association,
    Correlations,
    HostCancelled,
    associate_added,
    associate_fingerprint,
    associate_signs,
    associate_watermark,
    beside_ancestor,
    correlations,
    correlations_of_groups,
    log10_of_either,
    pearson,
    required_reads,
)

__all__ = [
    "ADDED",
    "NCT",
    "REPLACED",
    "expected_numbers",
    "is_added",
    "judge_fingerprint",
    "mark",
    "mark_values",
    "read_with_controls",
    "views",
]

ADDED, REPLACED = "added", "replaced"
"""How a watermark's values are written; records of format 1 replace."""

_IDENTICAL, _IDENTICAL_READS, _UNCLEAR = 0.98, 8, 1e-6
_VIEWS = 2  # raw and row-scaled


def mark_values(record: Record, plan: PositionPlan, numbers: Floats | None = None) -> Floats:
    """What the watermark writes, as stored: strength x deviation of the slot x z, added to the host or replacing it.

    ``numbers`` are other z than the key's, to see what those would write. Where the grid of a slot rounded what is added, the
    record says what was written; that is not bound, and only described.
    """
    if numbers is None and "written" in record.unbound and is_added(record):
        return record.with_unbound().array("written", plan.positions.size).astype(np.float64)
    try:
        absolute = record.parameters.get("value_std")
        numbers = expected_numbers(record, plan) if numbers is None else numbers
        values = numbers * (_added(record, plan) if absolute is None else _positive(absolute))
        if is_added(record):
            values += record.array("host", plan.positions.size).astype(np.float64)
        for slot in plan.numbers:
            chosen = plan.slots == slot
            values[chosen] = round_to(values[chosen], record.slots[slot].data_type)
    except (KeyError, ValueError):
        raise UnreadableRecord("the record's strength or an element type is missing or impossible") from None
    return values


def is_added(record: Record) -> bool:
    """Whether the mark was added to weights that the record keeps."""
    return record.parameters.get("insertion") == ADDED


def _added(record: Record, plan: PositionPlan) -> Floats:
    """Standard deviation of what is written at each position."""
    deviations: Floats = record.array("deviations", len(record.slots)).astype(np.float64)
    return deviations[plan.slots] * _positive(record.parameters["strength"])


def _positive(text: int | str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError(text)
    return number


def mark(record: Record) -> dict[str, tuple[Positions, Floats]]:
    """The mark as a pure function of the record: slot name -> (flat canonical positions, values).

    A file applies it through ``network_file.patch``, a torch module by ``p[np.unravel_index(positions, p.shape)] = values``.
    """
    plan = plan_of(record)
    values = mark_values(record, plan)
    return {record.slots[slot].name: (plan.of(slot), values[plan.slots == slot]) for slot in plan.numbers}


class NCT(Method):
    """Judges NCT watermarks and fingerprints."""

    name: ClassVar[str] = "nct"

    def judge(self, record: Record, candidate: Candidate, log10_rate: float) -> Judgement:
        if record.kind == "watermark" and is_added(record):
            return _judge_added(record, candidate.weights, log10_rate)
        if record.kind == "watermark":
            return _judge_watermark(record, candidate.weights, log10_rate)
        if record.kind == "fingerprint":
            return judge_fingerprint(record, candidate, log10_rate)
        raise UnreadableRecord(f"NCT knows no {record.kind!r} records")

    def required(self, record: Record, false_positive_rate: float) -> int:
        return required_reads(false_positive_rate)


def _read(record: Record, plan: PositionPlan, read: Callable[[int, Positions], Floats | None]) -> Floats:
    """Values at all positions; NaN where a slot has no counterpart."""
    out = np.full(plan.positions.size, np.nan)
    for slot in plan.numbers:
        chosen = plan.slots == slot
        found = read(slot, plan.positions[chosen])
        if found is not None:
            out[chosen] = found
    return out


def _row_scales_at(record: Record, weights: Weights, slot: int, positions: Positions) -> Floats | None:
    scales = weights.row_scales(slot)
    return None if scales is None else scales[positions // record.slots[slot].row_size]


def views(record: Record, weights: Weights) -> list[Association]:
    """The strict test in each view (raw, then row-scaled), not yet paid for; what calibration measures."""
    plan = plan_of(record)
    if record.kind == "watermark" and is_added(record):
        return [view.association for view in _added_views(record, plan, weights)[1]]
    if record.kind == "watermark":
        return _watermark_views(record, plan, weights)[1]
    rows = row_numbers(record, plan)
    return [
        associate_fingerprint(pair.found, pair.enrolled, plan.slots, rows) for pair in _pairs(record, plan, weights)[1]
    ]


def expected_numbers(record: Record, plan: PositionPlan) -> Floats:
    """What the key says of each position: standard normal, or a sign where many copies share the positions."""
    stream = record.key.stream("nct/values", record.values_context)
    return stream.signs(plan.positions.size) if record.is_for_recipient else stream.normals(plan.positions.size)


def _read_views(record: Record, plan: PositionPlan, weights: Weights) -> list[Floats]:
    """What was read at the positions: as it is, and in the row scales of enrolment where the candidate's are known."""
    raw = _read(record, plan, weights.values)
    scales = _read(record, plan, lambda slot, positions: _row_scales_at(record, weights, slot, positions))
    if not np.isfinite(scales).any():
        return [raw]
    with np.errstate(all="ignore"):
        return [raw, raw * record.array("row_gains", plan.positions.size).astype(np.float64) / scales]


def _added_views(record: Record, plan: PositionPlan, weights: Weights) -> tuple[Floats, list[HostCancelled]]:
    """What was read at the positions, and the test of each view with the host cancelled."""
    z, host = expected_numbers(record, plan), record.array("host", plan.positions.size).astype(np.float64)
    try:
        added = _added(record, plan)
    except (KeyError, ValueError):
        raise UnreadableRecord("the record's strength is missing or impossible") from None
    values = _read_views(record, plan, weights)
    associate = associate_signs if record.is_for_recipient else associate_added
    return values[0], [associate(each, host, z, plan.slots, added) for each in values]


def _judge_added(record: Record, weights: Weights, log10_rate: float) -> Judgement:
    """A mark that was added: what is left of the values without the host; see docs/reference/statistics.md."""
    plan = plan_of(record)
    raw, found = _added_views(record, plan, weights)
    best = min(found, key=lambda view: view.association.log10_p)
    paid = _paid(best.association)
    significant = paid.log10_p <= log10_rate
    present = significant or not best.host_agrees  # else what was there before the mark is what findings compare with
    enrolled = mark_values(record, plan) if present else record.array("host").astype(np.float64)
    reads = Reads(plan.slots, plan.positions, enrolled, raw)
    deviations = record.array("deviations", len(record.slots)).astype(np.float64)[plan.slots]
    with np.errstate(all="ignore"):
        left = np.where(found[0].residuals == 0, 0.0, found[0].raw_residuals / deviations)
    judgement = _judgement(
        paid, significant, reads, plan, weights, measured=correlations(left, expected_numbers(record, plan))
    )
    if significant or not best.host_agrees:
        return judgement
    if best.only_rounding:
        note = "the weights are as they were before the mark: the unmarked original, or another copy of it"
        if record.is_for_recipient:
            note = "the weights are as they were before any recipient's mark"
        needed = min(plan.positions.size, required_reads(10**log10_rate / _VIEWS))
        return replace(judgement, required=needed, notes=(note,))
    effect = min(0.5, 0.8 * best.expected_effect)
    needed = required_reads(10**log10_rate / _VIEWS, effect) if effect > 1e-4 else 2**62
    return replace(judgement, required=needed)


def _watermark_views(record: Record, plan: PositionPlan, weights: Weights) -> tuple[Floats, list[Association]]:
    """What was read at the positions, and the test of each view."""
    z, values = expected_numbers(record, plan), _read_views(record, plan, weights)
    return values[0], [associate_watermark(each, z, plan.slots) for each in values]


def _judge_watermark(record: Record, weights: Weights, log10_rate: float) -> Judgement:
    plan = plan_of(record)
    raw, associations = _watermark_views(record, plan, weights)
    best = min(associations, key=lambda view: view.log10_p)
    paid = Association(log10_of_either(best.log10_p, _VIEWS), best.effect, associations[0].read)
    reads = Reads(plan.slots, plan.positions, mark_values(record, plan), raw)
    return _judgement(paid, paid.log10_p <= log10_rate, reads, plan, weights)


def _judgement(
    association: Association,
    significant: bool,
    reads: Reads,
    plan: PositionPlan,
    weights: Weights,
    shared: int = 0,
    measured: Correlations | None = None,
) -> Judgement:
    """The judgement, with the standard's own decision beside it [NNW-TEC 7.2.3]."""
    found = correlations(reads.found, reads.enrolled) if measured is None else measured
    retrieved = found.retrieved(SIGNIFICANCE)
    decision = "retrieved" if retrieved else "not retrieved"
    standard = Standard(
        retrieved,
        {"spearman": found.spearman, "pearson": found.pearson, "log10_p": found.log10_p},
        f"{decision}: Spearman {found.spearman:.3f}, Pearson {found.pearson:.3f} (5 % decides)",
    )
    absent = sum(plan.of(slot).size for slot in plan.numbers if not weights.has(slot))
    notes = (f"shares {shared} identical slots",) if shared and not significant else ()
    count, read = plan.positions.size, int(np.isfinite(reads.found).sum())
    return Judgement(association, significant, standard, reads, "positions", count, read, absent, None, shared, notes)


def _pairs(
    record: Record, plan: PositionPlan, weights: Weights, kept_controls: bool = False
) -> tuple[Floats, list[View]]:
    """What was read at the positions, and the two sides of each view."""
    count = plan.positions.size
    if kept_controls:
        raw, corrected = read_beside_kept(record, plan, weights)
        row_scaled = np.full(count, np.nan)
    else:
        raw, corrected, row_scaled = read_with_controls(record, plan, weights)
    enrolled = record.array("values", count).astype(np.float64)
    out = [View(corrected, enrolled - record.array("controls", count).astype(np.float64))]
    if np.isfinite(row_scaled).any():
        out.append(View(row_scaled, record.array("gauged", count).astype(np.float64)))
    if record.parameters.get("ancestors"):
        both = zip(out, [record.array(name, count) for name in ("ancestor", "ancestor_gauged")], strict=False)
        out = [View(*beside_ancestor(pair.found, pair.enrolled, b, plan.slots)) for pair, b in both]
    return raw, out


def judge_fingerprint(
    record: Record, candidate: Candidate, log10_rate: float, kept_controls: bool = False
) -> Judgement:
    """A fingerprint's judgement.

    Args:
        kept_controls: Take the controls as they were at enrolment: only where ``needs_no_controls``, and all values are equal.
    """
    plan, weights, together = plan_of(record), candidate.weights, candidate.together
    raw, pairs = _pairs(record, plan, weights, kept_controls) if together is None else (together.raw, together.views)
    outcomes = [_fingerprint_view(pair, plan, record, weights, log10_rate) for pair in pairs]
    association, significant, shared = min(outcomes, key=lambda outcome: (not outcome[1], outcome[0].log10_p))
    enrolled = record.array("values", plan.positions.size).astype(np.float64)
    reads = Reads(plan.slots, plan.positions, enrolled, raw)
    measured = None if together is None else together.correlations
    judgement = _judgement(association, significant, reads, plan, weights, shared, measured)
    alike = "" if significant or shared else alike_anyway(association, log10_rate, record)
    if not alike:
        return judgement
    return replace(judgement, notes=(*judgement.notes, alike), required=plan.positions.size + 1)


def _fingerprint_view(
    pair: View, plan: PositionPlan, record: Record, weights: Weights, log10_rate: float
) -> tuple[Association, bool, int]:
    """One view's association, whether it may say ``traced``, and how many near-identical slots were set aside."""
    whole = _paid(
        pair.association or associate_fingerprint(pair.found, pair.enrolled, plan.slots, row_numbers(record, plan))
    )
    if not _holds(whole, log10_rate, record):
        return whole, False, 0
    identical = _identical_slots(pair, plan)
    carried = np.zeros(len(record.slots), np.bool_)
    carried[identical] = True
    carried = carried[plan.slots]
    few = len(identical) <= max(3, len(record.slots) // 10) and carried.sum() <= plan.positions.size / 2
    if not identical or not few or weights.share(identical) > 0.5:
        return whole, True, 0
    rows = row_numbers(record, plan)
    rest = _paid(
        associate_fingerprint(pair.found[~carried], pair.enrolled[~carried], plan.slots[~carried], rows[~carried])
    )
    if rest.read and _holds(rest, log10_rate, record):
        return whole, True, 0
    return rest, False, len(identical)


def _paid(association: Association) -> Association:
    return Association(log10_of_either(association.log10_p, _VIEWS), association.effect, association.read)


def _holds(association: Association, log10_rate: float, record: Record) -> bool:
    return association.log10_p <= log10_rate and association.effect >= least_effect(record)


def _identical_slots(pair: View, plan: PositionPlan) -> list[int]:
    """Slots whose values correlate above .98 over at least 8 reads."""
    usable = np.isfinite(pair.found) & np.isfinite(pair.enrolled)
    slots, found, enrolled = plan.slots[usable], pair.found[usable], pair.enrolled[usable]
    together = correlations_of_groups(found, enrolled, slots)
    out = []
    for slot in np.flatnonzero(np.bincount(slots) >= _IDENTICAL_READS).tolist():
        r = float(together[slot])
        if not abs(r - _IDENTICAL) > _UNCLEAR:  # what rounding could decide is computed for itself
            chosen = slots == slot
            r = pearson(found[chosen], enrolled[chosen])
        if r > _IDENTICAL:
            out.append(slot)
    return out
