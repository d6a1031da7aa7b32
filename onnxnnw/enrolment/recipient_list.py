"""A list of recipients: destination IDs as CSV, and the names of the files that each gets."""

import csv
import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path

from onnxnnw.errors import UnreadableData, UsageError
from onnxnnw.files import read_regular

__all__ = ["Recipient", "read_recipients", "recipients_of"]

COLUMN = "destination_id"
MAX_BYTES = 64 * 2**20
MAX_RECIPIENTS = 1_000_000
MAX_LENGTH = 500
"""Characters of a destination ID."""

_PLAIN = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}")
"""What is a file's name as it is, on every file system; other IDs are spelled with what they have of it, and a hash."""


@dataclass(frozen=True)
class Recipient:
    """Somebody who gets a copy.

    Attributes:
        destination_id: As the record has it.
    """

    destination_id: str

    @property
    def name(self) -> str:
        """What the files of this recipient are called, without ending."""
        if _PLAIN.fullmatch(self.destination_id):
            return self.destination_id
        spelled = re.sub(r"[^a-z0-9]+", "-", self.destination_id.lower()).strip("-")[:40]
        return f"{spelled or 'recipient'}.{hashlib.sha256(self.destination_id.encode()).hexdigest()[:16]}"


def read_recipients(path: Path | str) -> list[Recipient]:
    """The recipients of a CSV file [RFC 4180]: the column ``destination_id``, or the first where no such heading stands.

    Raises:
        UnreadableData: It cannot be read, or is no CSV in UTF-8.
        UsageError: It names nobody, somebody twice, or somebody by nothing.
    """
    content = read_regular(Path(path), UnreadableData, MAX_BYTES)
    try:
        rows = [row for row in csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UnreadableData(f"{path}: is no list of recipients (CSV in UTF-8): {error}") from None
    column = 0
    if rows and COLUMN in (heads := [cell.strip() for cell in rows[0]]):
        column, rows = heads.index(COLUMN), rows[1:]
    short = next((number for number, row in enumerate(rows, 1) if len(row) <= column), None)
    if short is not None:
        raise UsageError(f"{path}: line {short} of the recipients has no {COLUMN}")
    try:
        return recipients_of([row[column].strip() for row in rows])
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def recipients_of(destination_ids: list[str]) -> list[Recipient]:
    """Recipients by their IDs, each once.

    Raises:
        UsageError: See ``read_recipients``.
    """
    if not destination_ids:
        raise UsageError("names no recipient")
    if len(destination_ids) > MAX_RECIPIENTS:
        raise UsageError(
            f"names {len(destination_ids):,} recipients, and at most {MAX_RECIPIENTS:,} get copies at once"
        )
    known: set[str] = set()
    for number, each in enumerate(destination_ids, 1):
        if not each or len(each) > MAX_LENGTH:
            raise UsageError(f"recipient {number} has an ID of {len(each)} characters; it has 1 to {MAX_LENGTH}")
        if each in known:
            raise UsageError(f"recipient {number}, {each[:80]!r}, is named twice: each gets one copy")
        known.add(each)
    return [Recipient(each) for each in destination_ids]
