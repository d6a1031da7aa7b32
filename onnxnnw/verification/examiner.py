"""One candidate, opened once, held against any number of records: where the verdict is reached."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.accounting.classing import account_of
from onnxnnw.candidate import Anchors, CanonicalWeights, StoredWeights, slots_as_enrolled
from onnxnnw.errors import UnknownName, UnreadableRecord
from onnxnnw.graph import find_slots, network_digests
from onnxnnw.graph.digest import DIGEST_FORMAT
from onnxnnw.graph.slot import Slot
from onnxnnw.matching.known_skeleton import refuse_other_index
from onnxnnw.matching.match import Match, match_slots
from onnxnnw.matching.parameter_reads import ParameterReads, read_parameters
from onnxnnw.methods.base import Candidate, Judgement, Method, Reads, find_method
from onnxnnw.network_file.file import Network
from onnxnnw.notices import tell
from onnxnnw.records.record import Record
from onnxnnw.statistics import log10_of_either
from onnxnnw.verification.answer_text import Decision
from onnxnnw.verification.explained import Explained, agreeing, explain
from onnxnnw.verification.findings.base import Examination, collect_findings
from onnxnnw.verification.verdict import ReferenceUse, Verdict

if TYPE_CHECKING:
    from onnxnnw.runtime import Runtime
from onnxnnw.verification.disguised import disguise_of
from onnxnnw.verification.evidence import evidence_of
from onnxnnw.verification.named_records import NamedRecord
from onnxnnw.verification.visible import clean, visible

__all__ = ["ANSWER_LIMIT_S", "Examiner", "rank"]

_MOST_COPIES = 8
"""How often one weight is looked for once more."""

ANSWER_LIMIT_S = 120.0
"""Seconds for one call of a candidate that is asked for answers: it is hostile input, and may loop forever."""


_ORDER = ("identical", "traced", "inconclusive", "not traced")


def rank(verdict: Verdict) -> tuple[int, float, float]:
    """Best first. Among records that are all significant likeness decides, to a tenth: a p-value says how many were read."""
    likeness = round(verdict.effect, 1) if verdict.decision in ("identical", "traced") else 0.0
    return _ORDER.index(verdict.decision), -likeness, verdict.log10_p


class Examiner:
    """One candidate, opened once, held against any number of records."""

    def __init__(self, network: Network, records: Sequence[NamedRecord], rate: float, full: bool) -> None:
        self.network, self.records, self.rate = network, records, rate
        tell("finding the weights, and what else is stored")
        self.view = find_slots(network)
        self.account = account_of(network, self.view)
        self.digests = network_digests(network, self.view) if full else None
        self.log10_rate = float(np.log10(rate))
        self.live = self.account.weight + self.account.doubtful
        self.runtime: Runtime | None = None
        self.alternatives = len(records)

    def verdicts(self) -> tuple[list[Verdict], list[str]]:
        """The verdicts, best first; and the records that hold not what their method needs, with the reason."""
        verdicts, failed = [], []
        for number, named in enumerate(self.records, 1):
            tell(f"record {number:,} of {len(self.records):,}: {named.name}")
            try:
                verdicts.append(self.verdict(named))
            except UnreadableRecord as error:
                failed.append(f"{visible(named.name)}: {visible(str(error))}")
        return sorted(verdicts, key=rank), failed

    def verdict(self, named: NamedRecord) -> Verdict:
        record = named.record
        method = _method_of(named)
        if self.digests is not None:
            refuse_other_index(record, self.network, self.view, self.account)
        log10_rate = self.log10_rate - float(np.log10(self.alternatives))
        anchors = Anchors(record)
        as_enrolled = slots_as_enrolled(record, anchors, self.view)
        # What nothing binds may help to find a slot, but where names are enough it changes no value.
        folds = anchors.folds if anchors.bound or as_enrolled is None else None
        if as_enrolled is not None and method.reads_weights:
            weights = StoredWeights(as_enrolled[0], self.live, folds, as_enrolled[1])
            judgement = method.judge(record, self._candidate(anchors, weights), log10_rate)
            if judgement.significant:
                return self._decide(named, method, judgement, anchors, weights, "fast", True)
        # A second alignment judged on the same mark would be another alternative, and nobody paid for it.
        matches = as_enrolled[0] if as_enrolled is not None else self._matches(anchors)
        weights = CanonicalWeights(matches, self.live, folds)
        judgement = method.judge(record, self._candidate(anchors, weights), log10_rate)
        path = "thorough" if method.reads_weights else "answers"
        bound = anchors.bound or as_enrolled is not None or not method.reads_weights
        return self._decide(named, method, judgement, anchors, weights, path, bound)

    def _matches(self, anchors: Anchors) -> list[Match | None]:
        """The record's slots by content; where nothing agrees well, sums and products of slots that act as one count too."""
        wanted = anchors.wanted()
        matches = match_slots(wanted, self.view.slots)
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

    def _decide(
        self,
        named: NamedRecord,
        method: Method,
        judgement: Judgement,
        anchors: Anchors,
        weights: StoredWeights,
        path: str,
        bound: bool,
        reference: ReferenceUse | None = None,
    ) -> Verdict:
        """The verdict.

        Args:
            bound: Whether nothing that the mark does not depend on was needed to find it.
            reference: What the owner's own copy had to do with it.
        """
        record = named.record
        matches = weights.matches
        log10_p = log10_of_either(judgement.association.log10_p, self.alternatives)
        identical = (
            self.digests is not None
            and not self.digests.doubts
            and record.derived.get("digest_format") == DIGEST_FORMAT
            and self.digests.network == record.derived.get("digest")
            and _confirmed(record, judgement)
        )
        doubtful = self._doubtful(anchors, matches)
        copies = self._copies(anchors, matches)
        explained = self._explained(named, judgement, anchors, weights, path, doubtful, copies)
        read, absent = self._seen(judgement, record, matches)
        disguise = None
        if identical:
            explained = replace(
                explained, share=1.0, estimate=1.0, unexplained=0, parameters_changed=0.0
            )  # nothing is left out
            decision: Decision = "identical"
        elif judgement.significant:
            decision = "traced"
        else:
            needed = judgement.required
            enough = read + absent >= (method.required(record, self.rate) if needed is None else needed)
            disguise = disguise_of(record, self.view, matches) if method.reads_weights and reference is None else None
            decision = "not traced" if enough and not (disguise and disguise.likely) else "inconclusive"
        examination = Examination(
            record=record,
            view=self.view,
            matches=matches,
            judgement=judgement,
            significant=judgement.significant or identical,
            others=[other.record for other in self.records if other is not named],
            digests=self.digests,
            doubtful=doubtful,
            parameters_changed=explained.parameters_changed,
            copied=sum(slot.covered for slot, _ in copies),
            hidden=self.account.hidden,
            anchors=lambda: anchors.further_reads(weights),
            folds=weights.folds or {},
            orders=weights.orders,
            disguise=disguise,
        )
        findings = tuple(clean(finding) for finding in collect_findings(examination))
        return Verdict(
            decision=decision,
            record=visible(named.name),
            method=record.method,
            kind=record.kind,
            actor=visible(record.actor),
            role=record.role,
            source_id=visible(record.source_id),
            destination_id=visible(record.destination_id),
            log10_p=log10_p,
            rate=self.rate,
            effect=judgement.association.effect,
            unit=judgement.unit,
            positions=judgement.symbols,
            read=read,
            absent=absent,
            unread=judgement.symbols - read - absent,
            explained=explained.share,
            account=explained,
            standard=judgement.standard,
            evidence=evidence_of(named, decision, log10_p, self.rate, bound, explained, reference, disguise),
            findings=findings,
            path=path,
            payload=judgement.payload,
            not_understood=self._not_understood(),
            reference=reference,
        )

    def _doubtful(self, anchors: Anchors, matches: Sequence[Match | None]) -> dict[int, Match]:
        """Slots of the record that stand only where an output depends on them through (nearly) nothing."""
        if not self.view.doubtful:
            return {}
        wanted = anchors.wanted()
        missing = [number for number, match in enumerate(matches) if match is None or not match.agrees]
        found = match_slots([wanted[number] for number in missing], self.view.doubtful, whole=True)
        return {n: match for n, match in zip(missing, found, strict=True) if match is not None and match.agrees}

    def _explained(
        self,
        named: NamedRecord,
        judgement: Judgement,
        anchors: Anchors,
        weights: StoredWeights,
        path: str,
        doubtful: dict[int, Match],
        copies: Sequence[tuple[Slot, float]],
    ) -> Explained:
        record = named.record
        thorough = path != "fast"
        parameters = None
        if record.account is not None:
            parameters = read_parameters(anchors.record, self.account, weights.matches, thorough, weights.row_orders)
            if not thorough and _differ(parameters):
                parameters = read_parameters(anchors.record, self.account, weights.matches, True)
        further = judgement.reads if record.kind == "fingerprint" else None
        return explain(record, anchors, self.account, weights, further, parameters, list(doubtful.values()), copies)

    def _copies(self, anchors: Anchors, matches: Sequence[Match | None]) -> list[tuple[Slot, float]]:
        """Slots that hold once more what another one holds, and the share of their reads that agree."""
        agreeing_slots = [match.slot for match in matches if match is not None and match.agrees]
        stored = {id(tensor) for slot in agreeing_slots for tensor in slot.constant.stored()}
        if not stored:  # nothing is known of which there could be a copy
            return []
        others = [slot for slot in self.view.slots if id(slot.tensor) not in stored]
        if not others or len(others) > MAX_COPIES:
            return []
        out: list[tuple[Slot, float]] = []
        wanted = anchors.wanted()
        known = [number for number, match in enumerate(matches) if match is not None and match.agrees]
        for _ in range(_MOST_COPIES):
            found: list[Match | None] = [None] * len(wanted)
            again = match_slots([wanted[number] for number in known], others, whole=True)
            for number, match in zip(known, again, strict=True):
                found[number] = match
            stored = {id(t) for m in found if m is not None and m.agrees for t in m.slot.constant.stored()}
            out += self._agreeing(anchors, found)
            others = [slot for slot in others if id(slot.tensor) not in stored]
            if not stored or not others:
                break
        return out

    def _agreeing(self, anchors: Anchors, found: Sequence[Match | None]) -> list[tuple[Slot, float]]:
        """Further slots that agree with the record's, and the share of their reads that do."""
        out = []
        again = CanonicalWeights(found, self.live, anchors.folds)
        for number, match in enumerate(found):
            if match is None or not match.agrees:
                continue
            places, enrolled, _ = anchors.looked_at(number)
            values = again.values(number, places)
            if values is not None:
                agree, count, luck = agreeing(enrolled, values, float(enrolled.std()))
                out.append((match.slot, max(0.0, agree / max(1, count) - luck) / (1 - luck)))
        return out

    def _seen(self, judgement: Judgement, record: Record, matches: Sequence[Match | None]) -> tuple[int, int]:
        """How many Symbols were read, and how many are absent: nothing that was not read could hold their slot.

        A slot of which nothing agrees was not read, if what is not understood, doubtful or given could hold it: it needs a quarter
        of a byte for each of its elements.
        """
        read, absent = judgement.read, judgement.absent
        hidden = self.account.hidden
        if not hidden or judgement.significant:
            return read, absent
        for number, entry in enumerate(record.slots):
            match = matches[number] if number < len(matches) else None
            size = (entry.live_rows + len(entry.dead_rows)) * entry.row_size
            if (match is not None and match.agrees) or hidden < size / 4:
                continue
            own = judgement.reads.slots == number
            if judgement.unit != "positions":  # one slot carries them all
                if own.any():
                    return 0, 0
                continue
            was_read = int(np.isfinite(judgement.reads.found[own]).sum())
            read -= was_read
            if match is None:
                absent -= int(own.sum())
        return max(0, read), max(0, absent)

    def _not_understood(self) -> tuple[str, ...]:
        """What could not be read, largest first: problems of weights, then what else is not understood."""
        named = [
            f"{entry.operator}: {entry.name[:80]}: {entry.reason} ({entry.amount:,} bytes)"
            for entry in self.account.unread()
        ]
        return tuple(visible(problem) for problem in [*self.view.not_understood[:10], *named][:20])


MAX_COPIES = 200
"""More slots than that are not looked through for copies of what is known."""


def _differ(parameters: ParameterReads) -> bool:
    """Whether anything that was looked at is not what it was, up to the last bits."""
    with np.errstate(all="ignore"):
        same = np.abs(parameters.found - parameters.enrolled) <= 1e-5 * np.abs(parameters.enrolled) + 1e-30
    return not bool(same.all())


def _method_of(named: NamedRecord) -> Method:
    try:
        return find_method(named.record.method)
    except UnknownName as error:
        raise UnreadableRecord(visible(str(error))) from None


def _confirmed(record: Record, judgement: Judgement) -> bool:
    """Whether what was read confirms an equal digest, which is not bound: anybody could write one into a record.

    Positions of a mark hold what was enrolled. Methods that know no such values keep anchors, which are not bound either:
    there the mark itself must be found.
    """
    rests_on_values = judgement.unit == "positions" and "written" not in record.unbound
    return _untouched(judgement.reads) and (rests_on_values or judgement.significant)


def _untouched(reads: Reads) -> bool:
    usable = np.isfinite(reads.found)
    return bool(np.array_equal(reads.found[usable], reads.enrolled[usable])) and 2 * int(usable.sum()) >= usable.size
