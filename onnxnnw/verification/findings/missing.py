"""Missing: parts of the record that the candidate lacks, and the network without its mark."""

import numpy as np

from onnxnnw.verification.findings.base import Examination, Finding, few, share

__all__ = ["find"]


def find(examination: Examination) -> list[Finding]:
    """Slots without counterpart; networks that have most slots but not the mark; and the method's own notes."""
    record, slots = examination.record, examination.record.slots
    matched = {number for number, _ in examination.matched()}
    out = []
    unsure = set(examination.unsure) if matched and len(matched) < len(slots) else set()
    missing = [slot for number, slot in enumerate(slots) if number not in matched | unsure]
    if matched and missing:
        unreadable = int(np.isnan(examination.reads.found).sum())
        weights = sum(slot.capacity for slot in missing) / max(1, sum(slot.capacity for slot in slots))
        out.append(
            Finding(
                "missing",
                f"{share(len(missing), len(slots))} weights have no counterpart; {unreadable:,} positions have no value",
                {"slots": len(missing), "positions": unreadable, "share": round(weights, 4)},
                few({slot.name: {"elements": slot.capacity} for slot in missing}),
                version=2,
            )
        )
    if not examination.significant and len(matched) * 2 > len(slots) and record.kind == "watermark":
        agree, evidence = share(len(matched), len(slots)), {"slots": len(matched)}
        if record.is_for_recipient:
            sentence = f"another copy of this network: {agree} weights agree, but this recipient's mark is not there"
            out.append(Finding("another copy of this network", sentence, evidence))
        else:
            sentence = f"{agree} weights agree with the marked network, but the mark is not there"
            out.append(Finding("same network without this mark", sentence, evidence))
    return out + [Finding("note", note) for note in examination.judgement.notes]
