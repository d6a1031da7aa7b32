"""The scan: a prefilter that leaves out records of a registry; those that remain are verified."""

import math
import multiprocessing
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import CannotLook, UnreadableRegistry
from onnxnnw.records.record import Record
from onnxnnw.registry.alignment import (
    Score,
    added_score,
    added_table,
    arrays_by_content,
    arrays_by_place,
    plain_score,
    projected_tables,
    scores_table,
)
from onnxnnw.registry.scan_data import ADDED, LONGER, PROJECTED, SCREEN, WHOLE
from onnxnnw.registry.scan_pages import (
    Page,
    PageGroup,
    columns_of,
    decoded,
    groups_of,
    pages_of,
    read_pages,
    read_wholes,
)
from onnxnnw.registry.schema import sql, tables
from onnxnnw.registry.store import Registry
from onnxnnw.verification.looking import Looking

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["BEST", "PASSES", "Hit", "Part", "Parts", "Scan", "Scanner", "scan"]

PASSES = ((SCREEN, 1.0), (LONGER, 1.8))
"""A record is looked at further where z over so many positions exceeds so much, step by step."""

THIN = 0.05
"""A record is looked at further, too, where the weights at its positions have less than this of the square they have elsewhere."""

BEST, WORKERS = 20, 2
FORKED = 8
"""So many full pages are scanned by processes of their own."""

_SAMPLES, _ALIGNED_BY, _PAGES, _WHOLES = 4096, 3, 4, 1024
_ROUNDS = 20
"""How often pages are listed anew where some were made part of larger ones while they were read."""


@dataclass(frozen=True)
class Hit:
    """A record that passed: its number, and z over all of its positions."""

    number: int
    z: float


@dataclass(frozen=True)
class Scan:
    """The result of a scan: the records that passed.

    Attributes:
        hits: The best, best first.
        unscanned: Numbers of records whose method has nothing to scan.
        looked_at: Records whose first positions were looked at.
        passed: Those that were looked at further.
    """

    hits: tuple[Hit, ...]
    unscanned: tuple[int, ...]
    looked_at: int
    passed: int


@dataclass(frozen=True)
class Part:
    """What some pages of a group gave.

    Attributes:
        looked_at: Records whose first positions were looked at.
        passed: Those that were looked at further.
        hits: The best of those, best first.
        gone: Pages that were made part of larger ones before they were read.
    """

    looked_at: int
    passed: int
    hits: tuple[Hit, ...]
    gone: tuple[Page, ...]


Parts = Callable[[int, Sequence[Page]], "Iterable[Part]"]
"""Number of a group and its pages -> what they gave, in any parts."""


def scan(registry: Registry, looking: Looking, thorough: bool = False, parts: Parts | None = None) -> Scan:
    """Scan a registry.

    Args:
        registry: Where the records are.
        looking: The candidate, opened.
        thorough: Whether all positions of every record are looked at, rather than of those whose first ones pass.
        parts: Scans pages of a group elsewhere; by default they are scanned here.

    Raises:
        UnreadableRegistry: A page is damaged, or pages change faster than they are read.
    """
    if parts is None:
        here = Scanner(registry, looking, thorough)

        def parts(group: int, pages: Sequence[Page]) -> "Iterable[Part]":
            return [here.part(group, pages)]

    hits: list[Hit] = []
    looked_at = passed = 0
    for group in groups_of(registry, None if thorough else _sizes(looking)):
        seen: set[Page] = set()
        for _ in range(_ROUNDS):
            own = [page for page in pages_of(registry, group) if page not in seen]
            gone: set[Page] = set()
            for part in parts(group.number, own) if own else ():
                looked_at, passed = looked_at + part.looked_at, passed + part.passed
                gone.update(part.gone)
                hits = sorted([*hits, *part.hits], key=lambda hit: -hit.z)[: 2 * BEST]  # one may be found twice
            seen.update(page for page in own if page not in gone)
            if not gone:
                break
        else:
            raise UnreadableRegistry(f"{registry.place}: changes faster than it is read; search again")
    return Scan(tuple(_once(hits))[:BEST], tuple(_unscanned(registry)), looked_at, passed)


class Scanner:
    """Scans pages of one registry for one candidate; what a group is scanned against is made once.

    Args:
        registry, looking, thorough: See ``scan``.
    """

    def __init__(self, registry: Registry, looking: Looking, thorough: bool) -> None:
        self.registry, self.looking, self.thorough = registry, looking, thorough
        self._known: dict[int, tuple[PageGroup, list[Score]]] = {}

    def part(self, group: int, pages: Sequence[Page]) -> Part:
        """What some pages of a group give.

        Raises:
            UnreadableRegistry: A page is damaged.
        """
        if group not in self._known:
            (own,) = groups_of(self.registry, number=group)
            self._known[group] = own, _tables_of(self.registry, self.looking, own)
        own, scores = self._known[group]
        looked_at, passed, hits, gone = 0, np.empty(0, np.int64), list[Hit](), set[Page]()
        for score in scores:
            count, numbers, best, missing = _scanned(self.registry, own, score, pages, self.thorough)
            looked_at = max(looked_at, count)
            passed = np.union1d(passed, numbers) if passed.size else numbers
            gone.update(missing)
            hits += best
        hits.sort(key=lambda hit: -hit.z)
        return Part(looked_at, passed.size, tuple(_once(hits))[:BEST], tuple(sorted(gone)))


def _scanned(
    registry: Registry, group: PageGroup, score: Score, pages: Sequence[Page], thorough: bool
) -> tuple[int, NDArray[np.int64], list[Hit], list[Page]]:
    """How many records some pages have, those of them that passed, the best of those, and pages that are gone."""
    thorough = thorough or group.family.name == PROJECTED  # of a sum of projections a part says little
    question = registry, group, score, thorough
    try:
        with _executor(question, len(pages)) as executor:
            several = [pages[k : k + _PAGES] for k in range(0, len(pages), _PAGES)]
            asked = [None if _is_forked(executor) else question] * len(several)
            found = list(executor.map(_looked_at, asked, several))
    except BrokenExecutor:
        raise CannotLook("a process of the scan was ended from outside, as where memory is short") from None
    numbers = np.concatenate([np.empty(0, np.int64), *(part[1] for part in found)])
    best = sorted((hit for part in found for hit in part[2]), key=lambda hit: -hit.z)[:BEST]
    return sum(part[0] for part in found), numbers, best, [page for part in found for page in part[3]]


def _sizes(looking: Looking) -> set[int]:
    """How many weights each slot of a candidate has."""
    return {math.prod(slot.shape) for slot in looking.view.slots}


def _once(hits: Sequence[Hit]) -> Iterator[Hit]:
    seen: set[int] = set()
    for hit in hits:
        if hit.number not in seen:
            seen.add(hit.number)
            yield hit


def _unscanned(registry: Registry) -> list[int]:
    t = tables()
    joined = t.records.join(t.groups, t.records.c.group_id == t.groups.c.id)
    with registry.database.reading() as connection:
        wanted = sql().select(t.records.c.id).select_from(joined).where(t.groups.c.family == WHOLE)
        return [int(number) for number in connection.execute(wanted).scalars()]


def _tables_of(registry: Registry, looking: Looking, group: PageGroup) -> list[Score]:
    """What the group is scanned against: names or order, and where those do not fit, what anchors of a few records say."""
    arrays = arrays_by_place(looking, group.family.slots)
    if arrays is None:
        found = [arrays_by_content(looking, record) for record in _some(registry, group)]
        agreeing, arrays = max(found, key=lambda one: one[0], default=(0, None))
        if arrays is None or not agreeing:
            return []
    if group.family.name == ADDED:
        places, host = _sample(registry, group)
        table = added_table(arrays, group.family.slots, group.units, places, host)
        if table is not None:
            return [added_score(table)]
    if group.family.name == PROJECTED:
        return [plain_score(table) for table in projected_tables(arrays, group.family.slots)]
    return [plain_score(scores_table(arrays, group.family.slots))]


def _some(registry: Registry, group: PageGroup) -> Iterator[Record]:
    """A few records of a group."""
    records = tables().records
    wanted = sql().select(records.c.commitment).where(records.c.group_id == group.number).limit(_ALIGNED_BY)
    with registry.database.reading() as connection:
        commitments = list(connection.execute(wanted).scalars())
    for commitment in commitments:
        yield registry.record(commitment)


def _sample(registry: Registry, group: PageGroup) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
    """Up to 4,096 positions of a group, with what stood there before the mark."""
    for _ in range(_ROUNDS):
        read = next(read_pages(registry, pages_of(registry, group)[:1]), None)
        if read is not None:
            break
    else:
        raise UnreadableRegistry(f"{registry.place}: changes faster than it is read; search again")
    _, places, _, host = decoded(group, *read[1:])
    return places.reshape(-1)[:_SAMPLES].astype(np.int64), host.reshape(-1)[:_SAMPLES]


Question = tuple[Registry, PageGroup, Score, bool]
"""A registry, a group of it, what that is scanned against, and whether all of its records are looked at as a whole."""

_asked: list[Question] = []
"""Of a process of the scan: its question, which it has from the process that it was forked from."""


def _executor(question: Question, pages: int) -> Executor:
    """Where pages are scanned: many of them in processes, since threads of Python wait for each other."""
    alone = sys.platform == "linux" and threading.active_count() == 1 and not multiprocessing.current_process().daemon
    if pages < FORKED or not alone:
        return ThreadPoolExecutor(WORKERS)
    return ProcessPoolExecutor(WORKERS, multiprocessing.get_context("fork"), _begin, (question,))


def _is_forked(executor: Executor) -> bool:
    return isinstance(executor, ProcessPoolExecutor)


def _begin(question: Question) -> None:
    """In a new process: connections of the old one are its own."""
    question[0].database.engine.dispose(close=False)
    _asked[:] = [question]


def _looked_at(
    question: Question | None, pages: Sequence[Page]
) -> tuple[int, NDArray[np.int64], list[Hit], list[Page]]:
    """How many records some pages have, the numbers of those that pass, the best of these, and pages that are gone."""
    registry, group, score, thorough = question or _asked[0]
    looked_at, passed, gone = 0, [np.empty(0, np.int64)], dict.fromkeys(pages)
    for page, count, content in read_pages(registry, pages):
        numbers, *columns = decoded(group, count, content)
        looked_at += count
        passed.append(numbers if thorough else numbers[_passing(score, columns)])
        del gone[page]
    together = np.sort(np.concatenate(passed))
    chunks = [together[k : k + _WHOLES] for k in range(0, together.size, _WHOLES)]
    hits = [hit for chunk in chunks for hit in _whole(registry, group, score, chunk)]
    return looked_at, together, sorted(hits, key=lambda hit: -hit.z)[:BEST], list(gone)


def _passing(score: Score, columns: Sequence[NDArray[Any]]) -> NDArray[np.intp]:
    """Which records of a page are looked at further."""
    (first, least), (longer, least_then) = PASSES
    sums = score(*(each[:, :first] for each in columns))
    left = np.flatnonzero((sums.z > least) | (sums.mean_square < THIN))
    if columns[0].shape[1] > first:  # pages of registries of version 1 hold no more
        sums = sums.and_more(left, score(*(each[left, first:longer] for each in columns)))
        left = left[(sums.z > least_then) | (sums.mean_square < THIN)]
    return left


def _whole(registry: Registry, group: PageGroup, score: Score, numbers: NDArray[np.int64]) -> list[Hit]:
    """The best of some records over all of their positions."""
    found, kept = read_wholes(registry, numbers.tolist(), group.family.row_bytes(group.family.positions))
    if len(found) != numbers.size:
        raise UnreadableRegistry(f"{registry.place}: scan data of records are missing; run `registry check`")
    if not found:
        return []
    z = score(*columns_of(group.family, group.family.positions, kept, len(found))).z
    best = np.argsort(-z)[:BEST]
    return [Hit(found[k], float(z[k])) for k in best.tolist()]
