"""Other marks: some positions hold entirely other values while the rest is as it was."""

import numpy as np

from onnxnnw.findings.base import Examination, Finding
from onnxnnw.methods.nct import NCT
from onnxnnw.placement import places_of

__all__ = ["find"]

MAX_SHARE = 0.5


def find(examination: Examination) -> list[Finding]:
    """Replaced values among unchanged ones, and positions shared with other records at hand."""
    return [*_replaced(examination), *_shared(examination)]


def _replaced(examination: Examination) -> list[Finding]:
    reads = examination.reads
    usable = np.isfinite(reads.found)
    other = usable & (reads.found != reads.enrolled) & (reads.found != 0)
    count, whole = int(other.sum()), int(usable.sum())
    untouched = usable & (reads.found == reads.enrolled)
    if not count or not examination.significant or count > MAX_SHARE * whole or untouched.sum() < whole - count:
        return []
    return [
        Finding(
            "other values",
            f"{count:,} of {whole:,} positions hold other values while all the rest is bit for bit as it was, "
            "as another mark leaves it",
            {"replaced": count, "read": whole},
        )
    ]


def _shared(examination: Examination) -> list[Finding]:
    record = examination.record
    if record.method != NCT.name:
        return []
    own = places_of(record)
    total = sum(
        len(own & places_of(other)) for other in examination.others if other.method == NCT.name and other is not record
    )
    if not total:
        return []
    return [
        Finding(
            "shared positions",
            f"{total:,} positions are shared with other marks whose records are at hand",
            {"positions": total},
        )
    ]
