"""Other marks: some positions hold entirely other values while the rest is as it was."""

import numpy as np

from onnxnnw.methods.nct import NCT
from onnxnnw.records.positions import places_of
from onnxnnw.verification.changes import SMALLEST, SlotReads
from onnxnnw.verification.findings.base import Examination, Finding, few

__all__ = ["find"]

MAX_SHARE, MIN_READS = 0.5, 8


def find(examination: Examination) -> list[Finding]:
    """Replaced values among unchanged ones, and positions shared with other records at hand."""
    return [*_replaced(examination), *_shared(examination)]


def _replaced(examination: Examination) -> list[Finding]:
    slots = [one for one in examination.slot_reads if not one.narrow]
    whole = sum(one.found.size for one in slots)
    replaced = {one.name: _other_values(one) for one in slots}
    count = sum(replaced.values())
    untouched = sum(int(one.same.sum()) for one in slots)
    if not count or not examination.significant or count > MAX_SHARE * whole or untouched < whole - count:
        return []
    if _whole_layers(examination):
        return []
    return [
        Finding(
            "other values",
            f"{count:,} of {whole:,} positions hold other values while all the rest is as it was, "
            "as another mark leaves it",
            {"replaced": count, "read": whole, "share": round(count / whole, 4)},
            few({name: {"replaced": number} for name, number in replaced.items() if number}),
        )
    ]


def _other_values(one: SlotReads) -> int:
    """Reads whose value is another one: neither zero nor what rounding makes of the enrolled one."""
    with np.errstate(all="ignore"):
        far = np.abs(one.found / one.factor - one.enrolled) >= SMALLEST * one.deviation
    return int((far & ~one.same & ~one.zeroed).sum())


def _whole_layers(examination: Examination) -> bool:
    """Whether what changed are layers as a whole: that is training, no mark."""
    changed = [float((~one.same).mean()) for one in examination.slot_reads if one.found.size >= MIN_READS]
    touched = [part for part in changed if part > 0]
    return bool(touched) and min(touched) > MAX_SHARE


def _shared(examination: Examination) -> list[Finding]:
    record = examination.record
    others = [other for other in examination.others if other.method == NCT.name and other is not record]
    if record.method != NCT.name or not others:
        return []
    own = places_of(record)
    total = sum(len(own & places_of(other)) for other in others)
    if not total:
        return []
    return [
        Finding(
            "shared positions",
            f"{total:,} positions are shared with other marks whose records are at hand",
            {"positions": total},
        )
    ]
