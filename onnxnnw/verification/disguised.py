"""Test by sketches whether a candidate may be the recorded network with permuted or rescaled channels, and by sizes with others."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import UnreadableRecord
from onnxnnw.graph.slot import Slot
from onnxnnw.graph.slot_view import SlotView
from onnxnnw.matching.match import Match
from onnxnnw.methods import nct
from onnxnnw.records.positions import plan_of
from onnxnnw.records.record import Record
from onnxnnw.records.slot_table import SlotEntry

if TYPE_CHECKING:
    from onnxnnw.alignment.sketch import Sketches

__all__ = ["LEAST_SKETCHES", "Disguise", "disguise_of", "sketches_in"]

STEADY = 0.002
"""Up to this share of a weight's energy a mark moves its sketch by less than the tolerance.

Measured on some 60 weights of five trained networks: below it by .001 to .004 (tolerance .005), from .005 on by more.
"""

LEAST_SKETCHES = 3
"""Weights whose sketches say something, before anything is said."""


@dataclass(frozen=True)
class Disguise:
    """The result of comparing sketches.

    Attributes:
        kept: Sketches in the record; None where it is older, or of a method that keeps none.
        agreeing: How many of them the candidate has.
        near: How many it has nearly: nearer than the shuffled entries of the recorded weight would come.
        steady: How many of them the mark itself leaves as they were: sketches are those of the network before it.
        resized: Whether channels may have been added or removed: weights of the recorded kinds are there, in other sizes.
    """

    kept: int | None
    agreeing: int = 0
    near: int = 0
    steady: int = 0
    resized: bool = False

    @property
    def likely(self) -> bool:
        """Whether the candidate looks like the recorded network in another order."""
        return self._enough(self.agreeing)

    @property
    def resembles(self) -> bool:
        """Whether the candidate may be the recorded network in another order, and its values changed besides."""
        return self._enough(self.near)

    @property
    def excluded(self) -> bool:
        """Whether another order of channels, scales and signs alone would have shown, and nothing is near."""
        return self._enough(self.steady) and not self.likely and not self.resembles

    def _enough(self, sketches: int) -> bool:
        """Whether so many say something: three, and half of those that the record keeps."""
        return sketches >= LEAST_SKETCHES and 2 * sketches >= (self.kept or 0)


def sketches_in(record: Record) -> "Sketches | None":
    """The sketches that a record keeps; None where there are none.

    Raises:
        UnreadableRecord: They are damaged.
    """
    if "sketch_slots" not in record.arrays:
        return None
    from onnxnnw.alignment.sketch import LEVELS, Sketches  # only where no mark was found

    known: Sketches | None = vars(record).get("_sketches")
    if known is not None:
        return known

    slots = record.array("sketch_slots")
    values = record.array("sketch", slots.size * LEVELS)
    if (
        slots.dtype.kind != "i"
        or ((slots < 0) | (slots >= len(record.slots))).any()
        or np.unique(slots).size < slots.size
    ):
        raise UnreadableRecord("the record's sketches belong to slots that it does not have")
    known = Sketches(tuple(slots.tolist()), values.astype(np.float32).reshape(-1, LEVELS))
    vars(record)["_sketches"] = known
    return known


def disguise_of(
    record: Record, view: SlotView, matches: Sequence[Match | None], at_hand: "dict[int, NDArray[np.float32]]"
) -> Disguise | None:
    """What sketches say of a candidate in which no mark was found; None where its weights stand as they were enrolled.

    Args:
        at_hand: Sketches of the candidate that were made for records before; more are added.
    """
    agree = sum(match is not None and match.agrees for match in matches)
    if 2 * agree > len(record.slots):
        return None
    kept, resized = sketches_in(record), _resized(record, view)
    if kept is None:
        return Disguise(None, resized=resized)
    if len(kept.slots) < LEAST_SKETCHES:
        return Disguise(len(kept.slots), resized=resized)
    steady = sum(energy <= STEADY for energy in _energies(record, kept.slots))
    from onnxnnw.alignment.sketch import NEAR, TOLERANCE, agreeing_sketches
    from onnxnnw.alignment.weights import weights_of

    entries = [record.slots[number] for number in kept.slots]
    shapes = [(entry.live_rows + len(entry.dead_rows), entry.row_size) for entry in entries]
    weights = weights_of(view)
    agreeing, near = (agreeing_sketches(kept, shapes, weights, at_hand, within) for within in (TOLERANCE, NEAR))
    return Disguise(len(kept.slots), agreeing, near, steady, resized)


def _resized(record: Record, view: SlotView) -> bool:
    """Whether half of the recorded weights or more have one of their kind each, and not all of these have the recorded sizes."""
    from onnxnnw.alignment.weights import kind_of

    def kinds(entries: Iterable[SlotEntry | Slot]) -> tuple[Counter[tuple[str, int]], Counter[tuple[str, int, int]]]:
        of_kind = [(*kind_of(entry.layout, entry.shape, entry.row_size), entry.size) for entry in entries]
        return Counter((kind, taps) for kind, taps, _ in of_kind), Counter(of_kind)

    recorded, recorded_sizes = kinds(record.slots)
    there, sizes = kinds(view.slots)
    resized = any((kind, taps) in recorded for kind, taps, _ in sizes - recorded_sizes)
    return 2 * (recorded & there).total() >= len(record.slots) and resized and not recorded_sizes <= sizes


def _energies(record: Record, slots: Sequence[int]) -> list[float]:
    """The mark's share of each slot's energy; 0 where nothing was written into it."""
    if record.kind != "watermark" or record.method != nct.NCT.name:
        return [0.0] * len(slots)
    plan, energies = plan_of(record), []
    deviations = record.with_unbound().array("deviations", len(record.slots)).astype(np.float64)
    for slot in slots:
        entry = record.slots[slot]
        if "value_std" in record.parameters:
            strength = float(record.parameters["value_std"]) / max(float(deviations[slot]), 1e-30)
        else:
            strength = float(record.parameters["strength"])
        each = strength**2 + (0.0 if nct.is_added(record) else 1.0)  # a replaced value is gone besides
        energies.append(each * plan.of(slot).size / max(1, entry.live_rows * entry.row_size))
    return energies
