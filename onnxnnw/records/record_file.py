"""Record files: written once, never overwritten, and read as hostile input."""

import os
import secrets
from pathlib import Path

from onnxnnw.errors import UnreadableRecord, UsageError
from onnxnnw.files import NEW, open_descriptor
from onnxnnw.records.record import MAX_BYTES, Record, commitment_of
from onnxnnw.records.shared_parts import SharedParts

__all__ = ["load_record", "save_record"]


def save_record(record: Record, path: Path | str) -> str:
    """Write a record with mode 0600; its commitment.

    Raises:
        UsageError: The file exists: a record is the only copy of its secret, so it is never overwritten. Or it is too large.
    """
    path = Path(path)
    content = record.to_bytes()
    if len(content) > MAX_BYTES:
        raise UsageError(
            f"the record would be larger than {MAX_BYTES >> 20} MiB, which nobody reads; take fewer positions"
        )
    Record.from_bytes(content)  # what is written must be readable: it holds the only copy of a secret
    taken = f"{path} exists; a record holds the only copy of a secret and is never overwritten"
    if path.exists():
        raise UsageError(taken)
    partial = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.partial")
    try:
        descriptor = os.open(partial, NEW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        try:
            os.link(partial, path)  # unlike a rename, it never replaces
        except FileExistsError:
            raise UsageError(taken) from None
        except OSError:  # a file system without hard links
            partial.rename(path)
    except OSError as error:
        error.filename, error.filename2 = str(path), None  # the name that the user knows
        raise
    finally:
        partial.unlink(missing_ok=True)
    return commitment_of(content)


def load_record(path: Path | str, commitment: str | None = None, shared: SharedParts | None = None) -> Record:
    """Read a record.

    Args:
        path: The file.
        commitment: The published SHA-256 of the file; another file is refused.
        shared: Parts of records that were read before, where there are many.

    Raises:
        UnreadableRecord: Missing, not a record, damaged, or not the one that was committed to.
    """
    path = Path(path)
    try:
        with os.fdopen(open_descriptor(path, UnreadableRecord)[0], "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UnreadableRecord(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise UnreadableRecord(f"{path}: larger than {MAX_BYTES >> 20} MiB, so it is no record")
    if commitment is not None and commitment_of(content) != commitment.strip().lower():
        raise UnreadableRecord(f"{path}: is not the record that was committed to ({commitment[:16]}…)")
    try:
        record = Record.from_bytes(content, shared)
    except UnreadableRecord as error:
        raise UnreadableRecord(f"{path}: {error}") from None
    vars(record).update(name=path.name)  # a copy would not know its commitment, and write itself to find it
    return record
