"""The log in a registry: appended in the transaction that adds records, its key and timestamps beside it."""

import base64
import binascii
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnxnnw.errors import UnreadableRegistry, UsageError
from onnxnnw.registry.database import Database, now
from onnxnnw.registry.log.checkpoints import Checkpoint, SigningKey, VerifierKey, parse_checkpoint
from onnxnnw.registry.log.merkle import consistency_proof, head, inclusion_proof, leaf_hash, nodes_of
from onnxnnw.registry.log.proofs import consistency_file, entry_of, inclusion_file
from onnxnnw.registry.log.timestamps import Stamp, check_stamp
from onnxnnw.registry.schema import sql, tables
from onnxnnw.registry.vault import Vault

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["KeptLog", "KeptStamp", "Proof", "append"]

_AT_ONCE = 4096
DEFAULT_NAME = "onnxnnw.invalid/registry"
_NAME, _SEED, _STAMP = "log/name", "log/seed", "stamp/"
_SEED_PLACE = "log key"


def append(connection: "Connection", commitments: Sequence[str]) -> None:
    """Append commitments to the log, in the transaction that adds their records."""
    size = _size(connection)
    leaves = [leaf_hash(entry_of(commitment)) for commitment in commitments]
    time, log = now(), tables()
    rows = [{"place": size + k, "commitment": each, "logged_at": time} for k, each in enumerate(commitments)]
    if not rows:
        return
    connection.execute(log.log_entries.insert(), rows)
    new = nodes_of(size, leaves, lambda level, place: _node(connection, level, place))
    found = [{"level": level, "place": place, "hash": value} for level, place, value in new]
    connection.execute(log.log_nodes.insert(), found)


def _size(connection: "Connection") -> int:
    entries = tables().log_entries
    last = connection.execute(sql().select(sql().func.max(entries.c.place))).scalar()
    return 0 if last is None else int(last) + 1


def _node(connection: "Connection", level: int, place: int) -> bytes:
    nodes = tables().log_nodes
    wanted = sql().select(nodes.c.hash).where((nodes.c.level == level) & (nodes.c.place == place))
    found = connection.execute(wanted).scalar()
    if found is None or len(found) != 32:
        raise UnreadableRegistry(f"the log lacks the hash {place} of level {level}; run `registry check`")
    return bytes(found)


@dataclass(frozen=True)
class KeptStamp:
    """A timestamp that a registry keeps.

    Attributes:
        note: The signed checkpoint that it is of.
        size: Entries of that checkpoint.
        token: The authority's answer.
    """

    note: bytes
    size: int
    token: bytes


@dataclass(frozen=True)
class Proof:
    """That a commitment is in the log, for somebody without the registry.

    Attributes:
        content: The file.
        checkpoint: The state of the log that it refers to.
        stamp: The earliest timestamp of a state that holds the entry; None where there is none.
    """

    content: bytes
    checkpoint: Checkpoint
    stamp: KeptStamp | None


class KeptLog:
    """The log of one registry.

    Args:
        database: The registry's.
        vault: How its bytes rest there; the log's key is one of them.
    """

    def __init__(self, database: Database, vault: Vault) -> None:
        self.database, self.vault = database, vault

    def key(self, name: str = "") -> VerifierKey:
        """The public key of the log; made at the first call.

        Args:
            name: Of the log, which never changes afterwards: an address without ``https://`` that the owner has.

        Raises:
            UsageError: The log has another name already.
        """
        return self._signing(name).verifier

    def _signing(self, name: str = "") -> SigningKey:
        with self.database.reading() as connection:
            known = self._known_key(connection)
        if known is None:
            with self.database.writing() as connection:
                known = self._known_key(connection)
                if known is None:  # else another process came first
                    known = SigningKey.generate(name or DEFAULT_NAME)
                    sealed = base64.b64encode(self.vault.seal(known.seed, _SEED_PLACE)).decode()
                    rows = [{"name": _NAME, "value": known.name}, {"name": _SEED, "value": sealed}]
                    connection.execute(tables().info.insert(), rows)
        if name and name != known.name:
            raise UsageError(f"the log is called {known.name}, which cannot be changed: checkpoints are out under it")
        return known

    def _known_key(self, connection: "Connection") -> SigningKey | None:
        info = tables().info
        found = dict(
            connection.execute(sql().select(info.c.name, info.c.value).where(info.c.name.in_([_NAME, _SEED]))).all()
        )
        if not found:
            return None
        try:
            seed = self.vault.open(base64.b64decode(found[_SEED], validate=True), _SEED_PLACE)
            if len(seed) != 32:
                raise ValueError
            return SigningKey(found[_NAME], seed)
        except (KeyError, ValueError, binascii.Error, UsageError):
            raise UnreadableRegistry(f"{self.database.place}: the log's key is damaged") from None

    def checkpoint(self, size: int | None = None) -> Checkpoint:
        """The signed head of the log, or of its first entries."""
        key = self._signing()
        with self.database.reading() as connection:
            return self._checkpoint(connection, key, size)

    def _checkpoint(self, connection: "Connection", key: SigningKey, size: int | None) -> Checkpoint:
        there = _size(connection)
        if size is not None and not 0 <= size <= there:
            raise UsageError(f"the log has {there:,} entries, not {size:,}")
        size = there if size is None else size
        return key.sign(size, head(size, lambda level, place: _node(connection, level, place)))

    def prove(self, commitment: str) -> Proof:
        """The proof that a record's commitment is in the log: in the earliest state that was timestamped, or the latest.

        Raises:
            UsageError: It is not in the log, or begins like several.
        """
        key, stamps = self._signing(), self.stamps()
        with self.database.reading() as connection:
            index = self._place_of(connection, commitment)
            stamp = next((each for each in stamps if each.size > index), None)
            if stamp is not None:
                checkpoint = parse_checkpoint(stamp.note, key.verifier)
            else:  # the latest state, which nobody timestamped yet
                checkpoint = self._checkpoint(connection, key, None)
            path = inclusion_proof(index, checkpoint.size, lambda level, place: _node(connection, level, place))
        return Proof(inclusion_file(index, path, checkpoint), checkpoint, stamp)

    def stamped(self, commitment: str) -> list[Proof]:
        """A proof for each timestamped state that holds a record's commitment; nothing is written where there is none.

        Raises:
            UnreadableRegistry: The log or a timestamp is damaged.
        """
        with self.database.reading() as connection:
            if not list(self._stamp_rows(connection)):
                return []
            try:
                index = self._place_of(connection, commitment)
            except UsageError:
                return []  # it never was added to this log
        key, stamps, out = self._signing().verifier, self.stamps(), []
        with self.database.reading() as connection:
            for stamp in (each for each in stamps if each.size > index):
                checkpoint = parse_checkpoint(stamp.note, key)
                path = inclusion_proof(index, checkpoint.size, lambda level, place: _node(connection, level, place))
                out.append(Proof(inclusion_file(index, path, checkpoint), checkpoint, stamp))
        return out

    def _place_of(self, connection: "Connection", commitment: str) -> int:
        start = commitment.strip().lower()
        if len(start) < 4 or not set(start) <= set("0123456789abcdef"):
            raise UsageError(f"a commitment is hexadecimal, or its first digits, 4 at least, not {commitment[:80]!r}")
        entries = tables().log_entries
        wanted = sql().select(entries.c.place).where(entries.c.commitment.startswith(start))
        found = connection.execute(wanted.limit(2)).all()
        if len(found) != 1:
            raise UsageError(f"{'several entries begin' if found else 'no entry of the log begins'} with {start[:64]}")
        return int(found[0][0])

    def consistency(self, old: int) -> bytes:
        """The proof that the log only grew since it had so many entries, as a file."""
        key = self._signing()
        with self.database.reading() as connection:
            newer = self._checkpoint(connection, key, None)
            if not 0 <= old <= newer.size:
                raise UsageError(f"the log has {newer.size:,} entries, so it never had {old:,}")
            path = consistency_proof(old, newer.size, lambda level, place: _node(connection, level, place))
        return consistency_file(old, path, newer)

    # --- timestamps -----------------------------------------------------------------------------------------------

    def keep_stamp(self, checkpoint: Checkpoint, stamp: Stamp) -> None:
        """Keep a timestamp of a checkpoint of this log."""
        value = f"{base64.b64encode(checkpoint.note).decode()} {base64.b64encode(stamp.token).decode()}"
        with self.database.writing() as connection:
            number = len(list(self._stamp_rows(connection)))
            connection.execute(tables().info.insert().values(name=f"{_STAMP}{number:08d}", value=value))

    def stamps(self) -> list[KeptStamp]:
        """The timestamps that are kept, of the smallest log first.

        Raises:
            UnreadableRegistry: One is damaged.
        """
        key = self._signing().verifier
        with self.database.reading() as connection:
            rows = list(self._stamp_rows(connection))
        out = []
        for name, value in rows:
            note, _, token = value.partition(" ")
            try:
                content = base64.b64decode(note, validate=True), base64.b64decode(token, validate=True)
                size = parse_checkpoint(content[0], key).size
            except Exception as error:
                raise UnreadableRegistry(f"{self.database.place}: {name} is damaged: {error}") from None
            out.append(KeptStamp(content[0], size, content[1]))
        return sorted(out, key=lambda each: each.size)

    def _stamp_rows(self, connection: "Connection") -> Iterator[tuple[str, str]]:
        info = tables().info
        wanted = sql().select(info.c.name, info.c.value).where(info.c.name.startswith(_STAMP)).order_by(info.c.name)
        for name, value in connection.execute(wanted):
            yield str(name), str(value)

    def existed_before(self, commitment: str, roots: bytes) -> str | None:
        """By when a record existed, as the earliest timestamp under trusted roots says; None where none does."""
        with self.database.reading() as connection:
            index = self._place_of(connection, commitment)
            if not list(self._stamp_rows(connection)):
                return None
        times = [check_stamp(each.token, each.note, roots) for each in self.stamps() if each.size > index]
        return min(times, key=lambda stamp: stamp.before).text if times else None

    # --- checking -------------------------------------------------------------------------------------------------

    def problems(self) -> list[str]:
        """What is wrong with the log: entries and hashes made anew, records without entry, entries without record, timestamps."""
        with self.database.reading() as connection:
            out = [*self._wrong_nodes(connection), *self._strangers(connection)]
            return [*out, *([] if out else self._wrong_stamps(connection))]

    def _wrong_nodes(self, connection: "Connection") -> list[str]:
        """Entries and hashes that do not follow from each other; of the tree only its right edge is in memory at a time."""
        log, sa = tables(), sql()
        made: dict[tuple[int, int], bytes] = {}
        count, size = 0, _size(connection)
        for start in range(0, size, _AT_ONCE):
            of_chunk = (log.log_entries.c.place >= start) & (log.log_entries.c.place < start + _AT_ONCE)
            rows = connection.execute(
                sa.select(log.log_entries).where(of_chunk).order_by(log.log_entries.c.place)
            ).all()
            places = [row.place for row in rows]
            if places != [*range(start, min(size, start + _AT_ONCE))]:
                return [f"log entries are missing among {start:,} to {start + _AT_ONCE:,}"]
            try:
                leaves = [leaf_hash(entry_of(row.commitment)) for row in rows]
            except UsageError:
                return [f"log entries among {start:,} to {start + _AT_ONCE:,} hold no commitment"]
            new = {(a, b): found for a, b, found in nodes_of(start, leaves, lambda *at, known=made: known[at])}
            for level in {level for level, _ in new}:
                at = [place for one, place in new if one == level]
                wanted = (log.log_nodes.c.level == level) & log.log_nodes.c.place.between(min(at), max(at))
                for row in connection.execute(sa.select(log.log_nodes).where(wanted)):
                    if new.get((level, row.place)) != bytes(row.hash):
                        return [f"log hash {row.place:,} of level {level} is not that of its entries"]
            count += len(new)
            edge = {(level, place) for level, place in {**made, **new} if place == ((start + len(rows)) >> level) - 1}
            made = {place: found for place, found in {**made, **new}.items() if place in edge}
        there = connection.execute(sa.select(sa.func.count()).select_from(log.log_nodes)).scalar()
        return [] if there == count else [f"the log has {there:,} hashes, where its entries make {count:,}"]

    def _strangers(self, connection: "Connection") -> list[str]:
        log, sa = tables(), sql()
        logged, kept = log.log_entries.c.commitment, log.records.c.commitment
        missing = connection.execute(sa.select(kept).where(kept.not_in(sa.select(logged))).limit(20)).scalars()
        extra = connection.execute(sa.select(logged).where(logged.not_in(sa.select(kept))).limit(20)).scalars()
        return [
            *(f"record {commitment[:16]}… is not in the log" for commitment in missing),
            *(f"log entry {commitment[:16]}… has no record" for commitment in extra),
        ]

    def _wrong_stamps(self, connection: "Connection") -> list[str]:
        """Timestamps of checkpoints that the log does not begin with; its hashes were checked before."""
        if not list(self._stamp_rows(connection)):
            return []  # and no key is made, for whoever checks may not write
        key, size, out = self._signing(), _size(connection), []
        try:
            kept = self.stamps()
        except UnreadableRegistry as error:
            return [str(error)]
        for each in kept:
            claimed = parse_checkpoint(each.note, key.verifier)
            if each.size > size or self._checkpoint(connection, key, each.size).root != claimed.root:
                out.append(f"the log does not begin with the {each.size:,} entries that were timestamped")
        return out
