"""Compare one candidate, opened once, with any number of records, and reach the verdicts."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from onnxnnw.candidate import Anchors, CanonicalWeights, StoredWeights
from onnxnnw.errors import UnreadableRecord
from onnxnnw.graph.digest import DIGEST_FORMAT
from onnxnnw.graph.slot import Slot
from onnxnnw.matching.match import Match, match_slots
from onnxnnw.matching.parameter_reads import ParameterReads, read_parameters
from onnxnnw.methods.base import Judgement, Reads
from onnxnnw.notices import tell
from onnxnnw.records.record import Record
from onnxnnw.statistics import log10_of_either
from onnxnnw.verification.answer_text import Decision
from onnxnnw.verification.disguised import Disguise, disguise_of
from onnxnnw.verification.evidence import evidence_of, verdict_against
from onnxnnw.verification.explained import Explained, agreeing, explain, strata_of
from onnxnnw.verification.findings.base import Examination, collect_findings
from onnxnnw.verification.looking import Look, Looking
from onnxnnw.verification.named_records import NamedRecord
from onnxnnw.verification.places_at_hand import PlacesAtHand
from onnxnnw.verification.verdict import Verdict
from onnxnnw.verification.verdicts import COMPLETE, rank
from onnxnnw.verification.visible import visible

__all__ = ["Examiner"]

_TOGETHER = 256
_MOST_COPIES = 8
"""How often one weight is looked for once more."""

NOT_MEASURED = Explained(0.0, 0.0, 0, 0, 0, 0)


class Examiner(Looking):
    """Reaches verdicts; see ``Looking`` for what it is made of."""

    def verdicts(self) -> tuple[list[Verdict], list[str]]:
        """The verdicts, best first; and the records that lack what their method needs, with the reason."""
        looks: list[tuple[Verdict, Look | None]] = []
        failed, few = [], len(self.records) <= COMPLETE
        for number, named in enumerate(self.records, 1):
            tell(f"record {number:,} of {len(self.records):,}: {named.name}")
            try:
                looks.append((self._decide(look := self.look(named), few), look))
            except UnreadableRecord as error:
                failed.append(f"{visible(named.name)}: {visible(str(error))}")
            if number % _TOGETHER == 0 or number == len(self.records):
                looks.sort(key=lambda pair: rank(pair[0]))
                looks[COMPLETE:] = [(verdict, None) for verdict, _ in looks[COMPLETE:]]  # no more will be asked of them
        out = []
        for verdict, kept in looks:
            if few or kept is None:
                out.append(verdict)
                continue
            try:
                out.append(self._decide(kept, True))
            except UnreadableRecord as error:
                failed.append(f"{visible(kept.named.name)}: {visible(str(error))}")
        return out, failed

    def verdict(self, named: NamedRecord) -> Verdict:
        """The whole verdict of one record.

        Raises:
            UnreadableRecord: The record holds not what its method needs.
        """
        return self._decide(self.look(named), True)

    def brief(self, named: NamedRecord) -> tuple[Verdict, Look]:
        """The verdict without findings and ``explained``, and the function that completes it.

        Raises:
            UnreadableRecord: The record holds not what its method needs.
        """
        look = self.look(named)
        return self._decide(look, False), look

    def whole(self, look: Look) -> Verdict:
        """The complete verdict of a record that was judged.

        Raises:
            UnreadableRecord: The record holds not what its method needs.
        """
        return self._decide(look, True)

    def _is_identical(self, look: Look) -> bool:
        record = look.named.record
        return (
            self.digests is not None
            and not self.digests.doubts
            and record.derived.get("digest_format") == DIGEST_FORMAT
            and self.digests.network == record.derived.get("digest")
            and _confirmed(record, look.judgement)
        )

    def _disguise(self, record: Record, matches: Sequence[Match | None]) -> Disguise | None:
        return disguise_of(record, self.view, matches, self.sketches)

    @cached_property
    def _places(self) -> "PlacesAtHand":
        return PlacesAtHand([named.record for named in self.records])

    def _decide(self, look: Look, complete: bool) -> Verdict:
        """The decision: identical, traced, not traced or inconclusive.

        Args:
            look: What the method said.
            complete: Whether findings are made, and what is explained is measured.
        """
        named, method, judgement, anchors, weights = look.named, look.method, look.judgement, look.anchors, look.weights
        path, record, matches = look.path, look.named.record, weights.matches
        reference = look.reference if look.reference is not None and look.reference.used else None
        log10_p = log10_of_either(judgement.association.log10_p, self.alternatives)
        identical = self._is_identical(look)
        disguise = None
        doubtful = self._doubtful(anchors, matches) if complete else {}
        copies = self._copies(anchors, matches) if complete else []
        explained = NOT_MEASURED
        if complete:
            explained = self._explained(named, judgement, anchors, weights, path, doubtful, copies)
        read, absent = self._seen(judgement, record, matches)
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
            disguise = self._disguise(record, matches) if method.reads_weights and reference is None else None
            decision = "not traced" if enough and not (disguise and disguise.likely) else "inconclusive"
        examination = Examination(
            record=record,
            view=self.view,
            matches=matches,
            judgement=judgement,
            significant=judgement.significant or identical,
            shared_positions=lambda: self._places.shared(record),
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
        return verdict_against(
            named,
            decision,
            judgement,
            log10_p=log10_p,
            rate=self.rate,
            seen=(read, absent),
            explained=explained,
            evidence=evidence_of(named, decision, log10_p, self.rate, look.bound, explained, reference, disguise),
            findings=collect_findings(examination) if complete else [],
            path=path,
            not_understood=self._not_understood(),
            reference=look.reference,
        )

    def _doubtful(self, anchors: Anchors, matches: Sequence[Match | None]) -> dict[int, Match]:
        """Slots of the record that an output depends on only through factors of (nearly) zero."""
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
        strata = strata_of(record, anchors, weights, further)
        return explain(record, self.account, strata, parameters, list(doubtful.values()), copies)

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
        """How many Symbols were read, and how many are absent: no unread tensor is large enough to hold their slot.

        A slot of which nothing agrees was not read, if what is not understood, doubtful or given could hold it, or parameters and
        structural constants that nothing needs: it takes a quarter of a byte for each of its elements.
        """
        read, absent = judgement.read, judgement.absent
        kept = record.account["amounts"] if record.account is not None else {}
        hidden = self.account.hidden + self.account.surplus(kept)
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
        more = self.account.surplus({})
        if more:
            named.append(
                f"parameters and constants that channels and operators do not need: {more:,} bytes could be a weight"
            )
        return tuple(visible(problem) for problem in [*self.view.not_understood[:10], *named][:20])


MAX_COPIES = 200
"""More slots than that are not looked through for copies of what is known."""


def _differ(parameters: ParameterReads) -> bool:
    """Whether any value that was read changed, beyond the last bits."""
    with np.errstate(all="ignore"):
        same = np.abs(parameters.found - parameters.enrolled) <= 1e-5 * np.abs(parameters.enrolled) + 1e-30
    return not bool(same.all())


def _confirmed(record: Record, judgement: Judgement) -> bool:
    """Whether the reads confirm an equal digest; the digest is not bound, so anybody could write one into a record.

    Positions of a mark hold what was enrolled. Methods that know no such values keep anchors, which are not bound either:
    there the mark itself must be found.
    """
    rests_on_values = judgement.unit == "positions" and "written" not in record.unbound
    return _untouched(judgement.reads) and (rests_on_values or judgement.significant)


def _untouched(reads: Reads) -> bool:
    usable = np.isfinite(reads.found)
    return bool(np.array_equal(reads.found[usable], reads.enrolled[usable])) and 2 * int(usable.sum()) >= usable.size
