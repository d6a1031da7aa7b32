"""Records with their names: from files, or all of a folder."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxnnw.errors import UnreadableRecord
from onnxnnw.notices import note
from onnxnnw.records.record import Record
from onnxnnw.records.record_file import load_record
from onnxnnw.records.shared_parts import SharedParts

__all__ = ["NamedRecord", "RecordLike", "as_named", "load_records", "named_record"]

DEEP = "**"
"""Last part of a folder's path with which its folders are searched too, and theirs."""


@dataclass(frozen=True)
class NamedRecord:
    """A record with what is shown of it: its file name and commitment."""

    record: Record
    name: str
    commitment: str


RecordLike = NamedRecord | Record | Path | str
"""What a record can be given as: loaded, or by the path of its file."""


def as_named(records: RecordLike | Sequence[RecordLike]) -> list[NamedRecord]:
    """Records with their names, from one or several in whatever form; those that were loaded keep the name of their file.

    Raises:
        UnreadableRecord: One that was given by its path cannot be read.
    """
    given = [records] if isinstance(records, NamedRecord | Record | Path | str) else records
    out = []
    for one in given:
        if isinstance(one, Record):
            one = NamedRecord(one, one.name or "record", one.commitment)
        out.append(one if isinstance(one, NamedRecord) else named_record(one))
    return out


def load_records(folder: Path | str) -> tuple[list[NamedRecord], list[str]]:
    """All records of a folder, and what was no record or could not be read.

    Args:
        folder: ``FOLDER/**`` searches the folders inside too; else those that are left out are counted in a notice. Links to
            folders are not followed, and names that begin with a dot are left out.

    Raises:
        UnreadableRecord: The folder cannot be read or holds no record that can.
    """
    folder = Path(folder)
    deep = folder.name == DEEP
    folder = folder.parent if deep else folder
    try:
        entries = sorted(
            (path for path in folder.iterdir() if not path.name.startswith(".")), key=lambda path: path.name
        )
    except OSError as error:
        raise UnreadableRecord(f"{folder}: cannot be read: {error.strerror}") from None
    inside = [path for path in entries if _is_folder(path)]
    files = sorted(_files_below(folder)) if deep else [path for path in entries if path not in inside]
    records, unreadable, shared = [], [], SharedParts()
    for path in files:
        try:
            one = named_record(path, shared=shared)
            records.append(NamedRecord(one.record, path.relative_to(folder).as_posix(), one.commitment))
        except UnreadableRecord as error:
            unreadable.append(str(error))
    left = ""
    if inside and not deep:
        left = f"{len(inside)} folder{'s' * (len(inside) > 1)} inside not searched; {folder / DEEP} searches them too"
    if not records:
        first = f": {unreadable[0]}" if unreadable else ""
        left = f" ({left})" if left else ""
        raise UnreadableRecord(f"{folder}: holds no record ({len(files)} files looked at){first}{left}")
    if left:
        note(f"{folder}: {left}")
    return records, unreadable


def _files_below(folder: Path) -> Iterator[Path]:
    """All files of a folder and of those inside, hidden ones left out."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in names if not name.startswith("."))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # where a link leads may not be looked at
        return False


def named_record(path: Path | str, commitment: str | None = None, shared: SharedParts | None = None) -> NamedRecord:
    """A record from a file, with its name and commitment.

    Args:
        commitment, shared: See ``records.record_file.load_record``.

    Raises:
        UnreadableRecord: See ``records.record.load_record``.
    """
    record = load_record(path, commitment, shared)
    return NamedRecord(record, Path(path).name, record.commitment)
