"""One layer of a comparison: its counterpart, and how its values changed."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.alignment.matrices import MatrixAlignment
from onnxnnw.graph.slot import Slot
from onnxnnw.matching.match import Match
from onnxnnw.verification.slot_reads import SlotReads

__all__ = ["KINDS", "Layer", "aligned_layer", "found_layer", "lost_layer", "places_in"]

Floats = NDArray[np.float64]

KINDS = ("same", "other form", "changed", "other order", "not found")
"""What can have become of a layer, from best to worst."""

READS = 4096
"""Values of a layer that are looked at."""

_SAME = 1e-4
_ROUNDED = 0.9995
"""Correlation from which on a layer in a narrow type, or on a lattice, is the same one rounded."""


@dataclass(frozen=True)
class Layer:
    """A layer of the reference.

    Attributes:
        name, shape, elements: In the reference.
        found_as: Name in the candidate; empty where it is not found.
        kind: One of ``KINDS``.
        done: What was done to it, in words.
        correlation: Of its values then and now; None where they were not compared.
        changed: Share of the values that are others.
        moved: By how much those are others, root mean square in units of the layer's deviation.
        zeroed: Share of the values that became zero.
        bits: Of the lattice on which its values lie now; 0 for none.
        more: Elements of its counterpart that are none of it: rows and columns that were added.
    """

    name: str
    shape: tuple[int, ...]
    elements: int
    found_as: str = ""
    kind: str = "not found"
    done: tuple[str, ...] = ()
    correlation: float | None = None
    changed: float = 0.0
    moved: float = 0.0
    zeroed: float = 0.0
    bits: int = 0
    more: int = 0

    def to_json(self) -> dict[str, Any]:
        """As documented."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "elements": self.elements,
            "found_as": self.found_as or None,
            "kind": self.kind,
            "done": list(self.done),
            "correlation": None if self.correlation is None else round(self.correlation, 6),
            "changed": round(self.changed, 6),
            "moved": float(f"{min(self.moved, 1e300):.4g}"),
            "zeroed": round(self.zeroed, 6),
            "bits": self.bits or None,
            "more": self.more,
        }


def places_in(size: int) -> NDArray[np.int64]:
    """Some places of a layer, drawn alike every time; all where there are few."""
    if size <= READS:
        return np.arange(size)
    return np.sort(np.random.default_rng(size).choice(size, READS, replace=False))


def lost_layer(slot: Slot) -> Layer:
    """A layer that is found nowhere."""
    return Layer(slot.name, slot.shape, slot.size)


def found_layer(slot: Slot, reads: SlotReads) -> Layer:
    """A layer that was found by its values.

    Args:
        slot: Of the reference.
        reads: Its values, and what stands there now, in one unit.
    """
    match, same = reads.match, bool(reads.same.all())
    zeroed = float(reads.zeroed.mean()) if reads.found.size else 0.0
    levels = 0 if same else reads.levels or reads.channel_levels
    bits = max(1, math.ceil(math.log2(max(2, levels)))) if levels else 0
    changed = float((~reads.same).mean()) if reads.found.size else 0.0
    moved = float(np.sqrt(np.mean(reads.moved**2))) if reads.moved.size else 0.0
    likeness = 1.0 if same else reads.likeness
    form = _form(slot, match, reads.folded)
    rounded = (bits or reads.reduced_precision) and likeness > _ROUNDED and zeroed < 0.02
    kind = "changed"
    if same or rounded:
        kind = "other form" if form or not same or reads.factor != 1 else "same"
    done = [*form, *_values(reads, same, zeroed, bits, changed, moved)]
    return Layer(
        slot.name, slot.shape, slot.size, match.slot.name, kind, tuple(done), likeness, changed, moved, zeroed, bits
    )  # fmt: skip


def _form(slot: Slot, match: Match, folded: bool) -> list[str]:
    """What is other than the values."""
    out = []
    if match.slot.name != slot.name:
        out.append("renamed")
    if match.transposed:
        out.append("transposed")
    if match.reading == "parts":
        out.append("in several pieces")
    elif match.reading:
        out.append(f"read otherwise ({match.reading})")
    if match.sign < 0:
        out.append("of opposite sign")
    if match.columns is not None:
        out.append("columns rescaled")
    if folded:
        out.append("what follows is folded in")
    if match.slot.tensor.type_name != slot.tensor.type_name:
        out.append(f"stored as {match.slot.tensor.type_name}")
    before, now = (use.use.partition(".")[0] for use in (slot, match.slot))
    if before != now:
        out.append(f"used by {now} instead of {before}")
    return out


def _values(reads: SlotReads, same: bool, zeroed: float, bits: int, changed: float, moved: float) -> list[str]:
    if same:
        return [f"multiplied by {reads.factor:.4g}"] if reads.factor != 1 else []
    out = [f"multiplied by {reads.factor:.4g}"] if reads.factor != 1 else []
    if bits:
        out.append(f"quantised to about {bits} bits")
    if zeroed >= 0.01:
        out.append(f"{zeroed:.0%} pruned")
    if changed >= 0.9 and not bits and not reads.reduced_precision:
        out.append(f"all values moved by {moved:.2g} deviations, as noise or further training do")
    elif changed > zeroed and not bits and not reads.reduced_precision:
        part = f"{changed:.1%}" if changed >= 0.0005 else "fewer than 0.1%"  # never 0.0%: something is another value
        out.append(f"{part} of the values are others, by {moved:.2g} deviations")
    return out


def aligned_layer(slot: Slot, other: Slot, matrix: MatrixAlignment, values: Floats, now: Floats) -> Layer:
    """A layer that was found with its channels in another order.

    Args:
        slot, other: Of the reference, and its counterpart.
        values, now: Some of its values, and what stands there once order and scales are undone; NaN where nothing does.
    """
    there = np.isfinite(now)
    likeness = _correlation(values[there], now[there])
    done = [word for word, true in (
        ("renamed", slot.name != other.name),
        ("channels in another order", matrix.reordered),
        ("channels rescaled", matrix.rescaled),
        ("signs turned", matrix.flipped),
    ) if true]  # fmt: skip
    more = other.rows - len(matrix.rows), other.row_size // matrix.taps - matrix.channels.shape[1]
    for what, count in zip(("rows", "columns"), more, strict=True):
        if count:
            done.append(f"{abs(count)} {what} {'more' if count > 0 else 'fewer'}")
    if matrix.matched < 1 and min(more) >= 0:
        done.append(f"{matrix.matched:.0%} of it found")
    deviation = float(values.std())
    with np.errstate(all="ignore"):
        moved = (
            float(np.sqrt(np.mean((values[there] - now[there]) ** 2))) / deviation
            if deviation > 0 and there.any()
            else 0.0
        )
    changed = _others(values[there], now[there])
    return Layer(
        slot.name, slot.shape, slot.size, other.name, "other order", tuple(done), likeness, changed, moved,
        more=max(0, other.size - round(matrix.matched * slot.size)),
    )  # fmt: skip


def _others(values: Floats, now: Floats) -> float:
    """Share of values that are others, rounding of scales left out."""
    if not values.size:
        return 1.0
    return float((np.abs(values - now) > _SAME * (np.abs(values) + values.std())).mean())


def _correlation(one: Floats, other: Floats) -> float:
    with np.errstate(all="ignore"):
        left, right = one - one.mean(), other - other.mean()
        power = float(left @ left) * float(right @ right)
        out = float(left @ right) / math.sqrt(power) if power > 0 else float(np.array_equal(one, other))
    return out if math.isfinite(out) else 0.0
