"""Groups of records that are scanned alike, and their pages as they are read."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import UnreadableRecord, UnreadableRegistry
from onnxnnw.records.canonical_json import parse
from onnxnnw.records.slot_table import SlotEntry
from onnxnnw.registry.scan_data import SCREEN, WHOLE, Family
from onnxnnw.registry.schema import sql, tables
from onnxnnw.registry.store import Registry

__all__ = ["Page", "PageGroup", "columns_of", "decoded", "groups_of", "pages_of", "read_page"]

Page = tuple[int, str]
"""Number of a page, which a later one may have again, and digest of what it holds."""


@dataclass(frozen=True)
class PageGroup:
    """Records of one family and layout."""

    number: int
    family: Family
    units: NDArray[np.float64]


def groups_of(registry: Registry) -> list[PageGroup]:
    """The groups that have something to scan.

    Raises:
        UnreadableRegistry: A slot table is damaged.
    """
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
            out.append(PageGroup(row.id, family, deviations))
    return out


def pages_of(registry: Registry, group: PageGroup) -> list[Page]:
    """The pages of a group, as they are now."""
    screens = tables().screens
    with registry.database.reading() as connection:
        of_group = screens.c.group_id == group.number
        wanted = sql().select(screens.c.id, screens.c.digest).where(of_group).order_by(screens.c.id)
        return [(int(number), str(digest)) for number, digest in connection.execute(wanted)]


def read_page(registry: Registry, page: Page) -> tuple[int, bytes] | None:
    """Records and content of a page, held against its digest; None where a larger one has taken it in meanwhile."""
    screens = tables().screens
    number, digest = page
    with registry.database.reading() as connection:
        chosen = (screens.c.id == number) & (screens.c.digest == digest)
        found: Any = connection.execute(sql().select(screens).where(chosen)).one_or_none()
    return None if found is None else (int(found.count), registry.pages.content_of(found))


def decoded(group: PageGroup, count: int, data: bytes) -> tuple[NDArray[np.int64], Any, Any, Any]:
    """Numbers of records, then positions, what is expected and host, (records, positions) each."""
    first = min(SCREEN, group.family.positions)
    return np.frombuffer(data, "<i8", count), *columns_of(group.family, first, data[8 * count :], count)


def columns_of(family: Family, positions: int, data: bytes, count: int) -> tuple[Any, Any, Any]:
    """Positions, what is expected and host of rows with so many positions, (rows, positions) each."""
    rows = np.frombuffer(data, np.uint8).reshape(count, -1)
    if rows.shape[1] != family.row_bytes(positions):
        raise UnreadableRegistry("a scan page of another size than its group says; run `registry check`")
    end = positions * family.width
    places = np.ascontiguousarray(rows[:, :end]).view(f"<u{family.width}")
    host = np.ascontiguousarray(rows[:, end + positions :]).view("<i2")
    return places, rows[:, end : end + positions].view(np.int8), host
