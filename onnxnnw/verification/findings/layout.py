"""Renamed or transposed: the same weights under other names or in another order."""

from onnxnnw.verification.findings.base import Examination, Finding, few, share

__all__ = ["find"]


def find(examination: Examination) -> list[Finding]:
    """Slots that were recognised by content although their name, orientation or operator differs from enrolment."""
    slots = examination.record.slots
    matched = [(slots[number], match) for number, match in examination.matched()]
    renamed = {entry.name: match.slot.name for entry, match in matched if entry.name != match.slot.name}
    turned = [entry.name for entry, match in matched if match.transposed]
    uses = [(entry.name, entry.use, match.slot.use) for entry, match in matched if entry.use != match.slot.use]
    replaced = {name: (before, now) for name, before, now in uses if examination.both_have_graphs}
    out = []
    if renamed:
        old, new = next(iter(renamed.items()))
        out.append(
            Finding(
                "renamed",
                f"{share(len(renamed), len(slots))} weights have another name, e.g. {old} is now {new}",
                {"slots": len(renamed), "of": len(slots)},
                few({name: {"now": now[:200]} for name, now in renamed.items()}),
            )
        )
    if turned:
        sentence = f"{share(len(turned), len(slots))} weights are transposed"
        out.append(Finding("transposed", sentence, {"slots": len(turned)}, few({name: {} for name in turned})))
    if replaced:
        old, new = (use.partition(".")[0] for use in next(iter(replaced.values())))
        out.append(
            Finding(
                "operator",
                f"{share(len(replaced), len(slots))} weights are used by another operator, e.g. {new} instead of {old}",
                {"slots": len(replaced)},
                few({name: {"from": before, "to": now} for name, (before, now) in replaced.items()}),
            )
        )
    return out
