"""Fingerprints of many records of one slot table, read and associated together."""

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from onnxnnw.candidate import CanonicalWeights, StoredWeights
from onnxnnw.errors import UnreadableRecord
from onnxnnw.matching.read_before import ReadWhole, among
from onnxnnw.methods.base import Floats, Positions, ReadTogether, View
from onnxnnw.network_file.stored import Array
from onnxnnw.records.positions import control_positions, controls_ahead, plan_of
from onnxnnw.records.record import Record
from onnxnnw.records.row_factors import unit_change
from onnxnnw.statistics.side_by_side import Expected, associate_fingerprints, correlations_of_each

__all__ = ["Fingerprints", "can_stand_together"]

_NARROW = 2**31


def can_stand_together(record: Record) -> bool:
    """Whether a record is a fingerprint that is judged by nothing but its own network."""
    if record.method != "nct" or record.kind != "fingerprint" or record.parameters.get("ancestors"):
        return False
    try:
        count = plan_of(record).positions.size
        for name in ("values", "controls", "gauged"):
            record.array(name, count)
    except UnreadableRecord:  # it is named where it is looked at
        return False
    return count > 0


class Fingerprints:
    """What the judgement of several fingerprints needs of the records alone.

    Args:
        records: Of one slot table and one number of positions, each of which ``can_stand_together``.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        controls_ahead(records)
        plans = [plan_of(record) for record in records]
        first, self.count = records[0].slots, len(records)
        self.row_sizes = [entry.row_size for entry in first]
        slots = np.stack([plan.slots for plan in plans])
        own = np.stack([plan.positions for plan in plans])  # (R, N)
        controls = np.stack([control_positions(record, plan) for record, plan in zip(records, plans, strict=True)])
        self.there = controls >= 0  # (R, N, 8)
        places = np.concatenate([own[..., None], np.where(self.there, controls, own[..., None])], axis=2)
        self.order = np.argsort(slots.reshape(-1), kind="stable")
        places = places.reshape(-1, places.shape[2])[self.order]
        self.places = places.astype(np.int32) if places.max(initial=0) < _NARROW else places
        self.numbers = sorted(set(slots.reshape(-1).tolist()))
        self.ends = np.searchsorted(slots.reshape(-1)[self.order], self.numbers, side="right").tolist()
        size = own.shape[1]
        self.enrolled = np.stack([record.array("values", size) for record in records]).astype(np.float64)
        kept = np.stack([record.array("controls", size) for record in records]).astype(np.float64)
        gauged = np.stack([record.array("gauged", size) for record in records]).astype(np.float64)
        numbers = np.arange(self.count)[:, None]
        groups = numbers * len(first) + slots
        rows = groups * 2**40 + own // np.array(self.row_sizes, np.int64)[slots]
        names, rows = np.unique(rows, return_inverse=True)
        rows, of = rows.reshape(own.shape), names // 2**40 // len(first)
        self.raw, self.by_row = Expected(self.enrolled - kept, groups, rows, of), Expected(gauged, groups, rows, of)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        arrays = (self.there, self.places, self.order, self.enrolled, self.raw.groups, self.raw.rows)
        return sum(array.nbytes for array in arrays) + 4 * self.enrolled.nbytes

    @cached_property
    def _all_there(self) -> bool:
        return bool(self.there.all())

    def read(self, weights: Sequence[StoredWeights]) -> list[ReadTogether]:
        """What ``read_with_controls`` and ``associate_fingerprint`` say of each record."""
        shape = self.enrolled.shape
        read = np.full(self.places.shape, np.nan)
        scaled: Floats | None = None
        for number, start, end in zip(self.numbers, [0, *self.ends], self.ends, strict=False):
            records = self.order[start:end] // shape[1]
            groups: dict[object, list[int]] = defaultdict(list)
            sources = [_Source(each, number) for each in weights]
            for record, source in enumerate(sources):
                groups[source.key].append(record)
            for several in groups.values():
                source = sources[several[0]]
                if source.nothing:
                    continue
                at = np.arange(start, end)
                if len(several) < self.count:
                    members = np.zeros(self.count, np.bool_)
                    members[several] = True
                    at = at[members[records]]
                places = self.places[at]
                values = source.at(places)
                read[at] = values
                if source.scales is not None:
                    scaled = np.full(read.shape, np.nan) if scaled is None else scaled
                    with np.errstate(all="ignore"):
                        scaled[at] = values / source.scales[places // self.row_sizes[number]]
        raw, corrected, by_row = (np.full(len(read), np.nan) for _ in range(3))
        there = None if self._all_there else self.there.reshape(-1, self.there.shape[2])[self.order]
        raw[self.order], corrected[self.order] = read[:, 0], _minus_controls(read, there)
        raw, corrected = raw.reshape(shape), corrected.reshape(shape)
        views = [(corrected, self.raw, associate_fingerprints(corrected, self.raw), np.ones(self.count, np.bool_))]
        if scaled is not None:
            by_row[self.order] = _minus_controls(scaled, there)
            by_row = by_row.reshape(shape)
            known = np.isfinite(by_row).any(axis=1)
            views.append((by_row, self.by_row, associate_fingerprints(by_row, self.by_row), known))
        measured = correlations_of_each(raw, self.enrolled)
        return [
            ReadTogether(
                raw[n].copy(),
                tuple(View(found[n], expected.values[n], each[n]) for found, expected, each, has in views if has[n]),
                measured[n],
            )
            for n in range(self.count)
        ]


class _Source:
    """Where the values of one of a record's slots are read: an array that others share, or the weights themselves."""

    def __init__(self, weights: StoredWeights, number: int) -> None:
        self.weights, self.number = weights, number
        self.nothing = not weights.has(number)
        self.array: Array | None = None
        self.scales: Floats | None = None
        self.barred: Positions | None = None
        self.key: object = None
        if self.nothing:
            return
        self.key = id(weights), "alone"
        match = weights.matches[number]
        assert match is not None
        if isinstance(weights, CanonicalWeights):
            self.array, self.scales = weights.array(number), weights.row_scales(number)
            self.barred = weights.barred[number] if weights.barred else None
            self.key = id(self.array), id(self.barred)
        elif isinstance(known := weights.known.get(number), ReadWhole):
            folds = weights.folds
            if folds is None or not match.folded or unit_change(match.slot.row_gain, folds.get(number)) is None:
                self.array, self.key = known.all_values, id(known)

    def at(self, places: Positions) -> Floats:
        """(k, 9) values."""
        if self.array is None:
            found = self.weights.values(self.number, places.reshape(-1).astype(np.int64))
            assert found is not None
            return found.reshape(places.shape)
        values = self.array.reshape(-1)[places].astype(np.float64)
        if self.barred is not None:
            values[among(places, self.barred)] = np.nan
        return values


def _minus_controls(values: Floats, there: "NDArray[np.bool_] | None") -> Floats:
    """Each row holds an own value, then its controls; what is left after their mean is taken away."""
    beside = values[:, 1:] if there is None else np.where(there, values[:, 1:], 0.0)
    count = beside.shape[1] if there is None else np.maximum(there.sum(1), 1)
    with np.errstate(all="ignore"):
        out: Floats = values[:, 0] - beside.sum(1) / count
    return out
