"""Align a candidate with the owner's own copy: channels that were moved, added or removed.

Nothing that aligned is tested. Before anything is balanced or compared, the reference gets its host values at the mark's positions
(or 0, where the mark replaced them), and 0 at the anchors, which say afterwards whether the candidate is related at all. So every
order, scale and sign is a function of the candidate and of what the mark's numbers have no part in, and the test stays exact.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.alignment import MatrixAlignment, NetworkAlignment, Weight, align_networks, weights_of
from onnxnnw.candidate import Anchors, CanonicalWeights, StoredWeights, slots_as_enrolled
from onnxnnw.enrolment.copies import why_alone, without_copies
from onnxnnw.graph.digest import network_digest
from onnxnnw.graph.slot_view import SlotView
from onnxnnw.graph.slots import find_slots
from onnxnnw.matching.anchor_agreement import agreement
from onnxnnw.matching.match import Match, match_slots
from onnxnnw.matching.row_scale import row_magnitudes, row_scales
from onnxnnw.methods import nct
from onnxnnw.network_file.file import Network
from onnxnnw.network_file.patch import Edit, joined_edits
from onnxnnw.network_file.stored import Array
from onnxnnw.records.positions import plan_of
from onnxnnw.records.record import Record

__all__ = ["BOUND", "NOMINAL", "UNBOUND", "Aligned", "AlignedWeights", "Reference"]

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]

BOUND, UNBOUND, NOMINAL = "bound", "unbound", "nominal"
"""The reference is the network that the record binds; as it left, but nothing binds it; changed after the mark was made."""

_HELD_OUT = 0.05
"""Anchors are held out of the alignment where they are at most such a share of their slot."""

_UNTOUCHED = 5e-7


@dataclass(frozen=True)
class AlignedWeights(CanonicalWeights):
    """A candidate's weights as the record's slots, channels in the reference's order; NaN where there is no counterpart."""

    def _oriented(self, match: Match, slot: int) -> Array:
        return self.orders[slot].applied(match.slot.array())

    def row_scales(self, slot: int) -> Floats | None:
        """Scale of every out-row, over the elements that have a counterpart."""
        array = self.array(slot)
        if array is None:
            return None
        if slot not in self._own:
            there = np.isfinite(array)
            magnitudes = row_magnitudes(np.where(there, array, 0))
            share = there.mean(1)
            with np.errstate(all="ignore"):
                self._own[slot] = row_scales(np.where(share > 0, magnitudes / np.sqrt(share), np.nan))
        return self._own[slot]

    @cached_property
    def _own(self) -> dict[int, Floats]:
        return {}


@dataclass(frozen=True, eq=False)
class Aligned:
    """A candidate in the reference's order.

    Attributes:
        weights: Its weights as the record's slots.
        network: Which weight and which channel is which; one entry per slot of the record that the reference holds.
        slots: Numbers of these slots.
        basis: ``bound``, ``unbound`` or ``nominal``.
        reference: The reference's weights as the record's slots, as they were aligned to: without mark and anchors.
    """

    weights: AlignedWeights
    network: NetworkAlignment
    slots: Sequence[int]
    basis: str
    reference: Mapping[int, Weight]

    @property
    def orders(self) -> Mapping[int, MatrixAlignment]:
        """Of each slot of the record that has a counterpart."""
        return self.weights.orders

    @property
    def agreeing(self) -> int:
        """Slots whose anchors agree in the reference's order, although nothing was aligned by them."""
        return sum(match is not None and match.agrees for match in self.weights.matches)


class Reference:
    """The owner's own copy of a network, opened once for all records."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.view = find_slots(network)

    @cached_property
    def digest(self) -> str:
        """Its canonical digest."""
        return network_digest(self.network, self.view)

    def slots_of(self, record: Record, anchors: Anchors) -> StoredWeights | None:
        """The reference's weights as the record's slots; None where it is not the record's network."""
        as_enrolled = slots_as_enrolled(record, anchors, self.view)
        if as_enrolled is not None:
            return CanonicalWeights(as_enrolled[0], 1, None)
        matches = match_slots(anchors.wanted(), self.view.slots)
        agreeing = [match if match is not None and match.agrees else None for match in matches]
        if 2 * sum(match is not None for match in agreeing) <= len(agreeing):
            return None
        return CanonicalWeights(agreeing, 1, anchors.folds)

    def basis(self, record: Record, anchors: Anchors, own: StoredWeights) -> str:
        """How the reference was identified as the record's network."""
        if record.enrolled_digest and anchors.bound:
            if self.digest == record.enrolled_digest:
                return BOUND
            if (
                record.kind == "watermark"
                and nct.is_added(record)
                and self._without_mark(record) == record.enrolled_digest
            ):
                return BOUND
        return UNBOUND if anchors.bound and _untouched(anchors, own) else NOMINAL

    def _without_mark(self, record: Record) -> str:
        """The reference's digest with the host values written back, into copies of its weights too."""
        plan = plan_of(record)
        host = record.array("host", plan.positions.size).astype(np.float64)
        view, copies = without_copies(self.view)
        slots = view.by_name()
        edits: list[Edit] = []
        for number in plan.numbers:
            slot = slots.get(record.slots[number].name)
            if slot is None or slot.read_only or slot.shape != record.slots[number].shape:
                return ""
            places, values = plan.of(number), host[plan.slots == number]
            edits.append(Edit(*slot.edits(places, values)))
            edits += [
                Edit(*copy.slot.edits(copy.positions(places), values))
                for copy in copies
                if copy.of is slot and not why_alone(copy)
            ]
        return network_digest(self.network, self.view, {id(edit.tensor): edit for edit in joined_edits(edits)})

    def aligned(self, record: Record, anchors: Anchors, view: SlotView, live: int) -> Aligned | None:
        """A candidate in the order of this network; None where this is not the record's network.

        Args:
            record: Of a method that reads weights.
            anchors: Its anchors.
            view: The candidate's slots.
            live: How many of its weights are live.
        """
        own = self.slots_of(record, anchors)
        if own is None:
            return None
        numbers = [number for number, match in enumerate(own.matches) if match is not None]
        candidate = weights_of(view)
        groups = {id(slot): weight.groups for slot, weight in zip(self.view.slots, weights_of(self.view), strict=True)}
        reference = {number: _weight(record, anchors, own, number, groups) for number in numbers}
        network = align_networks(list(reference.values()), candidate)
        orders = {n: one.matrix for n, one in zip(numbers, network.slots, strict=True) if one is not None}
        matches: list[Match | None] = [None] * len(record.slots)
        for number, one in zip(numbers, network.slots, strict=True):
            if one is not None:
                matches[number] = Match(view.slots[one.candidate], False, 0.0, reading="aligned")
        weights = AlignedWeights(matches, live, None, orders=orders)
        for number, match in enumerate(matches):
            if match is not None:
                places, values = anchors.of(number)
                found = weights.values(number, places)
                assert found is not None
                there = np.isfinite(found)
                matches[number] = replace(match, agreement=agreement(found[there], values[there]))
        return Aligned(weights, network, numbers, self.basis(record, anchors, own), reference)


def _weight(record: Record, anchors: Anchors, own: StoredWeights, number: int, groups: dict[int, int]) -> Weight:
    """A slot of the reference without the mark and without its anchors."""
    entry, match = record.slots[number], own.matches[number]
    assert match is not None
    kind = entry.layout if entry.layout in ("gather", "add", "table", "rnn") else "product"
    apart = groups.get(id(match.slot), 1)
    rows = entry.live_rows + len(entry.dead_rows)

    def read() -> NDArray[Any]:
        array = own.array(number)
        assert array is not None
        return without_mark(record, anchors, number, array)

    return Weight(entry.name, rows, entry.row_size, entry.taps, apart, kind, read)


def without_mark(record: Record, anchors: Anchors, number: int, array: NDArray[Any]) -> NDArray[Any]:
    """A slot of the reference with host values, or 0, at the mark's positions, and 0 at the anchors.

    A fingerprint's positions are the weights themselves; there the whole kernel is taken out.
    """
    out = array.copy().reshape(-1)
    entry = record.slots[number]
    looked_at, _, _ = anchors.looked_at(number)
    if looked_at.size <= _HELD_OUT * out.size:
        out[looked_at] = 0
    plan = anchors.plan
    places = plan.of(number)
    if places.size and record.kind == "watermark":
        chosen = plan.slots == number
        out[places] = record.array("host", plan.positions.size)[chosen] if nct.is_added(record) else 0
    elif places.size:
        kernels = places // entry.taps * entry.taps
        out[(kernels[:, None] + np.arange(entry.taps)).reshape(-1)] = 0
    return out.reshape(array.shape)


def _untouched(anchors: Anchors, own: StoredWeights) -> bool:
    """Whether the reference has the enrolled values at anchors and samples, so it was not trained since."""
    for number, match in enumerate(own.matches):
        if match is None:
            continue
        places, values, _ = anchors.looked_at(number)
        found = own.values(number, places)
        if found is None or not (np.abs(found - values) <= _UNTOUCHED * np.abs(values)).all():
            return False
    return True
