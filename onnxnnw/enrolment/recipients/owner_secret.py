"""The owner's secret of all copies of one network: from it follow the positions that they share, and each recipient's key.

It lies beside the records, mode 0600, hidden from a search of the folder. So a run that was interrupted goes on with the same
keys, and a recipient who comes later gets a copy at the same positions: a second marking of one host would give the host away.
"""

import base64
import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from onnxnnw.errors import UnreadableRecord, UsageError
from onnxnnw.files import read_regular
from onnxnnw.records.canonical_json import canonical, integer, parse, text
from onnxnnw.records.fields import key_from_json
from onnxnnw.records.key import SECRET_BYTES, Key

__all__ = ["OWNER_FILE", "OwnerSecret", "alone_in", "load_owner", "save_owner"]

OWNER_FILE = ".recipients.json"
FORMAT = "onnxnnw/owner/1"
MAX_BYTES = 2**16


@dataclass(frozen=True)
class OwnerSecret:
    """What all copies of one network have in common.

    Attributes:
        key: The secret from which all others follow.
        enrolled_digest: Canonical digest of the network before any mark.
        positions: N.
        strength: Lambda, a decimal number as records have it.
    """

    key: Key
    enrolled_digest: str
    positions: int
    strength: str

    @property
    def positions_key(self) -> Key:
        """The secret of the positions, which every record holds."""
        return positions_key_of(self.key, self.enrolled_digest)

    def recipient_key(self, destination_id: str) -> Key:
        """The secret of one recipient's mark."""
        stream = self.key.stream(f"recipients/key/{destination_id}", _context(self.enrolled_digest))
        return Key(stream.take(SECRET_BYTES))


def positions_key_of(key: Key, enrolled_digest: str) -> Key:
    """The secret of the positions, from the owner's."""
    return Key(key.stream("recipients/positions", _context(enrolled_digest)).take(SECRET_BYTES))


def _context(enrolled_digest: str) -> bytes:
    return hashlib.sha256(enrolled_digest.encode()).digest()


def load_owner(folder: Path) -> OwnerSecret | None:
    """The secret of a folder of records; None where it has none yet.

    Raises:
        UnreadableRecord: Something else is there, or it is damaged.
    """
    path = folder / OWNER_FILE
    if not os.path.lexists(path):
        return None
    content = read_regular(path, UnreadableRecord, MAX_BYTES)
    try:
        document = parse(content)
        if document.get("format") != FORMAT:
            raise UnreadableRecord(f"is not of the format {FORMAT}")
        found = OwnerSecret(
            key_from_json(document["secret"]),
            text(document["enrolled_digest"]),
            integer(document["positions"]),
            text(document["strength"]),
        )
        if _bytes_of(found) != content:
            raise UnreadableRecord("is not as it was written")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, UnreadableRecord) as error:
        raise UnreadableRecord(f"{path}: is no owner's secret: {error}") from None
    return found


def _bytes_of(owner: OwnerSecret) -> bytes:
    document = {
        "format": FORMAT,
        "secret": base64.b64encode(owner.key.secret).decode(),
        "enrolled_digest": owner.enrolled_digest,
        "positions": owner.positions,
        "strength": owner.strength,
    }
    return canonical(document) + b"\n"


def save_owner(owner: OwnerSecret, folder: Path) -> None:
    """Write the secret; on the disk when this returns, and never over another.

    Raises:
        UsageError: There is one.
    """
    path = folder / OWNER_FILE
    partial = folder / f"{OWNER_FILE}.{secrets.token_hex(4)}.partial"
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_bytes_of(owner))
            file.flush()
            os.fsync(descriptor)
        if os.path.lexists(path):
            raise UsageError(f"{path} exists; an owner's secret is never overwritten")
        partial.rename(path)
        sync_folder(folder)
    finally:
        partial.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """fsync a folder, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Lock a folder of records against other runs, where the system has locks; the lock of a killed run is gone.

    Raises:
        UsageError: Another run is at work there.
    """
    try:
        import fcntl
    except ImportError:  # not everywhere
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{folder}: another run makes copies for recipients there") from None
        yield
    finally:
        os.close(descriptor)
