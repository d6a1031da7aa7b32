"""The fast path: the candidate's skeleton is the enrolled one, and its sampled slot values are unchanged.

Then nothing is traced, and the verdict is the one that tracing would have reached: ``traced``, "unchanged at all positions". Every
other answer comes from the thorough path. Behind an address fewer anchors are read, since each is a request, and a fingerprint's
controls are not, where equal values at all positions say that they are equal too.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onnxnnw.accounting.account import KINDS, Account
from onnxnnw.errors import CannotLook, UnreadableRecord
from onnxnnw.flow.nodes import Flow
from onnxnnw.graph.slot_view import SlotView
from onnxnnw.matching.known_skeleton import KnownSlots, known_slots
from onnxnnw.matching.parameter_reads import unchanged_parameters
from onnxnnw.matching.read_before import ReadBefore
from onnxnnw.methods import nct
from onnxnnw.methods.base import NO_READS, Candidate, Judgement
from onnxnnw.methods.control_reads import needs_no_controls
from onnxnnw.methods.discovery import find_method
from onnxnnw.notices import tell
from onnxnnw.records.positions import (
    PositionPlan,
    anchor_positions,
    by_slot,
    control_positions,
    plan_of,
    sample_positions,
)
from onnxnnw.records.record import Record
from onnxnnw.records.row_factors import row_factors_of
from onnxnnw.statistics import log10_of_either
from onnxnnw.verification.evidence import evidence_of, verdict_against
from onnxnnw.verification.explained import Stratum, explain
from onnxnnw.verification.findings.base import Examination, Finding
from onnxnnw.verification.findings.storage import find as unchanged
from onnxnnw.verification.named_records import NamedRecord
from onnxnnw.verification.verdict import Verdict
from onnxnnw.verification.verdicts import COMPLETE, rank

if TYPE_CHECKING:
    from onnxnnw.sources.addresses import Address

__all__ = ["short_cut"]

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]

_NONE = np.empty(0, np.int64)

_FEW = 8
"""Anchors of each slot that are read behind an address."""


def short_cut(candidate: "Path | str | Address", records: Sequence[NamedRecord], rate: float) -> list[Verdict] | None:
    """The verdicts on an unchanged copy, best first, if it is one of each record's network as far as can be told; else None.

    One record that says anything else takes the thorough path for all: a copy that is unchanged for one and not for another, or a
    network that a record is not of, is worth tracing.

    Raises:
        CannotLook: The candidate changes while it is read, or a server does not answer.
    """
    if not 1 <= len(records) <= COMPLETE or not all(_may_be_cut_short(named.record) for named in records):
        return None
    tell(f"reading {Path(str(candidate)).name}")
    with ExitStack() as opened:
        verdicts: list[Verdict] = []
        places: list[tuple[Record, KnownSlots]] = []
        shared = _shared_places([named.record for named in records])
        for named in records:
            known = _slots(candidate, named.record, places, opened)
            try:
                verdict = None if known is None else _verdict(known, named, rate, len(records), shared)
            except UnreadableRecord:
                verdict = None
            if verdict is None:
                return None
            verdicts.append(verdict)
        for _, known in places:
            known.check_unchanged()
    return sorted(verdicts, key=rank)


def _may_be_cut_short(record: Record) -> bool:
    """Whether a record holds all that an unchanged copy is known by."""
    return (
        record.skeleton is not None
        and record.account is not None
        and record.method == "nct"
        and "anchors" in record.arrays
    )


def _shared_places(records: Sequence[Record]) -> Callable[[Record], int]:
    """Counts the positions that a record shares with the others."""
    if len(records) == 1:
        return lambda _: 0
    from onnxnnw.verification.places_at_hand import PlacesAtHand

    return PlacesAtHand(records).shared


def _slots(
    candidate: "Path | str | Address", record: Record, places: list[tuple[Record, KnownSlots]], opened: ExitStack
) -> KnownSlots | None:
    """The slots of the candidate; records of one network share them, for all that lies around them is hashed."""
    assert record.skeleton is not None
    for other, known in places:
        if other.skeleton == record.skeleton and other.slots == record.slots:
            return known
    found = opened.enter_context(known_slots(candidate, record.skeleton, record.slots))
    if found is not None:
        places.append((record, found))
    return found


def _verdict(
    known: KnownSlots, named: NamedRecord, rate: float, alternatives: int, shared: Callable[[Record], int]
) -> Verdict | None:
    """The verdict, each p-value multiplied by the number of records."""
    record = named.record
    kept_controls = known.is_remote and needs_no_controls(record)
    plan = plan_of(record)
    looked_at = _looked_at(record, plan, known.is_remote)
    tested = _tested(record, plan, not kept_controls)
    known.in_files.fetch([(looked_at.slots, looked_at.positions), tested])
    found = known.in_files.take(looked_at.slots, looked_at.positions)
    if not np.array_equal(found.astype(np.float32).astype(np.float64), looked_at.values):
        return None
    weights = _UnchangedWeights(record, known, tested)

    def refused(_: object) -> np.ndarray:
        raise CannotLook("the candidate was not run")

    log10_rate = float(np.log10(rate)) - float(np.log10(alternatives))
    candidate = Candidate(weights, lambda: NO_READS, refused)
    if kept_controls:
        judgement = nct.judge_fingerprint(record, candidate, log10_rate, kept_controls=True)
    else:
        judgement = find_method(record.method).judge(record, candidate, log10_rate)
    if not judgement.significant or not np.array_equal(judgement.reads.found, judgement.reads.enrolled):
        return None
    return _decided(known, named, rate, looked_at, judgement, alternatives, shared)


class _LookedAt(NamedTuple):
    """What the candidate must have for nothing to have happened to it: slot, position and value of anchors, then samples."""

    slots: Positions
    positions: Positions
    values: Floats


def _looked_at(record: Record, plan: PositionPlan, few: bool) -> _LookedAt:
    """Anchors and samples of all slots; or the first few anchors of each, and no samples."""
    places = anchor_positions(record, plan)
    sizes = np.array([each.size for each in places], np.int64)
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if ends.size else 0
    values = record.array("anchors", total).astype(np.float64)
    slots, positions = np.repeat(np.arange(sizes.size), sizes), np.concatenate([*places, _NONE])
    row_factors_of(record)  # refused where it is damaged, as the next is
    if "anchor_gains" in record.arrays:
        record.array("anchor_gains", total)
    if few:
        first = np.arange(total) - np.repeat(ends - sizes, sizes) < _FEW
        return _LookedAt(slots[first], positions[first], values[first])
    if "samples" not in record.arrays:
        return _LookedAt(slots, positions, values)
    samples = sample_positions(record, plan, places)
    sizes = np.array([each.size for each in samples], np.int64)
    kept = record.array("samples", int(sizes.sum())).astype(np.float64)
    record.array("sample_gains", kept.size)
    more = np.repeat(np.arange(sizes.size), sizes), np.concatenate([*samples, _NONE]), kept
    return _LookedAt(*(np.concatenate(both) for both in zip((slots, positions, values), more, strict=True)))


def _tested(record: Record, plan: PositionPlan, with_controls: bool) -> tuple[Positions, Positions]:
    """Slots and positions of the mark, and of what stands beside them where that is read."""
    if not with_controls or "controls" not in record.arrays:
        return plan.slots, plan.positions
    controls = control_positions(record, plan)
    beside = np.repeat(plan.slots, controls.shape[1])[controls.reshape(-1) >= 0]
    return np.concatenate([plan.slots, beside]), np.concatenate([plan.positions, controls[controls >= 0]])


class _UnchangedWeights:
    """The weights of a candidate whose slots stand where the record says: what is tested was read together."""

    def __init__(self, record: Record, known: KnownSlots, tested: tuple[Positions, Positions]) -> None:
        slots, places = tested
        self._known, values = known, known.in_files.take(slots, places)
        count = len(record.slots)
        parts = by_slot(PositionPlan(slots, np.arange(slots.size)), count)
        self._read = {n: ReadBefore(places[part], values[part]) for n, part in enumerate(parts) if part.size}
        assert record.account is not None
        amounts = record.account["amounts"]
        self._live = amounts.get("weight", 0) + amounts.get("doubtful", 0)

    def has(self, slot: int) -> bool:
        return True

    def values(self, slot: int, positions: Positions) -> Floats:
        read = self._read.get(slot)
        values = None if read is None else read.at(positions)
        return self._known[slot].values(positions) if values is None else values

    def array(self, slot: int) -> NDArray[Any]:
        return self._known[slot].array()

    def row_scales(self, slot: int) -> None:
        return None

    def share(self, slots: Sequence[int]) -> float:
        return float(sum(self._known[slot].covered for slot in slots) / max(1, self._live))


def _decided(
    known: KnownSlots,
    named: NamedRecord,
    rate: float,
    looked_at: _LookedAt,
    judgement: Judgement,
    alternatives: int,
    shared: Callable[[Record], int],
) -> Verdict:
    record = named.record
    strata = _strata(record, looked_at, judgement)
    explained = explain(record, _account(record), strata, unchanged_parameters(record))
    log10_p = log10_of_either(judgement.association.log10_p, alternatives)
    view = SlotView(known, [], [], Flow(), None, [], [], set(), [], [])  # type: ignore[arg-type]  # nothing was traced
    examination = Examination(record, view, (), judgement, True, lambda: shared(record))
    return verdict_against(
        named,
        "traced",
        judgement,
        log10_p=log10_p,
        rate=rate,
        seen=(judgement.read, judgement.absent),
        explained=explained,
        evidence=evidence_of(named, "traced", log10_p, rate, True, explained),
        findings=[*(_of_others(examination) if alternatives > 1 else ()), *unchanged(examination)],
        path="fast",
    )


def _strata(record: Record, looked_at: _LookedAt, judgement: Judgement) -> list[Stratum]:
    """The slots, in each of which all that was looked at is as it was."""
    count = len(record.slots)
    anchors = np.bincount(looked_at.slots, minlength=count)
    further = judgement.reads.slots if record.kind == "fingerprint" else _NONE
    reads = anchors + np.bincount(further, minlength=count)
    sizes = [entry.size for entry in record.slots]
    return [
        Stratum(size, agree, agree, 0.0)
        for size, agree, known in zip(sizes, reads.tolist(), anchors.tolist(), strict=True)
        if known
    ]


def _of_others(examination: Examination) -> list[Finding]:
    from onnxnnw.verification.findings.overwriting import shared

    return shared(examination)


def _account(record: Record) -> Account:
    """What is stored in the candidate: what was at enrolment, since all but the slots is the same."""
    assert record.account is not None
    amounts = dict.fromkeys(KINDS, 0) | dict(record.account["amounts"])
    return Account(amounts, [], [])
