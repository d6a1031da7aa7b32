"""Which slot of a candidate is which slot of a record, by content: names are a tool's habit.

Slots are compared on *anchors*, values at positions outside the mark, so nothing that is tested later was used to
align. Within one shape, mutual best agreements are taken first; what they leave open is one assignment (Hungarian); a
slot whose content agrees with nothing keeps its namesake, so that an unrelated network is read rather than called
absent.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxnnw.graph.constants import Positions
from onnxnnw.graph.slots import Slot
from onnxnnw.graph.stored import Array

__all__ = ["AGREEMENT", "Match", "Wanted", "agreement", "match_slots"]

AGREEMENT = 3.1
"""Anchors agree from this z on: two to four in a thousand unrelated slots do (heavy tails)."""

MIN_ANCHORS = 8
_CAP = 40.0
_MAX_PAIRS = 1_000_000
_NEAR = 8
_NAME_BONUS, _BIAS_BONUS = 0.5, 0.25


@dataclass(frozen=True, eq=False)
class Wanted:
    """A slot of a record: how it was called, how large it is, and its anchors."""

    name: str
    bias: str
    rows: int
    row_size: int
    positions: Positions
    values: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Match:
    """The counterpart of a record's slot.

    Attributes:
        slot: The candidate's slot.
        transposed: Its rows are the record's columns.
        agreement: z of the anchors.
    """

    slot: Slot
    transposed: bool
    agreement: float

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
        for row, column, z, flipped in pair(some, there, shape):
            found[numbers[row]] = Match(there[column], flipped, z)
            taken.add(indices[column])
    _by_name(wanted, slots, found, taken)
    return found


Pair = tuple[int, int, float, bool]
"""Number of the wanted slot, number of the candidate's, their agreement, whether it was found in the transpose."""


def _pair(wanted: Sequence[Wanted], slots: Sequence[Slot], shape: tuple[int, int]) -> list[Pair]:
    """The best pairs among all."""
    anchors = _Anchors(wanted, shape)
    everyone = np.arange(len(wanted))
    scores = np.full((len(wanted), len(slots)), -np.inf)
    flips = np.zeros(scores.shape, np.bool_)
    for column, slot in enumerate(slots):
        scores[:, column], flips[:, column] = anchors.agree(slot, everyone)
    return [(r, c, float(scores[r, c]), bool(flips[r, c])) for r, c in _assign(scores, wanted, slots)]


def _pair_crowd(wanted: Sequence[Wanted], slots: Sequence[Slot], shape: tuple[int, int]) -> list[Pair]:
    """Too many alike for a table: each is held against its namesake and its neighbours in node order only."""
    anchors = _Anchors(wanted, shape)
    names = {want.name: row for row, want in enumerate(wanted)}
    found: list[tuple[float, int, int, float, bool]] = []
    for column, slot in enumerate(slots):
        near = range(max(0, column - _NEAR), min(len(wanted), column + _NEAR + 1))
        rows = np.unique([*near, *([names[slot.name]] if slot.name in names else [])]).astype(np.int64)
        scores, flips = anchors.agree(slot, rows)
        for row, z, flipped in zip(rows.tolist(), scores.tolist(), flips.tolist(), strict=True):
            if z > AGREEMENT:
                found.append((z + _NAME_BONUS * (wanted[row].name == slot.name), row, column, z, flipped))
    out: list[Pair] = []
    rows_taken: set[int] = set()
    columns_taken: set[int] = set()
    for _, row, column, z, flipped in sorted(found, key=lambda pair: (-pair[0], pair[1:3])):
        if row not in rows_taken and column not in columns_taken:
            rows_taken.add(row)
            columns_taken.add(column)
            out.append((row, column, z, flipped))
    return out


class _Anchors:
    """The anchors of wanted slots of one shape, side by side."""

    def __init__(self, wanted: Sequence[Wanted], shape: tuple[int, int]) -> None:
        self.shape = shape
        width = max((want.positions.size for want in wanted), default=0)
        self.places = np.zeros((len(wanted), width), np.int64)
        self.values = np.full(self.places.shape, np.nan)
        for row, want in enumerate(wanted):
            self.places[row, : want.positions.size] = want.positions
            self.values[row, : want.positions.size] = want.values

    def agree(self, slot: Slot, rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Agreement of a slot with some of the wanted ones, and whether it was found in the transpose."""
        scores = np.full(rows.size, -np.inf)
        flips = np.zeros(rows.size, np.bool_)
        if not rows.size:
            return scores, flips
        array, shape = slot.array(), self.shape
        flat, places, values = array.reshape(-1), self.places[rows], self.values[rows]
        if array.shape == shape:
            scores = _agreements(flat[places], values)
        if len(slot.shape) == 2 and array.shape == shape[::-1]:
            z = _agreements(flat[places % shape[1] * shape[0] + places // shape[1]], values)
            flips = z > scores
            scores = np.where(flips, z, scores)
        return scores, flips


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
