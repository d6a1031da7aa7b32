"""Missing and added: parts of the record that the candidate lacks, and weights that the record does not explain."""

import numpy as np

from onnxnnw.findings.base import Examination, Finding, share

__all__ = ["find"]

MIN_EXPLAINED = 0.95


def find(examination: Examination) -> list[Finding]:
    """Slots without counterpart, weights without explanation, and the network without its mark."""
    record, slots = examination.record, examination.record.slots
    matched = examination.matched()
    out = []
    missing = len(slots) - len(matched)
    if matched and missing:
        unreadable = int(np.isnan(examination.reads.found).sum())
        out.append(
            Finding(
                "missing",
                f"{share(missing, len(slots))} weights have no counterpart; {unreadable:,} positions could not be read",
                {"slots": missing, "positions": unreadable},
            )
        )
    if matched and examination.explained < MIN_EXPLAINED:
        out.append(
            Finding(
                "added",
                f"only {examination.explained:.0%} of the candidate's live weights are explained by the record",
                {"explained": round(examination.explained, 4)},
            )
        )
    if not examination.significant and len(matched) * 2 > len(slots) and record.kind == "watermark":
        out.append(
            Finding(
                "same network without this mark",
                f"{share(len(matched), len(slots))} weights agree with the marked network, but the mark is not there",
                {"slots": len(matched)},
            )
        )
    replaceable = sum(match.slot.replaceable for _, match in matched)
    if replaceable:
        out.append(
            Finding(
                "replaceable at run time",
                f"{share(replaceable, len(slots))} weights are also inputs: a caller may replace them",
                {"slots": replaceable},
            )
        )
    conditional = sum(match.slot.conditional for _, match in matched)
    if conditional:
        out.append(
            Finding(
                "conditional",
                f"{share(conditional, len(slots))} weights stand in a branch or loop that may not run",
                {"slots": conditional},
            )
        )
    out += [Finding("note", note) for note in examination.judgement.notes]
    return out
