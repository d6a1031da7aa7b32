"""The fast path: the candidate's skeleton is the enrolled one, and its sampled slot values are unchanged.

Then nothing is traced, and the verdict is the one that tracing would have reached: ``traced``, "unchanged at all positions". Every
other answer comes from the thorough path. Behind an address fewer anchors are read, since each is a request, and a fingerprint's
controls are not, where equal values at all positions say that they are equal too.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from onnxnnw.accounting.account import KINDS, Account
from onnxnnw.candidate import Anchors, StoredWeights
from onnxnnw.errors import CannotLook, UnreadableRecord
from onnxnnw.flow.nodes import Flow
from onnxnnw.graph.slot_view import SlotView
from onnxnnw.matching.known_skeleton import KnownSlots, known_slots
from onnxnnw.matching.match import Match
from onnxnnw.matching.parameter_reads import unchanged_parameters
from onnxnnw.matching.read_before import ReadBefore
from onnxnnw.methods import nct
from onnxnnw.methods.base import Candidate, Judgement
from onnxnnw.methods.control_reads import needs_no_controls
from onnxnnw.methods.discovery import find_method
from onnxnnw.network_file.ahead import fetch_together
from onnxnnw.network_file.stored import StoredTensor
from onnxnnw.notices import tell
from onnxnnw.records.positions import control_positions
from onnxnnw.records.record import Record
from onnxnnw.statistics import log10_of_either
from onnxnnw.verification.evidence import evidence_of, verdict_against
from onnxnnw.verification.explained import explain
from onnxnnw.verification.findings.base import Examination, Finding
from onnxnnw.verification.findings.storage import find as unchanged
from onnxnnw.verification.named_records import NamedRecord
from onnxnnw.verification.verdict import Verdict
from onnxnnw.verification.verdicts import COMPLETE, rank

if TYPE_CHECKING:
    from onnxnnw.sources.addresses import Address

__all__ = ["short_cut"]

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
    assert record.account is not None
    anchors = Anchors(record)
    kept_controls = known.is_remote and needs_no_controls(record)
    if known.is_remote:
        anchors = _fewer(anchors)
        _fetch_ahead(known, anchors, not kept_controls)
    weights = _unchanged_weights(known, anchors)
    if weights is None:
        return None

    def refused(_: object) -> np.ndarray:
        raise CannotLook("the candidate was not run")

    log10_rate = float(np.log10(rate)) - float(np.log10(alternatives))
    if kept_controls:
        judgement = nct.judge_fingerprint(record, weights, log10_rate, kept_controls=True)
    else:
        candidate = Candidate(weights, lambda: anchors.reads(weights), refused)
        judgement = find_method(record.method).judge(record, candidate, log10_rate)
    if not judgement.significant or not np.array_equal(judgement.reads.found, judgement.reads.enrolled):
        return None
    return _decided(known, named, rate, anchors, weights, judgement, alternatives, shared)


def _fewer(anchors: Anchors) -> Anchors:
    """The first few anchors of each slot, and no samples."""
    anchors.positions = [places[:_FEW] for places in anchors.positions]
    anchors.values = [values[:_FEW] for values in anchors.values]
    anchors.row_scales = None if anchors.row_scales is None else [scales[:_FEW] for scales in anchors.row_scales]
    arrays = {name: array for name, array in anchors.record.arrays.items() if name != "samples"}
    anchors.record = replace(anchors.record, arrays=arrays)
    return anchors


def _fetch_ahead(known: KnownSlots, anchors: Anchors, with_controls: bool) -> None:
    record, wanted = anchors.record, list[tuple[StoredTensor, np.ndarray]]()
    controls = control_positions(record, anchors.plan) if with_controls and "controls" in record.arrays else None
    for number, slot in enumerate(known.slots):
        sets = [anchors.everything(number)]
        if controls is not None:
            beside = controls[anchors.plan.slots == number]
            sets.append(np.concatenate([anchors.plan.of(number), beside[beside >= 0]]))
        wanted += [located for places in sets if (located := slot.constant.locate(places)) is not None]
    fetch_together(wanted)


def _unchanged_weights(known: KnownSlots, anchors: Anchors) -> StoredWeights | None:
    """The slots, if all recorded values outside the mark are unchanged."""
    matches: list[Match | None] = []
    reads: dict[int, ReadBefore] = {}
    for number, slot in enumerate(known.slots):
        places = anchors.everything(number)
        values = slot.values(places)
        _, kept, _ = anchors.looked_at(number)
        if not np.array_equal(values[: kept.size].astype(np.float32).astype(np.float64), kept):
            return None
        reads[number] = ReadBefore(places, values)
        matches.append(Match(slot, False, float("inf") if anchors.values[number].size else 0.0, folded=False))
    assert anchors.record.account is not None
    amounts = anchors.record.account["amounts"]
    return StoredWeights(matches, amounts.get("weight", 0) + amounts.get("doubtful", 0), anchors.folds, reads)


def _decided(
    known: KnownSlots,
    named: NamedRecord,
    rate: float,
    anchors: Anchors,
    weights: StoredWeights,
    judgement: Judgement,
    alternatives: int,
    shared: Callable[[Record], int],
) -> Verdict:
    record = named.record
    account = _account(record)
    further = judgement.reads if record.kind == "fingerprint" else None
    explained = explain(record, anchors, account, weights, further, unchanged_parameters(record))
    log10_p = log10_of_either(judgement.association.log10_p, alternatives)
    view = SlotView(known.slots, [], [], Flow(), None, [], [], set(), [], [])  # type: ignore[arg-type]  # nothing was traced
    examination = Examination(record, view, weights.matches, judgement, True, lambda: shared(record))
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


def _of_others(examination: Examination) -> list[Finding]:
    from onnxnnw.verification.findings.overwriting import shared

    return shared(examination)


def _account(record: Record) -> Account:
    """What is stored in the candidate: what was at enrolment, since all but the slots is the same."""
    assert record.account is not None
    amounts = dict.fromkeys(KINDS, 0) | dict(record.account["amounts"])
    return Account(amounts, [], [])
