"""Record and candidate -> verdict.

Two paths, one verdict. Anchors alone choose the slots, before anything is tested: where name, shape and use of every
slot are as enrolled and the anchors of each agree, by name; else by content. In the former case the fast path reads
stored values at the positions; it may only say ``traced``, and every other answer comes from the thorough path.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.candidate import Anchors, CanonicalWeights, StoredWeights, slots_as_enrolled
from onnxnnw.errors import UnknownName, UnreadableRecord, UsageError
from onnxnnw.explained import Explained, agreeing, explain
from onnxnnw.findings.added import MIN_EXPLAINED
from onnxnnw.findings.base import Examination, Finding, collect_findings
from onnxnnw.graph import Network, find_slots, network_digests, open_network
from onnxnnw.graph.accounting import account_of
from onnxnnw.graph.digest import DIGEST_FORMAT
from onnxnnw.graph.match import Match, match_slots
from onnxnnw.graph.slots import Slot
from onnxnnw.methods.base import Candidate, Judgement, Method, Reads, find_method
from onnxnnw.parameter_reads import ParameterReads, read_parameters
from onnxnnw.records import Record, load_record
from onnxnnw.statistics import log10_of_either, refuse_impossible_rate
from onnxnnw.verdict import Evidence, Search, Verdict

if TYPE_CHECKING:
    from onnxnnw.runtime import Runtime

__all__ = ["DEFAULT_RATE", "NamedRecord", "examine", "load_records", "named_record", "search", "verify"]

DEFAULT_RATE = 1e-6
WEAK = 2.0
"""Below this p-value (-log10) nobody should say that there is no evidence at all."""

MAX_CHANGED = 0.05
"""Share of the parameters looked at that may be others where two networks are called the same."""

FORGEABLE = 24.0
"""Below this many (log10) trials a record could be made after the fact by trying keys."""

ANSWER_LIMIT_S = 120.0
"""Seconds for one call of a candidate that is asked for answers: it is hostile input, and may loop forever."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class NamedRecord:
    """A record with what is shown of it: its file name and commitment."""

    record: Record
    name: str
    commitment: str


def load_records(folder: Path | str) -> tuple[list[NamedRecord], list[str]]:
    """All records of a folder (not of its subfolders), and what was no record or could not be read.

    Raises:
        UnreadableRecord: The folder cannot be read or holds no record that can.
    """
    folder = Path(folder)
    try:
        files = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and not _is_folder(path))
    except OSError as error:
        raise UnreadableRecord(f"{folder}: cannot be read: {error.strerror}") from None
    records, unreadable = [], []
    for path in files:
        try:
            records.append(named_record(path))
        except UnreadableRecord as error:
            unreadable.append(str(error))
    if not records:
        first = f": {unreadable[0]}" if unreadable else ""
        raise UnreadableRecord(f"{folder}: holds no record ({len(files)} files looked at){first}")
    return records, unreadable


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # where a link leads may not be looked at
        return False


def named_record(path: Path | str, commitment: str | None = None) -> NamedRecord:
    """A record from a file, with its name and commitment.

    Raises:
        UnreadableRecord: See ``records.load_record``.
    """
    record = load_record(path, commitment)
    return NamedRecord(record, Path(path).name, record.commitment)


def verify(
    candidate: Path | str,
    records: Sequence[NamedRecord | Record],
    rate: float = DEFAULT_RATE,
    full: bool = False,
) -> list[Verdict]:
    """Hold a candidate against records; one verdict each, best first.

    Args:
        candidate: An ONNX file. It is hostile input until proven otherwise.
        records: R records; each p-value is multiplied by R.
        rate: The false-positive rate of the decision, over all records together.
        full: Also compute the canonical digest, which alone can say ``identical``.

    Raises:
        CannotLook: The candidate or a record cannot be examined.
        UsageError: No record, or an impossible rate.
    """
    if not records:
        raise UsageError("no record to verify against")
    refuse_impossible_rate(rate)  # before anything is read
    named = [r if isinstance(r, NamedRecord) else NamedRecord(r, "record", r.commitment) for r in records]
    with open_network(candidate) as network:
        verdicts, failed = _Examiner(network, named, rate, full).verdicts()
        network.check_unchanged()
    if failed:
        raise UnreadableRecord(failed[0])
    return verdicts


def examine(
    candidate: Path | str,
    record_paths: Sequence[Path | str] = (),
    folder: Path | str | None = None,
    rate: float = DEFAULT_RATE,
    full: bool = False,
    commitment: str | None = None,
) -> Search:
    """Hold a candidate against record files, or find the record of a folder that it comes from.

    Args:
        candidate: An ONNX file.
        record_paths: Records; not together with ``folder``. Of several, those that cannot be read are named in the result.
        folder: A folder of records.
        rate, full: See ``verify``.
        commitment: Published SHA-256 of the one record.

    Raises:
        CannotLook: The candidate, all records or the folder cannot be examined.
        UsageError: Records and folder together, neither, or a commitment without exactly one record.
    """
    if bool(record_paths) == (folder is not None):
        raise UsageError("give records or a folder of records, one of the two")
    if commitment is not None and len(record_paths) != 1:
        raise UsageError("a commitment belongs to exactly one record")
    if folder is not None:
        return search(candidate, folder, rate, full)
    refuse_impossible_rate(rate)
    records, unreadable = [], []
    for path in record_paths:
        try:
            records.append(named_record(path, commitment))
        except UnreadableRecord as error:
            if len(record_paths) == 1:
                raise
            unreadable.append(_visible(str(error)))
    if not records:
        raise UnreadableRecord(unreadable[0])
    return _search(candidate, records, unreadable, rate, full)


def search(candidate: Path | str, folder: Path | str, rate: float = DEFAULT_RATE, full: bool = False) -> Search:
    """Find the record of a folder that a candidate comes from [Matching, NNW-TEC 3 and 5.3.1].

    Raises:
        CannotLook: The candidate or the folder cannot be examined.
    """
    refuse_impossible_rate(rate)
    records, unreadable = load_records(folder)
    return _search(candidate, records, unreadable, rate, full)


def _search(
    candidate: Path | str, records: Sequence[NamedRecord], unreadable: Sequence[str], rate: float, full: bool
) -> Search:
    """Hold a candidate against those of some records that can be examined."""
    start = time.perf_counter()
    with open_network(candidate) as network:
        verdicts, failed = _Examiner(network, records, rate, full).verdicts()
        network.check_unchanged()
    if not verdicts:
        raise UnreadableRecord(f"no record that can be examined: {failed[0]}")
    return Search(tuple(verdicts), (*unreadable, *failed), (time.perf_counter() - start) / len(records))


_ORDER = ("identical", "traced", "inconclusive", "not traced")


def _rank(verdict: Verdict) -> tuple[int, float, float]:
    """Best first. Among records that are all significant likeness decides, to a tenth: a p-value says how many were read."""
    likeness = round(verdict.effect, 1) if verdict.decision in ("identical", "traced") else 0.0
    return _ORDER.index(verdict.decision), -likeness, verdict.log10_p


class _Examiner:
    """One candidate, opened once, held against any number of records."""

    def __init__(self, network: Network, records: Sequence[NamedRecord], rate: float, full: bool) -> None:
        self.network, self.records, self.rate = network, records, rate
        self.view = find_slots(network)
        self.account = account_of(network, self.view)
        self.digests = network_digests(network, self.view) if full else None
        self.log10_rate = float(np.log10(rate))
        self.live = self.account.weight + self.account.doubtful
        self.runtime: Runtime | None = None

    def verdicts(self) -> tuple[list[Verdict], list[str]]:
        """The verdicts, best first; and the records that hold not what their method needs, with the reason."""
        verdicts, failed = [], []
        for named in self.records:
            try:
                verdicts.append(self.verdict(named))
            except UnreadableRecord as error:
                failed.append(f"{_visible(named.name)}: {_visible(str(error))}")
        return sorted(verdicts, key=_rank), failed

    def verdict(self, named: NamedRecord) -> Verdict:
        record = named.record
        method = _method_of(named)
        alternatives = len(self.records)
        log10_rate = self.log10_rate - float(np.log10(alternatives))
        anchors = Anchors(record)
        as_enrolled = slots_as_enrolled(record, anchors, self.view)
        # What nothing binds may help to find a slot, but where names are enough it changes no value.
        folds = anchors.folds if anchors.bound or as_enrolled is None else None
        if as_enrolled is not None and method.reads_weights:
            weights = StoredWeights(as_enrolled, self.live, folds)
            judgement = method.judge(record, self._candidate(anchors, weights), log10_rate)
            if judgement.significant:
                return self._decide(named, method, judgement, anchors, weights, "fast", True)
        # A second alignment judged on the same mark would be another alternative, and nobody paid for it.
        matches = as_enrolled if as_enrolled is not None else match_slots(anchors.wanted(), self.view.slots)
        weights = CanonicalWeights(matches, self.live, folds)
        judgement = method.judge(record, self._candidate(anchors, weights), log10_rate)
        path = "thorough" if method.reads_weights else "answers"
        bound = anchors.bound or as_enrolled is not None or not method.reads_weights
        return self._decide(named, method, judgement, anchors, weights, path, bound)

    def _candidate(self, anchors: Anchors, weights: StoredWeights) -> Candidate:
        return Candidate(weights, lambda: anchors.reads(weights), self._predict)

    def _predict(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """The candidate's answers; the only place where it is run."""
        if self.runtime is None:
            from onnxnnw.runtime import open_runtime

            self.runtime = open_runtime(self.network.path, limit_s=ANSWER_LIMIT_S)
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
    ) -> Verdict:
        """The verdict.

        Args:
            bound: Whether nothing that the mark does not depend on was needed to find it.
        """
        record, alternatives = named.record, len(self.records)
        matches = weights.matches
        log10_p = log10_of_either(judgement.association.log10_p, alternatives)
        identical = (
            self.digests is not None
            and not self.digests.doubts
            and record.derived.get("digest_format") == DIGEST_FORMAT
            and self.digests.network == record.derived.get("digest")
            and _confirmed(judgement)
        )
        doubtful = self._doubtful(anchors, matches)
        copies = self._copies(anchors, matches)
        explained = self._explained(named, judgement, anchors, weights, path, doubtful, copies)
        read, absent = self._seen(judgement, record, matches)
        if identical:
            explained = replace(
                explained, share=1.0, estimate=1.0, unexplained=0, parameters_changed=0.0
            )  # nothing is left out
            decision = "identical"
        elif judgement.significant:
            decision = "traced"
        else:
            enough = read + absent >= method.required(record, self.rate)
            decision = "not traced" if enough else "inconclusive"
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
        )
        findings = tuple(_clean(finding) for finding in collect_findings(examination))
        return Verdict(
            decision=decision,
            record=_visible(named.name),
            method=record.method,
            kind=record.kind,
            actor=_visible(record.actor),
            role=record.role,
            source_id=_visible(record.source_id),
            destination_id=_visible(record.destination_id),
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
            evidence=_evidence(named, decision, log10_p, self.rate, bound, explained),
            findings=findings,
            path=path,
            payload=judgement.payload,
            not_understood=self._not_understood(),
        )

    def _doubtful(self, anchors: Anchors, matches: Sequence[Match | None]) -> dict[int, Match]:
        """Slots of the record that stand only where an output depends on them through (nearly) nothing."""
        if not self.view.doubtful:
            return {}
        wanted = anchors.wanted()
        missing = [number for number, match in enumerate(matches) if match is None or not match.agrees]
        found = match_slots([wanted[number] for number in missing], self.view.doubtful)
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
            parameters = read_parameters(record, self.account, weights.matches, thorough)
            if not thorough and _differ(parameters):
                parameters = read_parameters(record, self.account, weights.matches, True)
        further = judgement.reads if record.kind == "fingerprint" else None
        return explain(record, anchors, self.account, weights, further, parameters, list(doubtful.values()), copies)

    def _copies(self, anchors: Anchors, matches: Sequence[Match | None]) -> list[tuple[Slot, float]]:
        """Slots that hold once more what another one holds, and the share of their reads that agree."""
        stored = {id(match.slot.tensor) for match in matches if match is not None and match.agrees}
        if not stored:  # nothing is known of which there could be a copy
            return []
        others = [slot for slot in self.view.slots if id(slot.tensor) not in stored]
        if not others or len(others) > MAX_COPIES:
            return []
        out = []
        found = match_slots(anchors.wanted(), others)
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
        return tuple(_visible(problem) for problem in [*self.view.not_understood[:10], *named][:20])


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
        raise UnreadableRecord(_visible(str(error))) from None


def _confirmed(judgement: Judgement) -> bool:
    """Whether what was read confirms an equal digest, which is not bound: anybody could write one into a record.

    Positions of a mark hold what was enrolled. Methods that know no such values keep anchors, which are not bound either:
    there the mark itself must be found.
    """
    return _untouched(judgement.reads) and (judgement.unit == "positions" or judgement.significant)


def _untouched(reads: Reads) -> bool:
    usable = np.isfinite(reads.found)
    return bool(np.array_equal(reads.found[usable], reads.enrolled[usable])) and 2 * int(usable.sum()) >= usable.size


def _evidence(
    named: NamedRecord, decision: str, log10_p: float, rate: float, bound: bool, explained: Explained
) -> Evidence:
    kind = named.record.kind
    if decision not in ("traced", "identical"):
        return Evidence(kind, named.commitment, None, _not_proven(decision, log10_p, rate))
    if kind == "fingerprint":
        return Evidence(
            kind, named.commitment, None, f"{_shared(decision, explained)}; this does not say which came first"
        )
    if not bound:
        sentence = "found by anchors that were read after the mark was bound: rely on a commitment published before"
        return Evidence(kind, named.commitment, None, sentence)
    trials = max(0.0, -log10_p)
    sentence = f"a record made after the fact would have to try about 1e{trials:.0f} keys"
    if trials < FORGEABLE:
        sentence += ": it could be forged by trying keys, so rely on a commitment published before"
    return Evidence(kind, named.commitment, trials, sentence)


def _shared(decision: str, explained: Explained) -> str:
    """What a fingerprint proves: values of one origin. Only a digest can say that two networks are one and the same."""
    if decision == "identical":
        return "the two are the same network"
    origin = "shares an origin with the enrolled network (copied weights, a common ancestor or the same initial values)"
    if explained.estimate < MIN_EXPLAINED:
        return f"{origin}, and others of its weights are not explained"
    if explained.parameters_changed > MAX_CHANGED:
        return f"{origin}, and parameters are others"
    return origin


def _not_proven(decision: str, log10_p: float, rate: float) -> str:
    """What holds where nothing is proven, which need not be nothing."""
    limit = float(np.log10(rate))
    number = f"{log10_p:.{1 if log10_p > limit + 0.05 else 4}f}"  # what does not reach -6 is not shown as -6.0
    further = ", and too little could be read to say more" if decision == "inconclusive" else ""
    if log10_p < -WEAK and log10_p > limit:
        return f"weak evidence: log10 p {number} does not reach the rate {rate:g}{further}"
    if log10_p < -WEAK:
        return f"weak evidence: log10 p {number} reaches the rate {rate:g}, but that alone does not make it traced{further}"
    return "too little could be read to say" if further else "no evidence of a common origin"


def _visible(text: str) -> str:
    """Text from a file with control characters made visible."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)[:200]


def _clean(finding: Finding) -> Finding:
    """A finding with every text that may come from a file made visible."""
    slots = {
        _visible(name): {key: _visible(value) if isinstance(value, str) else value for key, value in evidence.items()}
        for name, evidence in finding.slots.items()
    }
    sentence = _CONTROL.sub(lambda m: f"\\x{ord(m.group()):02x}", finding.sentence)[:600]
    return replace(finding, sentence=sentence, slots=slots)
