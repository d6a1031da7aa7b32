"""Verification with the owner's own copy at hand, which undoes another order of channels.

Two readings of one mark, each paid for: the candidate as it stands, and, where that proves nothing, in the reference's order.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from onnxnnw.candidate import Anchors
from onnxnnw.methods.base import Candidate, Judgement
from onnxnnw.methods.discovery import find_method
from onnxnnw.network_file.file import Network
from onnxnnw.records.record import Record
from onnxnnw.statistics import Association
from onnxnnw.verification.examiner import Examiner
from onnxnnw.verification.looking import Look
from onnxnnw.verification.named_records import NamedRecord
from onnxnnw.verification.ordered.fingerprint import judge_fingerprint
from onnxnnw.verification.ordered.reference import BOUND, NOMINAL, Aligned, Reference
from onnxnnw.verification.ordered.rtw import without_own_order
from onnxnnw.verification.verdict import ReferenceUse

__all__ = ["ExaminerWithReference"]

_READINGS = 2
_LIMITS = "channels that were mixed (rotated) or retrained beyond recognition are not looked through"


class ExaminerWithReference(Examiner):
    """One candidate against records, with a reference network."""

    def __init__(
        self, network: Network, records: Sequence[NamedRecord], rate: float, full: bool, reference: Network
    ) -> None:
        super().__init__(network, records, rate, full, _READINGS * len(records))
        self.reference = Reference(reference)

    def look(self, named: NamedRecord) -> Look:
        """Judge the candidate as it is; where that is not significant, in the reference's channel order."""
        plain = super().look(named)
        record, method = named.record, plain.method
        if plain.judgement.significant or self._is_identical(plain) or not method.reads_weights:
            why = "was not needed" if method.reads_weights else "is of no use: the mark is in answers"
            return replace(plain, reference=self._unused("", why))
        anchors = Anchors(record)
        aligned = self.reference.aligned(record, anchors, self.view, self.live)
        if aligned is None:
            return replace(plain, reference=self._unused("", "is not the network that the record was made of"))
        judgement = self._judge(record, anchors, aligned)
        use = self._use(aligned, judgement)
        related = 2 * aligned.agreeing > len(record.slots)
        if not judgement.significant and not related:
            sentence = (
                "no order of channels was found in which the weights agree with it "
                f"({aligned.agreeing} of {len(record.slots)} do); {_LIMITS}"
            )
            return replace(plain, reference=replace(use, used=False, sentence=sentence))
        return Look(named, method, judgement, anchors, aligned.weights, "thorough", aligned.basis == BOUND, use)

    def _judge(self, record: Record, anchors: Anchors, aligned: Aligned) -> Judgement:
        """What the method says in the reference's order."""
        log10_rate = self.log10_rate - float(np.log10(self.alternatives))
        if record.kind == "fingerprint":
            return judge_fingerprint(record, aligned)
        weights = aligned.weights
        if record.method == "rtw" and aligned.basis != BOUND:
            weights = without_own_order(record, anchors, aligned)
        judgement = find_method(record.method).judge(
            record, Candidate(weights, lambda: anchors.reads(weights), self._predict), log10_rate
        )
        if aligned.basis != NOMINAL or record.method == "rtw":
            return judgement
        nominal = judgement.association
        note = (
            f"the mark goes with what stands at its positions in the reference's order (effect {nominal.effect:.2f}), nominal: "
            "the reference changed after the mark was made, so no p-value is claimed; give the original or the copy as it left"
        )
        return replace(
            judgement,
            association=Association(0.0, nominal.effect, nominal.read),
            significant=False,
            required=2**62 if judgement.significant else judgement.required,
            notes=(*judgement.notes, note) if judgement.significant else judgement.notes,
        )

    def _unused(self, basis: str, why: str) -> ReferenceUse:
        return ReferenceUse(self.reference.digest, False, basis, 0, 0.0, 0.0, 0.0, f"the reference {why}")

    def _use(self, aligned: Aligned, judgement: Judgement) -> ReferenceUse:
        """What the reference's order gave."""
        moved = channels = 0
        for order in aligned.orders.values():
            places = np.arange(order.channels.shape[1])
            moved += int((order.rows != np.arange(len(order.rows))).sum() + (order.channels != places).sum())
            channels += order.rows.size + order.channels.size
        share = moved / max(1, channels)
        bound = {
            BOUND: "which the record binds",
            NOMINAL: "which changed after the mark was made",
        }.get(aligned.basis, "which the record does not bind")
        sentence = (
            f"read in the order of the reference, {bound}: {aligned.agreeing} of {len(aligned.weights.matches)} weights agree, "
            f"{share:.0%} of the channels stand elsewhere"
        )
        return ReferenceUse(
            self.reference.digest,
            True,
            aligned.basis,
            aligned.agreeing,
            aligned.network.matched,
            share,
            aligned.network.score,
            sentence,
        )
