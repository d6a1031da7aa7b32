"""The scan: a prefilter that leaves out records of a registry; those that remain are verified."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import UnreadableRegistry
from onnxnnw.records.record import Record
from onnxnnw.registry.alignment import (
    AddedTable,
    added_table,
    arrays_by_content,
    arrays_by_place,
    projected_tables,
    scores_table,
)
from onnxnnw.registry.scan_data import ADDED, PROJECTED, WHOLE
from onnxnnw.registry.scan_pages import Page, PageGroup, columns_of, decoded, groups_of, pages_of, read_page
from onnxnnw.registry.schema import sql, tables
from onnxnnw.registry.store import Registry
from onnxnnw.verification.looking import Looking

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["BEST", "PASSES", "Hit", "Part", "Parts", "Scan", "Scanner", "scan"]

PASSES = 1.0
"""z of the first 64 positions from which on a record is looked at further."""

BEST, THREADS = 20, 2
_SAMPLES, _ALIGNED_BY, _WHOLES = 4096, 3, 2000
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
    for group in groups_of(registry):
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
            own = next(one for one in groups_of(self.registry) if one.number == group)
            self._known[group] = own, _tables_of(self.registry, self.looking, own)
        own, scores = self._known[group]
        looked_at, passed, hits, gone = 0, set[int](), list[Hit](), set[Page]()
        for score in scores:
            count, numbers, best, missing = _scanned(self.registry, own, score, pages, self.thorough)
            looked_at = max(looked_at, count)
            passed.update(numbers)
            gone.update(missing)
            hits += best
        hits.sort(key=lambda hit: -hit.z)
        return Part(looked_at, len(passed), tuple(_once(hits))[:BEST], tuple(sorted(gone)))


def _scanned(
    registry: Registry, group: PageGroup, score: "Score", pages: Sequence[Page], thorough: bool
) -> tuple[int, list[int], list[Hit], list[Page]]:
    """How many records some pages have, those of them that passed, the best of those, and pages that are gone."""
    thorough = thorough or group.family.name == PROJECTED  # of a sum of projections a part says little
    with ThreadPoolExecutor(THREADS) as threads:
        found = list(threads.map(lambda page: _page(registry, group, score, page, thorough), pages))
        parts = [part for part in found if part is not None]
        numbers = np.concatenate([np.empty(0, np.int64), *(part[1] for part in parts)])
        chunks = [numbers[k : k + _WHOLES] for k in range(0, numbers.size, _WHOLES)]
        hits = [hit for some in threads.map(lambda c: _whole(registry, group, score, c), chunks) for hit in some]
    gone = [page for page, part in zip(pages, found, strict=True) if part is None]
    best = sorted(hits, key=lambda hit: -hit.z)[:BEST]
    return sum(part[0] for part in parts), numbers.tolist(), best, gone


def _once(hits: Sequence[Hit]) -> Iterator[Hit]:
    seen: set[int] = set()
    for hit in hits:
        if hit.number not in seen:
            seen.add(hit.number)
            yield hit


Score = Callable[[NDArray[np.int64], NDArray[np.int8], NDArray[np.int16]], NDArray[np.float64]]
"""Positions, what is expected, host: (records, n) each -> z of each record."""


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
            return [_added_score(table)]
    if group.family.name == PROJECTED:
        return [_plain_score(table) for table in projected_tables(arrays, group.family.slots)]
    return [_plain_score(scores_table(arrays, group.family.slots))]


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
    read = None
    for _ in range(_ROUNDS):
        read = read_page(registry, pages_of(registry, group)[0])
        if read is not None:
            break
    if read is None:
        raise UnreadableRegistry(f"{registry.place}: changes faster than it is read; search again")
    _, places, _, host = decoded(group, *read)
    return places.reshape(-1)[:_SAMPLES].astype(np.int64), host.reshape(-1)[:_SAMPLES]


def _plain_score(table: NDArray[np.int8]) -> Score:
    def score(places: NDArray[Any], expected: NDArray[np.int8], host: NDArray[np.int16]) -> NDArray[np.float64]:
        return _z(table.take(places, mode="clip"), expected)

    return score


def _added_score(table: AddedTable) -> Score:
    def score(places: NDArray[Any], expected: NDArray[np.int8], host: NDArray[np.int16]) -> NDArray[np.float64]:
        left = table.values.take(places, mode="clip")
        left -= host
        np.clip(left, -table.limit, table.limit, out=left)
        return _z(left, expected)

    return score


def _z(found: NDArray[Any], expected: NDArray[np.int8]) -> NDArray[np.float64]:
    """Sum of products over its deviation, as if what is expected were standard normal; 0 where nothing was found."""
    one, other = found.astype(np.float32), expected.astype(np.float32)
    power = np.einsum("ij,ij->i", one, one) * np.einsum("ij,ij->i", other, other)
    product = np.einsum("ij,ij->i", one, other)
    with np.errstate(all="ignore"):
        z = product / np.sqrt(power) * np.sqrt(np.float32(found.shape[1]))
    out: NDArray[np.float64] = np.nan_to_num(z).astype(np.float64)
    return out


def _page(
    registry: Registry, group: PageGroup, score: Score, page: Page, thorough: bool
) -> tuple[int, NDArray[np.int64]] | None:
    """How many records a page has, and the numbers of those that pass; None where it is gone."""
    read = read_page(registry, page)
    if read is None:
        return None
    numbers, *columns = decoded(group, *read)
    return read[0], numbers if thorough else numbers[score(*columns) > PASSES]


def _whole(registry: Registry, group: PageGroup, score: Score, numbers: NDArray[np.int64]) -> list[Hit]:
    """The best of some records over all of their positions."""
    wholes = tables().wholes
    wanted = sql().select(wholes).where(wholes.c.record_id.in_(numbers.tolist()))
    found, kept = [], []
    with registry.database.reading() as connection:
        for row in connection.execute(wanted):
            kept.append(registry.pages.whole_of(row))
            found.append(int(row.record_id))
    if len(found) != numbers.size:
        raise UnreadableRegistry(f"{registry.place}: scan data of records are missing; run `registry check`")
    if not found:
        return []
    z = score(*columns_of(group.family, group.family.positions, b"".join(kept), len(kept)))
    best = np.argsort(-z)[:BEST]
    return [Hit(found[k], float(z[k])) for k in best.tolist()]
