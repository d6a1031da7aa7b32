"""The scan: a prefilter that leaves out records of a registry; those that remain are verified."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import UnreadableRecord, UnreadableRegistry
from onnxnnw.records.canonical_json import parse
from onnxnnw.records.record import Record
from onnxnnw.records.slot_table import SlotEntry
from onnxnnw.registry.alignment import AddedTable, added_table, arrays_by_content, arrays_by_place, scores_table
from onnxnnw.registry.scan_data import ADDED, SCREEN, WHOLE, Family
from onnxnnw.registry.schema import sql, tables
from onnxnnw.registry.store import Registry
from onnxnnw.verification.looking import Looking

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["BEST", "PASSES", "Hit", "Scan", "scan"]

PASSES = 1.0
"""z of the first 64 positions from which on a record is looked at further."""

BEST, THREADS = 20, 2
_SAMPLES, _ALIGNED_BY, _WHOLES = 4096, 3, 2000


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
class _Group:
    number: int
    family: Family
    units: NDArray[np.float64]


def scan(registry: Registry, looking: Looking, thorough: bool = False, pages: "Iterable[int] | None" = None) -> Scan:
    """Scan a registry.

    Args:
        registry: Where the records are.
        looking: The candidate, opened.
        thorough: Whether all positions of every record are looked at, rather than of those whose first ones pass.
        pages: Numbers of the pages that are scanned; None scans all.

    Raises:
        UnreadableRegistry: A page is damaged.
    """
    hits: list[Hit] = []
    looked_at = passed = 0
    wanted = None if pages is None else set(pages)
    for group in _groups(registry):
        own = [number for number in _pages(registry, group) if wanted is None or number in wanted]
        if not own:
            continue
        for score in _tables_of(registry, looking, group):
            count, numbers, best = _scanned(registry, group, score, own, thorough)
            looked_at, passed = looked_at + count, passed + numbers
            hits = sorted([*hits, *best], key=lambda hit: -hit.z)[:BEST]
    return Scan(tuple(_once(hits)), tuple(_unscanned(registry)), looked_at, passed)


def _scanned(
    registry: Registry, group: _Group, score: "Score", pages: Sequence[int], thorough: bool
) -> tuple[int, int, list[Hit]]:
    """How many records some pages have, how many of them passed, and the best of those."""
    with ThreadPoolExecutor(THREADS) as threads:
        parts = list(threads.map(lambda number: _page(registry, group, score, number, thorough), pages))
        numbers = np.concatenate([np.empty(0, np.int64), *(part[1] for part in parts)])
        chunks = [numbers[k : k + _WHOLES] for k in range(0, numbers.size, _WHOLES)]
        found = [hit for some in threads.map(lambda c: _whole(registry, group, score, c), chunks) for hit in some]
    return sum(part[0] for part in parts), int(numbers.size), sorted(found, key=lambda hit: -hit.z)[:BEST]


def _once(hits: Sequence[Hit]) -> Iterator[Hit]:
    seen: set[int] = set()
    for hit in hits:
        if hit.number not in seen:
            seen.add(hit.number)
            yield hit


Score = Callable[[NDArray[np.int64], NDArray[np.int8], NDArray[np.int16]], NDArray[np.float64]]
"""Positions, what is expected, host: (records, n) each -> z of each record."""


def _groups(registry: Registry) -> list[_Group]:
    t = tables()
    joined = t.groups.join(t.layouts, t.groups.c.layout_id == t.layouts.c.id)
    columns = t.groups.c.id, t.groups.c.digest, t.groups.c.family, t.groups.c.positions, t.groups.c.units
    wanted = sql().select(*columns, t.layouts.c.slots, t.layouts.c.digest.label("layout")).select_from(joined)
    out, layouts = [], {}
    with registry.database.reading() as connection:
        for row in connection.execute(wanted.where(t.groups.c.family != WHOLE).order_by(t.groups.c.id)):
            try:
                if row.layout not in layouts:
                    content = registry.vault.open(bytes(row.slots), f"layout {row.layout}")
                    layouts[row.layout] = tuple(SlotEntry.from_json(each) for each in parse(content))
                units = registry.vault.open(bytes(row.units), f"group {row.digest}")
                family = Family(row.family, row.positions, layouts[row.layout], units)
                deviations = np.frombuffer(units, "<f8")
                if deviations.size not in (0, len(family.slots)):
                    raise UnreadableRecord("deviations of other slots")
            except (UnreadableRecord, KeyError, TypeError, ValueError) as error:
                raise UnreadableRegistry(
                    f"{registry.place}: a slot table is damaged: {error}; run `registry check`"
                ) from None
            out.append(_Group(row.id, family, deviations))
    return out


def _pages(registry: Registry, group: _Group) -> list[int]:
    screens = tables().screens
    with registry.database.reading() as connection:
        wanted = sql().select(screens.c.id).where(screens.c.group_id == group.number).order_by(screens.c.id)
        return [int(number) for number in connection.execute(wanted).scalars()]


def _unscanned(registry: Registry) -> list[int]:
    t = tables()
    joined = t.records.join(t.groups, t.records.c.group_id == t.groups.c.id)
    with registry.database.reading() as connection:
        wanted = sql().select(t.records.c.id).select_from(joined).where(t.groups.c.family == WHOLE)
        return [int(number) for number in connection.execute(wanted).scalars()]


def _tables_of(registry: Registry, looking: Looking, group: _Group) -> list[Score]:
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
    return [_plain_score(scores_table(arrays, group.family.slots))]


def _some(registry: Registry, group: _Group) -> Iterator[Record]:
    """A few records of a group."""
    records = tables().records
    wanted = sql().select(records.c.commitment).where(records.c.group_id == group.number).limit(_ALIGNED_BY)
    with registry.database.reading() as connection:
        commitments = list(connection.execute(wanted).scalars())
    for commitment in commitments:
        yield registry.record(commitment)


def _sample(registry: Registry, group: _Group) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
    """Up to 4,096 positions of a group, with what stood there before the mark."""
    number = _pages(registry, group)[0]
    _, places, _, host = _decoded(group, *_read(registry, number))
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


def _read(registry: Registry, number: int) -> tuple[int, bytes]:
    """Records and content of a page, held against its digest."""
    screens = tables().screens
    with registry.database.reading() as connection:
        page: Any = connection.execute(sql().select(screens).where(screens.c.id == number)).one()
    return int(page.count), registry.pages.content_of(page)


def _decoded(group: _Group, count: int, data: bytes) -> tuple[NDArray[np.int64], Any, Any, Any]:
    """Numbers of records, then positions, what is expected and host, (records, positions) each."""
    first = min(SCREEN, group.family.positions)
    return np.frombuffer(data, "<i8", count), *_columns(group.family, first, data[8 * count :], count)


def _columns(family: Family, positions: int, data: bytes, count: int) -> tuple[Any, Any, Any]:
    rows = np.frombuffer(data, np.uint8).reshape(count, -1)
    if rows.shape[1] != family.row_bytes(positions):
        raise UnreadableRegistry("a scan page of another size than its group says; run `registry check`")
    end = positions * family.width
    places = np.ascontiguousarray(rows[:, :end]).view(f"<u{family.width}")
    host = np.ascontiguousarray(rows[:, end + positions :]).view("<i2")
    return places, rows[:, end : end + positions].view(np.int8), host


def _page(
    registry: Registry, group: _Group, score: Score, number: int, thorough: bool
) -> tuple[int, NDArray[np.int64]]:
    """How many records a page has, and the numbers of those that pass."""
    count, data = _read(registry, number)
    numbers, *columns = _decoded(group, count, data)
    if thorough:
        return count, numbers
    return count, numbers[score(*columns) > PASSES]


def _whole(registry: Registry, group: _Group, score: Score, numbers: NDArray[np.int64]) -> list[Hit]:
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
    z = score(*_columns(group.family, group.family.positions, b"".join(kept), len(kept)))
    best = np.argsort(-z)[:BEST]
    return [Hit(found[k], float(z[k])) for k in best.tolist()]
