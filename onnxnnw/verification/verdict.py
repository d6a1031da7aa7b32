"""What a verdict says, for people and programs; documented in docs/reference/verdict-format.md."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn

import numpy as np

from onnxnnw.flow.runtime_operators import VERSIONS
from onnxnnw.methods.base import Decoded, Standard
from onnxnnw.verification.answer_text import Decision, Requirement, html_of, refuse_truth, sentence_of, short
from onnxnnw.verification.explained import Explained
from onnxnnw.verification.findings.base import Finding

__all__ = ["FORMAT", "Evidence", "ReferenceUse", "SearchResult", "Verdict"]

FORMAT = "onnxnnw/verdict/1"


@dataclass(frozen=True)
class Evidence:
    """The evidence for somebody who does not trust the tracker.

    Attributes:
        kind: ``watermark`` or ``fingerprint``.
        commitment: SHA-256 of the record file.
        after_the_fact_trials_log10: How many keys (log10) somebody would have to try to make such a record for this
            candidate; None for a fingerprint, and where the verdict needed anchors that the mark does not depend on.
        sentence: The same in words.
        existed_before: By when the record existed, where a timestamp of a log that holds its commitment was brought and checked.
    """

    kind: str
    commitment: str
    after_the_fact_trials_log10: float | None
    sentence: str
    existed_before: str | None = None


@dataclass(frozen=True)
class ReferenceUse:
    """How a reference network was used for a verdict.

    Attributes:
        digest: Its canonical digest.
        used: Whether the verdict rests on the reference's order of channels; not where nothing stood elsewhere, or it did not help.
        basis: ``bound`` (the record binds this very network), ``unbound`` (as it left, or another copy), ``nominal`` (it changed
            after the mark was made) or empty: it is not the record's network, or was not asked.
        weights: Weights of the record whose anchors agree in that order.
        matched: Share of the record's elements that have a counterpart.
        reordered: Share of the channels of what was matched that stand elsewhere.
        score: Mean cosine of what was aligned.
        sentence: The same in words.
    """

    digest: str
    used: bool
    basis: str
    weights: int
    matched: float
    reordered: float
    score: float
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """As the verdict has it."""
        return {
            "digest": self.digest,
            "used": self.used,
            "bound": self.basis == "bound",
            "basis": self.basis,
            "weights": self.weights,
            "matched": round(self.matched, 6),
            "reordered": round(self.reordered, 6),
            "score": round(self.score, 6),
            "sentence": self.sentence,
        }


@dataclass(frozen=True)
class Verdict:
    """What is known of one candidate against one record.

    Attributes:
        decision: ``identical``, ``traced``, ``not traced`` or ``inconclusive``.
        log10_p: Of the strict test, all alternatives paid for.
        rate: The false-positive rate of the decision.
        effect: 1 where all is as expected, 0 where nothing is: a correlation within slots, or the share of right
            Symbols above chance.
        unit: What the mark consists of: ``positions``, ``bits`` or ``triggers``.
        positions, read, absent, unread: How many of them, and what became of them.
        payload: What was decoded, for methods that carry a Payload.
        source_id, destination_id: Who gave the network to whom, as the record says [NNW-TEC clause 2, 1.b].
        explained: Share of all that is stored and not structural or dead which the record explains: its lower 95 % limit.
        account: What that rests on.
        path: ``fast`` or ``thorough`` for methods that read weights, ``answers`` for those that ask.
        reference: What the owner's own copy had to do with it; None where none was given.
    """

    decision: Decision
    record: str
    method: str
    kind: str
    actor: str
    role: str
    source_id: str
    destination_id: str
    log10_p: float
    rate: float
    effect: float
    unit: str
    positions: int
    read: int
    absent: int
    unread: int
    explained: float
    account: Explained
    standard: Standard
    evidence: Evidence
    findings: tuple[Finding, ...]
    path: str
    payload: Decoded | None = None
    not_understood: tuple[str, ...] = field(default=())
    reference: ReferenceUse | None = None

    @property
    def coverage(self) -> float:
        """Share of the mark that could be read."""
        return self.read / self.positions if self.positions else 0.0

    def __bool__(self) -> NoReturn:
        refuse_truth("a Verdict", "verdict")

    def __repr__(self) -> str:
        return short(self)

    def __str__(self) -> str:
        return sentence_of(self)

    def _repr_html_(self) -> str:
        return html_of(self)

    def meets(self, require: Requirement | str = "traced", min_explained: float = 0.0) -> bool:
        """Whether a gate opens: the origin is proven (or the file is the very one), and enough of it is explained."""
        good = ("identical",) if require == "identical" else ("identical", "traced")
        return self.decision in good and self.explained >= min_explained

    def to_json(self) -> dict[str, Any]:
        """The documented form, see docs/reference/verdict-format.md; infinite logarithms are written as -9999."""
        return {
            "format": FORMAT,
            "decision": self.decision,
            "record": self.record,
            "method": self.method,
            "kind": self.kind,
            "actor": self.actor,
            "role": self.role,
            "source_id": self.source_id,
            "destination_id": self.destination_id,
            "log10_p": _finite(self.log10_p),
            "false_positive_rate": self.rate,
            "effect": round(self.effect, 6),
            "unit": self.unit,
            "positions": self.positions,
            "read": self.read,
            "absent": self.absent,
            "unread": self.unread,
            "coverage": round(self.coverage, 6),
            "explained": round(self.explained, 6),
            "account": {
                "estimate": round(self.account.estimate, 6),
                "looked_at": self.account.looked_at,
                "disagree": self.account.disagree,
                "total": self.account.total,
                "unexplained": self.account.unexplained,
                "parts": dict(self.account.parts),
            },
            "standard": {
                **{name: _finite(value, 6) for name, value in self.standard.values.items()},
                "retrieved": self.standard.retrieved,
                "nominal": True,
            },
            "payload": None if self.payload is None else asdict(self.payload),
            "evidence": {
                "kind": self.evidence.kind,
                "commitment": self.evidence.commitment,
                "after_the_fact_trials_log10": (
                    None
                    if self.evidence.after_the_fact_trials_log10 is None
                    else _finite(self.evidence.after_the_fact_trials_log10)
                ),
                "sentence": self.evidence.sentence,
                "existed_before": self.evidence.existed_before,
            },
            "findings": [
                {
                    "id": f.id,
                    "class": f.category,
                    "version": f.version,
                    "name": f.name,
                    "sentence": f.sentence,
                    "evidence": _numbers(f.evidence),
                    "slots": {name: _numbers(evidence) for name, evidence in f.slots.items()},
                }
                for f in self.findings
            ],
            "path": self.path,
            "not_understood": list(self.not_understood),
            "operator_tables": dict(VERSIONS),
            "reference": None if self.reference is None else self.reference.to_json(),
        }


@dataclass(frozen=True)
class SearchResult:
    """One candidate against many records [Matching, NNW-TEC 3 and 5.3.1].

    Attributes:
        verdicts: Best first; every p-value is already multiplied by the number of records.
        unreadable: Files that were given, or lie in the folder, and are no readable records, with the reason.
        seconds_per_record: Time per record, the opening of the candidate shared among them.
    """

    verdicts: tuple[Verdict, ...]
    unreadable: tuple[str, ...]
    seconds_per_record: float

    @property
    def best(self) -> Verdict:
        """The best match."""
        return self.verdicts[0]

    def __bool__(self) -> NoReturn:
        refuse_truth("a SearchResult", "search.best")

    def _repr_html_(self) -> str:
        return html_of(self.best)

    def meets(self, require: str = "traced", min_explained: float = 0.0) -> bool:
        """Whether a gate opens for one of the records."""
        return any(verdict.meets(require, min_explained) for verdict in self.verdicts)

    @property
    def unsure(self) -> bool:
        """Whether something relevant could not be read, so that a failed gate means "could not tell"."""
        return bool(self.unreadable) or any(verdict.decision == "inconclusive" for verdict in self.verdicts)

    def to_json(self) -> dict[str, Any]:
        """The best verdict, with all of them beside it, be it one; see docs/reference/verdict-format.md."""
        return {
            **self.best.to_json(),
            "records": [verdict.to_json() for verdict in self.verdicts],
            "unreadable_records": list(self.unreadable),
            "seconds_per_record": round(self.seconds_per_record, 6),
        }


def _numbers(evidence: Mapping[str, float | int | str]) -> dict[str, float | int | str]:
    """Evidence as JSON can hold it."""
    return {name: value if isinstance(value, int | str) else _finite(value, 12) for name, value in evidence.items()}


def _finite(number: float, digits: int = 4) -> float:
    return round(number, digits) + 0.0 if np.isfinite(number) else float(np.nan_to_num(np.sign(number)) * 9999)
