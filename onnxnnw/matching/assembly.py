"""A record's slot spread over several of a candidate's: split layers, one product per gate, one weight per expert.

Two searches: slots that follow each other are held against the record's together, by all anchors; and each slot against each
place in the record's where it could lie, by the anchors there. Nothing counts unless its pieces are all of the record's slot.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onnxnnw.constants.arrays import Positions
from onnxnnw.constants.moved import Joined, Reshaped
from onnxnnw.graph.slot import Slot
from onnxnnw.matching.anchor_agreement import MIN_ANCHORS, Wanted, agreement
from onnxnnw.matching.readings import MAX_PARTS, gate_orders, gates_of

__all__ = [
    "COLUMNS",
    "FIRST",
    "HOPELESS",
    "MAX_TAKES",
    "ROWS",
    "Assembled",
    "Search",
    "assembled",
    "folded_values",
    "values_of",
]

MOST_PIECES = 512
"""Slots that one of the record's may have become, one for each expert, say."""

MAX_TAKES, _MAX_TRIES, _MAX_STEPS = 3_000, 1_500, 1_000_000
FIRST, HOPELESS = 16, 1.5
"""Where so many anchors agree so badly, the rest of a run is not looked at: 1 % of those with r = .8, 93 % of strangers."""

_CLEAR = 15.0
ROWS, COLUMNS = 0, 1


@dataclass(frozen=True, eq=False)
class Assembled:
    """A slot that was put together.

    Attributes:
        slot: It, in the record's layout.
        agreement: z of the anchors in it.
        indices: The candidate's slots that it is made of.
    """

    slot: Slot
    agreement: float
    indices: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Piece:
    """Some rows of a candidate's slot with all of its columns, or all of its rows and columns."""

    index: int
    start: int
    length: int


def assembled(
    wanted: Sequence[Wanted], slots: Sequence[Slot], free: Sequence[int], enough: float
) -> list[Assembled | None]:
    """The counterparts of wanted slots in several others; each other is used once.

    Args:
        wanted: Slots that were found nowhere else.
        slots: The candidate's.
        free: Numbers of those that correspond to nothing.
        enough: z from which on anchors agree.
    """
    search = Search(slots, free, enough)
    return [search.best(want) for want in wanted]


class Search:
    """Looks for wanted slots in several of a candidate's; what was tried is counted over all of them."""

    def __init__(self, slots: Sequence[Slot], free: Sequence[int], enough: float) -> None:
        self.slots, self.enough = slots, enough
        self.free = dict.fromkeys(free)
        self.takes, self.tries, self.steps = MAX_TAKES, _MAX_TRIES, _MAX_STEPS
        self.of_width: dict[int, list[int]] = defaultdict(list)
        self.of_height: dict[int, list[int]] = defaultdict(list)
        for index in free:
            self.of_width[slots[index].row_size].append(index)
            self.of_height[slots[index].rows].append(index)

    def best(self, want: Wanted) -> Assembled | None:
        """What agrees best, if it does; its pieces are free no longer."""
        found = self.runs(want)
        if found is None or found.agreement < _CLEAR:
            others = (found, self.places(want, ROWS), self.places(want, COLUMNS))
            found = max((one for one in others if one is not None), key=lambda one: one.agreement, default=None)
        for index in found.indices if found is not None else ():
            self.free.pop(index, None)
        return found

    def runs(self, want: Wanted) -> Assembled | None:
        """Slots that follow each other, or every second one, forwards or backwards, that together have the wanted shape."""
        best: tuple[float, list[int], int, Positions | None] | None = None
        for axis, run in self.possible_runs(want):
            for order in self.possible_orders(want, axis):
                if self.takes <= 0:
                    break
                z = self._together(want, run, axis, order)
                if z > self.enough and (best is None or z > best[0]):
                    best = z, run, axis, order
        if best is None:
            return None
        z, run, axis, order = best
        whole = _joined([self.slots[index] for index in run], axis)
        return None if whole is None else Assembled(whole if order is None else whole.chosen(order), z, tuple(run))

    def possible_runs(self, want: Wanted) -> Iterator[tuple[int, list[int]]]:
        """The axis along which slots that follow each other are as long as the wanted one together, and their numbers."""
        for axis, pool, length in (
            (ROWS, self.of_width[want.row_size], want.rows),
            (COLUMNS, self.of_height[want.rows], want.row_size),
        ):
            usable = [index for index in pool if index in self.free and self._length(index, axis) < length]
            for stride in (1, 2, -1, -2):
                for first in range(len(usable)):
                    run, total = [], 0
                    for place in range(len(usable))[first::stride][:MOST_PIECES]:
                        index = usable[place]
                        self.steps -= 1
                        run.append(index)
                        total += self._length(index, axis)
                        if total >= length:
                            break
                    if self.steps <= 0:
                        return
                    if total == length and len(run) > 1:
                        yield axis, run

    def possible_orders(self, want: Wanted, axis: int) -> Iterator[Positions | None]:
        """As they are; for a recurrent weight, with its gates in every other order as well."""
        yield None
        gates = gates_of(want.use, want.shape)
        if gates and axis == ROWS:
            yield from gate_orders(want.shape[0], gates, want.rows)

    def _together(self, want: Wanted, run: Sequence[int], axis: int, order: Positions | None) -> float:
        """Agreement of a run with all anchors."""
        row, column = want.positions // want.row_size, want.positions % want.row_size
        row = row if order is None else order[row]
        along = row if axis == ROWS else column
        found = np.full((2, row.size), np.nan)
        start, looked = 0, False
        expected = want.values, folded_values(want)
        for index in run:
            slot = self.slots[index]
            stop = start + (slot.rows if axis == ROWS else slot.row_size)
            own = (along >= start) & (along < stop)
            if own.any():
                self.takes -= 1
                at = (row[own] - start, column[own]) if axis == ROWS else (row[own], column[own] - start)
                found[:, own] = values_of(slot, at[0] * slot.row_size + at[1])
            start = stop
            if not looked and np.isfinite(found[0]).sum() >= FIRST:
                looked = True
                if max(map(agreement, found, expected)) < HOPELESS:
                    return 0.0
        return max(map(agreement, found, expected))

    def places(self, want: Wanted, axis: int) -> Assembled | None:
        """Slots in any order, each where the values in it lie: only where few of them are the whole."""
        if want.further is None:
            return None
        positions, values = want.further
        agreeing: list[tuple[float, int, _Piece]] = []
        for start, piece, own in self.placings(want, axis, positions):
            if own.sum() < MIN_ANCHORS:
                continue
            read = self.values_in(piece, positions[own], want.row_size, axis, start)
            z = max(agreement(each, values[own]) for each in read)
            if z > self.enough:
                agreeing.append((z, start, piece))
        return self._covering(want, axis, want.rows if axis == ROWS else want.row_size, agreeing)

    def placings(
        self, want: Wanted, axis: int, positions: Positions
    ) -> Iterator[tuple[int, _Piece, NDArray[np.bool_]]]:
        """Where each piece might lie, as long as there are tries: where it begins, it, and which of some positions are in it."""
        tiles = self._tiles(want, axis)
        if tiles is None:
            return
        pieces, length, step = tiles
        along = positions // want.row_size if axis == ROWS else positions % want.row_size
        for start in range(0, length, step):
            for piece in pieces:
                if start + piece.length <= length and self.tries > 0:
                    self.tries -= 1
                    yield start, piece, (along >= start) & (along < start + piece.length)

    def values_in(
        self, piece: _Piece, positions: Positions, row_size: int, axis: int, start: int
    ) -> NDArray[np.float64]:
        """What stands in a piece at some positions of the wanted slot, in which it begins at ``start``; see ``values_of``."""
        slot, row, column = self.slots[piece.index], positions // row_size, positions % row_size
        if axis == ROWS:
            return values_of(slot, (row - start + piece.start) * slot.row_size + column)
        return values_of(slot, row * slot.row_size + column - start + piece.start)

    def _tiles(self, want: Wanted, axis: int) -> tuple[list[_Piece], int, int] | None:
        """Pieces that the wanted slot may consist of, its length, and the step between places where one may begin."""
        gates = gates_of(want.use, want.shape) if axis == ROWS else 0
        length = want.rows if axis == ROWS else want.row_size
        pieces = self._pieces(want, axis, length, want.rows // (want.shape[0] * gates) if gates else 0)
        if len(pieces) < 2:
            return None
        step = math.gcd(length, *(piece.length for piece in pieces))
        return (pieces, length, step) if length // step <= MAX_PARTS else None

    def _pieces(self, want: Wanted, axis: int, length: int, gate: int) -> list[_Piece]:
        """Free slots that fit the wanted one across an axis, whole or, where ``gate`` divides them, in pieces of that length."""
        out: list[_Piece] = []
        for index in self.of_width[want.row_size] if axis == ROWS else self.of_height[want.rows]:
            own = self._length(index, axis)
            if len(out) > MAX_PARTS * MAX_PARTS:
                break
            if index not in self.free or own >= length:
                continue
            size = gate if gate and own % gate == 0 else own
            out += [_Piece(index, start, size) for start in range(0, own, size)]
        return out

    def _covering(
        self, want: Wanted, axis: int, length: int, agreeing: list[tuple[float, int, _Piece]]
    ) -> Assembled | None:
        """The best pieces beside each other, if together they are all of it."""
        chosen: dict[int, _Piece] = {}
        used: set[tuple[int, int]] = set()
        for _, start, piece in sorted(agreeing, key=lambda one: (-one[0], one[1], one[2].index)):
            clash = any(start < other + chosen[other].length and other < start + piece.length for other in chosen)
            if not clash and (piece.index, piece.start) not in used:
                chosen[start] = piece
                used.add((piece.index, piece.start))
        if sum(piece.length for piece in chosen.values()) != length or len(chosen) < 2:
            return None
        parts = []
        for start in sorted(chosen):
            piece, slot = chosen[start], self.slots[chosen[start].index]
            whole = piece.length == self._length(piece.index, axis)
            parts.append(slot if whole else slot.chosen(np.arange(piece.start, piece.start + piece.length)))
        joined = _joined(parts, axis)
        if joined is None:
            return None
        read = values_of(joined, want.positions)
        z = max(agreement(read[0], want.values), agreement(read[1], folded_values(want)))
        return (
            Assembled(joined, z, tuple(sorted({piece.index for piece in chosen.values()}))) if z > self.enough else None
        )

    def _length(self, index: int, axis: int) -> int:
        return self.slots[index].rows if axis == ROWS else self.slots[index].row_size


def values_of(slot: Slot, places: Positions) -> NDArray[np.float64]:
    """Values as stored, and folded: (2, n)."""
    stored = slot.values(places)
    gain = slot.row_gain
    with np.errstate(all="ignore"):
        return np.stack([stored, stored if gain is None else stored * gain[places // slot.row_size]])


def folded_values(want: Wanted) -> NDArray[np.float64]:
    with np.errstate(all="ignore"):
        return want.values if want.folds is None else want.values * want.folds


def _joined(parts: Sequence[Slot], axis: int) -> Slot | None:
    """Slots one below the other or side by side as one; None where what multiplies their rows cannot be told together."""
    first, one = parts[0], np.zeros(1, np.int64)
    if len({part.constant.take(one).dtype for part in parts}) > 1:
        return None
    gains = [part.row_gain for part in parts]
    known = [np.ones(part.rows) if gain is None else gain for part, gain in zip(parts, gains, strict=True)]
    gain = None
    if any(each is not None for each in gains):
        if axis == COLUMNS and not all(np.array_equal(each, known[0]) for each in known):
            return None
        gain = np.concatenate(known) if axis == ROWS else known[0]
    constant = Joined(tuple(Reshaped(part.constant, (part.rows, part.row_size)) for part in parts), axis)
    return replace(
        first,
        name=f"{first.name} and {len(parts) - 1} more",
        constant=constant,
        conditional=any(part.conditional for part in parts),
        replaceable=any(part.replaceable for part in parts),
        shared=any(part.shared for part in parts),
        covered=sum(part.covered for part in parts),
        gain=lambda: gain,
        affine=lambda: None,
        blocked=None,
    )
