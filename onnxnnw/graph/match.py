"""Which slot of a candidate is which slot of a record, by content: names are a tool's habit.

Slots are compared on *anchors*, values at positions outside the mark, so nothing that is tested later was used to
align: as folded values, and each in units of its out-row. Within one shape, mutual best agreements are taken first; what
they leave open is one assignment (Hungarian). What is still missing is looked for under other readings: rows of merged
weights, padded blocks, gates in another order, the opposite sign. A slot whose content agrees with nothing keeps its
namesake, so that an unrelated network is read rather than called absent.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from onnxnnw.graph.arrays import Positions
from onnxnnw.graph.gauge import row_gains, row_magnitudes
from onnxnnw.graph.slots import Slot, scaled
from onnxnnw.graph.stored import Array

__all__ = ["AGREEMENT", "UNUSUAL", "Match", "Wanted", "agreement", "match_slots"]

AGREEMENT = 3.1
"""Anchors agree from this z on: two to four in a thousand unrelated slots do (heavy tails)."""

UNUSUAL = 5.0
"""Under readings of which there are many for each slot, anchors agree from this z on."""

MIN_ANCHORS = 8
_CAP = 40.0
_MAX_PAIRS = 1_000_000
_MAX_READINGS = 20_000
_MAX_PARTS = 32
_GATES = {"LSTM": 4, "GRU": 3, "DynamicQuantizeLSTM": 4}
_NEAR = 8
_NAME_BONUS, _BIAS_BONUS = 0.5, 0.25


@dataclass(frozen=True, eq=False)
class Wanted:
    """A slot of a record: how it was called, how large it is, and its anchors.

    Attributes:
        name, bias: Its own name and that of the bias beside it.
        rows, row_size: Canonical size.
        positions: Where its anchors are.
        values: What they were, as stored.
        shape: Canonical shape.
        folds: What multiplied each anchor's row downstream; None in records that do not say it.
        gains: Root mean square of each anchor's folded row; None in records that do not say it.
    """

    name: str
    bias: str
    rows: int
    row_size: int
    positions: Positions
    values: NDArray[np.float64]
    shape: tuple[int, ...] = ()
    folds: NDArray[np.float64] | None = field(default=None, repr=False)
    gains: NDArray[np.float64] | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class Match:
    """The counterpart of a record's slot.

    Attributes:
        slot: The candidate's slot, or the part or reading of one that the record means.
        transposed: Its rows are the record's columns.
        agreement: z of the anchors.
        sign: -1 where the anchors say that all values have the opposite sign.
        folded: Whether values are compared with what multiplies their rows downstream; not where the anchors stand as they
            were stored, although what followed them has changed or is gone.
        reading: ``rows`` of a merged weight, ``blocks`` without their padding, ``gates`` in another order; else empty.
    """

    slot: Slot
    transposed: bool
    agreement: float
    sign: int = 1
    reading: str = ""
    folded: bool = True

    @property
    def agrees(self) -> bool:
        """Whether the content says that it is the same slot."""
        return self.agreement > AGREEMENT


def agreement(found: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """z = atanh(r) sqrt(n - 3) of anchors read against anchors kept; 0 with fewer than 8 readable ones."""
    return float(_agreements(found[None], expected[None])[0])


def _agreements(found: Array, expected: Array) -> NDArray[np.float64]:
    """The same for many: (k, n) arrays, NaN for anchors that are missing or not finite."""
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    usable = np.isfinite(found) & np.isfinite(expected)
    count = usable.sum(axis=1)
    left, right = np.where(usable, found, 0), np.where(usable, expected, 0)
    with np.errstate(all="ignore"):
        left = left / np.abs(left).max(axis=1, initial=0, keepdims=True)
        right = right / np.abs(right).max(axis=1, initial=0, keepdims=True)
        left = np.where(usable, left - (left.sum(axis=1) / count)[:, None], 0)
        right = np.where(usable, right - (right.sum(axis=1) / count)[:, None], 0)
        r = (left * right).sum(axis=1) / np.sqrt((left**2).sum(axis=1) * (right**2).sum(axis=1))
        z = np.arctanh(np.clip(r, -1, 1)) * np.sqrt(np.maximum(count - 3, 0))
    z = np.where((count >= MIN_ANCHORS) & np.isfinite(r), z, 0)
    return np.clip(z, -_CAP, _CAP)


def match_slots(wanted: Sequence[Wanted], slots: Sequence[Slot]) -> list[Match | None]:
    """The counterpart of every wanted slot, or None."""
    by_shape: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, want in enumerate(wanted):
        by_shape[want.rows, want.row_size].append(number)
    found: list[Match | None] = [None] * len(wanted)
    candidates: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, slot in enumerate(slots):
        shapes = {(slot.rows, slot.row_size)}
        if len(slot.shape) == 2:
            shapes.add((slot.row_size, slot.rows))
        for shape in shapes & by_shape.keys():
            candidates[shape].append(index)
    taken: set[int] = set()
    for shape in sorted(candidates, key=lambda shape: -shape[0] * shape[1]):
        numbers = by_shape[shape]
        indices = [index for index in candidates[shape] if index not in taken]
        some, there = [wanted[n] for n in numbers], [slots[i] for i in indices]
        pair = _pair_crowd if len(some) * len(there) > _MAX_PAIRS else _pair
        for row, column, z, how in pair(some, there, shape):
            found[numbers[row]] = Match(there[column], how == _TRANSPOSED, z, folded=how != _STORED)
            taken.add(indices[column])
    _otherwise(wanted, slots, found, taken)
    _by_name(wanted, slots, found, taken)
    return found


_FOLDED, _TRANSPOSED, _STORED = range(3)
Pair = tuple[int, int, float, int]
"""Number of the wanted slot, number of the candidate's, their agreement, how it was found."""


def _pair(wanted: Sequence[Wanted], slots: Sequence[Slot], shape: tuple[int, int]) -> list[Pair]:
    """The best pairs among all."""
    anchors = _Anchors(wanted, shape)
    everyone = np.arange(len(wanted))
    scores = np.full((len(wanted), len(slots)), -np.inf)
    how = np.zeros(scores.shape, np.int8)
    for column, slot in enumerate(slots):
        scores[:, column], how[:, column] = anchors.agree(slot, everyone)
    return [(r, c, float(scores[r, c]), int(how[r, c])) for r, c in _assign(scores, wanted, slots)]


def _pair_crowd(wanted: Sequence[Wanted], slots: Sequence[Slot], shape: tuple[int, int]) -> list[Pair]:
    """Too many alike for a table: each is held against its namesake and its neighbours in node order only."""
    anchors = _Anchors(wanted, shape)
    names = {want.name: row for row, want in enumerate(wanted)}
    found: list[tuple[float, int, int, float, int]] = []
    for column, slot in enumerate(slots):
        near = range(max(0, column - _NEAR), min(len(wanted), column + _NEAR + 1))
        rows = np.unique([*near, *([names[slot.name]] if slot.name in names else [])]).astype(np.int64)
        scores, how = anchors.agree(slot, rows)
        for row, z, way in zip(rows.tolist(), scores.tolist(), how.tolist(), strict=True):
            if z > AGREEMENT:
                found.append((z + _NAME_BONUS * (wanted[row].name == slot.name), row, column, z, way))
    out: list[Pair] = []
    rows_taken: set[int] = set()
    columns_taken: set[int] = set()
    for _, row, column, z, way in sorted(found, key=lambda pair: (-pair[0], pair[1:3])):
        if row not in rows_taken and column not in columns_taken:
            rows_taken.add(row)
            columns_taken.add(column)
            out.append((row, column, z, way))
    return out


class _Anchors:
    """The anchors of wanted slots of one size, side by side."""

    def __init__(self, wanted: Sequence[Wanted], shape: tuple[int, int]) -> None:
        self.shape = shape
        width = max((want.positions.size for want in wanted), default=0)
        self.places = np.zeros((len(wanted), width), np.int64)
        self.values = np.full(self.places.shape, np.nan)
        self.gains = np.full(self.places.shape, np.nan)
        self.folded = any(want.folds is not None for want in wanted)
        self.folds = np.ones(self.places.shape)
        for row, want in enumerate(wanted):
            count = want.positions.size
            self.places[row, :count] = want.positions
            self.values[row, :count] = want.values if want.folds is None else want.values * want.folds
            if want.folds is not None:
                self.folds[row, :count] = np.where(want.folds == 0, 1, want.folds)
            if want.gains is not None:
                self.gains[row, :count] = want.gains

    def agree(self, slot: Slot, rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
        """Agreement of a slot with some of the wanted ones, and how it was found."""
        scores = np.full(rows.size, -np.inf)
        how = np.full(rows.size, _FOLDED, np.int8)
        if not rows.size:
            return scores, how
        stored, shape = slot.array(), self.shape
        array = scaled(stored, slot.row_gain) if self.folded else stored
        places = self.places[rows]
        if array.shape == shape:
            scores = self.compare(_Content(array), places, rows)
            if self.folded and (slot.row_gain is not None or (self.folds[rows] != 1).any()):
                z = _agreements(stored.reshape(-1)[places], self.values[rows] / self.folds[rows])
                how = np.where(z > scores, _STORED, how).astype(np.int8)
                scores = np.maximum(scores, z)
        if len(slot.shape) == 2 and array.shape == shape[::-1]:
            z = _agreements(array.reshape(-1)[places % shape[1] * shape[0] + places // shape[1]], self.values[rows])
            how = np.where(z > scores, _TRANSPOSED, how).astype(np.int8)
            scores = np.maximum(scores, z)
        return scores, how

    def read(self, slot: Slot) -> Array:
        """A candidate's values: folded, if the record knows what was folded."""
        return slot.folded() if self.folded else slot.array()

    def compare(self, content: "_Content", places: Positions, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """The better agreement of folded values and of values in units of their rows, at ``places`` of the content."""
        scores = _agreements(content.flat[places], self.values[rows])
        if np.isfinite(self.gains[rows]).any():
            with np.errstate(all="ignore"):
                gauged = _agreements(content.gauged(places), self.values[rows] / self.gains[rows])
            scores = np.where(np.abs(gauged) > np.abs(scores), gauged, scores)
        return scores


class _Content:
    """A candidate's values with the gauge of their rows."""

    def __init__(self, array: Array) -> None:
        self.flat, self.row_size = array.reshape(-1), array.shape[1]
        self.gains = row_gains(row_magnitudes(array))

    def gauged(self, places: Positions) -> NDArray[np.float64]:
        out: NDArray[np.float64] = self.flat[places] / self.gains[places // self.row_size]
        return out


@dataclass(frozen=True)
class _Reading:
    """One way to see a wanted slot in a candidate's: which of its rows, or which of its readings."""

    kind: str
    rows: range = range(0)
    gates: tuple[int, ...] = ()
    slot: Slot | None = None


def _otherwise(wanted: Sequence[Wanted], slots: Sequence[Slot], found: list[Match | None], taken: set[int]) -> None:
    """Look for what is still missing under other readings of what is still free."""
    budget = _MAX_READINGS
    agreeing: list[tuple[float, int, int, _Reading]] = []
    missing = [number for number, match in enumerate(found) if match is None]
    sizes = {wanted[number].row_size for number in missing} | {0}
    for index, slot in enumerate(slots):
        if index in taken or not missing or budget <= 0 or (slot.row_size not in sizes and slot.blocked is None):
            continue
        content: _Content | None = None
        for number in missing:
            want = wanted[number]
            anchors = _Anchors([want], (want.rows, want.row_size))
            for reading in _readings(want, slot):
                budget -= 1
                if budget <= 0:
                    break
                if reading.slot is not None:
                    part = _Content(anchors.read(reading.slot))
                else:
                    content = part = content or _Content(anchors.read(slot))
                z = float(anchors.compare(part, _places(want, slot, reading)[None], np.zeros(1, np.int64))[0])
                if abs(z) > UNUSUAL:
                    agreeing.append((z, number, index, reading))
    used: dict[int, list[range]] = defaultdict(list)
    for z, number, index, reading in sorted(agreeing, key=lambda one: -abs(one[0])):
        rows = reading.rows or range(slots[index].rows)
        if found[number] is None and all(rows.stop <= r.start or r.stop <= rows.start for r in used[index]):
            used[index].append(rows)
            taken.add(index)
            found[number] = Match(_part(slots[index], reading), False, abs(z), 1 if z > 0 else -1, reading.kind)


def _readings(want: Wanted, slot: Slot) -> Iterator[_Reading]:
    """How a wanted slot may be contained in a candidate's."""
    for part in slot.unpadded(want.shape):
        yield _Reading("blocks", slot=part)
    if slot.row_size != want.row_size:
        return
    if slot.rows == want.rows:
        yield _Reading("")
        gates = _GATES.get(slot.use.partition(".")[0], 0)
        if gates and len(slot.shape) == 3 and slot.shape[1] % gates == 0:
            yield from (_Reading("gates", gates=order) for order in permutations(range(gates)))
        return
    step = math.gcd(slot.rows, want.rows)
    if slot.rows > want.rows and slot.rows // step <= _MAX_PARTS:
        for start in range(0, slot.rows - want.rows + 1, step):
            yield _Reading("rows", range(start, start + want.rows))


def _places(want: Wanted, slot: Slot, reading: _Reading) -> Positions:
    """Where a wanted slot's anchors are in the candidate's values."""
    if reading.rows:
        return want.positions + reading.rows.start * want.row_size
    if reading.gates:
        rows = np.arange(slot.rows).reshape(slot.shape[0], len(reading.gates), -1)[:, list(reading.gates)].reshape(-1)
        places: Positions = rows[want.positions // want.row_size] * want.row_size + want.positions % want.row_size
        return places
    return want.positions


def _part(slot: Slot, reading: _Reading) -> Slot:
    if reading.slot is not None:
        return reading.slot
    if reading.rows:
        return slot.rows_from(reading.rows.start, len(reading.rows))
    return slot.in_gate_order(reading.gates) if reading.gates else slot


def _assign(scores: NDArray[np.float64], wanted: Sequence[Wanted], slots: Sequence[Slot]) -> list[tuple[int, int]]:
    """Pairs of row and column whose content agrees, each used once."""
    if not scores.size:
        return []
    ranked = np.where(scores > AGREEMENT, scores, -np.inf)
    for row, want in enumerate(wanted):  # names only break ties
        for column in np.flatnonzero(np.isfinite(ranked[row])).tolist():
            if want.name == slots[column].name:
                ranked[row, column] += _NAME_BONUS
            elif want.bias and want.bias == slots[column].bias:
                ranked[row, column] += _BIAS_BONUS
    rows, columns = np.flatnonzero(np.isfinite(ranked).any(1)), np.flatnonzero(np.isfinite(ranked).any(0))
    best_column, best_row = ranked.argmax(1), ranked.argmax(0)
    pairs = [(int(r), int(best_column[r])) for r in rows if best_row[best_column[r]] == r]
    rows = np.setdiff1d(rows, [r for r, _ in pairs])
    columns = np.setdiff1d(columns, [c for _, c in pairs])
    if rows.size and columns.size and np.isfinite(ranked[np.ix_(rows, columns)]).any():
        from scipy.optimize import linear_sum_assignment

        open_scores = np.where(np.isfinite(ranked), ranked, 0.0)[np.ix_(rows, columns)]
        for r, c in zip(*linear_sum_assignment(open_scores, maximize=True), strict=True):
            if open_scores[r, c] > 0:
                pairs.append((int(rows[r]), int(columns[c])))
    return pairs


def _by_name(wanted: Sequence[Wanted], slots: Sequence[Slot], found: list[Match | None], taken: set[int]) -> None:
    """Namesakes of the same shape for those whose content agrees with nothing."""
    names: dict[str, int] = {}
    for index, slot in enumerate(slots):
        if index not in taken:
            names.setdefault(slot.name, index)
    for number, want in enumerate(wanted):
        if found[number] is not None or want.name not in names:
            continue
        slot = slots[names[want.name]]
        if (slot.rows, slot.row_size) == (want.rows, want.row_size):
            z = agreement(slot.values(want.positions), want.values)
            found[number] = Match(slot, False, z)
