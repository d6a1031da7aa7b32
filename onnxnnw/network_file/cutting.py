"""The cutter: where the large tensors' bytes lie in a serialised ONNX model.

It walks the protobuf wire format with ``pread`` (never a mapping, which costs memory and dies with SIGBUS when the file
shrinks), descends only into messages that lead to a TensorProto, and replaces each large payload by an external-data entry
under a random key of this opening. Everything else goes to protobuf byte for byte, so names, types, shapes and nodes come
from protobuf alone and this file knows only offsets.
"""

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from onnxnnw.errors import UnreadableNetwork
from onnxnnw.network_file.wire import BYTES, EXTERNAL_DATA, Reader, Schema, encode_bytes_field, schema_of

if TYPE_CHECKING:
    from onnxnnw.sources.remote import RemoteHandle

__all__ = ["LARGE", "MAX_EMBEDDED", "Extent", "Skeleton", "cut"]

LARGE = 1024
"""Bytes from which on a payload is cut out and a message is descended into."""

MAX_EMBEDDED = 2**31
"""Protobuf, and so every runtime, loads at most 2 GiB."""

MAX_FIELDS = 2_000_000
MAX_CHILDREN = 1_000_000
MAX_DEPTH = 60
MAX_SKELETON = 64 * 2**20

_GRAPH, _GRAPHS = b"\x32", b"\x5a"
"""Tags of the two fields of an AttributeProto that hold graphs: by nothing else do messages nest without end."""


class Extent(NamedTuple):
    """Where a payload lies: byte offset and length in the model file, and the kind of field it was in."""

    offset: int
    length: int
    kind: str


@dataclass(frozen=True)
class Skeleton:
    """A model without its large payloads.

    Attributes:
        data: Serialised ModelProto; tensors that were cut carry an external-data entry ``key = index into cuts``.
        cuts: Where the payloads lie.
        key: Random key of this opening; a file cannot know it in advance.
        format: ``onnx``, or ``ort`` where the model was rebuilt from another format.
    """

    data: bytes
    cuts: list[Extent]
    key: str
    format: str = "onnx"


def cut(descriptor: "int | RemoteHandle", size: int, large: int = LARGE) -> Skeleton:
    """Cut the large payloads out of the model in an open file.

    Args:
        descriptor: An open file.
        size: Its size in bytes.
        large: Bytes from which on payloads are cut and messages are descended into; 1 cuts all of them, as writing needs.

    Raises:
        UnreadableNetwork: Damaged, or one of the refused constructions (see docs/reference/security.md).
    """
    if size >= MAX_EMBEDDED:
        raise UnreadableNetwork(
            f"the model file has {size:,} bytes; protobuf, and so every runtime, loads less than 2 GiB"
        )
    cutter = _Cutter(Reader(descriptor, size), large)
    data = cutter.message(0, size, schema_of(), 0)
    if data is None:
        data = cutter.keep(0, size)
    return Skeleton(data, cutter.cuts, cutter.key)


class _Cutter:
    def __init__(self, reader: Reader, large: int) -> None:
        self.reader, self.large = reader, large
        self.key = "onnxnnw-" + secrets.token_hex(16)
        self.cuts: list[Extent] = []
        self.count = self.kept = 0

    def keep(self, start: int, end: int) -> bytes:
        self.keep_only(end - start)
        return self.reader.range(start, end)

    def keep_only(self, length: int) -> None:
        """Charge bytes that will be in memory."""
        self.kept += length
        if self.kept > MAX_SKELETON:
            raise UnreadableNetwork("more than 64 MiB outside large tensors")

    def may_be_deep(self, start: int, end: int, depth: int) -> bool:
        """Whether a small message may hold more levels than there may be: each three of them need a graph in an attribute."""
        graphs = (MAX_DEPTH - depth) // 3 - 1
        if end - start <= 6 * graphs:
            return False
        content = self.reader.range(start, end)
        return content.count(_GRAPH) + content.count(_GRAPHS) >= graphs

    def message(self, start: int, end: int, schema: Schema, depth: int) -> bytes | None:
        """The message without its large payloads, or None where it has none."""
        if depth > MAX_DEPTH:
            raise UnreadableNetwork(f"messages are nested deeper than {MAX_DEPTH}")
        pieces: list[bytes] = []
        entries: list[bytes] = []
        run = start
        large, count = self.large, 0
        for wire_type, tag_start, content, stop, field in self.reader.fields(start, end, schema):
            count += 1
            if count & 0xFFF == 0 and self.count + count > MAX_FIELDS:
                break
            if field is None:
                continue
            if stop - content < large and (
                field.child is None or (depth and not self.may_be_deep(content, stop, depth + 1))
            ):
                continue
            if field.child is not None:
                shorter = self.message(content, stop, field.child, depth + 1)
                if shorter is not None:
                    pieces += (self.keep(run, tag_start), encode_bytes_field(field.number, shorter))
                    run = stop
            elif field.payload is not None and wire_type == BYTES and (field.payload != "int32" or large == 1):
                if field.payload == "int32":  # it is decoded whole whenever its tensor is asked for
                    self.keep_only(stop - content)
                if entries:
                    raise UnreadableNetwork("a tensor has two value fields")
                pieces.append(self.keep(run, tag_start))
                entries.append(
                    encode_bytes_field(1, self.key.encode()) + encode_bytes_field(2, str(len(self.cuts)).encode())
                )
                self.cuts.append(Extent(content, stop - content, field.payload))
                run = stop
        self.count += count
        if self.count > MAX_FIELDS:
            raise UnreadableNetwork(f"more than {MAX_FIELDS:,} fields")
        if count > MAX_CHILDREN and schema.name == "GraphProto":
            raise UnreadableNetwork(f"more than {MAX_CHILDREN:,} nodes, tensors and values in one graph")
        if not pieces:
            return None
        pieces.append(self.keep(run, end))
        pieces += (encode_bytes_field(EXTERNAL_DATA, entry) for entry in entries)
        return b"".join(pieces)
