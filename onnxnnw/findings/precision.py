"""Precision: another element type, values rounded to one and back, or on a lattice as quantisation leaves them."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from onnxnnw.findings.base import Examination, Finding, share
from onnxnnw.graph.constants import Constant, Dequantized
from onnxnnw.graph.stored import round_to

__all__ = ["find", "lattice_levels"]

MIN_READS = 12
MAX_LEVELS = 2**17
_TOLERANCE = 4e-7


def find(examination: Examination) -> list[Finding]:
    """Element types that changed, traces of a coarser one, and lattices in what was read."""
    return [*_types(examination), *_rounded(examination), *_lattices(examination)]


def _types(examination: Examination) -> list[Finding]:
    slots = examination.record.slots
    changed = Counter(
        (slots[k].data_type, match.slot.tensor.type_name, _granularity(match.slot.constant))
        for k, match in examination.matched()
        if slots[k].data_type != match.slot.tensor.type_name
    )
    out = []
    for (old, new, granularity), count in changed.most_common():
        detail = f", one scale per {granularity}" if granularity else ""
        out.append(
            Finding(
                "type changed",
                f"{share(count, len(slots))} weights are stored as {new} instead of {old}{detail}",
                {"slots": count, "from": old, "to": new, "granularity": granularity},
            )
        )
    return out


def _granularity(constant: Constant) -> str:
    stack = [constant]
    while stack:
        part = stack.pop()
        if isinstance(part, Dequantized):
            return part.granularity
        stack += part.parts[:1]
    return ""


def _rounded(examination: Examination) -> list[Finding]:
    """Values that a coarser floating-point type holds exactly, although it is not the one that stores them."""
    reads, slots = examination.reads, examination.record.slots
    wide = {k for k, match in examination.matched() if match.slot.tensor.type_name in ("float", "double")}
    kept = {k for k in wide if slots[k].data_type in ("float", "double")}
    chosen = (
        np.array([slot in kept for slot in reads.slots.tolist()], np.bool_)
        & np.isfinite(reads.found)
        & (reads.found != 0)
    )
    if chosen.sum() < MIN_READS:
        return []
    for name in ("float16", "bfloat16"):
        found, enrolled = (np.asarray(values[chosen], np.float64) for values in (reads.found, reads.enrolled))
        if np.array_equal(round_to(found, name), found) and not np.array_equal(round_to(enrolled, name), enrolled):
            sentence = f"all values are exact in {name}, as after a conversion to it and back"
            return [Finding("rounded", sentence, {"to": name, "read": int(chosen.sum())})]
    return []


def _lattices(examination: Examination) -> list[Finding]:
    reads = examination.reads
    levels = []
    for number, match in examination.matched():
        found = reads.found[reads.slots == number]
        found = found[np.isfinite(found)]
        if match.slot.tensor.is_float and found.size >= MIN_READS:
            count = lattice_levels(found)
            if count:
                levels.append(count)
    if not levels or 2 * len(levels) < len({int(s) for s in reads.slots}):
        return []
    bits = int(np.ceil(np.log2(max(2.0, float(np.median(levels))))))
    return [
        Finding(
            "lattice",
            f"values of {len(levels)} weights lie on a lattice, as after quantisation to about {bits} bits",
            {"slots": len(levels), "bits": bits},
        )
    ]


def lattice_levels(values: NDArray[np.float64]) -> int:
    """Levels of the coarsest lattice that holds all values (up to single precision); 0 where there is none.

    The step is the greatest common divisor of the differences, by Euclid's algorithm with a tolerance.
    """
    ordered = np.sort(values)
    distinct = ordered[np.append(True, np.diff(ordered) > 0)] if ordered.size else ordered
    span = float(distinct[-1] - distinct[0]) if distinct.size > 1 else 0.0
    scale = float(np.abs(distinct).max()) if distinct.size else 0.0
    if span <= 1e-6 * scale:
        return 0
    tolerance = _TOLERANCE * max(scale, span)
    step = span
    for difference in np.diff(distinct).tolist():
        larger, smaller = max(step, difference), min(step, difference)
        while smaller > 16 * tolerance:
            rest = larger - smaller * round(larger / smaller)
            larger, smaller = smaller, abs(rest)
        step = larger
        if span / step > MAX_LEVELS or step < 32 * tolerance:
            return 0
    count = round(span / step)
    step = span / count  # the whole span has the smallest relative error
    off = np.abs((distinct - distinct[0]) / step - np.round((distinct - distinct[0]) / step)).max()
    return count + 1 if off < 0.05 and count < MAX_LEVELS else 0
