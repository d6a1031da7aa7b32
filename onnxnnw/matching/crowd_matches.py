"""Slots of many records of one table held against a candidate's side by side: what content has to do with each, where little does.

Every way in which ``match_slots`` could find a slot is tried for all records at once. A record of which nothing is found but whole
slots of one shape gets the very matches that ``match_slots`` would give it; one of which anything else may be found gets none here,
and is looked at by itself.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from onnxnnw.graph.slot import Slot
from onnxnnw.matching.anchor_agreement import STORED, TRANSPOSED, AnchorTable, Content, row_agreements
from onnxnnw.matching.crowd import Crowd, Rows, Shape
from onnxnnw.matching.crowd_pieces import CrowdSearch
from onnxnnw.matching.match import (
    AGREEMENT,
    BETTER,
    MAX_PAIRS,
    MAX_READINGS,
    UNUSUAL,
    Match,
    assign,
    is_doubtful,
)
from onnxnnw.matching.readings import MergeSteps, readings_of
from onnxnnw.matching.row_scale import NEARLY_DEAD
from onnxnnw.matching.slot_scales import SlotScales
from onnxnnw.network_file.stored import Array

__all__ = ["match_crowd"]

Flags = NDArray[np.bool_]

_NEARLY = 0.5
"""Rescaled columns are compared in double precision here and in the file's there: so far from the limit both say the same."""

_SMALL, _LARGE = 1e-17, 1e17
"""Squares of numbers between these are numbers in single precision."""

_BLOCK = 2**20
_MOST_SCORES, _MOST_FACTORS = 2**23, 2**22


def match_crowd(
    crowd: Crowd, slots: Sequence[Slot], scales: SlotScales, whole: bool = False
) -> list[list[Match | None] | None]:
    """For each record what ``match_slots`` gives, or None where it has to be asked.

    Args:
        crowd: The records' slots.
        slots: A candidate's.
        scales: What was measured of these slots for records before; more is added.
        whole: Whether slots in several pieces are left out.
    """
    shapes = Counter(shape for slot in slots for shape in {(slot.rows, slot.row_size), (slot.row_size, slot.rows)})
    pairs = max((shapes[shape] * len(own) for shape, own in crowd.numbers.items()), default=0)
    step = max(1, _MOST_SCORES // max(1, pairs))
    if step >= crowd.count:
        return _Screen(crowd, slots, scales).matches(whole)
    out: list[list[Match | None] | None] = []
    for start in range(0, crowd.count, step):
        some = crowd.some(None, np.arange(start, min(crowd.count, start + step)))
        out += _Screen(some, slots, scales).matches(whole)
    return out


class _Screen:
    """One candidate's slots against a crowd."""

    def __init__(self, crowd: Crowd, slots: Sequence[Slot], scales: SlotScales) -> None:
        self.crowd, self.slots, self.scales = crowd, slots, scales

    def matches(self, whole: bool) -> list[list[Match | None] | None]:
        out: list[list[Match | None] | None] = [None] * self.crowd.count
        groups: dict[tuple[tuple[int, int], ...], list[int]] = defaultdict(list)
        plain = self._plain()
        for record, found in enumerate(plain):
            if found is not None:
                groups[tuple(sorted((number, index) for number, (index, _) in found.items()))].append(record)
        for pairs, several in groups.items():
            records = np.array(several, np.int64)
            taken = {index for _, index in pairs}
            found_numbers = {number for number, _ in pairs}
            missing = [number for number in range(len(self.crowd.slots)) if number not in found_numbers]
            records = records[self._nothing_otherwise(records, missing, taken)]
            if not whole and records.size:
                records = records[self._nothing_in_pieces(records, missing, taken)]
            if not records.size:
                continue
            of_name = self._by_name(records, missing, taken)
            matches: list[list[Match | None]] = []
            for place, record in enumerate(records.tolist()):
                own: list[Match | None] = [None] * len(self.crowd.slots)
                for number, (_, match) in (plain[record] or {}).items():
                    own[number] = match
                for number, (index, z) in of_name.items():
                    own[number] = Match(self.slots[index], False, float(z[place]))
                matches.append(own)
            stay = self._columns_stay(records, matches)
            for place, record in enumerate(records.tolist()):
                out[record] = matches[place] if stay[place] else None
        return out

    def _plain(self) -> list[dict[int, tuple[int, Match]] | None]:
        """For each record the slots that agree as they are: number -> index and match; None where that is not all."""
        crowd, slots = self.crowd, self.slots
        found: list[dict[int, tuple[int, Match]] | None] = [{} for _ in range(crowd.count)]
        candidates: dict[Shape, list[int]] = defaultdict(list)
        for index, slot in enumerate(slots):
            shapes = {(slot.rows, slot.row_size)}
            if len(slot.shape) == 2:
                shapes.add((slot.row_size, slot.rows))
            for shape in shapes & crowd.numbers.keys():
                candidates[shape].append(index)
        for shape in sorted(candidates, key=lambda shape: -shape[0] * shape[1]):
            numbers, indices = crowd.numbers[shape], candidates[shape]
            if len(numbers) * len(indices) > MAX_PAIRS:
                return [None] * crowd.count
            table = crowd.table(shape)
            everyone = np.arange(len(table.places))
            scores = np.empty((crowd.count, len(numbers), len(indices)))
            how = np.empty(scores.shape, np.int8)
            for column, index in enumerate(indices):
                z, way = table.agree(slots[index], everyone, self.scales)
                scores[:, :, column], how[:, :, column] = z.reshape(scores.shape[:2]), way.reshape(scores.shape[:2])
            for record in np.flatnonzero((scores > AGREEMENT).any((1, 2))).tolist():
                own = found[record]
                if own is None:
                    continue
                used = {index for index, _ in own.values()}
                free = [column for column, index in enumerate(indices) if index not in used]
                there = [slots[indices[column]] for column in free]
                for row, place in assign(scores[record][:, free], [crowd.slots[n] for n in numbers], there):
                    column = free[place]
                    found_as, best = int(how[record, row, column]), float(scores[record, row, column])
                    slot = slots[indices[column]]
                    match = Match(slot, found_as == TRANSPOSED, best, folded=found_as != STORED)
                    own[numbers[row]] = indices[column], match
                    if is_doubtful(crowd.slots[numbers[row]], match):
                        found[record] = None
        return found

    def _nothing_otherwise(self, records: Rows, missing: Sequence[int], taken: Collection[int]) -> Flags:
        """Of which records no missing slot agrees with any other reading of a free one."""
        crowd, budget = self.crowd, MAX_READINGS
        left = np.ones(records.size, np.bool_)
        steps = MergeSteps([crowd.slots[number] for number in missing])
        wants = {number: crowd.of(number, records) for number in missing}
        for index, slot in enumerate(self.slots):
            if index in taken or budget <= 0 or not steps.concern(slot):
                continue
            contents: dict[object, Content | None] = {}
            for number in missing:
                want = crowd.slots[number]
                table = crowd.table_of(number)
                for reading in readings_of(want, slot, steps):
                    budget -= 1
                    if budget <= 0:
                        break
                    blocks = reading.block, reading.enrolled_block, want.shape if reading.enrolled_block else ()
                    if blocks not in contents:
                        contents[blocks] = self._content(reading.whole(slot, want.shape), slot, table)
                    content = contents[blocks]
                    if content is not None:
                        z = table.compare(content, reading.places(wants[number], slot), records)
                        left &= np.abs(z) <= UNUSUAL
            if not left.any():
                break
        return left

    def _content(self, whole: Slot | None, slot: Slot, table: AnchorTable) -> Content | None:
        if whole is None:
            return None
        array = table.read(whole)
        return Content(array, self.scales.of_rows(slot, array, table.folded) if whole is slot else None)

    def _nothing_in_pieces(self, records: Rows, missing: Sequence[int], taken: Collection[int]) -> Flags:
        """Of which records no missing slot agrees with several free ones together."""
        left = np.ones(records.size, np.bool_)
        free = [index for index in range(len(self.slots)) if index not in taken]
        if not missing or len(free) < 2:
            return left
        search = CrowdSearch(self.slots, free, UNUSUAL, records.size)
        for number in missing:
            left &= search.finds_nothing(self.crowd.of(number, records))
        return left

    def _by_name(
        self, records: Rows, missing: Sequence[int], taken: Collection[int]
    ) -> dict[int, tuple[int, NDArray[np.float64]]]:
        """Missing slots with a free namesake: its index, and the agreement in each record."""
        names: dict[str, int] = {}
        for index, slot in enumerate(self.slots):
            if index not in taken:
                names.setdefault(slot.name, index)
        out = {}
        for number in missing:
            want = self.crowd.of(number, records)
            index = names.get(want.name, -1)
            slot = self.slots[index]
            if index >= 0 and (slot.rows, slot.row_size) == (want.rows, want.row_size):
                read = slot.values(want.positions.reshape(-1)).reshape(want.positions.shape)
                out[number] = index, row_agreements(read, want.values)
        return out

    def _columns_stay(self, records: Rows, matches: Sequence[Sequence[Match | None]]) -> Flags:
        """Of which records no match would agree far better with rescaled columns."""
        stay = np.ones(records.size, np.bool_)
        for number, want in enumerate(self.crowd.slots):
            if want.columns is None:
                continue
            by_slot: dict[int, list[int]] = defaultdict(list)
            known: dict[int, Slot] = {}
            for place, own in enumerate(matches):
                match = own[number]
                if match is not None and not match.transposed and not match.is_clear:
                    by_slot[id(match.slot)].append(place)
                    known[id(match.slot)] = match.slot
            for key, places in by_slot.items():
                z = np.array([match.agreement for place in places if (match := matches[place][number]) is not None])
                at = np.array(places)
                stay[at] &= self._columns_do_nothing(number, records[at], known[key], z)
        return stay

    def _columns_do_nothing(self, number: int, records: Rows, slot: Slot, z: NDArray[np.float64]) -> Flags:
        nothing = np.ones(records.size, np.bool_)
        step = max(1, _MOST_FACTORS // self.crowd.slots[number].row_size)
        if records.size > step:
            parts = [np.s_[start : start + step] for start in range(0, records.size, step)]
            return np.concatenate([self._columns_do_nothing(number, records[at], slot, z[at]) for at in parts])
        want = self.crowd.of(number, records)
        assert want.columns is not None
        taps, rest = divmod(want.row_size, want.columns.shape[1])
        if rest or (slot.rows, slot.row_size) != (want.rows, want.row_size):
            return nothing
        table = self.crowd.table_of(number)
        array = table.read(slot)
        own = self.scales.of_columns(slot, array, table.folded, taps)
        if own is None:
            return nothing
        with np.errstate(all="ignore"):
            ratio = np.repeat(want.columns / own, taps, axis=1)  # (records, row_size)
            within = np.take_along_axis(ratio, want.positions % want.row_size, 1)
            read = array.reshape(-1)[want.positions].astype(np.float64) * within
            magnitudes = _rescaled_magnitudes(array, ratio)  # (rows, records)
            scales = np.maximum(magnitudes, NEARLY_DEAD * np.sqrt(np.mean(magnitudes**2, axis=0)))
            by_rows = read / np.take_along_axis(scales.T, want.positions // want.row_size, 1)
            best = row_agreements(read, table.values[records])
            if np.isfinite(table.row_scales[records]).any():
                other = row_agreements(by_rows, table.values[records] / table.row_scales[records])
                best = np.maximum(best, other)
        usual = (magnitudes == 0) | ((magnitudes > _SMALL) & (magnitudes < _LARGE))
        sure: Flags = usual.all(0) & np.isfinite(best) & (best < np.maximum(UNUSUAL, z + BETTER) - _NEARLY)
        return sure


def _rescaled_magnitudes(array: Array, ratio: NDArray[np.float64]) -> NDArray[np.float64]:
    """Root mean square of each row of (rows, row_size) values once columns are rescaled, for each (records, row_size) ratio."""
    out = np.empty((len(array), len(ratio)))
    squares = np.square(ratio).T
    step = max(1, _BLOCK // max(1, array.shape[1]))
    for start in range(0, len(array), step):
        out[start : start + step] = np.square(array[start : start + step].astype(np.float64)) @ squares
    magnitudes: NDArray[np.float64] = np.sqrt(out / max(1, array.shape[1]))
    return magnitudes
