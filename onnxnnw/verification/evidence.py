"""The evidence of a verdict for a third party, as a sentence; and the verdict against a record that carries it."""

import numpy as np

from onnxnnw.methods.base import Judgement
from onnxnnw.verification.answer_text import Decision
from onnxnnw.verification.disguised import Disguise
from onnxnnw.verification.explained import Explained
from onnxnnw.verification.findings.added import MIN_EXPLAINED
from onnxnnw.verification.findings.base import Finding
from onnxnnw.verification.named_records import NamedRecord
from onnxnnw.verification.verdict import Evidence, ReferenceUse, Verdict
from onnxnnw.verification.visible import clean, visible

__all__ = ["evidence_of", "not_proven", "verdict_against"]

WEAK = 2.0
"""Below this p-value (-log10) nobody should say that there is no evidence at all."""


MAX_CHANGED = 0.05
"""Share of the parameters looked at that may be others where two networks are called the same."""


FORGEABLE = 24.0
"""Below this many (log10) trials a record could be made after the fact by trying keys."""


def evidence_of(
    named: NamedRecord,
    decision: str,
    log10_p: float,
    rate: float,
    bound: bool,
    explained: Explained,
    reference: ReferenceUse | None = None,
    disguise: Disguise | None = None,
) -> Evidence:
    kind = named.record.kind
    if disguise is not None and disguise.likely:
        sentence = "none without a reference: weights like these in another order of channels can be made by anybody"
        return Evidence(kind, named.commitment, None, sentence)
    if decision not in ("traced", "identical"):
        sentence = not_proven(decision, log10_p, rate)
        if kind == "fingerprint" and decision == "inconclusive" and reference is not None:
            sentence = (
                "in the order of a reference no p-value is claimed, no common origin is shown, and none is excluded"
            )
        return Evidence(kind, named.commitment, None, sentence)
    if kind == "fingerprint":
        sentence = f"{_shared(decision, explained)}; this does not say which came first"
        if named.record.parameters.get("linear") and decision == "traced":
            sentence += ", and without hidden units the same data give nearly the same weights"
        if named.record.parameters.get("ancestors") and decision == "traced":
            sentence += "; judged by what differs from the ancestor, which the same training data give nearly as much"
        if reference is not None:
            sentence += "; found in the order of a reference, for which no p-value is claimed"
        return Evidence(kind, named.commitment, None, sentence)
    if reference is not None and not bound:
        sentence = (
            "found in the order of a reference that the record does not bind: rely on a commitment published before"
        )
        return Evidence(kind, named.commitment, None, sentence)
    if not bound:
        sentence = "found by anchors that were read after the mark was bound: rely on a commitment published before"
        return Evidence(kind, named.commitment, None, sentence)
    trials = max(0.0, -log10_p)
    sentence = f"a record made after the fact would have to try about 1e{trials:.0f} keys"
    if trials < FORGEABLE:
        sentence += ": it could be forged by trying keys, so rely on a commitment published before"
    if named.record.is_for_recipient:
        whose = visible(named.record.destination_id)
        sentence += f"; it is the mark of the copy for {whose!r}, which whoever holds its record could make too"
    return Evidence(kind, named.commitment, trials, sentence)


def _shared(decision: str, explained: Explained) -> str:
    """The sentence of a fingerprint: values of one origin. Only a digest can say that two networks are the same."""
    if decision == "identical":
        return "the two are the same network"
    origin = "shares an origin with the enrolled network (copied weights, a common ancestor or the same initial values)"
    if explained.estimate < MIN_EXPLAINED:
        return f"{origin}, and others of its weights are not explained"
    if explained.parameters_changed > MAX_CHANGED:
        return f"{origin}, and parameters are others"
    return origin


def not_proven(decision: str, log10_p: float, rate: float) -> str:
    """The evidence sentence of a verdict that is not traced or inconclusive."""
    limit = float(np.log10(rate))
    number = f"{log10_p:.{1 if log10_p > limit + 0.05 else 4}f}"  # what does not reach -6 is not shown as -6.0
    further = ", and too little could be read to say more" if decision == "inconclusive" else ""
    if log10_p < -WEAK and log10_p > limit:
        return f"weak evidence: log10 p {number} does not reach the rate {rate:g}{further}"
    if log10_p < -WEAK:
        more = "proves no common origin and excludes none" if further else "does not make it traced"
        return f"weak evidence: log10 p {number} reaches the rate {rate:g}, but that alone {more}"
    return "too little could be read to say" if further else "no evidence of a common origin"


def verdict_against(
    named: NamedRecord,
    decision: Decision,
    judgement: Judgement,
    *,
    log10_p: float,
    rate: float,
    seen: tuple[int, int],
    explained: Explained,
    evidence: Evidence,
    findings: list[Finding],
    path: str,
    not_understood: tuple[str, ...] = (),
    reference: ReferenceUse | None = None,
) -> Verdict:
    """The verdict of one candidate; it keeps the parts of the judgement that are not secret.

    Args:
        log10_p: All alternatives paid for.
        seen: How many positions, bits or triggers of the mark were read, and how many are absent.
        findings: As they were made; what they quote from files is made visible here.
    """
    record, (read, absent) = named.record, seen
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
        rate=rate,
        effect=judgement.association.effect,
        unit=judgement.unit,
        positions=judgement.symbols,
        read=read,
        absent=absent,
        unread=judgement.symbols - read - absent,
        explained=explained.share,
        account=explained,
        standard=judgement.standard,
        evidence=evidence,
        findings=tuple(clean(finding) for finding in findings),
        path=path,
        payload=judgement.payload,
        not_understood=not_understood,
        reference=reference,
    )
