"""Judge one candidate, opened once, by the methods of any number of records."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.accounting.classing import account_of
from onnxnnw.candidate import Anchors, CanonicalWeights, StoredWeights, slots_as_enrolled
from onnxnnw.errors import UnknownName, UnreadableRecord
from onnxnnw.graph.digest import network_digests
from onnxnnw.graph.slots import find_slots
from onnxnnw.matching.known_skeleton import refuse_other_index
from onnxnnw.matching.match import Match, match_slots
from onnxnnw.matching.read_before import SlotsAtHand
from onnxnnw.matching.slot_scales import SlotScales
from onnxnnw.methods.base import Candidate, Judgement, Method
from onnxnnw.methods.discovery import find_method
from onnxnnw.network_file.file import Network
from onnxnnw.notices import tell
from onnxnnw.records.record import Record
from onnxnnw.records.row_factors import RowFactors
from onnxnnw.verification.named_records import NamedRecord
from onnxnnw.verification.verdict import ReferenceUse
from onnxnnw.verification.visible import visible

if TYPE_CHECKING:
    from onnxnnw.runtime import Runtime

__all__ = ["ANSWER_LIMIT_S", "Look", "Looking"]

ANSWER_LIMIT_S = 120.0
"""Seconds for one call of a candidate that is asked for answers: it is hostile input, and may loop forever."""

FEW = 20
"""Of a candidate that is held against more records than that, small weights are read whole, and once."""

KEPT = 64 * 2**20
"""Bytes of a candidate's arrays that stay in memory where many records of one network are held against it."""


@dataclass(frozen=True)
class Look:
    """The judgement of one record's method, with the weights and matches that it rests on.

    Attributes:
        bound: Whether nothing that the mark does not depend on was needed to find it.
        reference: What the owner's own copy had to do with it, where there is one.
    """

    named: NamedRecord
    method: Method
    judgement: Judgement
    anchors: Anchors
    weights: StoredWeights
    path: str
    bound: bool
    reference: ReferenceUse | None = None


def _same(one: RowFactors | None, other: RowFactors | None) -> bool:
    """Whether two records of one network agree on what multiplied its rows."""
    if one is None or other is None:
        return one is other
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


def _shares(record: Record) -> bool:
    """Whether it is known of which network a record with positions is."""
    return "positions" in record.parameters and bool(record.enrolled_digest)


def _network_of(record: Record) -> tuple[object, ...]:
    """Equal for records of one network that look for it alike."""
    return record.enrolled_digest, record.parameters.get("anchors"), record.slots


class Looking:
    """One candidate, opened once, judged with any number of records.

    Args:
        network: The candidate.
        records: What it is held against.
        rate: The false-positive rate of the decision, over all alternatives.
        full: Whether the canonical digest is computed.
        alternatives: Records that were tried in any way, where these are the best of more; each p-value is multiplied by them.
    """

    def __init__(
        self, network: Network, records: Sequence[NamedRecord], rate: float, full: bool, alternatives: int | None = None
    ) -> None:
        self.network, self.records, self.rate = network, records, rate
        tell("finding the weights, and what else is stored")
        self.view = find_slots(network)
        self.account = account_of(network, self.view)
        self.digests = network_digests(network, self.view) if full else None
        self.log10_rate = float(np.log10(rate))
        self.live = self.account.weight + self.account.doubtful
        self.runtime: Runtime | None = None
        self.alternatives = max(1, len(records)) if alternatives is None else alternatives
        self.sketches: dict[int, NDArray[np.float32]] = {}  # of the candidate, by number of the weight
        self._scales = SlotScales()
        self._methods: dict[str, Method] = {}
        self._shared: dict[object, tuple[CanonicalWeights, Anchors, list[NDArray[np.int64]]]] = {}

    @cached_property
    def _at_hand(self) -> SlotsAtHand | None:
        """Slots that are read whole; None where there are few records, which read less than that."""
        return SlotsAtHand(self.view.slots, KEPT // 8) if len(self.records) > FEW else None

    def look(self, named: NamedRecord) -> Look:
        """The judgement of a record's method on the candidate."""
        record = named.record
        method = self._method_of(named)
        if self.digests is not None:
            refuse_other_index(record, self.network, self.view, self.account)
        log10_rate = self.log10_rate - float(np.log10(self.alternatives))
        anchors = Anchors(record)
        as_enrolled = slots_as_enrolled(record, anchors, self.view, self._at_hand)
        # What nothing binds may help to find a slot, but where names are enough it changes no value.
        folds = anchors.folds if anchors.bound or as_enrolled is None else None
        weights: StoredWeights
        if as_enrolled is not None and method.reads_weights:
            weights = StoredWeights(as_enrolled[0], self.live, folds, as_enrolled[1])
            judgement = method.judge(record, self._candidate(anchors, weights), log10_rate)
            if judgement.significant:
                return Look(named, method, judgement, anchors, weights, "fast", True)
        # A second alignment judged on the same mark would be another alternative, and nobody paid for it.
        if as_enrolled is not None:
            weights = CanonicalWeights(as_enrolled[0], self.live, folds)
        else:
            weights = self._by_content(anchors, folds)
        judgement = method.judge(record, self._candidate(anchors, weights), log10_rate)
        path = "thorough" if method.reads_weights else "answers"
        bound = anchors.bound or as_enrolled is not None or not method.reads_weights
        return Look(named, method, judgement, anchors, weights, path, bound)

    def _by_content(self, anchors: Anchors, folds: RowFactors | None) -> CanonicalWeights:
        """The record's slots by content; records of one network share what was found with the anchors of one of them.

        That is the one with the smallest commitment, so that the order of records changes nothing. Nothing that is tested may have
        aligned: positions that are its anchors are left out of the others' marks.
        """
        record = anchors.record
        if not _shares(record) or not anchors.bound:
            return CanonicalWeights(self.matches(anchors), self.live, folds)
        network = _network_of(record)
        if network not in self._shared:
            found, first = self._first_of(network, anchors)
            self._shared[network] = found, first, [np.sort(places) for places in first.positions]
        weights, first, barred = self._shared[network]
        if not _same(weights.folds, folds):
            return CanonicalWeights(self.matches(anchors), self.live, folds)
        return weights if first.record.commitment == record.commitment else weights.without(barred)

    def _first_of(self, network: object, anchors: Anchors) -> tuple[CanonicalWeights, Anchors]:
        """What is found with the anchors of the record that stands for all of its network, and these."""
        alike = self._alike.get(network, [])
        kept = KEPT if len(alike) > 1 else 0
        first = min([anchors.record, *alike], key=lambda record: record.commitment)
        with suppress(UnreadableRecord):  # it is named where it is looked at
            found = Anchors(first)
            anchors = found if found.bound else anchors
        return CanonicalWeights(self.matches(anchors), self.live, anchors.folds, kept=kept), anchors

    @cached_property
    def _alike(self) -> dict[object, list[Record]]:
        """The records of each network."""
        out: dict[object, list[Record]] = {}
        for named in self.records:
            if _shares(named.record):
                out.setdefault(_network_of(named.record), []).append(named.record)
        return out

    def matches(self, anchors: Anchors) -> list[Match | None]:
        """The record's slots by content; where nothing agrees well, sums and products of slots that act as one count too."""
        wanted = anchors.wanted()
        matches = match_slots(wanted, self.view.slots, scales=self._scales)
        open_ = [number for number, match in enumerate(matches) if match is None or not match.is_clear]
        if open_:
            from onnxnnw.graph.linear import combined_slots

            combined = combined_slots(self.view, {(wanted[n].rows, wanted[n].row_size) for n in open_})
            found = match_slots([wanted[number] for number in open_], combined, whole=True) if combined else []
            for number, match in zip(open_, found, strict=False):
                if match is not None and match.is_better_than(matches[number]):
                    matches[number] = match
        return matches

    def _candidate(self, anchors: Anchors, weights: StoredWeights) -> Candidate:
        return Candidate(weights, lambda: anchors.reads(weights), self._predict)

    def _predict(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """The candidate's answers; the only place where it is run."""
        if self.runtime is None:
            from onnxnnw.runtime import open_runtime

            self.runtime = open_runtime(self.network.file, limit_s=ANSWER_LIMIT_S)
        return self.runtime.predict(inputs)

    def _method_of(self, named: NamedRecord) -> Method:
        name = named.record.method
        if name not in self._methods:
            try:
                self._methods[name] = find_method(name)
            except UnknownName as error:
                raise UnreadableRecord(visible(str(error))) from None
        return self._methods[name]
