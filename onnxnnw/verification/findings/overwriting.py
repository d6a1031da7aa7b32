"""Other marks: some positions hold entirely different values while the rest is as it was."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onnxnnw.verification.findings.base import Examination, Finding, few
from onnxnnw.verification.slot_reads import SMALLEST, SlotReads
from onnxnnw.verification.units import clustered

__all__ = ["find", "shared"]

MAX_SHARE, MIN_READS = 0.5, 8
MIN_COUNT, LARGE, SMALL, FEW_SMALL, ALIKE = 3, 0.7, 0.05, 0.2, 0.8
"""Another mark replaces values by numbers of about their slot's deviation: of what changed, the root mean square is at
least 0.7 of it, at most a fifth changed by less than 0.05, and old and new values have nothing to do with each other."""

MIN_ADDED, ADDED = 8, 0.2
"""A mark that was added is smaller: at least so many values, changed by at least so much, whatever they were."""

CLUSTERED, CLUSTERED_BESIDE, UNEVEN, MIN_PAIRS = 2.5, 4.0, 4.0, 50
"""z of changes that share rows or columns; the same where anchors and samples are looked at too, which tell more; z of those that
prefer some layers; pairs in one row that show the former."""


def find(examination: Examination) -> list[Finding]:
    """Replaced values among unchanged ones, and positions shared with other given records."""
    return [*_replaced(examination), *shared(examination)]


def _replaced(examination: Examination) -> list[Finding]:
    slots = [one for one in examination.slot_reads if not one.reduced_precision]
    whole = sum(one.found.size for one in slots)
    replaced = {one.name: _other_values(one) for one in slots}
    count = sum(replaced.values())
    untouched = sum(int(one.same.sum()) for one in slots)
    if not count or not examination.significant or count > MAX_SHARE * whole or untouched < whole - count:
        return []
    if _whole_layers(examination) or not _strange(slots) or not _scattered(slots):
        return []
    beside = [
        one for one in examination.more_reads if not one.reduced_precision
    ]  # anchors and samples, only where it accuses
    if not _scattered(beside, CLUSTERED_BESIDE):
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
    """Whether what changed was replaced or had something added, not moved a little or multiplied: large changes that owe nothing to
    the old values."""
    chosen = [(one, _other(one)) for one in slots if one.deviation > 0]
    new = np.concatenate([one.found[other] / one.deviation for one, other in chosen])
    old = np.concatenate([one.enrolled[other] / one.deviation for one, other in chosen])
    if new.size < MIN_COUNT or not np.isfinite(new).all():
        return False
    with np.errstate(all="ignore"):
        changes = np.abs(new - old)
        size = float(np.sqrt(np.mean(changes**2)))
        cosine = _cosine(new, old)
    limit = min(ALIKE, 0.3 + 1.5 / np.sqrt(new.size))
    if float((changes < SMALL).mean()) > FEW_SMALL:
        return False
    if size >= LARGE and abs(cosine) <= limit:
        return True
    return new.size >= MIN_ADDED and size >= ADDED and abs(_cosine(new - old, old)) <= limit


def _cosine(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    return float(left @ right) / float(np.sqrt((left @ left) * (right @ right)) or 1.0)


def _scattered(slots: Sequence[SlotReads], most: float = CLUSTERED) -> bool:
    """Whether changes are scattered: not concentrated in some layers, rows or columns, as training leaves them.

    Units that are always zero, inputs that never vary and words that never occur keep their rows and columns, exactly.
    """
    share = sum(_other_values(one) for one in slots) / sum(one.found.size for one in slots)
    means = np.array([share * one.found.size for one in slots])
    counts = np.array([_other_values(one) for one in slots])
    uneven, freedom = float(((counts - means) ** 2 / (means * (1 - share))).sum()), max(1, len(slots) - 1)
    if uneven - freedom > UNEVEN * np.sqrt(2 * freedom) + UNEVEN:
        return False
    touched = [one for one, count in zip(slots, counts.tolist(), strict=True) if count]
    others = [_other(one).astype(np.float64) for one in touched]
    changed = [each - each.mean() for each in others]
    rows = clustered(changed, [one.rows for one in touched])
    columns = clustered(changed, [one.input_channels for one in touched])
    return rows[1] >= MIN_PAIRS and max(rows[0], columns[0]) <= most


def _whole_layers(examination: Examination) -> bool:
    """Whether whole layers changed: that is training, not a mark."""
    changed = [float((~one.same).mean()) for one in examination.slot_reads if one.found.size >= MIN_READS]
    touched = [part for part in changed if part > 0]
    return bool(touched) and min(touched) > MAX_SHARE


def shared(examination: Examination) -> list[Finding]:
    """Positions shared with other records at hand."""
    if not examination.significant:  # whose mark is not there shares no position of this network
        return []
    total = examination.shared_positions()
    if not total:
        return []
    return [
        Finding(
            "shared positions",
            f"{total:,} positions are shared with other marks whose records are at hand",
            {"positions": total},
            version=2,
        )
    ]
