"""Scan pages: the first positions of many records side by side, and all of each one's.

New records come in small pages; as many of a size as one of the next size holds are made one: each is written three times at most.
Pages of registries of version 1 hold 64 positions of each record, later ones 128.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onnxnnw.errors import UnreadableRegistry
from onnxnnw.registry.scan_data import LONGER, Family, Scanned
from onnxnnw.registry.schema import sql, tables
from onnxnnw.registry.vault import Plain, Vault

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["PAGE", "Pages", "ScreenPage"]

PAGE, MERGED = 4096, 64
"""Records of a full page of first positions; smaller pages become one of the next size when there are so many."""


@dataclass(frozen=True)
class ScreenPage:
    """A page of first positions, as it rests.

    Attributes:
        id, group_id: Its number, and its group's.
        count: How many records it has.
        digest: SHA-256 of what it holds, hexadecimal.
        data: What rests.
    """

    id: int
    group_id: int
    count: int
    digest: str
    data: bytes


class Pages:
    """The scan pages of a registry.

    Args:
        place: Where it is, for messages.
        vault: How they rest there.
    """

    def __init__(self, place: str, vault: Vault) -> None:
        self.place, self.vault = place, vault

    def write(self, connection: "Connection", group: int, several: Sequence[tuple[int, Scanned]]) -> None:
        """Keep scan data: each record's own, and pages of the first positions of many."""
        t = tables()
        wholes = []
        for number, data in several:
            whole = data.to_bytes(data.family.positions)
            wholes.append(
                {"record_id": number, "digest": _sha(whole), "data": self.vault.seal(whole, f"whole {number}")}
            )
        connection.execute(t.wholes.insert(), wholes)
        rows = [(number, data.to_bytes(LONGER)) for number, data in several]
        while rows:
            level = 2 if len(rows) >= PAGE else 1 if len(rows) >= MERGED else 0
            size = MERGED**level
            self._write_screen(connection, group, level, rows[:size])
            rows = rows[size:]
        for level in (0, 1):
            self._merge(connection, group, level, several[0][1].family)

    def _write_screen(
        self, connection: "Connection", group: int, level: int, rows: Sequence[tuple[int, bytes]]
    ) -> None:
        """A page: the numbers of its records, 8 bytes each, then what is kept of each of them."""
        data = b"".join([*(number.to_bytes(8, "little") for number, _ in rows), *(row for _, row in rows)])
        digest = _sha(data)
        stored = self.vault.seal(data, f"screen {group} {digest}")
        row = {"group_id": group, "level": level, "count": len(rows), "digest": digest, "data": stored}
        connection.execute(tables().screens.insert().values(**row))

    def _merge(self, connection: "Connection", group: int, level: int, family: Family) -> None:
        """Make one page of the next size of as many as that takes; it holds as many positions as each of them."""
        sa, screens = sql(), tables().screens
        of_level = (screens.c.group_id == group) & (screens.c.level == level)
        while True:
            ids = (
                connection.execute(sa.select(screens.c.id).where(of_level).order_by(screens.c.id).limit(MERGED))
                .scalars()
                .all()
            )
            if len(ids) < MERGED:
                return
            rows: list[tuple[int, bytes]] = []
            for page in connection.execute(sa.select(screens).where(screens.c.id.in_(ids)).order_by(screens.c.id)):
                rows += self.rows_of(page)
            held = min(family.positions_in(len(row)) for _, row in rows)
            rows = [(number, family.first_of(row, held)) for number, row in rows]
            connection.execute(screens.delete().where(screens.c.id.in_(ids)))
            self._write_screen(connection, group, level + 1, rows)

    def content_of(self, page: Any) -> bytes:
        """What a page holds.

        Raises:
            UnreadableRegistry: The page is damaged.
        """
        data = self.vault.open(bytes(page.data), f"screen {page.group_id} {page.digest}")
        if page.count < 1 or len(data) % page.count or _sha(data) != page.digest:
            raise UnreadableRegistry(f"{self.place}: scan page {page.id} is damaged; run `registry check`")
        return data

    def wholes_of(self, rows: Iterable[Sequence[Any]], size: int) -> tuple[list[int], bytes]:
        """Numbers of records, and all positions of each, so many bytes, one after the other; a scan reads very many.

        Args:
            rows: Number, digest and what rests.

        Raises:
            UnreadableRegistry: They are damaged.
        """
        plain, sha = isinstance(self.vault, Plain), hashlib.sha256
        found, kept = [], []
        for number, digest, stored in rows:
            data = stored if plain else self.vault.open(stored, f"whole {number}")
            if sha(data).hexdigest() != digest or len(data) != size:
                raise UnreadableRegistry(
                    f"{self.place}: scan data of record {number} are damaged; run `registry check`"
                )
            found.append(number)
            kept.append(data)
        return found, b"".join(kept)

    def rows_of(self, page: Any) -> list[tuple[int, bytes]]:
        """Numbers and scan data of the records of a page.

        Raises:
            UnreadableRegistry: The page is damaged.
        """
        data = self.content_of(page)
        size, start = len(data) // page.count - 8, 8 * page.count
        numbers = [int.from_bytes(data[8 * k : 8 * k + 8], "little") for k in range(page.count)]
        return [(number, data[start + k * size : start + (k + 1) * size]) for k, number in enumerate(numbers)]


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
