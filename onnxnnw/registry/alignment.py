"""Scan tables: a candidate's weights quantised to bytes, one table for all records of a layout.

A filter decides nothing: whichever slots it takes, the records that pass are held against the candidate with anchors of their own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.candidate import Anchors, CanonicalWeights
from onnxnnw.graph.slot import Slot
from onnxnnw.matching.row_scale import row_magnitudes, row_scales
from onnxnnw.records.record import Record
from onnxnnw.records.slot_table import SlotEntry
from onnxnnw.registry.scan_data import HOST_STEPS, MOST_HOST, STEPS, offsets_of
from onnxnnw.statistics.association import CLIP
from onnxnnw.verification.looking import Looking

__all__ = [
    "AddedTable",
    "Score",
    "Table",
    "added_score",
    "added_table",
    "arrays_by_content",
    "arrays_by_place",
    "plain_score",
    "projected_tables",
    "scores_table",
]

LEAST_SLOPE = 0.1
"""Where less of the host is left, its values say nothing of the candidate's."""

_BLOCK = 2**16
"""Weights that are read at a time."""

_FAR = 1e12
"""Squares of weights that are larger, or smaller than 1 over that, may be no numbers in float32."""

Bytes = NDArray[np.int8]
Arrays = Sequence[NDArray[np.floating] | None]
Table = Bytes
"""Of each weight of a layout: standardised in its slot and clipped to ±3, in sixteenths; 0 where nothing was found."""


@dataclass(frozen=True)
class AddedTable:
    """Weights in 1/1024 of what their slot's deviation was, host taken out as far as it is one factor a slot.

    Attributes:
        values: (weights,) of type int16.
        limit: Residuals are clipped there.
    """

    values: NDArray[np.int16]
    limit: int


def arrays_by_place(looking: Looking, slots: Sequence[SlotEntry]) -> Arrays | None:
    """The candidate's slots under the names of a layout, else in its order; None where shapes say that neither is so."""
    named = looking.view.by_name()
    found = [named.get(entry.name) for entry in slots]
    if all(slot is not None and slot.shape == entry.shape for slot, entry in zip(found, slots, strict=True)):
        return [_of(slot) for slot in found]
    there = looking.view.slots
    if [slot.shape for slot in there] == [entry.shape for entry in slots]:
        return [_of(slot) for slot in there]
    return None


def _of(slot: Slot | None) -> NDArray[np.floating] | None:
    return None if slot is None else np.asarray(slot.array(), np.float32)


def arrays_by_content(looking: Looking, record: Record) -> tuple[int, Arrays]:
    """How many slots the anchors of a record recognise, and the arrays of all that were found."""
    anchors = Anchors(record)
    matches = looking.matches(anchors)
    weights = CanonicalWeights(matches, looking.live, anchors.folds)
    agreeing = sum(match is not None and match.agrees for match in matches)
    arrays: list[NDArray[np.floating] | None] = []
    for number in range(len(record.slots)):
        array = weights.array(number)
        arrays.append(None if array is None else np.asarray(array, np.float32))
    return agreeing, arrays


def scores_table(arrays: Arrays, slots: Sequence[SlotEntry]) -> Table:
    """The table for marks that replaced values, and for fingerprints."""
    ends = offsets_of(slots)
    out = np.zeros(int(ends[-1]), np.int8)
    for number, array in enumerate(arrays):
        if array is None or array.size != ends[number + 1] - ends[number]:
            continue
        _standardise_into(out[ends[number] : ends[number + 1]], np.asarray(array.reshape(-1), np.float32))
    return out


def _standardise_into(steps: Bytes, values: NDArray[np.float32]) -> None:
    """Values of one slot less their mean, over their deviation, in sixteenths and clipped; what is not finite counts as 0.

    Block by block, since the arrays between would be many times as large as a processor's cache.
    """
    with np.errstate(all="ignore"):
        if not np.isfinite(values.sum(dtype=np.float64)):
            values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        if not values.size or not (largest := float(max(values.max(), -values.min()))):
            return  # all are 0, as the steps are
        if not 1 / _FAR < largest < _FAR:  # of which squares are no numbers
            values = (values / np.float64(largest)).astype(np.float32)
        mean = np.float32(values.sum(dtype=np.float64) / values.size)
        left = np.empty(min(_BLOCK, values.size), np.float32)
        blocks = [slice(start, min(start + _BLOCK, values.size)) for start in range(0, values.size, _BLOCK)]
        power = 0.0
        for block in blocks:
            centred = np.subtract(values[block], mean, out=left[: block.stop - block.start])
            power += float(np.dot(centred, centred))
        factor = np.float32(STEPS / (np.sqrt(power / values.size) or 1.0))
        for block in blocks:
            scaled = np.subtract(values[block], mean, out=left[: block.stop - block.start])
            np.multiply(scaled, factor, out=scaled)
            np.clip(scaled, -CLIP * STEPS, CLIP * STEPS, out=scaled)
            np.rint(scaled, out=scaled)
            steps[block] = scaled


def projected_tables(arrays: Arrays, slots: Sequence[SlotEntry]) -> list[Table]:
    """The tables for marks in projections: where a slot begins, the mean over its rows; as they are, and in their own units."""
    ends = offsets_of(slots)
    out = [np.zeros(int(ends[-1]), np.int8) for _ in range(2)]
    for number, array in enumerate(arrays):
        if array is None or array.size != ends[number + 1] - ends[number] or not array.size:
            continue
        rows = np.nan_to_num(array.reshape(-1, slots[number].row_size), nan=0.0, posinf=0.0, neginf=0.0)
        with np.errstate(all="ignore"):
            scales = row_scales(row_magnitudes(rows))
            views = rows.mean(0, dtype=np.float64), np.nan_to_num(rows / scales[:, None]).mean(0, dtype=np.float64)
            for table, mean in zip(out, views, strict=True):
                steps = np.clip(np.nan_to_num(mean / np.sqrt(np.mean(mean**2))), -CLIP, CLIP) * STEPS
                table[ends[number] : ends[number] + mean.size] = np.rint(steps)
    return out


def added_table(
    arrays: Arrays,
    slots: Sequence[SlotEntry],
    units: NDArray[np.float64],
    places: NDArray[np.int64],
    host: NDArray[np.int16],
) -> AddedTable | None:
    """The table for marks that were added to one host; None where little of the host is left.

    Args:
        arrays: The candidate's.
        slots: The layout.
        units: Deviation of each slot at enrolment.
        places, host: Some positions through all slots, and what stood there before the mark.
    """
    ends = offsets_of(slots)
    values = np.zeros(int(ends[-1]), np.float32)
    for number, array in enumerate(arrays):
        if array is not None and array.size == ends[number + 1] - ends[number] and units[number] > 0:
            with np.errstate(all="ignore"):
                values[ends[number] : ends[number + 1]] = np.nan_to_num(array.reshape(-1) / units[number] * HOST_STEPS)
    slot_of = np.searchsorted(ends, places, side="right") - 1
    slopes, means = np.zeros(len(slots)), np.zeros(len(slots))
    for number in range(len(slots)):
        chosen = slot_of == number
        x, h = values[places[chosen]].astype(np.float64), host[chosen].astype(np.float64)
        if x.size >= 8 and h.std() > 0:
            slopes[number] = float(np.mean((x - x.mean()) * (h - h.mean()))) / float(h.var())
            means[number] = x.mean() - slopes[number] * h.mean()
    known = slopes[slopes != 0]
    pooled = float(np.median(known)) if known.size else 1.0
    if not LEAST_SLOPE < pooled < 1 / LEAST_SLOPE:
        return None
    slopes = np.where(slopes > LEAST_SLOPE * pooled, slopes, pooled)
    for number in range(len(slots)):
        part = values[ends[number] : ends[number + 1]]
        part -= np.float32(means[number])
        part /= np.float32(slopes[number])
    whole = np.clip(np.rint(values), -MOST_HOST, MOST_HOST).astype(np.int16)
    left = whole[places].astype(np.float64) - host
    spread = 1.4826 * float(np.median(np.abs(left - np.median(left))))
    return AddedTable(whole, int(np.clip(3 * spread, HOST_STEPS // 20, 2 * MOST_HOST)))


@dataclass(frozen=True)
class Sums:
    """Sums over the positions of records: what z is made of, and what z of more positions is made of with others.

    Attributes:
        products: (records,) of what was found × what is expected.
        found, expected: (records,) of their squares.
        positions: How many.
        unit: What squares of what was found are multiplied by, so that their mean over all weights of a slot is 1.
    """

    products: NDArray[np.float32]
    found: NDArray[np.float32]
    expected: NDArray[np.float32]
    positions: int
    unit: float

    def and_more(self, chosen: NDArray[np.intp], more: "Sums") -> "Sums":
        """Those of some records, with sums over other positions of these."""
        return Sums(
            self.products[chosen] + more.products,
            self.found[chosen] + more.found,
            self.expected[chosen] + more.expected,
            self.positions + more.positions,
            self.unit,
        )

    @property
    def z(self) -> NDArray[np.float32]:
        """The sum of products over its deviation, as if what is expected were standard normal; 0 where nothing was found."""
        with np.errstate(all="ignore"):
            z: NDArray[np.float32] = self.products / np.sqrt(self.found * self.expected)
            z *= np.sqrt(np.float32(self.positions))
        return np.nan_to_num(z)

    @property
    def mean_square(self) -> NDArray[np.float64]:
        """Of what was found: where a network is pruned and few positions are looked at they may all hold zeros, and z says nothing.

        Of added marks it is infinite: without the host nearly nothing is left at most positions, and that says something.
        """
        if not np.isfinite(self.unit):
            return np.full(self.found.size, np.inf)
        return self.found.astype(np.float64) / max(1, self.positions) * self.unit


Score = Callable[[NDArray[np.int64], NDArray[np.int8], NDArray[np.int16]], Sums]
"""Positions, what is expected, host: (records, n) each -> sums of each record."""


def plain_score(table: Table) -> Score:
    """The score of marks that replaced values, of fingerprints, and of projections."""

    def read(places: NDArray[np.intp], host: NDArray[np.int16], out: NDArray[np.float32]) -> None:
        out[:] = table.take(places, mode="clip")

    return _in_blocks(read, 1 / STEPS**2)


def added_score(table: AddedTable) -> Score:
    """The score of marks that were added."""

    def read(places: NDArray[np.intp], host: NDArray[np.int16], out: NDArray[np.float32]) -> None:
        left = table.values.take(places, mode="clip")
        left -= host
        out[:] = np.clip(left, -table.limit, table.limit, out=left)

    return _in_blocks(read, np.inf)


def _in_blocks(read: Callable[[NDArray[np.intp], NDArray[np.int16], NDArray[np.float32]], None], unit: float) -> Score:
    """A score of so many records at a time as a processor's cache holds, in arrays that are made once.

    Args:
        read: Positions and host -> what was found, into an array.
        unit: What its squares are multiplied by.
    """

    def score(places: NDArray[Any], expected: NDArray[np.int8], host: NDArray[np.int16]) -> Sums:
        count, positions = places.shape
        rows = max(1, min(count, _BLOCK // max(1, positions)))
        index, sums = np.empty((rows, positions), np.intp), np.empty((3, count), np.float32)
        found, wanted = np.empty((2, rows, positions), np.float32)
        for start in range(0, count, rows):
            block = slice(start, min(count, start + rows))
            size = block.stop - start
            np.copyto(index[:size], places[block], casting="unsafe")
            read(index[:size], host[block], found[:size])
            wanted[:size] = expected[block]
            for total, (one, other) in zip(sums, ((found, wanted), (found, found), (wanted, wanted)), strict=True):
                np.einsum("ij,ij->i", one[:size], other[:size], out=total[block])
        products, own, power = sums
        return Sums(products, own, power, positions, unit)

    return score
