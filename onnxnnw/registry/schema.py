"""The tables of a registry, one schema for SQLite and PostgreSQL, with a version number and the steps between versions.

Bytes in scan pages are little-endian on every machine. SQLAlchemy is imported when a registry is opened.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from onnxnnw.errors import MissingExtra

if TYPE_CHECKING:
    from sqlalchemy import Connection, MetaData, Table

__all__ = ["MIGRATIONS", "READ_AS_IT_IS", "VERSION", "Tables", "sql", "tables"]

VERSION, READ_AS_IT_IS = 2, 1
"""Of the schema, and the oldest that is read as it is; whoever adds records brings an older registry up to date."""


def sql() -> Any:
    """SQLAlchemy, which an extra brings.

    Raises:
        MissingExtra: It is not installed.
    """
    try:
        import sqlalchemy
    except ImportError:
        raise MissingExtra("sqlalchemy", "registry") from None
    return sqlalchemy


@dataclass(frozen=True)
class Tables:
    """The tables.

    Attributes:
        info: Name and value: version and time of creation.
        layouts: Slot tables by digest: records of one network have one.
        groups: Records whose scan pages are alike: one layout, one kind of mark, one number of positions, one host.
        records: Records, their bytes as they are, with what lists and filters need beside them.
        screens: Pages of the first positions of many records of a group, with what is expected there.
        wholes: All positions of one record, with what is expected there.
        log_entries: Commitments in the order in which they were logged.
        log_nodes: Hashes of the Merkle tree over them, by level and place.
    """

    metadata: "MetaData"
    info: "Table"
    layouts: "Table"
    groups: "Table"
    records: "Table"
    screens: "Table"
    wholes: "Table"
    log_entries: "Table"
    log_nodes: "Table"


@cache
def tables() -> Tables:
    """The tables of the newest version."""
    sa = sql()
    metadata = sa.MetaData()
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # only INTEGER counts up by itself there

    def column(name: str, kind: Any, *more: Any, **options: Any) -> Any:
        return sa.Column(name, kind, *more, nullable=options.pop("nullable", False), **options)

    info = sa.Table(
        "registry_info", metadata, column("name", sa.String(40), primary_key=True), column("value", sa.Text)
    )
    layouts = sa.Table(
        "layouts",
        metadata,
        column("id", number, primary_key=True),
        column("digest", sa.String(64), unique=True),
        column("slots", sa.LargeBinary),
    )
    groups = sa.Table(
        "groups",
        metadata,
        column("id", number, primary_key=True),
        column("digest", sa.String(64), unique=True),
        column("layout_id", number, sa.ForeignKey("layouts.id")),
        column("family", sa.String(20)),
        column("positions", sa.Integer),
        column("units", sa.LargeBinary),
    )
    records = sa.Table(
        "records",
        metadata,
        column("id", number, primary_key=True),
        column("commitment", sa.String(64), unique=True),
        column("group_id", number, sa.ForeignKey("groups.id"), index=True),
        *(column(name, sa.Text) for name in ("method", "kind", "actor", "role", "source_id", "destination_id")),
        column("network", sa.Text),
        column("added_at", sa.String(32)),
        column("revoked_at", sa.String(32), nullable=True),
        column("reason", sa.Text, nullable=True),
        column("digest", sa.String(64)),
        column("content", sa.LargeBinary),
    )
    screens = sa.Table(
        "screens",
        metadata,
        column("id", number, primary_key=True),
        column("group_id", number, sa.ForeignKey("groups.id")),
        column("level", sa.Integer),
        column("count", sa.Integer),
        column("digest", sa.String(64)),
        column("data", sa.LargeBinary),
        sa.Index("screens_of_group", "group_id", "level"),
    )
    wholes = sa.Table(
        "wholes",
        metadata,
        column("record_id", number, primary_key=True, autoincrement=False),
        column("digest", sa.String(64)),
        column("data", sa.LargeBinary),
    )
    log_entries = sa.Table(
        "log_entries",
        metadata,
        column("place", number, primary_key=True, autoincrement=False),
        column("commitment", sa.String(64), unique=True),
        column("logged_at", sa.String(32)),
    )
    log_nodes = sa.Table(
        "log_nodes",
        metadata,
        column("level", sa.Integer, primary_key=True, autoincrement=False),
        column("place", number, primary_key=True, autoincrement=False),
        column("hash", sa.LargeBinary),
    )
    return Tables(metadata, info, layouts, groups, records, screens, wholes, log_entries, log_nodes)


MIGRATIONS: "Mapping[int, Callable[[Connection], None]]" = {
    2: lambda _: None,  # new pages hold 128 positions of each record; those that are there keep their 64
}
"""Version -> what brings a registry of the version before up to it; each runs in the transaction that notes the new version."""
