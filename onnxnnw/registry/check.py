"""Integrity check of a registry: records, lists, slot tables, scan pages and log are recomputed and compared."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from onnxnnw.errors import TraceabilityError
from onnxnnw.records.record import Record, commitment_of
from onnxnnw.registry.entry import RegistryEntry
from onnxnnw.registry.log.kept import KeptLog
from onnxnnw.registry.scan_data import LONGER, SCREEN, WHOLE, scanned
from onnxnnw.registry.schema import sql, tables
from onnxnnw.registry.store import Registry

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["problems"]

_AT_ONCE = 256


def problems(registry: Registry, seen: Callable[[int], None] = lambda count: None) -> list[str]:
    """What is wrong with a registry, a sentence each; empty where everything is as it was written.

    Args:
        seen: Told how many records were looked at.

    Raises:
        UnreadableRegistry: The database itself cannot be read.
    """
    with registry.database.reading() as connection:
        out = [*_damaged_file(registry, connection), *_layouts(registry, connection)]
        out += _records(registry, connection, seen)
        out += _pages(registry, connection)
    return [*out, *KeptLog(registry.database, registry.vault).problems()]


def _damaged_file(registry: Registry, connection: "Connection") -> Iterator[str]:
    if registry.database.is_file:
        for (line,) in connection.exec_driver_sql("PRAGMA integrity_check(20)"):
            if line != "ok":
                yield f"the file is damaged: {line}"


def _layouts(registry: Registry, connection: "Connection") -> Iterator[str]:
    layouts = tables().layouts
    for row in connection.execute(sql().select(layouts)):
        try:
            found = hashlib.sha256(registry.vault.open(bytes(row.slots), f"layout {row.digest}")).hexdigest()
        except TraceabilityError as error:
            yield f"slot table {row.id}: {error}"
            continue
        if found != row.digest:
            yield f"slot table {row.id} is damaged"


def _records(registry: Registry, connection: "Connection", seen: Callable[[int], None]) -> Iterator[str]:
    """Records, what is listed of them, their groups, and their scan data."""
    t, sa = tables(), sql()
    joined = t.records.outerjoin(t.wholes, t.wholes.c.record_id == t.records.c.id).outerjoin(
        t.groups, t.groups.c.id == t.records.c.group_id
    )
    columns = [
        t.wholes.c.data,
        t.wholes.c.digest.label("whole_digest"),
        t.groups.c.digest.label("group_digest"),
        t.groups.c.family,
        t.groups.c.positions,
        t.groups.c.units,
    ]
    wanted = sa.select(t.records, *columns).select_from(joined).order_by(t.records.c.id)
    last, count = -1, 0
    while rows := connection.execute(wanted.where(t.records.c.id > last).limit(_AT_ONCE)).all():
        for row in rows:
            try:
                yield from (f"record {row.id}: {problem}" for problem in _record(registry, row))
            except (TraceabilityError, TypeError, ValueError) as error:
                yield f"record {row.id}: {error}"
        last, count = rows[-1].id, count + len(rows)
        seen(count)
    orphans = sa.select(t.wholes.c.record_id).where(t.wholes.c.record_id.not_in(sa.select(t.records.c.id)))
    for number in connection.execute(orphans).scalars():
        yield f"scan data belong to no record ({number})"


def _record(registry: Registry, row: object) -> Iterator[str]:
    values = row._mapping  # type: ignore[attr-defined]
    listed = {name: values[name] for name in RegistryEntry.__dataclass_fields__ if name != "number"}
    if RegistryEntry(number=values["id"], **listed).digest != values["digest"]:
        yield "what is listed of it was changed"
    content = registry.vault.open(bytes(values["content"]), f"record {values['commitment']}")
    if commitment_of(content) != values["commitment"]:
        yield "its bytes are damaged"
        return
    record = Record.from_bytes(content)
    data = scanned(record)
    units = registry.vault.open(bytes(values["units"]), f"group {values['group_digest']}")
    same = (data.family.digest, data.family.name, data.family.positions, data.family.units)
    if same != (values["group_digest"], values["family"], values["positions"], units):
        yield "it stands in another group than its own, or the group is damaged"
    if data.family.name == WHOLE:
        return
    if values["data"] is None:
        yield "its scan data are missing"
        return
    kept = registry.vault.open(bytes(values["data"]), f"whole {values['id']}")
    expected = data.to_bytes(data.family.positions)
    if kept != expected or values["whole_digest"] != hashlib.sha256(kept).hexdigest():
        yield "its scan data are damaged"


def _pages(registry: Registry, connection: "Connection") -> Iterator[str]:
    """Pages of first positions: each holds what its records' own data begin with, and each record stands in one."""
    t, sa = tables(), sql()
    seen: Counter[int] = Counter()
    for number in connection.execute(sa.select(t.screens.c.id).order_by(t.screens.c.id)).scalars().all():
        page = connection.execute(sa.select(t.screens).where(t.screens.c.id == number)).one()
        try:
            rows = registry.pages.rows_of(page)
        except TraceabilityError as error:
            yield str(error)
            continue
        seen.update(number for number, _ in rows)
        for start in range(0, len(rows), _AT_ONCE):
            yield from _of_page(registry, connection, page, rows[start : start + _AT_ONCE])
    wanted = sa.select(t.wholes.c.record_id)
    own = set(connection.execute(wanted).scalars())
    for number in sorted(own ^ set(seen))[:20]:
        yield f"record {number} stands in no scan page, or only there"
    for number, times in seen.items():
        if times > 1:
            yield f"record {number} stands in {times} scan pages"


def _of_page(
    registry: Registry, connection: "Connection", page: object, rows: list[tuple[int, bytes]]
) -> Iterator[str]:
    t, sa = tables(), sql()
    values = page._mapping  # type: ignore[attr-defined]
    if not 64 ** values["level"] <= values["count"] or values["level"] not in (0, 1, 2):
        yield f"scan page {values['id']} has another size than it says"
    joined = t.records.join(t.wholes, t.wholes.c.record_id == t.records.c.id)
    wanted = sa.select(t.records.c.id, t.records.c.group_id, t.records.c.commitment, t.records.c.content)
    wanted = wanted.select_from(joined).where(t.records.c.id.in_([number for number, _ in rows]))
    found = {row.id: row for row in connection.execute(wanted)}
    for number, data in rows:
        row = found.get(number)
        if row is None:
            continue
        try:
            content = registry.vault.open(bytes(row.content), f"record {row.commitment}")
            own = scanned(Record.from_bytes(content))
        except (TraceabilityError, TypeError, ValueError):
            continue  # said already
        if data not in (own.to_bytes(LONGER), own.to_bytes(SCREEN)) or row.group_id != values["group_id"]:
            yield f"scan page {values['id']}: what it holds of record {number} is damaged"
