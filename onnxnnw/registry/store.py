"""A registry: records as they are, and beside them pages for scanning; what is added or revoked is whole or not there.

Secrets live where records live: whoever reads a registry can erase every mark in it.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from onnxnnw.errors import UnreadableRecord, UnreadableRegistry, UsageError
from onnxnnw.records.record import MAX_BYTES, Record, commitment_of
from onnxnnw.records.shared_parts import SharedParts
from onnxnnw.registry.database import Database, now
from onnxnnw.registry.entry import Added, Filters, RegistryEntry, digest_of
from onnxnnw.registry.pages import Pages
from onnxnnw.registry.scan_data import WHOLE, Scanned, scanned
from onnxnnw.registry.schema import sql, tables
from onnxnnw.registry.vault import Logged, Plain, Vault

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Registry"]

_AT_ONCE = 256


class Registry:
    """Records in a database.

    Attributes:
        address: Where they are, as it was given: it may hold a password.
        database: What is open there.
        vault: How bytes rest there.
        pages: Its scan pages.

    Args:
        place: Path of a file, or ``postgresql://…``.
        create: Whether one is made where there is none.
        vault: Encrypts what rests; None keeps bytes as they are.
        logged: Called with what is added, inside the transaction.
    """

    def __init__(
        self, place: Path | str, create: bool = False, vault: Vault | None = None, logged: Logged | None = None
    ) -> None:
        self.address = str(place)
        self.database = Database(place, create)
        self.vault: Vault = Plain() if vault is None else vault
        self.pages = Pages(self.place, self.vault)
        self.logged = logged

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def place(self) -> str:
        """Where it is, without a password."""
        return self.database.place

    def close(self) -> None:
        """Close all connections."""
        self.database.close()

    # --- adding ---------------------------------------------------------------------------------------------------

    def add(self, contents: Sequence[bytes], network: str = "") -> Added:
        """Add records, all or none; those that are there already stay as they are.

        Args:
            contents: Bytes of record files.
            network: A name for the network they belong to.

        Raises:
            UnreadableRecord: One of them is none.
            UnreadableRegistry: They could not be added; then none was.
        """
        prepared: dict[str, tuple[bytes, Record, Scanned]] = {}
        shared = SharedParts()
        for content in contents:
            if len(content) > MAX_BYTES:
                raise UnreadableRecord(f"larger than {MAX_BYTES >> 20} MiB, so it is no record")
            record = Record.from_bytes(content, shared)
            prepared[record.commitment] = content, record, scanned(record)
        with self.database.writing() as connection:
            known = set(self._known(connection, list(prepared)))
            new = [commitment for commitment in prepared if commitment not in known]
            found: dict[tuple[object, ...], int] = {}
            rows = []
            for commitment in new:
                content, record, data = prepared[commitment]
                family = data.family  # records of one network that are read together share their slots
                alike = family.name, family.positions, id(family.slots), family.units, family.host
                group = found[alike] = found[alike] if alike in found else self._group(connection, data)
                rows.append(self._row(group, commitment, content, record, network))
            numbers = self._inserted(connection, rows)
            groups: dict[int, list[tuple[int, Scanned]]] = {}
            for row in rows:
                data = prepared[row["commitment"]][2]
                if data.family.name != WHOLE:
                    groups.setdefault(row["group_id"], []).append((numbers[row["commitment"]], data))
            for group, several in groups.items():
                self.pages.write(connection, group, several)
            if self.logged is not None and new:
                self.logged(connection, new)
        return Added(tuple(new), tuple(sorted(known)))

    def _known(self, connection: "Connection", commitments: Sequence[str]) -> Iterator[str]:
        records = tables().records
        for start in range(0, len(commitments), _AT_ONCE):
            chosen = commitments[start : start + _AT_ONCE]
            yield from connection.execute(
                sql().select(records.c.commitment).where(records.c.commitment.in_(chosen))
            ).scalars()

    def _group(self, connection: "Connection", data: Scanned) -> int:
        """The group of a record, made where it is the first."""
        sa, t = sql(), tables()
        found = connection.execute(sa.select(t.groups.c.id).where(t.groups.c.digest == data.family.digest)).scalar()
        if found is not None:
            return int(found)
        layout = hashlib.sha256(data.family.layout).hexdigest()
        layout_id = connection.execute(sa.select(t.layouts.c.id).where(t.layouts.c.digest == layout)).scalar()
        if layout_id is None:
            slots = self.vault.seal(data.family.layout, f"layout {layout}")
            layout_id = _key(connection.execute(t.layouts.insert().values(digest=layout, slots=slots)))
        row = {
            "digest": data.family.digest,
            "layout_id": layout_id,
            "family": data.family.name,
            "positions": data.family.positions,
            "units": self.vault.seal(data.family.units, f"group {data.family.digest}"),
        }
        return _key(connection.execute(t.groups.insert().values(**row)))

    def _row(self, group: int, commitment: str, content: bytes, record: Record, network: str) -> dict[str, Any]:
        """A record as it is listed and kept."""
        row = {
            "commitment": commitment,
            "group_id": group,
            "method": record.method,
            "kind": record.kind,
            "actor": record.actor,
            "role": record.role,
            "source_id": record.source_id,
            "destination_id": record.destination_id,
            "network": network,
            "added_at": now(),
            "content": self.vault.seal(content, f"record {commitment}"),
        }
        row = {name: _storable(value) if isinstance(value, str) else value for name, value in row.items()}
        row["digest"] = digest_of(row)
        return row

    def _inserted(self, connection: "Connection", rows: Sequence[dict[str, Any]]) -> dict[str, int]:
        """Numbers of new records, by commitment; they follow the order of the rows."""
        records, numbers = tables().records, dict[str, int]()
        for start in range(0, len(rows), _AT_ONCE):
            several = rows[start : start + _AT_ONCE]
            connection.execute(records.insert(), several)
            chosen = records.c.commitment.in_([row["commitment"] for row in several])
            numbers |= dict(connection.execute(sql().select(records.c.commitment, records.c.id).where(chosen)).all())
        return numbers

    def has(self, commitment: str) -> bool:
        """Whether a record is there; what was added stays."""
        with self.database.reading() as connection:
            return next(self._known(connection, [commitment]), None) is not None

    # --- looking --------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        with self.database.reading() as connection:
            return int(connection.execute(sql().select(sql().func.count()).select_from(tables().records)).scalar() or 0)

    def entries(self, filters: Filters | None = None, limit: int | None = None) -> tuple[RegistryEntry, ...]:
        """Records in the order in which they came."""
        records = tables().records
        wanted = sql().select(*_listed()).order_by(records.c.id).limit(limit)
        for name, value in vars(filters or Filters()).items():
            if name == "revoked":
                if value is not None:
                    wanted = wanted.where(
                        records.c.revoked_at.is_not(None) if value else records.c.revoked_at.is_(None)
                    )
            elif value:
                wanted = wanted.where(records.c[name] == value)
        with self.database.reading() as connection:
            return tuple(RegistryEntry(*row) for row in connection.execute(wanted))

    def entries_of(self, numbers: Sequence[int]) -> tuple[RegistryEntry, ...]:
        """Records by their numbers, in that order."""
        records = tables().records
        found: dict[int, RegistryEntry] = {}
        with self.database.reading() as connection:
            for start in range(0, len(numbers), _AT_ONCE):
                chosen = records.c.id.in_(list(numbers[start : start + _AT_ONCE]))
                for row in connection.execute(sql().select(*_listed()).where(chosen)):
                    found[row[0]] = RegistryEntry(*row)
        return tuple(found[number] for number in numbers if number in found)

    def numbers(self, limit: int) -> list[int]:
        """Numbers of the first records."""
        return [entry.number for entry in self.entries(limit=limit)]

    def show(self, commitment: str) -> RegistryEntry:
        """One record, by the beginning of its commitment.

        Raises:
            UsageError: None or several begin like that.
        """
        with self.database.reading() as connection:
            return self._one(connection, commitment)

    def _one(self, connection: "Connection", commitment: str) -> RegistryEntry:
        start = commitment.strip().lower()
        if len(start) < 4 or not set(start) <= set("0123456789abcdef"):
            raise UsageError(f"a commitment is hexadecimal, or its first digits, 4 at least, not {commitment[:80]!r}")
        records = tables().records
        wanted = sql().select(*_listed()).where(records.c.commitment.startswith(start)).limit(2)
        found = [RegistryEntry(*row) for row in connection.execute(wanted)]
        if len(found) != 1:
            what = (
                "several records have a commitment that begins" if found else "no record has a commitment that begins"
            )
            raise UsageError(f"{what} with {start}")
        return found[0]

    def content(self, commitment: str) -> bytes:
        """The bytes of a record, as they were added.

        Raises:
            UnreadableRegistry: They are damaged.
            UsageError: There is no such record.
        """
        records = tables().records
        with self.database.reading() as connection:
            entry = self._one(connection, commitment)
            stored = connection.execute(sql().select(records.c.content).where(records.c.id == entry.number)).scalar()
        content = self.vault.open(bytes(stored or b""), f"record {entry.commitment}")
        if commitment_of(content) != entry.commitment:
            raise UnreadableRegistry(f"{self.place}: the bytes of record {entry.commitment[:16]}… are damaged")
        return content

    def record(self, commitment: str) -> Record:
        """A record, as it was added."""
        return Record.from_bytes(self.content(commitment))

    # --- revoking -------------------------------------------------------------------------------------------------

    def revoke(self, commitment: str, reason: str) -> RegistryEntry:
        """Note that a record no longer holds; it stays, with reason and time.

        Raises:
            UsageError: There is no such record, it was revoked before, or there is no reason.
        """
        if not reason.strip():
            raise UsageError("say why the record is revoked")
        records = tables().records
        with self.database.writing() as connection:
            entry = self._one(connection, commitment)
            if entry.revoked_at is not None:
                raise UsageError(f"record {entry.commitment[:16]}… was revoked at {entry.revoked_at} already")
            values = {"revoked_at": now(), "reason": _storable(reason)[:1000]}
            values["digest"] = digest_of({**vars(entry), **values})
            connection.execute(records.update().where(records.c.id == entry.number).values(**values))
            return self._one(connection, entry.commitment)


def _key(result: Any) -> int:
    """The number that the database gave to a new row."""
    return int(result.inserted_primary_key[0])


def _listed() -> Sequence[Any]:
    """The columns of ``RegistryEntry``, in its order."""
    columns = tables().records.c
    names = [name for name in RegistryEntry.__dataclass_fields__ if name != "number"]
    return [columns.id, *(columns[name] for name in names)]


def _storable(text: str) -> str:
    """Text without the one character that PostgreSQL does not keep."""
    return text.replace("\0", "\\x00")
