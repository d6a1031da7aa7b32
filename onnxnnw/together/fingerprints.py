"""Fingerprints of many records of one slot table, read and associated together."""

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from onnxnnw.candidate import CanonicalWeights, StoredWeights
from onnxnnw.errors import UnreadableRecord
from onnxnnw.matching.match import Match
from onnxnnw.matching.read_before import ReadWhole, among
from onnxnnw.methods.base import Floats, Positions, ReadTogether, View
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
        raw, corrected, by_row = np.full((3, self.order.size), np.nan)
        for number, start, end in zip(self.numbers, [0, *self.ends], self.ends, strict=False):
            groups: dict[object, list[int]] = defaultdict(list)
            sources = [_Source(each, number) for each in weights]
            for record, source in enumerate(sources):
                groups[source.key].append(record)
            for several in groups.values():
                source, at = sources[several[0]], np.arange(start, end)
                if source.nothing:
                    continue
                if len(several) < self.count:
                    members = np.zeros(self.count, np.bool_)
                    members[several] = True
                    at = start + np.flatnonzero(members[self.order[start:end] // shape[1]])
                all_of_it = np.s_[start:end] if at.size == end - start else at  # a view, where that is enough
                places, to = self.places[:, all_of_it], self.order[all_of_it]
                there = None if self.there is None else self.there[:, all_of_it]
                values, scaled = source.at(places, self.row_sizes[number])
                raw[to], corrected[to] = values[0], _minus_controls(values, there)
                if scaled is not None:
                    by_row[to] = _minus_controls(scaled, there)
        raw, corrected, by_row = raw.reshape(shape), corrected.reshape(shape), by_row.reshape(shape)
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
        match = weights.matches[number]
        self.nothing = match is None
        self.barred: Positions | None = None
        self.key: object = id(weights), "alone"
        if match is None:
            self.key = None
            return
        if isinstance(weights, CanonicalWeights) and weights.barred:
            self.barred = weights.barred[number]
        plain = match.sign > 0 and not match.transposed and match.columns is None
        if plain and _unit_stays(weights, match, number):
            known = weights.known.get(number)
            whole = known if isinstance(known, ReadWhole) else None
            if whole is not None or isinstance(weights, CanonicalWeights):
                self.key = id(match.slot), id(whole), id(self.barred), type(weights)

    def at(self, places: Positions, row_size: int) -> tuple[Floats, Floats | None]:
        """(9, k) values; and the same in units of their rows where these are known."""
        weights, scales = self.weights, None
        if isinstance(weights, CanonicalWeights):
            array = weights.array(self.number)
            assert array is not None
            flat, scales = array.reshape(-1), weights.row_scales(self.number)
        elif isinstance(known := weights.known.get(self.number), ReadWhole) and self.key != (id(weights), "alone"):
            flat = known.all_values
        else:
            found = weights.values(self.number, places.reshape(-1).astype(np.int64))
            assert found is not None
            return found.reshape(places.shape), None
        few = flat.size <= places.size  # fewer numbers than reads: each is converted once
        flat = flat.astype(np.float64) if few else flat
        values, scaled = flat[places].astype(np.float64, copy=False), None
        if self.barred is not None:
            values[among(places, self.barred)] = np.nan
        if scales is not None:
            with np.errstate(all="ignore"):
                if few and self.barred is None:
                    scaled = (flat.reshape(-1, row_size) / scales[:, None]).reshape(-1)[places]
                else:
                    scaled = values / scales[places // row_size]
        return values, scaled


def _unit_stays(weights: StoredWeights, match: Match, number: int) -> bool:
    """Whether the candidate's values are in the unit of enrolment as they stand."""
    folds = weights.folds
    return folds is None or not match.folded or unit_change(match.slot.row_gain, folds.get(number)) is None


def _minus_controls(values: Floats, there: "NDArray[np.bool_] | None") -> Floats:
    """An own value in the first line, its controls in the others; what is left after their mean is taken away."""
    a, b, c, d, e, f, g, h = values[1:] if there is None else np.where(there, values[1:], 0.0)
    with np.errstate(all="ignore"):
        total = ((a + b) + (c + d)) + ((e + f) + (g + h))  # as numpy adds eight numbers
        out: Floats = values[0] - total / (len(values) - 1 if there is None else np.maximum(there.sum(0), 1))
    return out
