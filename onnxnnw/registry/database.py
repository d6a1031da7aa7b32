"""The database of a registry: a file that only its owner reads, or a PostgreSQL server; opened, checked, and its errors named."""

import contextlib
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxnnw.errors import MissingExtra, UnreadableRegistry, UsageError
from onnxnnw.registry.schema import MIGRATIONS, READ_AS_IT_IS, VERSION, sql, tables

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

__all__ = ["Database", "now"]

_MAGIC = b"SQLite format 3\0"
_WAIT_MS = 60_000
_PAGE = 8192
"""Bytes of a page of a file: three records' scan data, of 512 positions each, where 4,096 hold one."""

_LOCK = 0x6E6E_7700
"""Of PostgreSQL's advisory locks, the one that a writer holds."""


def now() -> str:
    """The time in UTC, to the microsecond, as registries keep it."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Database:
    """Connections to one registry.

    Attributes:
        place: Where it is, without a password, for messages.

    Args:
        place: Path of a file, or a URL ``postgresql://…``.
        create: Whether a registry that is not there is made, and one of an older version brought up to date.

    Raises:
        UnreadableRegistry: There is none, it is of another kind or version, others can read it, or the server does not answer.
        UsageError: A URL of another database.
    """

    def __init__(self, place: Path | str, create: bool = False) -> None:
        text = str(place)
        self.engine: Engine
        if "://" in text:
            self.place, self.engine = _server(text)
        else:
            self.place = text
            self.engine = _file(Path(text), create)
        try:
            self._check(create)
        except BaseException:
            self.engine.dispose()
            raise

    @property
    def is_file(self) -> bool:
        """Whether it is a file rather than a server."""
        return self.engine.dialect.name == "sqlite"

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextlib.contextmanager
    def reading(self) -> "Iterator[Connection]":
        """A transaction that sees one state of the registry."""
        with self._named(), self.engine.connect() as connection, connection.begin():
            if not self.is_file:
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield connection

    def rows(self, statement: str) -> Iterator[tuple[Any, ...]]:
        """Rows of one statement as the driver gives them: for very many, which would cost more to dress than to read.

        Raises:
            UnreadableRegistry: The database cannot be read.
        """
        with self.reading() as connection:
            cursor = connection.connection.cursor()
            try:
                yield from cursor.execute(statement)
            except self.engine.dialect.loaded_dbapi.Error as error:
                raise self._unreadable(error) from None
            finally:
                cursor.close()

    @contextlib.contextmanager
    def writing(self) -> "Iterator[Connection]":
        """A transaction of the one writer there is at a time: all of it is kept, or nothing."""
        with self._named(), self.engine.connect() as connection:
            connection = connection.execution_options(onnxnnw_writing=True)
            with connection.begin():
                if not self.is_file:
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
                yield connection

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Errors of the database as errors of ours, which name the registry and no secret."""
        sa = sql()
        try:
            yield
        except sa.exc.DBAPIError as error:
            raise self._unreadable(error.orig or error) from None

    def _unreadable(self, error: BaseException) -> UnreadableRegistry:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return UnreadableRegistry(f"{self.place}: {lines[0][:200]}; nothing was changed")

    def _check(self, create: bool) -> None:
        """Whether this is a registry of this version; an empty database becomes one where that was asked for."""
        sa = sql()
        with self.reading() as connection:
            there = set(sa.inspect(connection).get_table_names())
            version = self._version(connection) if "registry_info" in there else None
        if version is None:
            if there or not create:
                what = "holds tables of something else" if there else "holds no registry; `registry add` makes one"
                raise UnreadableRegistry(f"{self.place}: {what}")
            with self.writing() as connection:
                tables().metadata.create_all(connection)
                known = {"version": str(VERSION), "created": now()}
                if self._version(connection) is None:  # else another process came first
                    rows = [{"name": name, "value": value} for name, value in known.items()]
                    connection.execute(tables().info.insert(), rows)
            return
        if version > VERSION:
            raise UnreadableRegistry(
                f"{self.place}: a registry of version {version}; this program knows versions up to {VERSION}, take a newer one"
            )
        if version < (VERSION if create else READ_AS_IT_IS):  # who only reads need not be allowed to write
            self._migrate()

    def _migrate(self) -> None:
        with self.writing() as connection:
            version = self._version(connection) or 0
            for step in range(version + 1, VERSION + 1):
                if step not in MIGRATIONS:
                    raise UnreadableRegistry(
                        f"{self.place}: a registry of version {version}, which nothing brings up to date"
                    )
                MIGRATIONS[step](connection)
            info = tables().info
            connection.execute(info.update().where(info.c.name == "version").values(value=str(VERSION)))

    def _version(self, connection: "Connection") -> int | None:
        info = tables().info
        found = connection.execute(sql().select(info.c.value).where(info.c.name == "version")).scalar()
        if found is None:
            return None
        if not str(found).isdecimal():
            raise UnreadableRegistry(f"{self.place}: a registry without a readable version")
        return int(found)


def _server(url: str) -> "tuple[str, Engine]":
    sa = sql()
    try:
        parsed = sa.engine.make_url(url)
    except sa.exc.ArgumentError:
        raise UsageError("a registry is the path of a file or postgresql://USER@HOST/DATABASE") from None
    if parsed.get_backend_name() != "postgresql":
        raise UsageError(f"a registry is a file or a PostgreSQL database, not {parsed.get_backend_name()!r}")
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise MissingExtra("psycopg", "server") from None
    place = parsed.set(password=None, query={}).render_as_string()
    engine = sa.create_engine(
        parsed.set(drivername="postgresql+psycopg"), pool_size=4, connect_args={"connect_timeout": 20}
    )
    return place, engine


def _file(path: Path, create: bool) -> "Engine":
    try:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags)
        except FileNotFoundError:
            if not create:
                raise UnreadableRegistry(f"{path}: there is no registry; `registry add` makes one") from None
            sql()  # before anything is made
            descriptor = os.open(path, flags | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableRegistry(f"{path}: is not a regular file")
            if status.st_mode & 0o077:
                raise UnreadableRegistry(
                    f"{path}: others can read this registry, and who reads a record can erase its mark; run: chmod 600 {path}"
                )
            if status.st_size and file.read(len(_MAGIC)) != _MAGIC:
                raise UnreadableRegistry(f"{path}: is no registry")
    except OSError as error:
        raise UnreadableRegistry(f"{path}: cannot be read: {error.strerror}") from None
    sa = sql()
    engine: Engine = sa.create_engine(
        sa.engine.URL.create("sqlite", database=str(path)),
        connect_args={"timeout": _WAIT_MS / 1000, "check_same_thread": False},
    )

    def configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions of its own
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout={_WAIT_MS}",
            f"page_size={_PAGE}",  # of a new file
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "trusted_schema=OFF",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def begin(connection: Any) -> None:
        writing = connection.get_execution_options().get("onnxnnw_writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    sa.event.listen(engine, "connect", configure)
    sa.event.listen(engine, "begin", begin)
    return engine
