"""The hash of a file without its slots: if it is unchanged, slots are located without tracing the graph.

The *skeleton* is everything in a network's files but the bytes of the record's slots: their hash tells whether the graph, all other
tensors and every place are those of enrolment. It is bound, as all that a verification uses.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from onnxnnw.errors import UnreadableRecord
from onnxnnw.records.canonical_json import integer, text
from onnxnnw.records.slot_table import SlotEntry

__all__ = ["MAX_HASHED", "VERSION", "SkeletonIndex", "SlotPlace", "begun_hash"]

VERSION = 1
MAX_HASHED = 16 * 2**20
"""Bytes outside slots up to which a skeleton is kept: hashing more takes longer than tracing."""

_ITEMSIZES = {"float": 4, "double": 8, "float16": 2, "bfloat16": 2}
_MAX_FILES = 64


@dataclass(frozen=True)
class SlotPlace:
    """Where a slot's elements lie, all of them and nothing else.

    Attributes:
        file: Number of the file.
        offset: Of its first byte.
        strides: Elements from one to the next along each axis of the canonical shape; 0 for axes of length 1.
    """

    file: int
    offset: int
    strides: tuple[int, ...]


@dataclass(frozen=True)
class SkeletonIndex:
    """Hash of a skeleton, and where the slots lie that are not in it.

    Attributes:
        digest: SHA-256, see ``begun_hash``.
        files: Location below the model's folder, and bytes, of each file; the model's own location is empty.
        slots: One for each of the record's slots.
    """

    digest: str
    files: tuple[tuple[str, int], ...]
    slots: tuple[SlotPlace, ...]

    def to_json(self) -> dict[str, Any]:
        """As the record keeps it."""
        return {
            "version": VERSION,
            "digest": self.digest,
            "files": [[name, size] for name, size in self.files],
            "slots": [[place.file, place.offset, *place.strides] for place in self.slots],
        }

    @classmethod
    def from_json(cls, document: Any, entries: Sequence[SlotEntry]) -> "SkeletonIndex":
        """An index that was written by ``to_json``.

        Raises:
            UnreadableRecord, KeyError, TypeError, ValueError: It is none, or contradicts the slots.
        """
        if integer(document["version"]) != VERSION or set(document) != {"version", "digest", "files", "slots"}:
            raise UnreadableRecord("a skeleton of an unknown version")
        digest = text(document["digest"])
        files = tuple((text(name), integer(size)) for name, size in document["files"])
        slots = tuple(SlotPlace(integer(f), integer(o), tuple(map(integer, s))) for f, o, *s in document["slots"])
        index = cls(digest, files, slots)
        names = [name for name, _ in files]
        if not 1 <= len(files) <= _MAX_FILES or names[0] or not all(names[1:]) or len(set(names)) != len(names):
            raise UnreadableRecord("a skeleton of impossible files")
        if len(digest) != 64 or len(slots) != len(entries) or any(not 0 <= size < 2**62 for _, size in files):
            raise UnreadableRecord("a skeleton that does not fit its record")
        whole: dict[tuple[tuple[int, ...], tuple[int, ...]], bool] = {}  # thousands of slots have a few shapes
        for place, entry in zip(slots, entries, strict=True):
            kind = place.strides, entry.shape
            if kind not in whole:
                whole[kind] = _whole(*kind)
            if not 0 <= place.file < len(files) or not whole[kind] or place.offset < 0:
                raise UnreadableRecord("a skeleton with an impossible place")
        for number in range(len(files)):
            for _ in index.gaps(number, entries):
                pass
        return index

    def extents(self, file: int, entries: Sequence[SlotEntry]) -> list[tuple[int, int]]:
        """Where slots lie in a file: first byte and length, ascending."""
        known = vars(self).get("_extents")  # of these very entries: it is asked for again and again
        if known is None or known[0] is not entries:
            parts: list[list[tuple[int, int]]] = [[] for _ in self.files]
            for place, entry in zip(self.slots, entries, strict=True):
                parts[place.file].append((place.offset, length_of(entry)))
            known = vars(self)["_extents"] = entries, [sorted(part) for part in parts]
        extents: list[tuple[int, int]] = known[1][file]
        return extents

    def gaps(self, file: int, entries: Sequence[SlotEntry]) -> Iterator[tuple[int, int]]:
        """Everything else in a file: first byte and end, ascending.

        Raises:
            UnreadableRecord: Slots overlap or lie outside.
        """
        at = 0
        for offset, length in self.extents(file, entries):
            if offset < at:
                raise UnreadableRecord("a skeleton whose slots overlap")
            if offset > at:
                yield at, offset
            at = offset + length
        if at > self.files[file][1]:
            raise UnreadableRecord("a skeleton whose slots lie outside its files")
        if at < self.files[file][1]:
            yield at, self.files[file][1]


def length_of(entry: SlotEntry) -> int:
    """Bytes of a slot whose elements are stored as they are.

    Raises:
        UnreadableRecord: Its element type is none that is.
    """
    itemsize = _ITEMSIZES.get(entry.data_type)
    if itemsize is None:
        raise UnreadableRecord("a skeleton with slots that are decoded")
    return entry.size * itemsize


def _whole(strides: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether these strides reach each of so many neighbours once."""
    if len(strides) != len(shape):
        return False
    step = 1
    for stride, length in sorted((s, n) for s, n in zip(strides, shape, strict=True) if n > 1):
        if stride != step:
            return False
        step *= length
    return all(s == 0 for s, n in zip(strides, shape, strict=True) if n == 1)


def begun_hash(index: SkeletonIndex, entries: Sequence[SlotEntry]) -> Any:
    """The hash of a skeleton before its bytes: how long each file is, and where its slots lie, in order."""
    out = hashlib.sha256(b"onnxnnw/skeleton/%d\0" % VERSION)
    for number, (name, size) in enumerate(index.files):
        encoded = name.encode()
        out.update(b"%d:%b,%d;" % (len(encoded), encoded, size))
        for offset, length in index.extents(number, entries):
            out.update(b"%d+%d," % (offset, length))
        out.update(b"\n")
    return out
