"""What a policy asks: small objects, each with one ``verify`` that returns why it is not met, and nothing where it is."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from onnxnnw.errors import UsageError
from onnxnnw.evidence.rules import RULES, Problem
from onnxnnw.gate.allowances import Allowance, not_allowed
from onnxnnw.verification.findings.base import Finding
from onnxnnw.verification.verdict import Evidence, SearchResult

__all__ = [
    "AllOf",
    "AnyRecord",
    "Committed",
    "ExplainedShare",
    "Findings",
    "Identical",
    "Judged",
    "NoneOf",
    "NotExpired",
    "NotRevoked",
    "Requirement",
    "Traced",
]

PROVEN = ("identical", "traced")


class Judged(Protocol):
    """The fields of a verdict that requirements look at; verdicts and attestations have them."""

    @property
    def decision(self) -> str: ...
    @property
    def record(self) -> str: ...
    @property
    def explained(self) -> float: ...
    @property
    def findings(self) -> tuple[Finding, ...]: ...
    @property
    def evidence(self) -> Evidence: ...


class Requirement(Protocol):
    """One thing that is asked of a verdict."""

    def verify(self, verdict: Judged) -> tuple[Problem, ...]:
        """Why it is not met; empty where it is."""


@dataclass(frozen=True)
class Traced:
    """The network comes from the record's."""

    def verify(self, verdict: Judged) -> tuple[Problem, ...]:
        if verdict.decision in PROVEN:
            return ()
        if verdict.decision == "not traced":
            hint = next((f": {f.sentence}" for f in verdict.findings if f.id == "same-network-without-this-mark"), "")
            return (Problem(RULES["NotTraced"], f"not traced to {verdict.record}{hint}"),)
        return (Problem(RULES["Inconclusive"], f"inconclusive against {verdict.record}"),)


@dataclass(frozen=True)
class Identical:
    """It is the record's network, bit for bit."""

    def verify(self, verdict: Judged) -> tuple[Problem, ...]:
        if verdict.decision == "traced":
            return (Problem(RULES["NotIdentical"], f"traced to {verdict.record}, not identical"),)
        return Traced().verify(verdict)


@dataclass(frozen=True)
class ExplainedShare:
    """The record explains at least a share of all that is stored."""

    share: float

    def verify(self, verdict: Judged) -> tuple[Problem, ...]:
        if verdict.decision not in PROVEN or verdict.explained >= self.share:
            return ()
        found = f"the record {verdict.record} explains {verdict.explained:.1%} of what is stored, not {self.share:.1%}"
        added = [f for f in verdict.findings if f.id in ("added", "missing")]
        weights = tuple(name for finding in added for name in finding.slots)
        return (Problem(RULES["TooLittleExplained"], found, weights),)


@dataclass(frozen=True)
class Findings:
    """Nothing happened on the way but what is allowed.

    Attributes:
        allowed: Findings that may be there.
        conversions: Conversions of weights that may have been done.
        operators: Operators that may have come and gone.
        forbidden: Ids of findings that may not be there, whatever is allowed.
    """

    allowed: tuple[Allowance, ...] = ()
    conversions: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()

    def verify(self, verdict: Judged) -> tuple[Problem, ...]:
        if verdict.decision not in PROVEN:
            return ()
        banned = [finding for finding in verdict.findings if finding.id in self.forbidden]
        rest = [finding for finding in verdict.findings if finding.id not in self.forbidden]
        refused = not_allowed(verdict.findings, self.allowed, self.conversions, self.operators)
        return (
            *(Problem(RULES["FindingForbidden"], _named(finding), tuple(finding.slots)) for finding in banned),
            *(Problem(RULES["FindingNotAllowed"], _named(f), tuple(f.slots)) for f in refused if f in rest),
        )


@dataclass(frozen=True)
class Committed:
    """A timestamp that is trusted says that the record existed, and before some moment.

    Attributes:
        before: That moment; None where any will do.
    """

    before: datetime.datetime | None = None

    def verify(self, verdict: Judged) -> tuple[Problem, ...]:
        if verdict.decision not in PROVEN:
            return ()
        said = verdict.evidence.existed_before
        if said is None:
            return (Problem(RULES["NotTimestamped"], f"no trusted timestamp says when {verdict.record} existed"),)
        if self.before is None or datetime.datetime.fromisoformat(said) < self.before:
            return ()
        late = f"{verdict.record} existed before {said}, not before {self.before:%Y-%m-%d %H:%M} UTC, as far as is timestamped"
        return (Problem(RULES["CommittedTooLate"], late),)


@dataclass(frozen=True)
class NotRevoked:
    """The registry says of the record that it holds.

    Attributes:
        revoked: Commitments of records that do not, with time and reason.
    """

    revoked: Mapping[str, str]

    def verify(self, verdict: Judged) -> tuple[Problem, ...]:
        why = self.revoked.get(verdict.evidence.commitment)
        if verdict.decision not in PROVEN or why is None:
            return ()
        return (Problem(RULES["RecordRevoked"], f"{verdict.decision} to {verdict.record}, which was revoked {why}"),)


@dataclass(frozen=True)
class AllOf:
    """All of some requirements, of one and the same verdict.

    Raises:
        UsageError: There are none: such a gate would open for anything.
    """

    parts: tuple[Requirement, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise UsageError("a policy that requires nothing would let anything pass")

    def verify(self, verdict: Judged) -> tuple[Problem, ...]:
        """Why some are not met."""
        return tuple(problem for part in self.parts for problem in part.verify(verdict))


@dataclass(frozen=True)
class AnyRecord:
    """One of the records meets the requirements; that none does is a no only where all were sure."""

    of: AllOf

    def and_also(self, part: Requirement) -> "AnyRecord":
        """With one thing more that is asked of the same record."""
        return AnyRecord(AllOf((*self.of.parts, part)))

    def settles(self, verdict: Judged) -> bool:
        """Whether no other record can change the answer any more."""
        return not self.of.verify(verdict)

    def verify(self, search: SearchResult) -> tuple[Problem, ...]:
        """Why no record does: what the best one lacks, and what could not be told."""
        reasons = [self.of.verify(verdict) for verdict in search.verdicts]
        if not all(reasons):
            return ()
        unsure = [p for each in reasons[1:] for p in each if p.rule is RULES["Inconclusive"]]
        return (*reasons[0], *unsure[:1], *_unreadable(search.unreadable))


@dataclass(frozen=True)
class NoneOf:
    """The network comes from none of the records: each of them says so."""

    def settles(self, verdict: Judged) -> bool:
        """Whether no other record can change the answer any more."""
        return verdict.decision in PROVEN

    def verify(self, search: SearchResult) -> tuple[Problem, ...]:
        """From which it comes; or, where it comes from none as far as one can see, what could not be told."""
        ours = [v for v in search.verdicts if v.decision in PROVEN]
        if ours:
            return tuple(
                Problem(RULES["OneOfOurs"], f"{v.decision} to {v.record}, of which it must not be") for v in ours[:20]
            )
        unsure = [v for v in search.verdicts if v.decision == "inconclusive"]
        said = [Problem(RULES["Inconclusive"], f"inconclusive against {v.record}") for v in unsure[:20]]
        return (*said, *_unreadable(search.unreadable))


@dataclass(frozen=True)
class NotExpired:
    """The policy, or an entry of it, is still good.

    Attributes:
        until: The last moment at which it is; None where it has no end.
    """

    until: datetime.datetime | None

    def verify(self, now: datetime.datetime) -> tuple[Problem, ...]:
        """That it is over."""
        if self.until is None or now <= self.until:
            return ()
        return (Problem(RULES["PolicyExpired"], f"the policy expired on {self.until:%Y-%m-%d %H:%M} UTC"),)


def _named(finding: Finding) -> str:
    return f"{finding.id}: {finding.sentence}"


def _unreadable(reasons: Sequence[str]) -> tuple[Problem, ...]:
    return tuple(Problem(RULES["UnreadableRecord"], f"not searched: {reason}") for reason in reasons[:20])
