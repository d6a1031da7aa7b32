"""Groups of records that are scanned alike, and their pages as they are read."""

import hashlib
import math
import re
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import UnreadableRecord, UnreadableRegistry
from onnxnnw.records.canonical_json import parse
from onnxnnw.records.slot_table import SlotEntry
from onnxnnw.registry.pages import ScreenPage
from onnxnnw.registry.scan_data import LONGER, SCREEN, WHOLE, Family
from onnxnnw.registry.schema import sql, tables
from onnxnnw.registry.store import Registry

__all__ = ["Page", "PageGroup", "columns_of", "decoded", "groups_of", "pages_of", "read_pages", "read_wholes"]

Page = tuple[int, str]
"""Number of a page, which a later one may have again, and digest of what it holds."""


_SHAPE = re.compile(rb'"shape":\[([0-9,]+)\]')
_LAYOUTS = 256


@dataclass(frozen=True)
class PageGroup:
    """Records of one family and layout."""

    number: int
    family: Family
    units: NDArray[np.float64]


def groups_of(registry: Registry, sizes: Set[int] | None = None, number: int | None = None) -> list[PageGroup]:
    """The groups that have something to scan.

    Args:
        sizes: How many weights a slot of the candidate has; layouts that have most of theirs in slots of other sizes are left out.
        number: Of the one group that is wanted; all by default.

    Raises:
        UnreadableRegistry: A slot table is damaged.
    """
    t, layouts = tables(), dict[int, tuple[SlotEntry, ...]]()
    columns = t.groups.c.id, t.groups.c.digest, t.groups.c.family, t.groups.c.positions, t.groups.c.units
    wanted = sql().select(*columns, t.groups.c.layout_id).where(t.groups.c.family != WHOLE).order_by(t.groups.c.id)
    tables_wanted = sql().select(t.layouts.c.id, t.layouts.c.digest, t.layouts.c.slots)
    if number is not None:
        wanted = wanted.where(t.groups.c.id == number)
        tables_wanted = tables_wanted.join(t.groups, t.groups.c.layout_id == t.layouts.c.id).where(
            t.groups.c.id == number
        )
    out, known = [], dict[bytes, int]()
    with registry.database.reading() as connection, _named(registry):
        for row in connection.execute(tables_wanted.execution_options(yield_per=_LAYOUTS)):
            content = registry.vault.open(bytes(row.slots), f"layout {row.digest}")
            if hashlib.sha256(content).hexdigest() != row.digest:
                raise UnreadableRecord("it is another than its digest says")
            if sizes is None or _fits(_sizes(content, known), sizes):
                layouts[row.id] = tuple(SlotEntry.from_json(each) for each in parse(content))
        for row in connection.execute(wanted):
            if row.layout_id in layouts:
                units = registry.vault.open(bytes(row.units), f"group {row.digest}")
                family = Family(row.family, row.positions, layouts[row.layout_id], units)
                deviations = np.frombuffer(units, "<f8")
                if deviations.size not in (0, len(family.slots)):
                    raise UnreadableRecord("deviations of other slots")
                out.append(PageGroup(row.id, family, deviations))
    return out


def _fits(layout: list[int], sizes: Set[int]) -> bool:
    return 2 * sum(size for size in layout if size in sizes) >= sum(layout)


def _sizes(layout: bytes, known: dict[bytes, int]) -> list[int]:
    """How many weights each slot of a layout has; in canonical JSON a shape looks like nothing else."""
    shapes = _SHAPE.findall(layout)
    for shape in shapes:
        if shape not in known:
            known[shape] = math.prod(int(length) for length in shape.split(b","))
    return [known[shape] for shape in shapes]


@contextmanager
def _named(registry: Registry) -> Iterator[None]:
    try:
        yield
    except (UnreadableRecord, KeyError, TypeError, ValueError) as error:
        raise UnreadableRegistry(f"{registry.place}: a slot table is damaged: {error}; run `registry check`") from None


def pages_of(registry: Registry, group: PageGroup) -> list[Page]:
    """The pages of a group, as they are now."""
    screens = tables().screens
    with registry.database.reading() as connection:
        of_group = screens.c.group_id == group.number
        wanted = sql().select(screens.c.id, screens.c.digest).where(of_group).order_by(screens.c.id)
        return [(int(number), str(digest)) for number, digest in connection.execute(wanted)]


def read_pages(registry: Registry, pages: Sequence[Page]) -> Iterator[tuple[Page, int, bytes]]:
    """Those of some pages that no larger one has taken in meanwhile: their records and content, held against its digest.

    Raises:
        UnreadableRegistry: A page is damaged.
    """
    wanted, name = dict(pages), tables().screens.name
    chosen = ",".join(str(int(number)) for number in wanted)
    statement = (
        f"SELECT id, group_id, count, digest, data FROM {name} WHERE id IN ({chosen})"  # one for all: half the time
    )
    for row in registry.database.rows(statement):
        found = ScreenPage(*row)
        if found.digest == wanted[found.id]:
            yield (found.id, found.digest), found.count, registry.pages.content_of(found)


def decoded(group: PageGroup, count: int, data: bytes) -> tuple[NDArray[np.int64], Any, Any, Any]:
    """Numbers of records, then positions, what is expected and host, (records, positions) each."""
    held = group.family.positions_in(len(data) // count - 8)
    if held not in (min(each, group.family.positions) for each in (SCREEN, LONGER)):
        raise UnreadableRegistry("a scan page of another size than its group says; run `registry check`")
    return np.frombuffer(data, "<i8", count), *columns_of(group.family, held, memoryview(data)[8 * count :], count)


def read_wholes(registry: Registry, numbers: Sequence[int], size: int) -> tuple[list[int], bytes]:
    """Numbers of records, and all positions of each of them, so many bytes, one after the other.

    Raises:
        UnreadableRegistry: They are damaged.
    """
    if not numbers:
        return [], b""
    chosen = ",".join(str(int(number)) for number in numbers)
    statement = f"SELECT record_id, digest, data FROM {tables().wholes.name} WHERE record_id IN ({chosen})"
    return registry.pages.wholes_of(registry.database.rows(statement), size)


def columns_of(family: Family, positions: int, data: bytes | memoryview, count: int) -> tuple[Any, Any, Any]:
    """Positions, what is expected and host of rows with so many positions, (rows, positions) each."""
    rows = np.frombuffer(data, np.uint8).reshape(count, -1)
    if rows.shape[1] != family.row_bytes(positions):
        raise UnreadableRegistry("a scan page of another size than its group says; run `registry check`")
    end = positions * family.width
    expected, host = rows[:, end : end + positions].view(np.int8), rows[:, end + positions :]
    return _viewed(rows[:, :end], family.width), expected, _viewed(host, 2)


def _viewed(rows: NDArray[np.uint8], width: int) -> NDArray[Any]:
    """Bytes as little-endian numbers, in place where each row begins at a whole number."""
    kind = f"<u{width}" if width > 2 else "<i2"
    return rows.view(kind) if rows.shape[1] else np.empty((rows.shape[0], 0), kind)
