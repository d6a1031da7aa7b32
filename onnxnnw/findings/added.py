"""Added: live weights that the record does not explain."""

from onnxnnw.findings.base import Examination, Finding, few

__all__ = ["find"]

MIN_EXPLAINED = 0.95


def find(examination: Examination) -> list[Finding]:
    """One finding where less than 95 % of the candidate's live weights are the record's; the largest others by name."""
    matched = examination.matched()
    if not matched or examination.explained >= MIN_EXPLAINED:
        return []
    known = {id(match.slot) for _, match in matched}
    others = sorted((slot for slot in examination.view.slots if id(slot) not in known), key=lambda slot: -slot.size)
    return [
        Finding(
            "added",
            f"only {examination.explained:.0%} of the candidate's live weights are explained by the record",
            {"explained": round(examination.explained, 4), "weights": len(others)},
            few({slot.name: {"elements": slot.size} for slot in others}),
        )
    ]
