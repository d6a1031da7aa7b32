"""A copy whose external tensors lie elsewhere: where everything will lie, and its bytes before weights are changed.

The external files become one, each from a multiple of 4 KiB on. In the model only their places are written anew, everything else is
a range of the file.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from onnx import StringStringEntryProto, TensorProto

from onnxnnw.network_file.source import Source
from onnxnnw.network_file.wire import (
    EXTERNAL_DATA,
    RAW_DATA,
    Reader,
    Schema,
    encode_bytes_field,
    encode_head,
    read_exactly,
    schema_of,
)

__all__ = ["Layout", "Piece", "PlannedFile", "laid_out", "relocate", "with_raw_data"]

_ALIGNMENT = 4096

Piece = bytes | tuple[int, int]
"""Literal bytes, or a range of the file from start to stop."""


Rewrite = Callable[[Reader, int, int, Schema], list[Piece]]
"""What becomes of a tensor from start to stop."""


def with_raw_data(reader: Reader, contents: Mapping[int, bytes]) -> list[Piece]:
    """The model file with other values of some tensors, whose elements had a length each and now have one width.

    Args:
        reader: The model file.
        contents: Where a field of values begins -> what stands in ``raw_data`` instead.
    """

    def rewrite(reader: Reader, start: int, end: int, schema: Schema) -> list[Piece]:
        for _, tag_start, content, stop, field in reader.fields(start, end, schema):
            if field is not None and field.name == "int32_data" and content in contents:
                return [(start, tag_start), encode_bytes_field(RAW_DATA, contents[content]), (stop, end)]
        return [(start, end)]

    return _rewritten(reader, 0, reader.size, schema_of(), rewrite)


def relocate(reader: Reader, place: Callable[[str], tuple[str, int]]) -> list[Piece]:
    """The model file with other external locations, as pieces; everything else is a range of the file.

    Args:
        reader: The model file.
        place: Old location -> new location and the offset that is added to every extent in it.
    """

    def rewrite(reader: Reader, start: int, end: int, schema: Schema) -> list[Piece]:
        return _relocated_tensor(reader, start, end, schema, place)

    return _rewritten(reader, 0, reader.size, schema_of(), rewrite)


def _rewritten(reader: Reader, start: int, end: int, schema: Schema, rewrite: Rewrite) -> list[Piece]:
    if schema.name == "TensorProto":
        return rewrite(reader, start, end, schema)
    pieces: list[Piece] = []
    run = start
    for _, tag_start, content, stop, field in reader.fields(start, end, schema):
        if field is None or field.child is None:
            continue
        inner = _rewritten(reader, content, stop, field.child, rewrite)
        if any(isinstance(piece, bytes) for piece in inner):
            length = sum(len(piece) if isinstance(piece, bytes) else piece[1] - piece[0] for piece in inner)
            pieces += ((run, tag_start), encode_head(field.number, length), *inner)
            run = stop
    return [*pieces, (run, end)]


def _relocated_tensor(
    reader: Reader, start: int, end: int, schema: Schema, place: Callable[[str], tuple[str, int]]
) -> list[Piece]:
    """A tensor whose external entries, where it has any, say the new place; other entries stay as they are."""
    pieces: list[Piece] = []
    places: dict[str, str] = {}
    external = False
    run = start
    for _, tag_start, content, stop, field in reader.fields(start, end, schema):
        if field is None or field.name not in ("external_data", "data_location"):
            continue
        if field.name == "data_location":
            external = reader.varint(content, stop)[0] == TensorProto.EXTERNAL
            continue
        entry = StringStringEntryProto.FromString(reader.range(content, stop))
        if entry.key in ("location", "offset", "checksum"):  # the last is a SHA-1 of the file as it was
            places[entry.key] = entry.value
            pieces.append((run, tag_start))
            run = stop
    if not external:
        return [(start, end)]
    location, added = place(places.get("location", ""))
    renewed = {"location": location}
    if added or "offset" in places:
        renewed["offset"] = str(int(places.get("offset") or 0) + added)
    encoded = b"".join(
        encode_bytes_field(EXTERNAL_DATA, encode_bytes_field(1, k.encode()) + encode_bytes_field(2, v.encode()))
        for k, v in renewed.items()
    )
    return [*pieces, (run, end), encoded]


@dataclass(frozen=True)
class Layout:
    """Where everything lies in a copy with one external file.

    Attributes:
        model: The model file that is copied.
        pieces: Of the new model file: new bytes, or ranges of the old one.
        location: Of the new external file, beside the model.
        external: The old external files, and where each begins in the new one.
    """

    model: Source
    pieces: Sequence[Piece]
    location: str
    external: Sequence[tuple[Source, int]]

    @cached_property
    def files(self) -> "tuple[PlannedFile, PlannedFile]":
        """The new model file and the new external file, as they are before weights change."""
        position, parts = 0, list[tuple[int, bytes | tuple[Source, int, int]]]()
        for piece in self.pieces:
            parts.append((position, piece if isinstance(piece, bytes) else (self.model, *piece)))
            position += len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]
        data = [(base, (source, 0, source.size)) for source, base in self.external]
        return PlannedFile(position, parts), PlannedFile(max(base + s.size for s, base in self.external), data)

    def place(self, source: Source, offset: int) -> tuple[int, int] | None:
        """Where a byte of an old file lies: number of the new file, and offset; None where it is written anew."""
        for number, file in enumerate(self.files):
            new = file.place(source, offset)
            if new is not None:
                return number, new
        return None


class PlannedFile:
    """A file that is going to be written: parts of other files, new bytes, and zeros between them.

    Attributes:
        size: Bytes.
    """

    is_remote = False

    def __init__(self, size: int, parts: "Sequence[tuple[int, bytes | tuple[Source, int, int]]]") -> None:
        self.size, self._parts = size, [(start, part) for start, part in parts if _length(part)]
        self._starts = [start for start, _ in self._parts]

    @contextmanager
    def opened(self) -> "Iterator[PlannedFile]":
        """What reads from it."""
        yield self

    def read(self, length: int, offset: int) -> bytes:
        """Bytes of the file; fewer where it ends."""
        stop, out, at = min(offset + length, self.size), bytearray(), offset
        index = max(0, bisect_right(self._starts, offset) - 1)
        while at < stop:
            start, part = self._parts[index] if index < len(self._parts) else (self.size, b"")
            end = start + _length(part)
            if at < start:
                out += bytes(min(start, stop) - at)
                at = min(start, stop)
            elif at < end:
                first, last = at - start, min(end, stop) - start
                out += part[first:last] if isinstance(part, bytes) else _read(part, first, last)
                at = min(end, stop)
            else:
                index += 1
        return bytes(out)

    def ahead(self, places: Sequence[int], lengths: Sequence[int]) -> None:
        """Nothing: it is on this disk."""

    def place(self, source: Source, offset: int) -> int | None:
        """Where a byte of another file lies in this one; None where it does not."""
        for start, part in self._parts:
            if not isinstance(part, bytes) and part[0] is source and part[1] <= offset < part[2]:
                return start + offset - part[1]
        return None


def _length(part: "bytes | tuple[Source, int, int]") -> int:
    return len(part) if isinstance(part, bytes) else part[2] - part[1]


def _read(part: tuple[Source, int, int], first: int, last: int) -> bytes:
    source, start, _ = part
    with source.opened() as descriptor:
        return read_exactly(descriptor, last - first, start + first)


def laid_out(model: Source, external: Sequence[Source], folder: Path, location: str) -> Layout:
    """The layout of a copy.

    Args:
        model: The model file.
        external: Its external files, in the order in which they will lie.
        folder: The model's, below which the locations in it lie.
        location: Of the new external file.
    """
    bases: dict[Path, int] = {}
    end = 0
    for source in external:
        bases[source.path] = end
        end += -(-source.size // _ALIGNMENT) * _ALIGNMENT
    with model.opened() as descriptor:
        pieces = relocate(Reader(descriptor, model.size), lambda old: (location, bases[folder / old]))
    return Layout(model, pieces, location, [(source, bases[source.path]) for source in external])
