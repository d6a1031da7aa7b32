"""Added: live weights that correspond to none of the record's."""

from onnxnnw.verification.findings.base import Examination, Finding, few

__all__ = ["find"]

MIN_EXPLAINED = 0.95


def find(examination: Examination) -> list[Finding]:
    """One finding where less than 95 % of the candidate's live weights correspond to the record's; the largest others by name."""
    matched = examination.matched()
    known_elements, live = examination.accounted
    share = min(1.0, known_elements / max(1, live))
    if not matched or share >= MIN_EXPLAINED:
        return []
    unsure = [examination.matches[number] for number in examination.unsure]
    known = {id(match.slot) for match in [*(m for _, m in matched), *unsure] if match is not None}
    others = sorted((slot for slot in examination.view.slots if id(slot) not in known), key=lambda slot: -slot.size)
    return [
        Finding(
            "added",
            f"only {share:.0%} of the candidate's live weights correspond to weights of the record",
            {"known": round(share, 4), "weights": len(others)},
            few({slot.name: {"elements": slot.size} for slot in others}),
            version=2,
        )
    ]
