"""Judge one candidate, opened once, by the methods of any number of records."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.accounting.classing import account_of
from onnxnnw.candidate import Anchors, CanonicalWeights, StoredWeights, slots_as_enrolled
from onnxnnw.errors import UnknownName, UnreadableRecord
from onnxnnw.graph.digest import network_digests
from onnxnnw.graph.slot import Slot
from onnxnnw.graph.slots import find_slots
from onnxnnw.matching.known_skeleton import refuse_other_index
from onnxnnw.matching.match import Match, Wanted, match_slots
from onnxnnw.matching.read_before import ReadBefore, ReadWhole, SlotsAtHand
from onnxnnw.matching.slot_scales import SlotArrays, SlotScales
from onnxnnw.methods.base import Candidate, Judgement, Method, ReadTogether
from onnxnnw.methods.discovery import find_method
from onnxnnw.network_file.file import Network
from onnxnnw.notices import tell
from onnxnnw.records.record import Record
from onnxnnw.records.row_factors import RowFactors
from onnxnnw.verification.named_records import NamedRecord
from onnxnnw.verification.verdict import ReferenceUse
from onnxnnw.verification.visible import visible

if TYPE_CHECKING:
    from onnxnnw.matching.crowd import Crowd
    from onnxnnw.runtime import Runtime
    from onnxnnw.together.prepared import Group, PreparedRecords

__all__ = ["ANSWER_LIMIT_S", "Look", "Looking"]

ANSWER_LIMIT_S = 120.0
"""Seconds for one call of a candidate that is asked for answers: it is hostile input, and may loop forever."""

FEW = 20
"""Of a candidate that is held against more records than that, small weights are read whole, and once."""

_MOST_COMBINATIONS = 64

KEPT = 64 * 2**20
"""Bytes of a candidate's arrays that stay in memory where many records of one network are held against it."""


@dataclass(frozen=True)
class _Ahead:
    """What of a record was looked at together with others: as much as ``look`` would find itself."""

    anchors: Anchors
    as_enrolled: "tuple[list[Match | None], dict[int, ReadBefore | ReadWhole]] | None"
    weights: StoredWeights
    reads: "ReadTogether | None" = None


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


def _unclear(matches: Sequence[Match | None]) -> list[int]:
    """Slots for which other readings are worth a look."""
    return [number for number, match in enumerate(matches) if match is None or not match.is_clear]


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
        self._shared: dict[int, tuple[CanonicalWeights, Anchors, list[NDArray[np.int64]]]] = {}
        self.prepared: PreparedRecords | None = None
        self.reads_ahead = True  # whether other records are looked at together with one that is asked for
        self._batches: set[int] = set()
        self._ahead: dict[int, _Ahead] = {}
        self._found: dict[int, list[Match | None]] = {}
        self._networks: dict[object, int] = {}
        self._network_numbers: dict[int, int] = {}
        self._combined: dict[frozenset[tuple[int, int]], list[Slot]] = {}

    @cached_property
    def _arrays(self) -> SlotArrays | None:
        """Slots that records need alike; None where there are few records."""
        return SlotArrays(KEPT) if len(self.records) > FEW else None

    @cached_property
    def at_hand(self) -> SlotsAtHand | None:
        """Slots that are read whole; None where there are few records, which read less than that."""
        return SlotsAtHand(self.view.slots, KEPT // 8) if len(self.records) > FEW else None

    def look(self, named: NamedRecord) -> Look:
        """The judgement of a record's method on the candidate."""
        record = named.record
        method = self._method_of(named)
        if self.digests is not None:
            refuse_other_index(record, self.network, self.view, self.account)
        log10_rate = self.log10_rate - float(np.log10(self.alternatives))
        ahead = self._looked_ahead(record)
        anchors, as_enrolled, weights, reads = ahead.anchors, ahead.as_enrolled, ahead.weights, ahead.reads
        if as_enrolled is not None and method.reads_weights:
            judgement = method.judge(record, self._candidate(anchors, weights, reads), log10_rate)
            if judgement.significant:
                return Look(named, method, judgement, anchors, weights, "fast", True)
        # A second alignment judged on the same mark would be another alternative, and nobody paid for it.
        if as_enrolled is not None:
            weights, reads = CanonicalWeights(as_enrolled[0], self.live, weights.folds, arrays=self._arrays), None
        judgement = method.judge(record, self._candidate(anchors, weights, reads), log10_rate)
        path = "thorough" if method.reads_weights else "answers"
        bound = anchors.bound or as_enrolled is not None or not method.reads_weights
        return Look(named, method, judgement, anchors, weights, path, bound)

    def _looked_ahead(self, record: Record) -> _Ahead:
        """Where a record's slots are: found for it alone, or, of many records, for several of a slot table together."""
        remote = any(source.is_remote for source in self.network.sources)
        if (
            self.reads_ahead and len(self.records) > FEW and not remote
        ):  # elsewhere a few values are asked for, never all
            if self.prepared is None:
                from onnxnnw.together.prepared import PreparedRecords  # only where there are many

                self.prepared = PreparedRecords([named.record for named in self.records])
            batch = self.prepared.batch_of(record)
            if batch is not None and batch not in self._batches:
                self._batches.add(batch)
                for group in self.prepared.groups(batch):
                    self._look_ahead(group)
        known = self._ahead.pop(id(record), None)
        if known is None:
            anchors = Anchors(record)
            known = self._placed(anchors, slots_as_enrolled(record, anchors, self.view, self.at_hand))
        return known

    def _look_ahead(self, group: "Group") -> None:
        """Find the slots of several records, and read them."""
        other = group.surely_other(self.view, self.at_hand)
        alone = [n for n in np.flatnonzero(other).tolist() if not self._has_kin(group.anchors[n])]
        if len(alone) > 1 and group.crowd is not None:
            crowd = group.crowd if len(alone) == len(group.records) else group.crowd.some(None, np.array(alone))
            for number, matches in zip(alone, self._crowd_matches(crowd), strict=True):
                if matches is not None:
                    self._found[id(group.anchors[number])] = matches
        placed = []
        for record, anchors, is_other in zip(group.records, group.anchors, other.tolist(), strict=True):
            found = None if is_other else slots_as_enrolled(record, anchors, self.view, self.at_hand)
            placed.append(self._placed(anchors, found))
        if group.fingerprints is not None:
            reads = group.fingerprints.read([each.weights for each in placed])
            placed = [replace(each, reads=read) for each, read in zip(placed, reads, strict=True)]
        self._ahead |= {id(record): each for record, each in zip(group.records, placed, strict=True)}

    def _placed(
        self, anchors: Anchors, found: "tuple[list[Match | None], dict[int, ReadBefore | ReadWhole]] | None"
    ) -> _Ahead:
        if found is None:
            return _Ahead(anchors, None, self._by_content(anchors, anchors.folds))
        # What nothing binds may help to find a slot, but where names are enough it changes no value.
        folds = anchors.folds if anchors.bound else None
        return _Ahead(anchors, found, StoredWeights(found[0], self.live, folds, found[1]))

    def _has_kin(self, anchors: Anchors) -> bool:
        """Whether other records are of the same network, so that slots are looked for once for all of them."""
        record = anchors.record
        return _shares(record) and anchors.bound and len(self._alike.get(self._network_of(record), ())) > 1

    def _by_content(self, anchors: Anchors, folds: RowFactors | None) -> CanonicalWeights:
        """The record's slots by content; records of one network share what was found with the anchors of one of them.

        That is the one with the smallest commitment, so that the order of records changes nothing. Nothing that is tested may have
        aligned: positions that are its anchors are left out of the others' marks.
        """
        record = anchors.record
        if not _shares(record) or not anchors.bound:
            return CanonicalWeights(self.matches(anchors), self.live, folds, arrays=self._arrays)
        network = self._network_of(record)
        if network not in self._shared:
            found, first = self._first_of(network, anchors)
            self._shared[network] = found, first, [np.sort(places) for places in first.positions]
        weights, first, barred = self._shared[network]
        if not _same(weights.folds, folds):
            return CanonicalWeights(self.matches(anchors), self.live, folds, arrays=self._arrays)
        return weights if first.record.commitment == record.commitment else weights.without(barred)

    def _first_of(self, network: int, anchors: Anchors) -> tuple[CanonicalWeights, Anchors]:
        """What is found with the anchors of the record that stands for all of its network, and these."""
        alike = self._alike.get(network, [])
        kept = KEPT if len(alike) > 1 else 0
        first = min([anchors.record, *alike], key=lambda record: record.commitment)
        if first is not anchors.record:
            with suppress(UnreadableRecord):  # it is named where it is looked at
                found = Anchors(first)
                anchors = found if found.bound else anchors
        weights = CanonicalWeights(self.matches(anchors), self.live, anchors.folds, kept=kept, arrays=self._arrays)
        return weights, anchors

    def _network_of(self, record: Record) -> int:
        """A number that is equal for records of one network that look for it alike."""
        if id(record) not in self._network_numbers:  # comparing long tables takes time
            network = record.enrolled_digest, record.parameters.get("anchors"), record.slots
            self._network_numbers[id(record)] = self._networks.setdefault(network, len(self._networks))
        return self._network_numbers[id(record)]

    @cached_property
    def _alike(self) -> dict[int, list[Record]]:
        """The records of each network."""
        out: dict[int, list[Record]] = {}
        for named in self.records:
            if _shares(named.record):
                out.setdefault(self._network_of(named.record), []).append(named.record)
        return out

    def matches(self, anchors: Anchors) -> list[Match | None]:
        """The record's slots by content; where nothing agrees well, sums and products of slots that act as one count too."""
        known = self._found.pop(id(anchors), None)
        if known is not None:
            return known
        wanted = anchors.wanted()
        matches = match_slots(wanted, self.view.slots, scales=self._scales)
        open_ = _unclear(matches)
        combined = self._combinations([wanted[number] for number in open_])
        found = match_slots([wanted[number] for number in open_], combined, whole=True) if combined else []
        for number, match in zip(open_, found, strict=False):
            if match is not None and match.is_better_than(matches[number]):
                matches[number] = match
        return matches

    def _combinations(self, wanted: Sequence[Wanted]) -> list[Slot]:
        """Sums and products of slots that have the shape of one that is wanted."""
        shapes = frozenset((want.rows, want.row_size) for want in wanted)
        if not shapes:
            return []
        if shapes not in self._combined:
            from onnxnnw.graph.linear import combined_slots

            if len(self._combined) >= _MOST_COMBINATIONS:
                self._combined.clear()
            self._combined[shapes] = combined_slots(self.view, shapes)
        return self._combined[shapes]

    def _crowd_matches(self, crowd: "Crowd") -> "list[list[Match | None] | None]":
        """``matches`` of each record of a crowd; None where it has to be asked."""
        from onnxnnw.matching.crowd_matches import match_crowd

        out = match_crowd(crowd, self.view.slots, self._scales)
        groups: dict[tuple[int, ...], list[int]] = {}
        for record, matches in enumerate(out):
            if matches is not None:
                groups.setdefault(tuple(_unclear(matches)), []).append(record)
        for open_, records in groups.items():
            combined = self._combinations([crowd.slots[number] for number in open_])
            if not combined:
                continue
            again = match_crowd(crowd.some(open_, np.array(records)), combined, self._scales, whole=True)
            for record, found in zip(records, again, strict=True):
                matches = out[record]
                if found is None or matches is None:
                    out[record] = None
                    continue
                for number, match in zip(open_, found, strict=True):
                    if match is not None and match.is_better_than(matches[number]):
                        matches[number] = match
        return out

    def _candidate(self, anchors: Anchors, weights: StoredWeights, reads: ReadTogether | None = None) -> Candidate:
        return Candidate(weights, lambda: anchors.reads(weights), self._predict, reads)

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
