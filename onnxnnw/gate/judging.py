"""A file and an entry of a policy: one answer. What is read for many files – records, keys, attestations – is read once."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from onnxnnw.errors import CannotLook, UnreadableNetwork, UnreadableRecord
from onnxnnw.evidence.answer import Answer, could_not_look
from onnxnnw.evidence.keys import load_public_key
from onnxnnw.evidence.parent import parent_problem, signed_by
from onnxnnw.evidence.rules import RULES, Problem
from onnxnnw.evidence.subject import NetworkFiles, Signed, digest_of, subject_of
from onnxnnw.gate.chain import Chain, load_chain
from onnxnnw.gate.dating import Dates
from onnxnnw.gate.examining import Probe, examine_until
from onnxnnw.gate.places import expand
from onnxnnw.gate.policy import Member, Policy, PolicyEntry
from onnxnnw.gate.registry_records import RegistryRecords
from onnxnnw.gate.requirements import PROVEN, AllOf, AnyRecord, NotRevoked
from onnxnnw.sources.remote import sha256_behind
from onnxnnw.together.prepared import PreparedRecords
from onnxnnw.verification.named_records import NamedRecord, load_records, named_record
from onnxnnw.verification.verdict import SearchResult
from onnxnnw.verification.verdicts import rank
from onnxnnw.verification.visible import visible

__all__ = ["BY_RANGE", "WHOLE", "Judge", "Known"]

BY_RANGE = (
    "read by range behind an address, so it has no SHA-256 here, and no statement and no component is written of it"
)
"""What is said of a file that nobody read whole."""

WHOLE = "read whole behind an address for its SHA-256; no statement and no component is written of it"


@dataclass(frozen=True)
class Known:
    """Records, keys and attestations of an entry, read once.

    Attributes:
        records: Those that can be read.
        probes: Where each is looked for first.
        unreadable: Why others cannot.
    """

    records: tuple[NamedRecord, ...]
    probes: tuple[Probe, ...]
    unreadable: tuple[str, ...]

    @cached_property
    def prepared(self) -> PreparedRecords:
        """The records as candidates are held against them."""
        return PreparedRecords([named.record for named in self.records])


class Judge:
    """Answers about files, one by one, by one policy.

    Args:
        canonical: Whether the canonical digest of each file is wanted.
        now: What counts as today; the clock's by default.
    """

    def __init__(self, policy: Policy, canonical: bool = False, now: datetime.datetime | None = None) -> None:
        self.policy, self.canonical = policy, canonical
        self.now = now or datetime.datetime.now(datetime.UTC)
        self._known: dict[str, Known] = {}
        self._every: dict[str, Known] = {}
        self._chains: dict[str, Chain] = {}
        self._parents: dict[str, tuple[Signed, Problem | None]] = {}
        self._registries: dict[str, RegistryRecords] = {}
        self._dates: dict[str, Dates] = {}

    def close(self) -> None:
        """Nothing will be asked any more."""
        for registry in self._registries.values():
            registry.close()

    def answer(self, path: Path | str, entry: PolicyEntry, unit: str = "", mode: str = "") -> Answer:
        """The answer of an entry about a file; an error that concerns only this file is an answer, too."""
        mode = mode or entry.mode
        unit = unit or f"network {entry.name}"
        asked = f"{entry.asked}; {unit}"
        if mode == "off":
            return Answer(path, asked, enforced=False, notes=("not checked: the mode is off",), unit=unit)
        enforced = mode == "enforce"
        over = (*self.policy.expires.verify(self.now), *entry.expires.verify(self.now))
        if over:
            return Answer(path, asked, problems=over[:1], enforced=enforced, unit=unit)
        subject: NetworkFiles | None = None
        try:
            if isinstance(path, Path):
                subject = subject_of(path, self.canonical)
                answer = self._judged(path, entry, subject, asked)
                subject.check_unchanged()
            else:
                answer = self._judged(path, entry, None, asked)
        except CannotLook as error:
            answer = could_not_look(path, asked, error, subject)
        return replace(answer, enforced=enforced, unit=unit)

    def member(self, member: Member, bundle: str, mode: str) -> Answer:
        """What a bundle makes of one of its files that it names by digest."""
        unit = f"bundle {bundle}"
        path: Path | str = member.path if member.address else self.policy.folder / member.path
        asked = f"SHA-256 {member.sha256[:16]}…; {unit}"
        if mode == "off":
            return Answer(path, asked, enforced=False, notes=("not checked: the mode is off",), unit=unit)
        if isinstance(path, str):
            return replace(_behind(path, member.sha256, asked), enforced=mode == "enforce", unit=unit)
        try:
            found = digest_of(path)
        except UnreadableNetwork as error:
            if path.exists():
                return replace(could_not_look(path, asked, error), enforced=mode == "enforce", unit=unit)
            return self.missing(path, asked, unit, mode)
        problems = _other(found.name, found.sha256, member.sha256)
        return Answer(path, asked, None, problems, NetworkFiles(found, network=False), mode == "enforce", unit=unit)

    def missing(self, path: Path, asked: str, unit: str, mode: str) -> Answer:
        """The answer about a file that is named and not there."""
        problem = Problem(RULES["FileMissing"], f"{visible(str(path))}: is not there")
        return Answer(path, asked, None, (problem,), enforced=mode == "enforce", unit=unit)

    def lineage(self) -> dict[str, str]:
        """Commitment of each record that was read -> canonical digest of the network that it was made of."""
        known = [named for entry in self._known.values() for named in entry.records]
        out = {named.commitment: named.record.derived.get("digest", "") for named in known}
        for registry in self._registries.values():
            out |= registry.digests
        return out

    def _judged(self, path: Path | str, entry: PolicyEntry, subject: NetworkFiles | None, asked: str) -> Answer:
        answer = Answer(path, asked, subject=subject, notes=() if subject is not None else (BY_RANGE,))
        if entry.records or entry.registry:
            answer = self._against_records(answer, entry)
        if entry.chained is not None and subject is not None and (not entry.records or answer.problems):
            words, problems = self._chain(entry).follow(subject, self._of_links(entry))
            if words:
                answer = replace(answer, problems=(), notes=(f"by attestations: {words}",))
            else:
                answer = replace(answer, problems=(*answer.problems, *problems))
        if entry.signed_by and subject is not None:
            signed, problem = signed_by(subject, [load_public_key(self.policy.folder / key) for key in entry.signed_by])
            by = (f"signed by the key {signed.signer[:16]}…",) if signed.signer else ()
            answer = replace(
                answer, problems=(*answer.problems, *([problem] if problem else [])), notes=(*answer.notes, *by)
            )
        return self._with_parent(answer, entry) if entry.parent else answer

    def _against_records(self, answer: Answer, entry: PolicyEntry) -> Answer:
        known = self._records(entry)
        registry = self._registry(entry.registry) if entry.registry else None
        revoked: Mapping[str, str] = registry.revoked if registry is not None else {}
        require = entry.require
        if registry is not None and isinstance(require, AnyRecord):
            require = require.and_also(NotRevoked(revoked))
        elif registry is not None:  # none may match, so each is asked
            known, registry = self._with_registry(entry, registry), None
        records, unreadable = known.records, known.unreadable
        if not records and registry is None:
            reasons = unreadable or (f"{', '.join(entry.records)}: there is no record",)
            return replace(
                answer, problems=tuple(Problem(RULES["UnreadableRecord"], reason) for reason in reasons[:20])
            )
        dates = self._dates_of(entry)
        told = (lambda verdict: verdict) if dates is None else dates.told
        search = SearchResult((), tuple(unreadable), 0.0)
        others = len(registry) if registry is not None else 0
        if records:
            reference = self.policy.folder / entry.reference if entry.reference else None
            rate, full = self.policy.rate, entry.full
            try:
                search = examine_until(
                    answer.path,
                    records,
                    known.probes,
                    unreadable,
                    rate,
                    full,
                    require.settles,
                    reference,
                    others,
                    told,
                    known.prepared,
                )
            except UnreadableRecord as error:
                if registry is None:
                    raise
                search = SearchResult((), (*unreadable, visible(str(error))), 0.0)
        if registry is not None and not any(require.settles(verdict) for verdict in search.verdicts):
            found = registry.search(answer.path, self.policy.rate, entry.full, len(records))
            verdicts = sorted([*search.verdicts, *map(told, found.verdicts)], key=rank)
            seconds = max(search.seconds_per_record, found.seconds_per_record)
            search = SearchResult(tuple(verdicts), (*search.unreadable, *found.unreadable), seconds)
        problems = require.verify(search)
        if dates is not None and any(problem.rule is RULES["NotTimestamped"] for problem in problems):
            proven = [v.evidence.commitment for v in search.verdicts if v.decision in PROVEN]
            reasons = tuple(dict.fromkeys(why for commitment in proven for why in dates.reasons(commitment)))
            problems += tuple(Problem(RULES["NotTimestamped"], reason) for reason in reasons[:20])
        return replace(answer, search=search, problems=problems)

    def _registry(self, place: str) -> RegistryRecords:
        if place not in self._registries:
            self._registries[place] = RegistryRecords(place, self.policy.folder)
        return self._registries[place]

    def _with_registry(self, entry: PolicyEntry, registry: RegistryRecords) -> Known:
        """An entry's records and each of its registry's."""
        if entry.name not in self._every:
            known, (more, failed) = self._records(entry), registry.all_records()
            records = _once((*known.records, *more))
            probes = tuple(Probe(named) for named in records)
            self._every[entry.name] = Known(records, probes, (*known.unreadable, *failed))
        return self._every[entry.name]

    def _dates_of(self, entry: PolicyEntry) -> Dates | None:
        if entry.dated is None:
            return None
        if entry.name not in self._dates:
            registry = self._registry(entry.registry).registry if entry.registry else None
            self._dates[entry.name] = Dates(entry.dated, self.policy.folder, registry)
        return self._dates[entry.name]

    def _with_parent(self, answer: Answer, entry: PolicyEntry) -> Answer:
        if entry.parent not in self._parents:
            keys = [load_public_key(self.policy.folder / key) for key in entry.parent_signed_by]
            self._parents[entry.parent] = signed_by(subject_of(self.policy.folder / entry.parent, canonical=True), keys)
        parent, problem = self._parents[entry.parent]
        lineage = self.lineage()
        verdicts = answer.search.verdicts if answer.search is not None else ()
        digests = [lineage.get(v.evidence.commitment, "") for v in verdicts if v.decision in ("traced", "identical")]
        wrong = [one for one in (problem, parent_problem(parent, digests)) if one is not None]
        return replace(answer, problems=(*answer.problems, *wrong), parent=None if wrong else parent)

    def _records(self, entry: PolicyEntry) -> Known:
        if entry.name not in self._known:
            self._known[entry.name] = _load(self.policy, entry)
        return self._known[entry.name]

    def _chain(self, entry: PolicyEntry) -> Chain:
        assert entry.chained is not None
        if entry.name not in self._chains:
            self._chains[entry.name] = load_chain(entry.chained, self.policy.folder)
        return self._chains[entry.name]

    def _of_links(self, entry: PolicyEntry) -> AllOf:
        require = entry.require
        assert isinstance(require, AnyRecord)
        return require.of

    @cached_property
    def kept(self) -> tuple[str, ...]:
        """Files beside networks that answers depend on: a change of one invalidates earlier answers."""
        policy = self.policy
        named = [
            n
            for e in policy.networks
            for n in (*e.records, *e.signed_by, *e.parent_signed_by, e.parent, e.reference)
            if n
        ]
        named += [n for e in policy.networks if e.dated is not None for n in (*e.dated.roots, *e.dated.proofs)]
        chained = [
            n for e in policy.networks if e.chained is not None for n in (*e.chained.statements, *e.chained.keys)
        ]
        return tuple(str(path) for glob in (*named, *chained) for path in expand(policy.folder, glob))


def _behind(address: str, wanted: str, asked: str) -> Answer:
    """Whether what lies behind an address has a digest: read whole, since nothing less would tell."""
    try:
        found = sha256_behind(address)
    except CannotLook as error:
        return could_not_look(address, asked, error)
    answer = Answer(address, asked, notes=(WHOLE,))
    return replace(answer, problems=_other(answer.name, found, wanted))


def _other(name: str, found: str, wanted: str) -> tuple[Problem, ...]:
    if found == wanted:
        return ()
    return (Problem(RULES["OtherContent"], f"{name}: has the SHA-256 {found[:16]}…, not {wanted[:16]}…"),)


def _load(policy: Policy, entry: PolicyEntry) -> Known:
    records: list[NamedRecord] = []
    unreadable: list[str] = []
    for glob in entry.records:
        for path in expand(policy.folder, glob):
            try:
                if path.is_dir():
                    found, others = load_records(path)
                    records += found
                    unreadable += [visible(other) for other in others]
                else:
                    records.append(named_record(path))
            except UnreadableRecord as error:
                unreadable.append(visible(str(error)))
    if entry.commitments:
        for named in [named for named in records if named.commitment not in entry.commitments]:
            records.remove(named)
            unreadable.append(
                f"{visible(named.name)}: is not a record that was committed to ({named.commitment[:16]}…)"
            )
    once = _once(records)
    return Known(once, tuple(Probe(named) for named in once) if len(once) > 1 else (), tuple(unreadable))


def _once(records: Sequence[NamedRecord]) -> tuple[NamedRecord, ...]:
    """Each record once: nobody pays for one twice."""
    return tuple({named.commitment: named for named in records}.values())
