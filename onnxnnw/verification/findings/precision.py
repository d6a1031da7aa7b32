"""Precision: another element type, values rounded to one and back, or on a lattice as quantisation leaves them."""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from onnxnnw.constants.constants import Constant, Dequantized
from onnxnnw.verification.findings.base import Examination, Finding, few, share
from onnxnnw.verification.slot_reads import SlotReads, shape_of
from onnxnnw.verification.units import MIN_LATTICE, lattice_step

__all__ = ["find"]

MIN_FLAT, FLAT, MAX_SPANS, MAX_VALUES = 100, 5.0, 16, 4_096


def find(examination: Examination) -> list[Finding]:
    """Element types that changed, traces of a coarser one, and lattices in what was read."""
    return [*_types(examination), *(_rounded(examination) or _lattices(examination) or _flat(examination))]


def _types(examination: Examination) -> list[Finding]:
    slots = examination.record.slots
    groups: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for number, match in examination.matched():
        old, new = slots[number].data_type, match.slot.tensor.type_name
        if old != new:
            groups[old, new, _granularity(match.slot.constant)].append(slots[number].name)
    out = []
    for (old, new, granularity), names in sorted(groups.items(), key=lambda group: -len(group[1])):
        detail = f", one scale per {granularity}" if granularity else ""
        out.append(
            Finding(
                "type changed",
                f"{share(len(names), len(slots))} weights are stored as {new} instead of {old}{detail}",
                {"slots": len(names), "from": old, "to": new, "granularity": granularity},
                few({name: {"to": new, "granularity": granularity} for name in names}),
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
    name = examination.exact_in
    if not name:
        return []
    sentence = f"all values are exact in {name}, as after a conversion to it and back"
    read = sum(one.found.size for one in examination.slot_reads if not one.reduced_precision)
    return [Finding("rounded", sentence, {"to": name, "read": int(read)})]


def _lattices(examination: Examination) -> list[Finding]:
    """Values on a lattice, if the enrolled ones are on none."""
    slots = [one for one in examination.slot_reads if not one.reduced_precision and one.found.size >= MIN_LATTICE]
    levels = {
        one.name: _in_all(one, one.levels) if one.levels else one.channel_levels
        for one in slots
        if one.levels or one.channel_levels
    }
    if not levels or 2 * len(levels) < len(slots):
        return []
    bits = int(np.ceil(np.log2(max(2.0, float(np.median(list(levels.values())))))))
    return [
        Finding(
            "lattice",
            f"values of {len(levels)} weights lie on a lattice, as after quantisation to about {bits} bits",
            {"slots": len(levels), "bits": bits},
            few({name: {"levels": count} for name, count in levels.items()}),
        )
    ]


def _in_all(one: SlotReads, seen: int) -> int:
    """Levels of the whole slot: the outermost ones are rarely among the reads."""
    step = float(np.ptp(one.found)) / max(1, seen - 1)
    return round(_span(one) / step) + 1


def _span(one: SlotReads) -> float:
    """Range of all of the slot's values as they are now."""
    array = one.match.slot.array()
    return float(array.max()) - float(array.min())


def _flat(examination: Examination) -> list[Finding]:
    """Changes spread evenly within each layer: rounding to a step too fine to be seen as a lattice."""
    changed = examination.freely_changed
    shape = shape_of(changed)
    if shape.reads < MIN_FLAT or shape.geary_z < FLAT or not shape.sizes:
        return []
    steps = {
        one.name: lattice_step(_some(one), shape.sizes[one.name] * one.deviation * float(np.sqrt(12)))
        for one in changed[:MAX_SPANS]
        if one.name in shape.sizes
    }
    if 2 * sum(step > 0 for step in steps.values()) <= len(steps):
        return []  # changes of one size are no rounding: the first steps of Adam are as even
    levels = [_span(one) / steps[one.name] for one in changed[:MAX_SPANS] if steps.get(one.name, 0) > 0]
    bits = round(float(np.median(np.log2(np.maximum(2.0, levels)))))
    relative = {one.name: steps[one.name] / one.deviation for one in changed[:MAX_SPANS] if steps.get(one.name, 0) > 0}
    return [
        Finding(
            "rounded",
            f"changes are spread evenly within every layer, as rounding to a step leaves them (about {bits} bits)",
            {"to": "lattice", "bits": bits, "read": shape.reads},
            few({name: {"step": float(f"{step:.3g}")} for name, step in relative.items()}),
            version=2,
        )
    ]


def _some(one: SlotReads) -> NDArray[np.float64]:
    """At most 4,096 of a slot's values, in its own numbers."""
    flat = one.match.slot.array().reshape(-1)
    return np.asarray(flat[:: max(1, flat.size // MAX_VALUES)][:MAX_VALUES], np.float64)
