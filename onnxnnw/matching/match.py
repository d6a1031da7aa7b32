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
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from onnxnnw.graph.arrays import Positions
from onnxnnw.graph.slots import Slot
from onnxnnw.graph.uses import NCHWC_BLOCKS
from onnxnnw.matching.anchor_agreement import STORED, TRANSPOSED, Anchors, Content, Wanted, agreement
from onnxnnw.matching.row_scale import column_gains

__all__ = ["AGREEMENT", "UNUSUAL", "Match", "Wanted", "agreement", "match_slots"]

AGREEMENT = 3.1
"""Anchors agree from this z on: two to four in a thousand unrelated slots do (heavy tails)."""

UNUSUAL = 5.0
"""Under readings of which there are many for each slot, anchors agree from this z on."""

_MAX_PAIRS = 1_000_000
_MAX_READINGS = 20_000
_MAX_PARTS = 32
_DOUBTFUL = 10.0
_CLEAR, _BETTER = 15.0, 3.0
"""Anchors that agree to r = .99 are left as they are; rescaled columns count where they agree so much better."""

_GATES = {"LSTM": 4, "GRU": 3, "DynamicQuantizeLSTM": 4}
_NEAR = 8
_NAME_BONUS, _BIAS_BONUS = 0.5, 0.25


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
        columns: What to multiply each column by, where the anchors say that columns were rescaled.
        reading: ``rows`` of a merged weight, ``blocks`` without their padding, ``gates`` in another order; else empty.
    """

    slot: Slot
    transposed: bool
    agreement: float
    sign: int = 1
    reading: str = ""
    folded: bool = True
    columns: NDArray[np.float64] | None = None

    @property
    def agrees(self) -> bool:
        """Whether the content says that it is the same slot."""
        return self.agreement > AGREEMENT

    @property
    def is_clear(self) -> bool:
        """Whether the anchors agree so well that no other reading needs to be looked for."""
        return self.agreement > _CLEAR

    def is_better_than(self, other: "Match | None") -> bool:
        """Whether this reading, of which there are many, agrees far better than a plain one."""
        return self.agreement > max(UNUSUAL, 0.0 if other is None else other.agreement + _BETTER)


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
            found[numbers[row]] = Match(there[column], how == TRANSPOSED, z, folded=how != STORED)
            taken.add(indices[column])
    doubtful = {n: match for n, match in enumerate(found) if match is not None and _is_doubtful(match)}
    places = {id(slot): index for index, slot in enumerate(slots)}
    for number, match in doubtful.items():
        found[number] = None
        taken.discard(places[id(match.slot)])
    _otherwise(wanted, slots, found, taken)
    for number, match in doubtful.items():
        if found[number] is None and places[id(match.slot)] not in taken:
            found[number] = match
            taken.add(places[id(match.slot)])
    _by_name(wanted, slots, found, taken)
    return [None if m is None else _with_columns(want, m) for want, m in zip(wanted, found, strict=True)]


def _with_columns(want: Wanted, match: Match) -> Match:
    """The same match with its columns in the unit of enrolment, if that makes the anchors agree far better."""
    if want.columns is None or match.transposed or match.reading or match.is_clear:
        return match
    anchors = Anchors([want], (want.rows, want.row_size))
    array = anchors.read(match.slot)
    taps, rest = divmod(want.row_size, want.columns.size)
    own = column_gains(array, taps) if array.shape == (want.rows, want.row_size) and not rest else None
    if own is None:
        return match
    with np.errstate(all="ignore"):  # a candidate may hold numbers that overflow
        ratio = np.repeat(want.columns / own, taps)
        scaled = array * ratio.astype(array.dtype)
    z = float(anchors.compare(Content(scaled), want.positions[None], np.zeros(1, np.int64))[0])
    return (
        replace(match, agreement=z, folded=True, columns=ratio)
        if z > max(UNUSUAL, match.agreement + _BETTER)
        else match
    )


def _is_doubtful(match: Match) -> bool:
    """Whether half of a recurrent weight agrees, as when some of its gates have changed places."""
    return match.slot.layout == "rnn" and match.agreement < _DOUBTFUL


Pair = tuple[int, int, float, int]
"""Number of the wanted slot, number of the candidate's, their agreement, how it was found."""


def _pair(wanted: Sequence[Wanted], slots: Sequence[Slot], shape: tuple[int, int]) -> list[Pair]:
    """The best pairs among all."""
    anchors = Anchors(wanted, shape)
    everyone = np.arange(len(wanted))
    scores = np.full((len(wanted), len(slots)), -np.inf)
    how = np.zeros(scores.shape, np.int8)
    for column, slot in enumerate(slots):
        scores[:, column], how[:, column] = anchors.agree(slot, everyone)
    return [(r, c, float(scores[r, c]), int(how[r, c])) for r, c in _assign(scores, wanted, slots)]


def _pair_crowd(wanted: Sequence[Wanted], slots: Sequence[Slot], shape: tuple[int, int]) -> list[Pair]:
    """Too many alike for a table: each is held against its namesake and its neighbours in node order only."""
    anchors = Anchors(wanted, shape)
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


@dataclass(frozen=True)
class _Reading:
    """One way to see a wanted slot in a candidate's: some of its rows, gates in another order, blocks of some length."""

    kind: str
    rows: range = range(0)
    gates: tuple[int, ...] = ()
    block: int = 0


def _otherwise(wanted: Sequence[Wanted], slots: Sequence[Slot], found: list[Match | None], taken: set[int]) -> None:
    """Look for what is still missing under other readings of what is still free."""
    budget = _MAX_READINGS
    agreeing: list[tuple[float, int, int, _Reading]] = []
    missing = [number for number, match in enumerate(found) if match is None]
    sizes = {wanted[number].row_size for number in missing}
    together = {
        size: math.gcd(*(wanted[number].rows for number in missing if wanted[number].row_size == size))
        for size in sizes
    }
    for index, slot in enumerate(slots):
        if index in taken or budget <= 0 or (slot.row_size not in sizes and slot.blocked is None):
            continue
        contents: dict[int, Content | None] = {}
        for number in missing:
            want = wanted[number]
            anchors = Anchors([want], (want.rows, want.row_size))
            for reading in _readings(want, slot, together.get(slot.row_size, 1)):
                budget -= 1
                if budget <= 0:
                    break
                if reading.block not in contents:
                    whole = slot.in_blocks(reading.block) if reading.block else slot
                    contents[reading.block] = None if whole is None else Content(anchors.read(whole))
                content = contents[reading.block]
                if content is None:
                    continue
                z = float(anchors.compare(content, _places(want, slot, reading)[None], np.zeros(1, np.int64))[0])
                if abs(z) > UNUSUAL:
                    agreeing.append((z, number, index, reading))
    used: dict[int, list[range]] = defaultdict(list)
    for z, number, index, reading in sorted(agreeing, key=lambda one: -abs(one[0])):
        rows = reading.rows or range(slots[index].rows)
        if found[number] is None and all(rows.stop <= r.start or r.stop <= rows.start for r in used[index]):
            used[index].append(rows)
            taken.add(index)
            part = _part(slots[index], reading, wanted[number].shape)
            found[number] = Match(part, False, abs(z), 1 if z > 0 else -1, reading.kind)


def _readings(want: Wanted, slot: Slot, step: int) -> Iterator[_Reading]:
    """How a wanted slot may be contained in a candidate's; ``step`` divides the rows of all that may be merged with it."""
    if slot.blocked is not None and len(slot.shape) == len(want.shape):
        for block in NCHWC_BLOCKS:
            if all(n <= m < n + block for n, m in zip(want.shape, slot.shape, strict=True)):
                yield _Reading("blocks", block=block)
    if slot.row_size != want.row_size:
        return
    if slot.rows == want.rows:
        yield _Reading("")
        gates = _GATES.get(slot.use.partition(".")[0], 0)
        if gates and len(slot.shape) == 3 and slot.shape[1] % gates == 0:
            yield from (_Reading("gates", gates=order) for order in permutations(range(gates)))
        return
    if slot.rows % step or slot.rows // step > _MAX_PARTS:
        step = math.gcd(slot.rows, want.rows)
    if slot.rows > want.rows and slot.rows // step <= _MAX_PARTS:
        for start in range(0, slot.rows - want.rows + 1, step):
            yield _Reading("rows", range(start, start + want.rows))


def _places(want: Wanted, slot: Slot, reading: _Reading) -> Positions:
    """Where a wanted slot's anchors are in the candidate's values."""
    if reading.block:
        return np.ravel_multi_index(np.unravel_index(want.positions, want.shape), slot.shape)
    if reading.rows:
        return want.positions + reading.rows.start * want.row_size
    if reading.gates:
        rows = np.arange(slot.rows).reshape(slot.shape[0], len(reading.gates), -1)[:, list(reading.gates)].reshape(-1)
        places: Positions = rows[want.positions // want.row_size] * want.row_size + want.positions % want.row_size
        return places
    return want.positions


def _part(slot: Slot, reading: _Reading, shape: tuple[int, ...]) -> Slot:
    whole = slot.in_blocks(reading.block) if reading.block else None
    if whole is not None:
        return whole.cropped(shape)
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
