"""Replaceable at run time: weights that are also inputs."""

from onnxnnw.verification.findings.base import Examination, Finding, few, share

__all__ = ["find"]


def find(examination: Examination) -> list[Finding]:
    """Recognised slots that a caller may replace."""
    slots = examination.record.slots
    names = [slots[number].name for number, match in examination.matched() if match.slot.replaceable]
    if not names:
        return []
    sentence = f"{share(len(names), len(slots))} weights are also inputs: a caller may replace them"
    return [Finding("replaceable at run time", sentence, {"slots": len(names)}, few({name: {} for name in names}))]
