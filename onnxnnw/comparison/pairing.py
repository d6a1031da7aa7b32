"""Match the layers of two networks, by the code that matches a candidate with a record.

The reference is fingerprinted in memory under a key that follows from both files: the decision is that of a verification, with
its error rate, and nothing is kept.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxnnw.accounting.account import Account
from onnxnnw.candidate import Anchors, CanonicalWeights, slots_as_enrolled
from onnxnnw.comparison.layers import Layer, found_layer, lost_layer, places_in
from onnxnnw.enrolment.copies import without_copies
from onnxnnw.enrolment.origins import without_hidden_units
from onnxnnw.enrolment.owner import Owner
from onnxnnw.enrolment.record_draft import draft_fingerprint
from onnxnnw.errors import CannotLook, CapacityError
from onnxnnw.graph.slot import Slot
from onnxnnw.graph.slot_view import SlotView
from onnxnnw.matching.match import UNUSUAL, Match
from onnxnnw.records.key import Key
from onnxnnw.records.record import Record
from onnxnnw.verification.examiner import Examiner
from onnxnnw.verification.named_records import NamedRecord
from onnxnnw.verification.slot_reads import SlotReads
from onnxnnw.verification.units import in_best_unit, leveled
from onnxnnw.verification.verdict import Verdict

__all__ = ["Holder", "Pairing", "pair"]

_POSITIONS = (4096, 1024, 512, 256, 164, 64)
RATE = 1e-6


class Holder(Examiner):
    """An examiner that keeps its slot matches, which are the slowest part."""

    found: "list[Match | None] | None" = None

    def matches(self, anchors: Anchors) -> list[Match | None]:
        """As any examiner does."""
        self.found = super().matches(anchors)
        return self.found


@dataclass(frozen=True, eq=False)
class Pairing:
    """A candidate held against a reference.

    Attributes:
        verdict: What a verification would say; None where the reference has too few weights for one.
        layers: Every layer of the reference.
        slots: The same, as they are stored there.
        used: Ids of the candidate's stored tensors that some layer was found in.
        doubt: Why there is no verdict.
    """

    verdict: Verdict | None
    layers: list[Layer]
    slots: list[Slot]
    used: set[int]
    doubt: str = ""


def pair(reference: SlotView, account: Account, digests: tuple[str, str], examiner: Holder) -> Pairing:
    """Hold a candidate against a reference.

    Args:
        reference: The reference's slots.
        account: What else is stored in it.
        digests: Of both networks.
        examiner: Has the candidate open.
    """
    own, _ = without_copies(reference)
    try:
        record = _fingerprint(own, account, digests)
    except CannotLook as error:
        return Pairing(None, [lost_layer(slot) for slot in own.slots], own.slots, set(), str(error))
    named = NamedRecord(record, "reference", "")
    examiner.records, examiner.alternatives = (named,), 1  # p-values are multiplied by their number
    verdict = examiner.verdict(named)
    anchors = Anchors(record)
    matches = _matches(record, anchors, examiner)
    traced = verdict.decision in ("traced", "identical")
    weights = CanonicalWeights(matches, examiner.live, anchors.folds)
    layers = [_layer(number, slot, record, anchors, weights, matches, traced) for number, slot in enumerate(own.slots)]
    found = [match for match, layer in zip(matches, layers, strict=True) if match is not None and layer.found_as]
    return Pairing(verdict, layers, own.slots, {id(t) for match in found for t in match.slot.constant.stored()})


def _fingerprint(view: SlotView, account: Account, digests: tuple[str, str]) -> Record:
    secret = hashlib.sha256("\n".join(("onnxnnw/compare", *digests)).encode()).digest()
    linear = without_hidden_units(view)
    for positions in _POSITIONS:
        try:
            return draft_fingerprint(view, Key(secret), positions, Owner(), account, set(), linear)
        except CapacityError:
            if positions == _POSITIONS[-1]:
                raise
    raise AssertionError


def _matches(record: Record, anchors: Anchors, examiner: Holder) -> Sequence[Match | None]:
    """The counterparts that the verdict rests on."""
    known = slots_as_enrolled(record, anchors, examiner.view) if examiner.found is None else None
    return known[0] if known is not None else examiner.found or [None] * len(record.slots)


def _layer(
    number: int,
    slot: Slot,
    record: Record,
    anchors: Anchors,
    weights: CanonicalWeights,
    matches: Sequence[Match | None],
    traced: bool,
) -> Layer:
    match, size = matches[number], record.slots[number].row_size
    if match is None or not (match.agrees if traced else match.agreement > UNUSUAL):
        return lost_layer(slot)
    places = places_in(slot.size)
    now = weights.values(number, places)
    if now is None:
        return lost_layer(slot)
    before, rows = slot.values(places), places // size
    usable = np.isfinite(now) & np.isfinite(before)
    places, rows, before, now = places[usable], rows[usable], before[usable], now[usable]
    if not places.size:
        return lost_layer(slot)
    now, folded = in_best_unit(match, None if anchors.folds is None else anchors.folds.get(number), before, now, rows)
    values = before, leveled(match, before, now)
    deviation = float(record.arrays["deviations"][number])
    return found_layer(slot, SlotReads(slot.name, match, *values, rows, places % size, deviation, folded))
