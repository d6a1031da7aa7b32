"""A candidate's weights by the slots of a record: as stored, or matched by content, with the scales of their rows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from onnxnnw.graph.slot import Slot, scaled
from onnxnnw.graph.slot_view import SlotView
from onnxnnw.matching.anchor_agreement import Wanted, agreement, agreements
from onnxnnw.matching.match import Match
from onnxnnw.matching.read_before import ReadBefore, ReadWhole, SlotsAtHand, among
from onnxnnw.matching.slot_scales import SlotArrays
from onnxnnw.methods.base import Reads
from onnxnnw.network_file.ahead import fetch_together
from onnxnnw.network_file.stored import Array, StoredTensor
from onnxnnw.records.positions import NO_PLAN, anchor_positions, control_positions, plan_of, sample_positions
from onnxnnw.records.record import Record
from onnxnnw.records.row_factors import RowFactors, columns_of, parted, row_factors_of, unit_change

if TYPE_CHECKING:
    from onnxnnw.alignment import MatrixAlignment

__all__ = ["Anchors", "CanonicalWeights", "StoredWeights", "slots_as_enrolled"]

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]


class Anchors:
    """A record's anchors: where they are and what they were.

    Attributes:
        bound: Whether the mark depends on them; where it was inserted in training, they were read afterwards.
        plan: The positions that are tested, which no anchor is one of; none for a method without positions.
        folds: What multiplied the rows of the record's slots downstream; None in older records.
    """

    def __init__(self, record: Record) -> None:
        self.bound = "anchors" in record.arrays
        self.record = record = record if self.bound else record.with_unbound()
        self.plan = plan_of(record) if "positions" in record.parameters else NO_PLAN
        self.positions = anchor_positions(record, self.plan)
        sizes = [places.size for places in self.positions]
        values = record.array("anchors", sum(sizes)).astype(np.float64)
        self.values = parted(values, sizes)
        self.folds = row_factors_of(record)
        self.row_scales: list[Floats] | None = None
        if "anchor_gains" in record.arrays:
            scales = record.array("anchor_gains", sum(sizes)).astype(np.float64)
            self.row_scales = parted(scales, sizes)

        self._samples: list[Positions] | None = None

    def looked_at(self, slot: int) -> tuple[Positions, Floats, Floats | None]:
        """Anchors and samples of a slot: positions, values, and the recorded scales of their rows.

        Raises:
            UnreadableRecord: The record contradicts itself.
        """
        places, values = self.of(slot)
        scales = None if self.row_scales is None else self.row_scales[slot]
        if "samples" not in self.record.arrays:
            return places, values, scales
        if self._samples is None:
            self._samples = sample_positions(self.record, self.plan, self.positions)
            ends = np.cumsum([each.size for each in self._samples])
            kept = self.record.array("samples", int(ends[-1])).astype(np.float64)
            sampled = self.record.array("sample_gains", int(ends[-1])).astype(np.float64)
            self._values, self._sample_row_scales = np.split(kept, ends[:-1]), np.split(sampled, ends[:-1])
        more = self._samples[slot]
        both = np.concatenate([places, more]), np.concatenate([values, self._values[slot]])
        return *both, None if scales is None else np.concatenate([scales, self._sample_row_scales[slot]])

    def everything(self, slot: int) -> Positions:
        """All positions of a slot that a verification looks at: anchors, samples, and what is tested."""
        return np.concatenate([self.looked_at(slot)[0], self.plan.of(slot)])

    def of(self, slot: int) -> tuple[Positions, Floats]:
        return self.positions[slot], self.values[slot]

    def reads(self, weights: "StoredWeights") -> Reads:
        """The current values at the anchors, in the precision of the record."""
        return _reads(weights, self.positions, self.values)

    def _further(self, number: int, fold: Floats | None, rows: int) -> tuple[Positions, Floats]:
        """Anchors and samples of a slot, folded as its anchors are."""
        places, values, _ = self.looked_at(number)
        if fold is not None:
            with np.errstate(all="ignore"):
                values = values * np.broadcast_to(fold, rows)[places // self.record.slots[number].row_size]
        return places, values

    def further_reads(self, weights: "StoredWeights") -> Reads:
        """The current values at anchors and samples, in the precision of the record."""
        looked_at = [self.looked_at(slot) for slot in range(len(self.positions))]
        return _reads(weights, [places for places, _, _ in looked_at], [values for _, values, _ in looked_at])

    def wanted(self) -> list[Wanted]:
        out = []
        columns = columns_of(self.record)
        for number, entry in enumerate(self.record.slots):
            rows = entry.live_rows + len(entry.dead_rows)
            places, values = self.of(number)
            fold = None if self.folds is None else self.folds.get(number, np.ones(1))
            out.append(
                Wanted(
                    name=entry.name,
                    bias=entry.bias,
                    rows=rows,
                    row_size=entry.row_size,
                    positions=places,
                    values=values,
                    shape=entry.shape,
                    use=entry.use,
                    layout=entry.layout,
                    further=self._further(number, fold, rows),
                    folds=None if fold is None else np.broadcast_to(fold, rows)[places // entry.row_size],
                    row_scales=None if self.row_scales is None else self.row_scales[number],
                    columns=columns.get(number),
                )
            )
        return out


@dataclass(frozen=True)
class StoredWeights:
    """The candidate's weights as they are stored under the record's names: the fast path.

    Values are in the unit in which they were enrolled: times what multiplies their row in the candidate, divided by what
    did so in the enrolled network.
    """

    matches: Sequence[Match | None]
    live: int
    folds: RowFactors | None = None
    known: "Mapping[int, ReadBefore | ReadWhole]" = field(default_factory=dict, repr=False)
    orders: "Mapping[int, MatrixAlignment]" = field(default_factory=dict, repr=False)
    """Where rows and channels of each slot stand, where a reference network says it."""

    @property
    def row_orders(self) -> dict[int, Positions]:
        """The candidate's row of each row of a slot, where it is another."""
        return {number: order.rows for number, order in self.orders.items()}

    def has(self, slot: int) -> bool:
        return self.matches[slot] is not None

    def values(self, slot: int, positions: Positions) -> Floats | None:
        match = self.matches[slot]
        if match is None:
            return None
        read, ratio = self.known.get(slot), self._ratio(match, slot)
        values = None if read is None else read.at(positions)
        values = match.slot.values(positions) if values is None else values
        with np.errstate(all="ignore"):
            return values if ratio is None else values * ratio[positions // match.slot.row_size]

    def array(self, slot: int) -> Array | None:
        match = self.matches[slot]
        return None if match is None else scaled(match.slot.array(), self._ratio(match, slot))

    def row_scales(self, slot: int) -> Floats | None:
        return None

    def share(self, slots: Sequence[int]) -> float:
        found = [self.matches[slot] for slot in slots]
        return sum(match.slot.covered for match in found if match is not None) / max(1, self.live)

    def _ratio(self, match: Match, slot: int) -> Floats | None:
        return (
            unit_change(match.slot.row_gain, self.folds.get(slot)) if self.folds is not None and match.folded else None
        )


@dataclass(frozen=True)
class CanonicalWeights(StoredWeights):
    """The candidate's weights as the record's slots, with the scales of their rows: the thorough path.

    Attributes:
        kept: Bytes of arrays that stay in memory; 0 keeps one array at a time.
        barred: Per slot: positions that are not read, because they aligned; empty where nothing is barred.
        arrays: Slots of the candidate that other records need too; None where there are none.
    """

    kept: int = 0
    barred: Sequence[Positions] = ()
    arrays: SlotArrays | None = field(default=None, repr=False)
    _row_scales: dict[int, Floats] = field(default_factory=dict, repr=False)
    _loaded: dict[int, Array] = field(default_factory=dict, repr=False)

    def without(self, barred: Sequence[Positions]) -> "CanonicalWeights":
        """The same weights, what was read of them shared, of which some positions cannot be read.

        Args:
            barred: Per slot: positions by which it was found, ascending.
        """
        return replace(self, barred=barred)

    def values(self, slot: int, positions: Positions) -> Floats | None:
        array = self.array(slot)
        if array is None:
            return None
        values = np.asarray(array.reshape(-1)[positions], np.float64)
        if self.barred:
            values[among(positions, self.barred[slot])] = np.nan
        return values

    def row_scales(self, slot: int) -> Floats | None:
        if slot not in self._row_scales and self.array(slot) is None:
            return None
        return self._row_scales[slot]

    def array(self, slot: int) -> Array | None:
        """The slot's weights in the record's orientation; the scales of its rows are measured as they come by."""
        match = self.matches[slot]
        if match is None:
            return None
        if slot in self._loaded:
            return self._loaded[slot]
        array = self._oriented(match, slot)
        if slot not in self._row_scales:
            self._row_scales[slot] = (self.arrays or SlotArrays(0)).scales(match.slot, array)
        if self.arrays is None or self.kept:  # weights by many records would keep as many arrays
            if sum(each.nbytes for each in self._loaded.values()) >= self.kept:
                self._loaded.clear()
            self._loaded[slot] = array
        return array

    def _oriented(self, match: Match, slot: int) -> Array:
        array = match.slot.array() if self.arrays is None else self.arrays.of(match.slot)
        if match.transposed:
            own = None if self.folds is None else unit_change(match.slot.row_gain, None)
            array = np.ascontiguousarray(scaled(array, own).T)
            ratio = None if self.folds is None else unit_change(None, self.folds.get(slot))
        else:
            ratio = self._ratio(match, slot)
        array = scaled(array, ratio)
        if match.columns is not None:
            with np.errstate(all="ignore"):
                array = array * match.columns.astype(array.dtype)
        return array if match.sign > 0 else -array


def slots_as_enrolled(
    record: Record, anchors: Anchors, view: SlotView, at_hand: SlotsAtHand | None = None
) -> tuple[list[Match | None], dict[int, ReadBefore | ReadWhole]] | None:
    """The record's slots if all have their names, shapes and uses, and their anchors agree; else None.

    Args:
        at_hand: Slots that are read whole for many records; None reads what this one needs.

    Returns:
        The slots, and what was read of each: every position that a verification looks at.
    """
    slots = view.by_name()
    for entry in record.slots:
        slot = slots.get(entry.name)
        if slot is None or slot.shape != entry.shape or slot.use != entry.use or slot.layout != entry.layout:
            return None
    _fetch_ahead(record, anchors, slots)
    found: list[Match | None] = []
    reads: list[Floats] = []
    known: dict[int, ReadBefore | ReadWhole] = {}
    for number, entry in enumerate(record.slots):
        whole = None if at_hand is None else at_hand.of(slots[entry.name])
        own = None if whole is None else whole.at(anchors.positions[number])
        if whole is not None and own is not None:
            reads.append(own)
            known[number] = whole
            continue
        places = anchors.everything(number)
        values = slots[entry.name].values(places)
        reads.append(values[: anchors.positions[number].size])  # anchors come first
        known[number] = ReadBefore(places, values)
    touched = _touched(reads, anchors.values)
    if not any(touched) and all(values.size for values in anchors.values):
        return [Match(slots[entry.name], False, math.inf, folded=False) for entry in record.slots], known
    for number, stored in enumerate(agreements(reads, anchors.values).tolist()):
        slot = slots[record.slots[number].name]
        same = math.inf if anchors.values[number].size else stored  # the very same numbers agree, constant ones as well
        match: Match | None = Match(slot, False, same, folded=False)
        if touched[number]:
            places, values = anchors.of(number)
            folds = anchors.folds if anchors.bound else None
            match = _as_enrolled(slot, reads[number], stored, values, places, folds, number)
        if match is None:
            return None
        found.append(match)
    return found, known


def _fetch_ahead(record: Record, anchors: Anchors, slots: Mapping[str, Slot]) -> None:
    """Request all reads from a server at once: slot after slot, each would be a round trip."""
    sources = (slots[entry.name].tensor.source for entry in record.slots)
    if not any(source is not None and source.is_remote for source in sources):
        return
    controls = control_positions(record, anchors.plan) if "controls" in record.arrays else None
    wanted: list[tuple[StoredTensor, Positions]] = []
    for number, entry in enumerate(record.slots):
        sets = [anchors.everything(number)]
        if controls is not None:
            beside = controls[anchors.plan.slots == number]
            sets.append(np.concatenate([anchors.plan.of(number), beside[beside >= 0]]))
        for places in sets:
            located = slots[entry.name].constant.locate(places)
            if located is not None:
                wanted.append(located)
    fetch_together(wanted)


def _touched(reads: Sequence[Floats], values: Sequence[Floats]) -> list[int]:
    """Number of changed anchors of each slot; computed for all slots at once, for there may be hundreds."""
    differ = _as_kept(np.concatenate([*reads, np.empty(0)])) != np.concatenate([*values, np.empty(0)])
    ends = np.cumsum([0, *(each.size for each in values)])
    counts: list[int] = np.diff(np.append(0, np.cumsum(differ))[ends]).tolist()
    return counts


def _as_enrolled(
    slot: Slot, read: Floats, stored: float, values: Floats, places: Positions, folds: RowFactors | None, number: int
) -> Match | None:
    """A namesake as the record's slot that was touched: agreeing as stored, or agreeing once folded."""
    ratio = None if folds is None else unit_change(slot.row_gain, folds.get(number))
    with np.errstate(all="ignore"):
        folded = stored if ratio is None else agreement(read * ratio[places // slot.row_size], values)
    match = Match(slot, False, max(stored, folded), folded=folded >= stored)
    return match if match.agrees else None


def _reads(weights: StoredWeights, places: Sequence[Positions], enrolled: Sequence[Floats]) -> Reads:
    """The current values at some places of each slot, in the precision of the record."""
    found = [weights.values(slot, at) for slot, at in enumerate(places)]
    kept = [
        np.full(at.size, np.nan) if values is None else _as_kept(values)
        for values, at in zip(found, places, strict=True)
    ]
    slots = np.repeat(np.arange(len(places)), [at.size for at in places])
    return Reads(slots, np.concatenate(places), np.concatenate(enrolled), np.concatenate(kept))


def _as_kept(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values in the precision in which anchors are kept."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32).astype(np.float64)
