"""Other marks: some positions hold entirely other values while the rest is as it was."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onnxnnw.changes import SMALLEST, SlotReads
from onnxnnw.findings.base import Examination, Finding, few
from onnxnnw.methods.nct import NCT
from onnxnnw.placement import places_of

__all__ = ["find"]

MAX_SHARE, MIN_READS = 0.5, 8
MIN_COUNT, LARGE, SMALL, FEW_SMALL, ALIKE = 3, 0.7, 0.05, 0.2, 0.8
"""Another mark replaces values by numbers of about their slot's deviation: of what changed, the root mean square is at least 0.7 of it,
at most a fifth changed by less than 0.05, and old and new values have nothing to do with each other."""

CLUSTERED, UNEVEN = 3.0, 4.0


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
    if _whole_layers(examination) or not _strange(slots) or not _scattered(slots):
        return []
    return [
        Finding(
            "other values",
            f"{count:,} of {whole:,} positions hold other values while all the rest is as it was, "
            "as another mark leaves it",
            {"replaced": count, "read": whole, "share": round(count / whole, 4)},
            few({name: {"replaced": number} for name, number in replaced.items() if number}),
            accuses=True,
            version=2,
        )
    ]


def _other(one: SlotReads) -> NDArray[np.bool_]:
    """Reads whose value is another one: neither zero nor what rounding makes of the enrolled one."""
    with np.errstate(all="ignore"):
        far = np.abs(one.found / one.factor - one.enrolled) >= SMALLEST * one.deviation
    return far & ~one.same & ~one.zeroed


def _other_values(one: SlotReads) -> int:
    return int(_other(one).sum())


def _strange(slots: Sequence[SlotReads]) -> bool:
    """Whether what changed was replaced, not moved or multiplied: new values are large changes that owe nothing to the old ones."""
    chosen = [(one, _other(one)) for one in slots if one.deviation > 0]
    new = np.concatenate([one.found[other] / one.deviation for one, other in chosen])
    old = np.concatenate([one.enrolled[other] / one.deviation for one, other in chosen])
    if new.size < MIN_COUNT or not np.isfinite(new).all():
        return False
    with np.errstate(all="ignore"):
        changes = np.abs(new - old)
        size = float(np.sqrt(np.mean(changes**2)))
        cosine = float(new @ old) / float(np.sqrt((new @ new) * (old @ old)) or 1.0)
    limit = min(ALIKE, 0.3 + 1.5 / np.sqrt(new.size))
    return size >= LARGE and float((changes < SMALL).mean()) <= FEW_SMALL and abs(cosine) <= limit


def _scattered(slots: Sequence[SlotReads]) -> bool:
    """Whether what changed lies anywhere: not in some layers, rows or columns rather than others, as training leaves it.

    Units that are always zero, inputs that never vary and words that never occur keep their rows and columns, exactly.
    """
    whole = sum(one.found.size for one in slots)
    share = sum(_other_values(one) for one in slots) / whole
    together = expected = 0.0
    uneven = 0.0
    for one in slots:
        other = _other(one)
        mean = share * one.found.size
        uneven += (float(other.sum()) - mean) ** 2 / (mean * (1 - share))
        kernel = one.match.slot.shape[2:]
        columns = one.columns // max(1, int(np.prod(kernel))) if len(one.match.slot.shape) > 2 else one.columns
        rate = float(other.mean())
        for groups in (one.rows, columns):
            _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
            changed = np.bincount(inverse, other)
            together += float((changed * (changed - 1) / 2 + (counts - changed) * (counts - changed - 1) / 2).sum())
            expected += float((counts * (counts - 1) / 2).sum()) * (rate**2 + (1 - rate) ** 2)
    pairs = together - expected
    freedom = max(1, len(slots) - 1)
    if uneven - freedom > UNEVEN * np.sqrt(2 * freedom) + UNEVEN:
        return False
    return pairs <= CLUSTERED * np.sqrt(2 * share * (1 - share) * max(1.0, expected) ** 0.5 + 1) + 0.02 * expected


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
