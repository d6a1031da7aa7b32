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
from onnxnnw.statistics.side_by_side import Expected, associate_fingerprints, correlations_of_each, ranks_of_each

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
        there = controls >= 0  # (R, N, 8)
        places = np.concatenate([own[..., None], np.where(there, controls, own[..., None])], axis=2)
        self.order = np.argsort(slots.reshape(-1), kind="stable")
        places = places.reshape(-1, places.shape[2])[self.order].T  # (9, R N): own, then its controls
        self.places = np.ascontiguousarray(places.astype(np.int32) if places.max(initial=0) < _NARROW else places)
        self.there = None if there.all() else np.ascontiguousarray(there.reshape(-1, there.shape[2])[self.order].T)
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
        arrays = (self.places, self.order, self.enrolled, self.raw.groups, self.raw.rows)
        gaps = 0 if self.there is None else self.there.nbytes
        return sum(array.nbytes for array in arrays) + gaps + 5 * self.enrolled.nbytes

    @cached_property
    def _ranks(self) -> tuple[Floats, NDArray[np.bool_]]:
        return ranks_of_each(self.enrolled)

    def read(self, weights: Sequence[StoredWeights]) -> list[ReadTogether]:
        """What ``read_with_controls`` and ``associate_fingerprint`` say of each record."""
        shape = self.enrolled.shape
        raw, corrected, by_row = (np.full(self.order.size, np.nan) for _ in range(3))
        for number, start, end in zip(self.numbers, [0, *self.ends], self.ends, strict=False):
            groups: dict[object, list[int]] = defaultdict(list)
            sources = [_Source(each, number) for each in weights]
            for record, source in enumerate(sources):
                groups[source.key].append(record)
            for several in groups.values():
                source, at = sources[several[0]], np.s_[start:end]
                if source.nothing:
                    continue
                if len(several) < self.count:
                    members = np.zeros(self.count, np.bool_)
                    members[several] = True
                    at = start + np.flatnonzero(members[self.order[start:end] // shape[1]])
                places, to = self.places[:, at], self.order[at]
                there = None if self.there is None else self.there[:, at]
                values, scaled = source.at(places, self.row_sizes[number])
                raw[to], corrected[to] = values[0], _minus_controls(values, there)
                if scaled is not None:
                    by_row[to] = _minus_controls(scaled, there)
        raw, corrected, by_row = (each.reshape(shape) for each in (raw, corrected, by_row))
        views = [(corrected, self.raw, associate_fingerprints(corrected, self.raw), np.ones(self.count, np.bool_))]
        known = np.isfinite(by_row).any(axis=1)
        if known.any():
            views.append((by_row, self.by_row, associate_fingerprints(by_row, self.by_row), known))
        measured = correlations_of_each(raw, self.enrolled, self._ranks)
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

    def at(self, places: Positions, row_size: int) -> tuple[Floats, Floats | None]:
        """(9, k) values; and the same in units of their rows where these are known."""
        if self.array is None:
            found = self.weights.values(self.number, places.reshape(-1).astype(np.int64))
            assert found is not None
            return found.reshape(places.shape), None
        flat, scaled = self.array.reshape(-1), None
        if flat.size <= places.size:  # fewer numbers than reads: each is converted once
            flat = flat.astype(np.float64)
        values = flat[places].astype(np.float64, copy=False)
        if self.barred is not None:
            values[among(places, self.barred)] = np.nan
        if self.scales is not None:
            with np.errstate(all="ignore"):
                if self.barred is None and flat.size <= places.size:
                    scaled = (flat.reshape(-1, row_size) / self.scales[:, None]).reshape(-1)[places]
                else:
                    scaled = values / self.scales[places // row_size]
        return values, scaled


def _minus_controls(values: Floats, there: "NDArray[np.bool_] | None") -> Floats:
    """An own value in the first line, its controls in the others; what is left after their mean is taken away."""
    a, b, c, d, e, f, g, h = values[1:] if there is None else np.where(there, values[1:], 0.0)
    with np.errstate(all="ignore"):
        total = ((a + b) + (c + d)) + ((e + f) + (g + h))  # as numpy adds eight numbers
        out: Floats = values[0] - total / (len(values) - 1 if there is None else np.maximum(there.sum(0), 1))
    return out
