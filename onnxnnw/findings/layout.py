"""Renamed or transposed: the same weights under other names or in another order."""

from onnxnnw.findings.base import Examination, Finding, share

__all__ = ["find"]


def find(examination: Examination) -> list[Finding]:
    """Slots that were recognised by content although their name or orientation differs from enrolment."""
    slots = examination.record.slots
    matched = examination.matched()
    renamed = [(slots[k].name, match.slot.name) for k, match in matched if slots[k].name != match.slot.name]
    turned = [slots[k].name for k, match in matched if match.transposed]
    replaced = [(slots[k].use, match.slot.use) for k, match in matched if slots[k].use != match.slot.use]
    out = []
    if renamed:
        old, new = renamed[0]
        out.append(
            Finding(
                "renamed",
                f"{share(len(renamed), len(slots))} weights have another name, e.g. {old} is now {new}",
                {"slots": len(renamed), "of": len(slots)},
            )
        )
    if turned:
        out.append(
            Finding("transposed", f"{share(len(turned), len(slots))} weights are transposed", {"slots": len(turned)})
        )
    if replaced:
        old, new = (use.partition(".")[0] for use in replaced[0])
        out.append(
            Finding(
                "operator",
                f"{share(len(replaced), len(slots))} weights are used by another operator, e.g. {new} instead of {old}",
                {"slots": len(replaced)},
            )
        )
    return out
