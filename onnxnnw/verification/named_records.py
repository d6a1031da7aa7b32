"""Records with what is shown of them: from files, and all of a folder."""

from dataclasses import dataclass
from pathlib import Path

from onnxnnw.errors import UnreadableRecord
from onnxnnw.records.record import Record
from onnxnnw.records.record_file import load_record

__all__ = ["NamedRecord", "load_records", "named_record"]


@dataclass(frozen=True)
class NamedRecord:
    """A record with what is shown of it: its file name and commitment."""

    record: Record
    name: str
    commitment: str


def load_records(folder: Path | str) -> tuple[list[NamedRecord], list[str]]:
    """All records of a folder (not of its subfolders), and what was no record or could not be read.

    Raises:
        UnreadableRecord: The folder cannot be read or holds no record that can.
    """
    folder = Path(folder)
    try:
        files = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and not _is_folder(path))
    except OSError as error:
        raise UnreadableRecord(f"{folder}: cannot be read: {error.strerror}") from None
    records, unreadable = [], []
    for path in files:
        try:
            records.append(named_record(path))
        except UnreadableRecord as error:
            unreadable.append(str(error))
    if not records:
        first = f": {unreadable[0]}" if unreadable else ""
        raise UnreadableRecord(f"{folder}: holds no record ({len(files)} files looked at){first}")
    return records, unreadable


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # where a link leads may not be looked at
        return False


def named_record(path: Path | str, commitment: str | None = None) -> NamedRecord:
    """A record from a file, with its name and commitment.

    Raises:
        UnreadableRecord: See ``records.record.load_record``.
    """
    record = load_record(path, commitment)
    return NamedRecord(record, Path(path).name, record.commitment)
