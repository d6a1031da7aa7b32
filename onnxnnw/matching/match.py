"""Match a record's slots with a candidate's by content, whatever the names.

Slots are compared on *anchors*, values at positions outside the mark, so nothing that is tested later was used to
align: as folded values, and each in units of its out-row. Within one shape, mutual best agreements are taken first; what
they leave open is one assignment (Hungarian). What is still missing is looked for under other readings (``readings``): rows
of merged weights, padded blocks, gates in another order, the opposite sign; and in several slots together (``assembly``). A slot
whose content agrees with nothing keeps its namesake, so that an unrelated network is read rather than called absent.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onnxnnw.graph.slot import Slot
from onnxnnw.matching.anchor_agreement import STORED, TRANSPOSED, AnchorTable, Content, Wanted, agreement
from onnxnnw.matching.assembly import assembled
from onnxnnw.matching.readings import MergeSteps, Reading, gates_of, readings_of
from onnxnnw.matching.slot_scales import SlotScales

__all__ = [
    "AGREEMENT",
    "BETTER",
    "MAX_PAIRS",
    "MAX_READINGS",
    "UNUSUAL",
    "Match",
    "Wanted",
    "agreement",
    "assign",
    "is_doubtful",
    "match_slots",
]

AGREEMENT = 3.1
"""Anchors agree from this z on: two to four in a thousand unrelated slots do (heavy tails)."""

UNUSUAL = 5.0
"""Under readings of which there are many for each slot, anchors agree from this z on."""

MAX_PAIRS = 1_000_000
MAX_READINGS = 12_000
_DOUBTFUL = 10.0
_CLEAR, BETTER = 15.0, 3.0
"""Anchors that agree to r = .99 are left as they are; rescaled columns count where they agree so much better."""

_NEAR = 8
_AT_ONCE = 256
"""Readings of one slot that are compared together."""

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
        reading: How its rows and columns were chosen, see ``readings.Reading``; ``parts`` where several slots are the record's
            one; empty where it is the slot as it is.
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
        """Whether this alternative reading, one of many, agrees far better than a plain one."""
        return self.agreement > max(UNUSUAL, 0.0 if other is None else other.agreement + BETTER)


def match_slots(
    wanted: Sequence[Wanted], slots: Sequence[Slot], whole: bool = False, scales: SlotScales | None = None
) -> list[Match | None]:
    """The counterpart of every wanted slot, or None.

    Args:
        wanted: Slots of a record.
        slots: A candidate's.
        whole: Whether slots in several pieces are left out; looking for them takes longest.
        scales: What was measured of these slots for records before; more is added.
    """
    scales = SlotScales() if scales is None else scales
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
        pair = _pair_crowd if len(some) * len(there) > MAX_PAIRS else _pair
        for row, column, z, how in pair(some, there, shape, scales):
            found[numbers[row]] = Match(there[column], how == TRANSPOSED, z, folded=how != STORED)
            taken.add(indices[column])
    doubtful = {n: match for n, match in enumerate(found) if match is not None and is_doubtful(wanted[n], match)}
    places = {id(slot): index for index, slot in enumerate(slots)}
    for number, match in doubtful.items():
        found[number] = None
        taken.discard(places[id(match.slot)])
    _otherwise(wanted, slots, found, taken)
    if not whole:
        _together(wanted, slots, found, taken)
    for number, match in doubtful.items():
        if found[number] is None and places[id(match.slot)] not in taken:
            found[number] = match
            taken.add(places[id(match.slot)])
    _by_name(wanted, slots, found, taken)
    return [None if m is None else _with_columns(want, m, scales) for want, m in zip(wanted, found, strict=True)]


def _with_columns(want: Wanted, match: Match, scales: SlotScales) -> Match:
    """The same match with its columns in the unit of enrolment, if that makes the anchors agree far better."""
    if want.columns is None or match.transposed or match.reading or match.is_clear:
        return match
    anchors = AnchorTable([want], (want.rows, want.row_size))
    taps, rest = divmod(want.row_size, want.columns.size)
    slot = match.slot
    if rest or (slot.rows, slot.row_size) != (want.rows, want.row_size):
        return match
    array = anchors.read(slot)
    own = scales.of_columns(slot, array, anchors.folded, taps)
    if own is None:
        return match
    with np.errstate(all="ignore"):  # a candidate may hold numbers that overflow
        ratio = np.repeat(want.columns / own, taps)
        scaled = array * ratio.astype(array.dtype)
    z = float(anchors.compare(Content(scaled), want.positions[None], np.zeros(1, np.int64))[0])
    return (
        replace(match, agreement=z, folded=True, columns=ratio) if z > max(UNUSUAL, match.agreement + BETTER) else match
    )


def is_doubtful(want: Wanted, match: Match) -> bool:
    """Whether half of a recurrent weight agrees, as when some of its gates have changed places."""
    recurrent = gates_of(want.use, want.shape) or gates_of(match.slot.use, match.slot.shape)
    return recurrent > 0 and match.agreement < _DOUBTFUL


Pair = tuple[int, int, float, int]
"""Number of the wanted slot, number of the candidate's, their agreement, how it was found."""


def _pair(wanted: Sequence[Wanted], slots: Sequence[Slot], shape: tuple[int, int], scales: SlotScales) -> list[Pair]:
    """The best pairs among all."""
    anchors = AnchorTable(wanted, shape)
    everyone = np.arange(len(wanted))
    scores = np.full((len(wanted), len(slots)), -np.inf)
    how = np.zeros(scores.shape, np.int8)
    for column, slot in enumerate(slots):
        scores[:, column], how[:, column] = anchors.agree(slot, everyone, scales)
    return [(r, c, float(scores[r, c]), int(how[r, c])) for r, c in assign(scores, wanted, slots)]


def _pair_crowd(
    wanted: Sequence[Wanted], slots: Sequence[Slot], shape: tuple[int, int], scales: SlotScales
) -> list[Pair]:
    """Match too many similar slots for a full table: only with the same name or neighbours in node order."""
    anchors = AnchorTable(wanted, shape)
    names = {want.name: row for row, want in enumerate(wanted)}
    found: list[tuple[float, int, int, float, int]] = []
    for column, slot in enumerate(slots):
        near = range(max(0, column - _NEAR), min(len(wanted), column + _NEAR + 1))
        rows = np.unique([*near, *([names[slot.name]] if slot.name in names else [])]).astype(np.int64)
        scores, how = anchors.agree(slot, rows, scales)
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


def _otherwise(wanted: Sequence[Wanted], slots: Sequence[Slot], found: list[Match | None], taken: set[int]) -> None:
    """Look for missing slots in alternative readings of the slots that are still free."""
    budget = MAX_READINGS
    agreeing: list[tuple[float, int, int, Reading]] = []
    missing = [number for number, match in enumerate(found) if match is None]
    steps = MergeSteps([wanted[number] for number in missing])
    tables = {number: AnchorTable([wanted[number]], (0, 0)) for number in missing}
    for index, slot in enumerate(slots):
        if index in taken or budget <= 0 or not steps.concern(slot):
            continue
        contents: dict[object, Content | None] = {}
        tried: dict[tuple[object, int], list[tuple[int, Reading]]] = defaultdict(list)
        for number in missing:
            for reading in readings_of(wanted[number], slot, steps):
                budget -= 1
                if budget <= 0:
                    break
                want = wanted[number]
                blocks = reading.block, reading.enrolled_block, want.shape if reading.enrolled_block else ()
                if blocks not in contents:
                    whole = reading.whole(slot, want.shape)
                    contents[blocks] = None if whole is None else Content(tables[number].read(whole))
                if contents[blocks] is not None:
                    tried[blocks, want.positions.size].append((number, reading))
        for (whole_of, _), pairs in tried.items():
            content = contents[whole_of]
            assert content is not None
            for start in range(0, len(pairs), _AT_ONCE):
                some = pairs[start : start + _AT_ONCE]
                places = np.stack([reading.places(wanted[number], slot) for number, reading in some])
                together = AnchorTable.stacked([tables[number] for number, _ in some])
                found_z = together.compare(content, places, np.arange(len(some)))
                agreeing += [
                    (z, n, index, r) for z, (n, r) in zip(found_z.tolist(), some, strict=True) if abs(z) > UNUSUAL
                ]
    used: dict[int, list[tuple[int, int, int, int]]] = defaultdict(list)
    for z, number, index, reading in sorted(agreeing, key=lambda one: -abs(one[0])):
        area = reading.area(slots[index])
        if found[number] is None and not any(_overlap(area, other) for other in used[index]):
            used[index].append(area)
            taken.add(index)
            part = reading.part(slots[index], wanted[number].shape)
            found[number] = Match(part, False, abs(z), 1 if z > 0 else -1, reading.kind)


def _together(wanted: Sequence[Wanted], slots: Sequence[Slot], found: list[Match | None], taken: set[int]) -> None:
    """Look for missing slots as combinations of several slots that are still free."""
    missing = [number for number, match in enumerate(found) if match is None]
    free = [index for index in range(len(slots)) if index not in taken]
    if not missing or len(free) < 2:
        return
    for number, whole in zip(missing, assembled([wanted[n] for n in missing], slots, free, UNUSUAL), strict=True):
        if whole is not None:
            found[number] = Match(whole.slot, False, whole.agreement, reading="parts")
            taken.update(whole.indices)


def _overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]


def assign(scores: NDArray[np.float64], wanted: Sequence[Wanted], slots: Sequence[Slot]) -> list[tuple[int, int]]:
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
    """Match by name and shape what no content agrees with."""
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
