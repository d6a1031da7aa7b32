"""Conditional: weights in a branch or loop that may not run."""

from onnxnnw.verification.findings.base import Examination, Finding, few, share

__all__ = ["find"]


def find(examination: Examination) -> list[Finding]:
    """Recognised slots whose node stands in a branch or loop."""
    slots = examination.record.slots
    names = [slots[number].name for number, match in examination.matched() if match.slot.conditional]
    if not names:
        return []
    sentence = f"{share(len(names), len(slots))} weights stand in a branch or loop that may not run"
    return [Finding("conditional", sentence, {"slots": len(names)}, few({name: {} for name in names}))]
