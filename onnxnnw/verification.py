"""Record and candidate -> verdict.

Two paths, one verdict. Anchors alone choose the slots, before anything is tested: where name, shape and use of every
slot are as enrolled and the anchors of each agree, by name; else by content. In the former case the fast path reads
stored values at the positions; it may only say ``traced``, and every other answer comes from the thorough path.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import UnreadableRecord, UsageError
from onnxnnw.findings.base import Examination, Finding, collect_findings
from onnxnnw.graph import Network, find_slots, network_digest, open_network
from onnxnnw.graph.gauge import row_gains, row_magnitudes
from onnxnnw.graph.match import Match, Wanted, agreement, match_slots
from onnxnnw.methods import nct
from onnxnnw.methods.base import Judgement, Reads, find_method
from onnxnnw.records import Record, commitment_of, load_record
from onnxnnw.statistics import log10_of_either, required_reads

__all__ = [
    "DEFAULT_RATE",
    "FORMAT",
    "Evidence",
    "NamedRecord",
    "Search",
    "Standard",
    "Verdict",
    "examine",
    "load_records",
    "named_record",
    "search",
    "verify",
]

DEFAULT_RATE = 1e-6
FORMAT = "onnxnnw/verdict/1"
FORGEABLE = 24.0
"""Below this many (log10) trials a record could be made after the fact by trying keys."""

SIGNIFICANCE = 0.05  # NNW-TEC 3, "Rho Spearman Value"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class NamedRecord:
    """A record with what is shown of it: its file name and commitment."""

    record: Record
    name: str
    commitment: str


@dataclass(frozen=True)
class Standard:
    """The standard's own decision; nominal, see docs/statistics.md."""

    spearman: float
    pearson: float
    log10_p: float
    retrieved: bool


@dataclass(frozen=True)
class Evidence:
    """What the verdict is worth to somebody who does not trust the tracker.

    Attributes:
        kind: ``watermark`` or ``fingerprint``.
        commitment: SHA-256 of the record file.
        after_the_fact_trials_log10: How many keys (log10) somebody would have to try to make such a record for this
            candidate; None for a fingerprint.
        sentence: The same in words.
    """

    kind: str
    commitment: str
    after_the_fact_trials_log10: float | None
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """What is known of one candidate against one record.

    Attributes:
        decision: ``identical``, ``traced``, ``not traced`` or ``inconclusive``.
        log10_p: Of the strict test, all alternatives paid for.
        rate: The false-positive rate of the decision.
        effect: Correlation of what was read with what was expected, within slots.
        positions, read, absent, unread: N, and what became of the positions.
        explained: Share of the candidate's live weights in slots whose own anchors agree.
        path: ``fast`` or ``thorough``.
    """

    decision: str
    record: str
    method: str
    kind: str
    actor: str
    role: str
    log10_p: float
    rate: float
    effect: float
    positions: int
    read: int
    absent: int
    unread: int
    explained: float
    standard: Standard
    evidence: Evidence
    findings: tuple[Finding, ...]
    path: str
    not_understood: tuple[str, ...] = field(default=())

    @property
    def coverage(self) -> float:
        """Share of the mark that could be read."""
        return self.read / self.positions

    def meets(self, require: str = "traced", min_explained: float = 0.0) -> bool:
        """Whether a gate opens: the origin is proven (or the file is the very one), and enough of it is explained."""
        good = ("identical",) if require == "identical" else ("identical", "traced")
        return self.decision in good and self.explained >= min_explained

    def to_json(self) -> dict[str, Any]:
        """The documented form, see docs/verdict-format.md; infinite logarithms are written as -9999."""
        return {
            "format": FORMAT,
            "decision": self.decision,
            "record": self.record,
            "method": self.method,
            "kind": self.kind,
            "actor": self.actor,
            "role": self.role,
            "log10_p": _finite(self.log10_p),
            "false_positive_rate": self.rate,
            "effect": round(self.effect, 6),
            "positions": self.positions,
            "read": self.read,
            "absent": self.absent,
            "unread": self.unread,
            "coverage": round(self.coverage, 6),
            "explained": round(self.explained, 6),
            "standard": {
                "spearman": round(self.standard.spearman, 6),
                "pearson": round(self.standard.pearson, 6),
                "log10_p": _finite(self.standard.log10_p),
                "retrieved": self.standard.retrieved,
                "nominal": True,
            },
            "evidence": {
                "kind": self.evidence.kind,
                "commitment": self.evidence.commitment,
                "after_the_fact_trials_log10": (
                    None
                    if self.evidence.after_the_fact_trials_log10 is None
                    else _finite(self.evidence.after_the_fact_trials_log10)
                ),
                "sentence": self.evidence.sentence,
            },
            "findings": [{"name": f.name, "sentence": f.sentence, "evidence": dict(f.evidence)} for f in self.findings],
            "path": self.path,
            "not_understood": list(self.not_understood),
        }


@dataclass(frozen=True)
class Search:
    """One candidate against many records [Matching, NNW-TEC 3 and 5.3.1].

    Attributes:
        verdicts: Best first; every p-value is already multiplied by the number of records.
        unreadable: Files in the folder that are no readable records, with the reason.
        seconds_per_record: Time per record, the opening of the candidate shared among them.
    """

    verdicts: tuple[Verdict, ...]
    unreadable: tuple[str, ...]
    seconds_per_record: float

    @property
    def best(self) -> Verdict:
        """The best match."""
        return self.verdicts[0]

    def to_json(self) -> dict[str, Any]:
        """The best verdict, with all of them beside it where there are several, see docs/verdict-format.md."""
        out = self.best.to_json()
        if len(self.verdicts) > 1 or self.unreadable:
            out["records"] = [verdict.to_json() for verdict in self.verdicts]
            out["unreadable_records"] = list(self.unreadable)
            out["seconds_per_record"] = round(self.seconds_per_record, 6)
        return out


def load_records(folder: Path | str) -> tuple[list[NamedRecord], list[str]]:
    """All records of a folder (not of its subfolders), and what was no record.

    Raises:
        UnreadableRecord: The folder cannot be read or holds no record.
    """
    folder = Path(folder)
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        raise UnreadableRecord(f"{folder}: cannot be read: {error.strerror}") from None
    records, unreadable = [], []
    for path in files:
        try:
            records.append(named_record(path))
        except UnreadableRecord as error:
            unreadable.append(str(error))
    if not records:
        raise UnreadableRecord(f"{folder}: holds no record ({len(files)} files looked at)")
    return records, unreadable


def named_record(path: Path | str, commitment: str | None = None) -> NamedRecord:
    """A record from a file, with its name and commitment.

    Raises:
        UnreadableRecord: See ``records.load_record``.
    """
    record = load_record(path, commitment)
    return NamedRecord(record, Path(path).name, commitment_of(record.to_bytes()))


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
    required_reads(rate)  # refuses an impossible rate before anything is read
    named = [
        r if isinstance(r, NamedRecord) else NamedRecord(r, "record", commitment_of(r.to_bytes())) for r in records
    ]
    with open_network(candidate) as network:
        examiner = _Examiner(network, named, rate, full)
        verdicts = [examiner.verdict(one) for one in named]
        network.check_unchanged()
    return sorted(verdicts, key=lambda v: (_ORDER.index(v.decision), v.log10_p))


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
        record_paths: Records; not together with ``folder``.
        folder: A folder of records.
        rate, full: See ``verify``.
        commitment: Published SHA-256 of the one record.

    Raises:
        CannotLook: The candidate, a record or the folder cannot be examined.
        UsageError: Records and folder together, neither, or a commitment without exactly one record.
    """
    if bool(record_paths) == (folder is not None):
        raise UsageError("give records or a folder of records, one of the two")
    if commitment is not None and len(record_paths) != 1:
        raise UsageError("a commitment belongs to exactly one record")
    if folder is not None:
        return search(candidate, folder, rate, full)
    return _timed(candidate, [named_record(path, commitment) for path in record_paths], (), rate, full)


def search(candidate: Path | str, folder: Path | str, rate: float = DEFAULT_RATE, full: bool = False) -> Search:
    """Find the record of a folder that a candidate comes from [Matching, NNW-TEC 3 and 5.3.1].

    Raises:
        CannotLook: The candidate or the folder cannot be examined.
    """
    records, unreadable = load_records(folder)
    return _timed(candidate, records, tuple(unreadable), rate, full)


def _timed(
    candidate: Path | str, records: Sequence[NamedRecord], unreadable: tuple[str, ...], rate: float, full: bool
) -> Search:
    start = time.perf_counter()
    verdicts = verify(candidate, records, rate, full)
    return Search(tuple(verdicts), unreadable, (time.perf_counter() - start) / len(records))


_ORDER = ("identical", "traced", "inconclusive", "not traced")


class _Examiner:
    """One candidate, opened once, held against any number of records."""

    def __init__(self, network: Network, records: Sequence[NamedRecord], rate: float, full: bool) -> None:
        self.network, self.records, self.rate = network, records, rate
        self.view = find_slots(network)
        self.digest = network_digest(network, self.view) if full else None
        self.log10_rate = float(np.log10(rate))
        self.live = sum(slot.size for slot in self.view.slots)

    def verdict(self, named: NamedRecord) -> Verdict:
        record = named.record
        method = find_method(record.method)
        alternatives = len(self.records)
        log10_rate = self.log10_rate - float(np.log10(alternatives))
        anchors = _Anchors(record)
        as_enrolled = self._as_enrolled(record, anchors)
        if as_enrolled is not None:
            judgement = method.judge(record, _Stored(as_enrolled, self.live), log10_rate)
            if judgement.significant:
                return self._decide(named, judgement, as_enrolled, "fast", alternatives)
        # A second alignment judged on the same mark would be another alternative, and nobody paid for it.
        matches = as_enrolled if as_enrolled is not None else match_slots(anchors.wanted(), self.view.slots)
        judgement = method.judge(record, _Canonical(matches, self.live), log10_rate)
        return self._decide(named, judgement, matches, "thorough", alternatives)

    def _as_enrolled(self, record: Record, anchors: "_Anchors") -> list[Match | None] | None:
        """The record's slots where all stand under their names, in their shapes and uses, and agree; else None."""
        slots = self.view.by_name()
        for entry in record.slots:
            slot = slots.get(entry.name)
            if slot is None or slot.shape != entry.shape or slot.use != entry.use or slot.layout != entry.layout:
                return None
        found: list[Match | None] = []
        for number, entry in enumerate(record.slots):
            slot = slots[entry.name]
            places, values = anchors.of(number)
            read = slot.values(places)
            match = Match(slot, False, agreement(read, values))
            if not match.agrees and not np.array_equal(_as_kept(read), values):
                return None
            found.append(match)
        return found

    def _decide(
        self, named: NamedRecord, judgement: Judgement, matches: Sequence[Match | None], path: str, alternatives: int
    ) -> Verdict:
        record, reads = named.record, judgement.reads
        unmatched = np.array([match is None for match in matches])[reads.slots]
        absent = 0 if self.view.not_understood else int(unmatched.sum())
        read = int(np.isfinite(reads.found).sum())
        log10_p = log10_of_either(judgement.association.log10_p, alternatives)
        identical = self.digest is not None and self.digest == record.derived.get("digest") and _untouched(reads)
        explained = sum(m.slot.size for m in matches if m is not None and m.agrees) / max(1, self.live)
        if identical:
            decision = "identical"
        elif judgement.significant:
            decision = "traced"
        else:
            decision = "not traced" if read + absent >= required_reads(self.rate) else "inconclusive"
        examination = Examination(
            record=record,
            view=self.view,
            matches=matches,
            judgement=judgement,
            significant=judgement.significant or identical,
            others=[other.record for other in self.records if other is not named],
            explained=explained,
        )
        findings = tuple(_clean(finding) for finding in collect_findings(examination))
        standard = judgement.standard
        return Verdict(
            decision=decision,
            record=_visible(named.name),
            method=record.method,
            kind=record.kind,
            actor=_visible(record.actor),
            role=record.role,
            log10_p=log10_p,
            rate=self.rate,
            effect=judgement.association.effect,
            positions=record.number_of_positions,
            read=read,
            absent=absent,
            unread=record.number_of_positions - read - absent,
            explained=explained,
            standard=Standard(standard.spearman, standard.pearson, standard.log10_p, standard.retrieved(SIGNIFICANCE)),
            evidence=_evidence(named, decision, log10_p),
            findings=findings,
            path=path,
            not_understood=tuple(_visible(problem) for problem in self.view.not_understood[:20]),
        )


class _Anchors:
    """A record's anchors: where they are and what they were."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.positions = nct.anchor_positions(record, nct.plan_of(record))
        sizes = [places.size for places in self.positions]
        values = record.array("anchors", sum(sizes)).astype(np.float64)
        self.values = np.split(values, np.cumsum(sizes)[:-1])

    def of(self, slot: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        return self.positions[slot], self.values[slot]

    def wanted(self) -> list[Wanted]:
        out = []
        for number, entry in enumerate(self.record.slots):
            rows = entry.live_rows + len(entry.dead_rows)
            out.append(Wanted(entry.name, entry.bias, rows, entry.row_size, *self.of(number)))
        return out


@dataclass(frozen=True)
class _Stored:
    """The candidate's weights as they are stored under the record's names: the fast path."""

    matches: Sequence[Match | None]
    live: int

    def values(self, slot: int, positions: NDArray[np.int64]) -> NDArray[np.float64] | None:
        match = self.matches[slot]
        return None if match is None else match.slot.values(positions)

    def gains(self, slot: int) -> NDArray[np.float64] | None:
        return None

    def share(self, slots: Sequence[int]) -> float:
        found = [self.matches[slot] for slot in slots]
        return sum(match.slot.size for match in found if match is not None) / max(1, self.live)


class _Canonical(_Stored):
    """The candidate's weights as the record's slots, with their gauge: the thorough path. One array at a time."""

    def __init__(self, matches: Sequence[Match | None], live: int) -> None:
        super().__init__(matches, live)
        object.__setattr__(self, "_gains", {})
        object.__setattr__(self, "_loaded", (-1, None))

    _gains: dict[int, NDArray[np.float64]]
    _loaded: tuple[int, Any]

    def _array(self, slot: int) -> Any:
        number, array = self._loaded
        if number != slot:
            match = self.matches[slot]
            assert match is not None
            array = match.slot.array()
            if match.transposed:
                array = np.ascontiguousarray(array.T)
            object.__setattr__(self, "_loaded", (slot, array))
        return array

    def values(self, slot: int, positions: NDArray[np.int64]) -> NDArray[np.float64] | None:
        if self.matches[slot] is None:
            return None
        array = self._array(slot)
        if slot not in self._gains:
            self._gains[slot] = row_gains(row_magnitudes(array))
        return np.asarray(array.reshape(-1)[positions], np.float64)

    def gains(self, slot: int) -> NDArray[np.float64] | None:
        if self.matches[slot] is None:
            return None
        if slot not in self._gains:
            self._gains[slot] = row_gains(row_magnitudes(self._array(slot)))
        return self._gains[slot]


def _as_kept(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values in the precision in which anchors are kept."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32).astype(np.float64)


def _untouched(reads: Reads) -> bool:
    """Whether nothing that was read contradicts equality: a digest is not bound, so anybody could write one."""
    usable = np.isfinite(reads.found)
    return bool(np.array_equal(reads.found[usable], reads.enrolled[usable])) and 2 * int(usable.sum()) >= usable.size


def _evidence(named: NamedRecord, decision: str, log10_p: float) -> Evidence:
    kind = named.record.kind
    if decision not in ("traced", "identical"):
        return Evidence(kind, named.commitment, None, "no evidence of a common origin")
    if kind == "fingerprint":
        return Evidence(
            kind, named.commitment, None, "the two are the same network; this does not say which came first"
        )
    trials = -log10_p
    sentence = f"a record made after the fact would have to try about 1e{trials:.0f} keys"
    if trials < FORGEABLE:
        sentence += ": it could be forged by trying keys, so rely on a commitment published before"
    return Evidence(kind, named.commitment, trials, sentence)


def _finite(number: float) -> float:
    return round(number, 4) if np.isfinite(number) else float(np.sign(number) * 9999)


def _visible(text: str) -> str:
    """Text from a file with control characters made visible."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)[:200]


def _clean(finding: Finding) -> Finding:
    return Finding(
        finding.name, _CONTROL.sub(lambda m: f"\\x{ord(m.group()):02x}", finding.sentence)[:600], finding.evidence
    )
