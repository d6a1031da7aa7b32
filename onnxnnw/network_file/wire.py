"""Protobuf's wire format: fields, numbers and lengths, read from an open file without loading it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from onnx import ModelProto

from onnxnnw.errors import FileChanged, UnreadableNetwork
from onnxnnw.files import read_at, read_into_at

if TYPE_CHECKING:
    from onnxnnw.sources.remote import RemoteHandle

__all__ = [
    "BYTES",
    "EXTERNAL_DATA",
    "INT32_DATA",
    "RAW_DATA",
    "Field",
    "Handle",
    "Reader",
    "Schema",
    "encode_bytes_field",
    "encode_head",
    "encode_varint",
    "read_exactly",
    "read_into",
    "schema_of",
]

INT32_DATA, RAW_DATA = 5, 9
"""The numbers of these fields in TensorProto."""

EXTERNAL_DATA = 13
"""The number of ``external_data`` in TensorProto."""

_VARINT, _FIXED64, BYTES, _FIXED32 = 0, 1, 2, 5
_PAYLOADS = {"raw_data": "raw", "float_data": "float", "double_data": "double", "int32_data": "int32"}
_WIRE_TYPES = {1: _FIXED64, 6: _FIXED64, 16: _FIXED64, 2: _FIXED32, 7: _FIXED32, 15: _FIXED32}
_WIRE_TYPES |= {9: BYTES, 11: BYTES, 12: BYTES}  # descriptor types: string, message, bytes; all others are varints
_WINDOW_SMALL, _WINDOW_LARGE = 4096, 2**18
_READ = 2**24


class Handle(Protocol):
    """What reads from a file that is no descriptor: one behind an address, or one that is about to be written."""

    def read(self, length: int, offset: int) -> bytes:
        """Bytes of the file; fewer where it ends."""

    def ahead(self, places: Sequence[int], lengths: Sequence[int]) -> None:
        """Fetch pieces at once that will be read next."""


class Field(NamedTuple):
    """What the schema says about one field: ``child`` leads to a TensorProto, ``payload`` is the kind of a tensor's values."""

    number: int
    name: str
    wire_type: int
    repeated: bool
    child: "Schema | None"
    payload: str | None


@dataclass(frozen=True)
class Schema:
    """A message type: its fields by number, derived from onnx's own descriptors."""

    name: str
    fields: dict[int, Field]


_schemas: dict[str, Schema] = {}


def schema_of(descriptor: object = ModelProto.DESCRIPTOR) -> Schema:
    """The schema of a message type, with children only where they can lead to a TensorProto."""
    name = descriptor.full_name  # type: ignore[attr-defined]
    if name not in _schemas:
        fields: dict[int, Field] = {}
        _schemas[name] = Schema(name.rsplit(".", 1)[-1], fields)  # registered first: messages are recursive
        for field in descriptor.fields:  # type: ignore[attr-defined]
            child = (
                schema_of(field.message_type) if field.message_type is not None and _leads(field.message_type) else None
            )
            payload = _PAYLOADS.get(field.name) if name.endswith(".TensorProto") else None
            repeated = field.is_repeated if hasattr(field, "is_repeated") else field.label == 3
            fields[field.number] = Field(
                field.number, field.name, _WIRE_TYPES.get(field.type, _VARINT), repeated, child, payload
            )
    return _schemas[name]


def _leads(descriptor: object, seen: frozenset[str] = frozenset()) -> bool:
    name = descriptor.full_name  # type: ignore[attr-defined]
    if name.endswith(".TensorProto"):
        return True
    children = [field.message_type for field in descriptor.fields if field.message_type is not None]  # type: ignore[attr-defined]
    return any(_leads(child, seen | {name}) for child in children if child.full_name not in seen | {name})


def encode_varint(value: int) -> bytes:
    """A non-negative integer as a protobuf varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_head(number: int, length: int) -> bytes:
    """Tag and length of a length-delimited field."""
    return encode_varint(number << 3 | BYTES) + encode_varint(length)


def encode_bytes_field(number: int, content: bytes) -> bytes:
    """A length-delimited field with its tag and length."""
    return encode_head(number, len(content)) + content


def read_exactly(descriptor: int | Handle, length: int, offset: int) -> bytes:
    """``length`` bytes at ``offset`` of an open file.

    Raises:
        FileChanged: The file ends earlier, so it shrank since it was opened.
    """
    if not isinstance(descriptor, int):
        content = descriptor.read(length, offset)
        if len(content) < length:
            raise FileChanged("the file became shorter while it was read")
        return content
    pieces = []
    while length:
        piece = read_at(descriptor, length, offset)
        if not piece:
            raise FileChanged("the file became shorter while it was read")
        pieces.append(piece)
        length -= len(piece)
        offset += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def read_into(descriptor: "int | RemoteHandle", target: memoryview, offset: int) -> None:
    """Fill ``target`` with the bytes from ``offset`` on, without a copy beside it.

    Raises:
        FileChanged: The file ends earlier, so it shrank since it was opened.
    """
    if not isinstance(descriptor, int):
        for at in range(0, len(target), _READ):
            part = target[at : at + _READ]
            part[:] = read_exactly(descriptor, len(part), offset + at)
        return
    while target:
        done = read_into_at(descriptor, target[:_READ], offset)
        if not done:
            raise FileChanged("the file became shorter while it was read")
        target, offset = target[done:], offset + done


class Reader:
    """Varints and ranges of a file through a small window that grows while the reading is sequential."""

    def __init__(self, descriptor: "int | RemoteHandle", size: int) -> None:
        self.descriptor, self.size = descriptor, size
        self.window, self.base = b"", 0
        self._width = _WINDOW_SMALL

    def fill(self, position: int) -> None:
        """Move the window so that it starts at ``position``."""
        sequential = self.base <= position <= self.base + len(self.window)
        self._width = min(self._width * 4, _WINDOW_LARGE) if sequential else _WINDOW_SMALL
        self.window = read_exactly(self.descriptor, min(self._width, self.size - position), position)
        self.base = position

    def range(self, start: int, end: int) -> bytes:
        """Bytes from ``start`` to ``end``."""
        if self.base <= start and end <= self.base + len(self.window):
            return self.window[start - self.base : end - self.base]
        return read_exactly(self.descriptor, end - start, start)

    def varint(self, position: int, end: int) -> tuple[int, int]:
        """The varint at ``position`` and where it ends.

        Raises:
            UnreadableNetwork: It runs past ``end`` or past ten bytes.
        """
        value = shift = 0
        while position < end and shift < 70:
            if not self.base <= position < self.base + len(self.window):
                self.fill(position)
            byte = self.window[position - self.base]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFFFFFFFFFFFFFF, position
            shift += 7
        raise UnreadableNetwork("not a readable ONNX file: a number or a length is broken off")

    def fields(self, start: int, end: int, schema: Schema) -> Iterator[tuple[int, int, int, int, Field | None]]:
        """The fields of a message: wire type, where its tag starts, where its content starts and ends, what is known of it.

        Raises:
            UnreadableNetwork: A field runs past the message, is a group, or contradicts the schema.
        """
        seen = 0
        position = start
        while position < end:
            tag_start = position
            window, base = self.window, self.base
            index = position - base
            if (
                0 <= index < len(window) - 11 and window[index] < 0x80
            ):  # the usual case: a one-byte tag inside the window
                tag = window[index]
                position += 1
            else:
                tag, position = self.varint(position, end)
            number, wire_type = tag >> 3, tag & 7
            if wire_type == BYTES:
                index = position - self.base
                if 0 <= index < len(self.window) and self.window[index] < 0x80:
                    length = self.window[index]
                    position += 1
                else:
                    length, position = self.varint(position, end)
                content, position = position, position + length
            elif wire_type == _VARINT:
                content = position
                _, position = self.varint(position, end)
            elif wire_type in (_FIXED64, _FIXED32):
                content = position
                position += 8 if wire_type == _FIXED64 else 4
            else:
                raise UnreadableNetwork(
                    "not a readable ONNX file: it contains a protobuf group or an unknown wire type"
                )
            if position > end or number == 0:
                raise UnreadableNetwork(
                    "not a readable ONNX file: a field runs past its message (truncated or damaged)"
                )
            field = schema.fields.get(number)
            if field is not None:
                packed = field.repeated and wire_type == BYTES
                if wire_type != field.wire_type and not packed:
                    raise UnreadableNetwork(f"{schema.name}.{field.name} is stored with another wire type")
                if not field.repeated:
                    if seen >> number & 1:
                        raise UnreadableNetwork(f"{schema.name}.{field.name} is present twice; readers would disagree")
                    seen |= 1 << number
            yield wire_type, tag_start, content, position, field
