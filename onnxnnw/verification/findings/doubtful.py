"""Doubtful: weights of the record that an output depends on only through factors of (nearly) nothing."""

from onnxnnw.verification.findings.base import Examination, Finding, few

__all__ = ["find"]


def find(examination: Examination) -> list[Finding]:
    """One finding where slots of the record are found behind a zero product, a gamma of zero, or a side that is never picked."""
    found = examination.doubtful
    if not found:
        return []
    names = {
        examination.record.slots[number].name: {"stored_as": match.slot.name[:200]} for number, match in found.items()
    }
    sentence = f"an output depends on {len(found)} of the record's weights only through factors of (nearly) nothing"
    return [Finding("doubtful", f"{sentence}: they prove no mark", {"slots": len(found)}, few(names))]
