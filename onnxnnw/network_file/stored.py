"""A tensor as it is stored: name, type, shape and place; its elements are read on demand."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnxnnw.errors import UnreadableNetwork
from onnxnnw.network_file import wire
from onnxnnw.network_file.formats import PACKED_BITS, SMALL_FLOATS, decode_small, round_small, unpack
from onnxnnw.network_file.source import ONE_PIECE, Source, groups, will_need

if TYPE_CHECKING:
    from onnxnnw.sources.remote import RemoteSource

__all__ = ["Array", "StoredTensor", "byte_length", "convert", "holds", "inline_values", "possible", "round_to"]

Array = NDArray[Any]

_NUMPY = {
    TensorProto.FLOAT: "<f4",
    TensorProto.DOUBLE: "<f8",
    TensorProto.FLOAT16: "<f2",
    TensorProto.BFLOAT16: "<u2",
    TensorProto.INT8: "i1",
    TensorProto.UINT8: "u1",
    TensorProto.INT16: "<i2",
    TensorProto.UINT16: "<u2",
    TensorProto.INT32: "<i4",
    TensorProto.UINT32: "<u4",
    TensorProto.INT64: "<i8",
    TensorProto.UINT64: "<u8",
    TensorProto.BOOL: "u1",
    TensorProto.COMPLEX64: "<c8",
    TensorProto.COMPLEX128: "<c16",
}
_NUMPY |= {
    TensorProto.DataType.Value(name): "u1"
    for name in SMALL_FLOATS
    if name not in PACKED_BITS and name in TensorProto.DataType.keys()  # noqa: SIM118 - no dict: an enum's wrapper
}
_FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
_ROUNDED = SMALL_FLOATS.keys() - {"FLOAT8E8M0"}
_VALUE_FIELDS = {
    "float_data": {"FLOAT", "COMPLEX64"},
    "double_data": {"DOUBLE", "COMPLEX128"},
    "int64_data": {"INT64"},
    "uint64_data": {"UINT32", "UINT64"},
    "string_data": {"STRING"},
}  # every other type is stored in int32_data, one varint per element (or per packed byte)
MAX_DIMENSIONS = 32
"""NumPy's limit until its version 2."""

_NAMES = {number: name for name, number in TensorProto.DataType.items()}
_READABLE = {
    number
    for number, name in _NAMES.items()
    if (number in _NUMPY and not name.startswith("COMPLEX")) or name in PACKED_BITS
}


@dataclass(frozen=True, slots=True, eq=False)
class StoredTensor:
    """A tensor as it is stored.

    Attributes:
        name: As in the file; for a Constant node, the name of its output.
        data_type: ONNX element type (TensorProto.DataType).
        shape: As in the file.
        storage: ``raw``, ``float``, ``double`` (bytes at a place in a file), ``external``, or ``inline`` (in the model's skeleton).
        source: The file with the bytes; None for inline values.
        offset: Byte offset in the source.
        inline: The values of an inline tensor, flat; of a format below 16 bits that is no plain integer, its bytes.
        varints: Where in the model file the field begins that has the inline values as integers of any length; None where they
            are stored in another way, or the network was not opened for writing.
    """

    name: str
    data_type: int
    shape: tuple[int, ...]
    storage: str
    source: "Source | RemoteSource | None" = None
    offset: int = 0
    inline: Array | None = field(default=None, repr=False)
    varints: int | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def type_name(self) -> str:
        """ONNX's name of the element type, in lower case: ``float``, ``float16``, ``int8`` …"""
        return str(_NAMES[self.data_type]).lower()

    @property
    def itemsize(self) -> int:
        """Bytes per stored element; 0 for packed types and strings."""
        return np.dtype(_NUMPY[self.data_type]).itemsize if self.data_type in _NUMPY else 0

    @property
    def is_float(self) -> bool:
        """Whether the elements are floating-point numbers that this version reads and writes."""
        return self.data_type in _FLOATS

    @property
    def place(self) -> tuple[object, ...]:
        """Equal for tensors that are the same bytes read alike, e.g. in two calls of one function."""
        if self.varints is not None:
            return ("varints", self.varints, self.data_type, self.shape)
        return (id(self),) if self.source is None else (self.source.path, self.offset, self.data_type, self.shape)

    @property
    def readable(self) -> bool:
        """Whether this version can read the elements as numbers."""
        return self.data_type in _READABLE

    @property
    def read_only(self) -> str:
        """Why single elements cannot be written in place; empty where they can."""
        if not self.is_float:
            return f"{self.name[:80]!r} holds {self.type_name} values"
        if self.source is None and self.varints is None:
            return f"{self.name[:80]!r} is stored element by element as variable-length integers"
        return ""

    def take(self, flat: NDArray[np.int64]) -> Array:
        """The elements at flat positions (row-major), as numbers; float16 and bfloat16 as float32."""
        bits = PACKED_BITS.get(_NAMES[self.data_type])
        if bits:
            each = 8 // bits
            shared = self._pieces(flat // each, 1, np.dtype("u1")) if self.inline is None else self.inline[flat // each]
            return _decode(shared >> (flat % each * bits).astype("u1") & (2**bits - 1), self.data_type)
        if self.inline is not None:
            return _decode_inline(self.inline[flat], self.data_type)
        return _decode(self._pieces(flat, self.itemsize, np.dtype(_NUMPY[self.data_type])), self.data_type)

    def _pieces(self, flat: NDArray[np.int64], itemsize: int, dtype: np.dtype[Any]) -> Array:
        """Stored elements through one ``pread`` per group of near neighbours."""
        assert self.source is not None
        if not flat.size:
            return np.empty(flat.shape, dtype)
        low, high = int(flat.min()), int(flat.max())
        if (high - low) * itemsize < ONE_PIECE:
            with self.source.opened() as descriptor:
                piece = wire.read_exactly(descriptor, (high - low + 1) * itemsize, self.offset + low * itemsize)
            return np.frombuffer(piece, dtype)[flat - low]
        order = np.argsort(flat, axis=None, kind="stable")
        ascending = flat.reshape(-1)[order]
        starts, stops = groups(ascending, itemsize)
        first = ascending[starts]
        counts = ascending[stops - 1] - first + 1
        places, lengths = (self.offset + first * itemsize).tolist(), (counts * itemsize).tolist()
        with self.source.opened() as descriptor:
            if len(places) > 1:
                will_need(descriptor, places, lengths)
            raw = b"".join([wire.read_exactly(descriptor, n, place) for n, place in zip(lengths, places, strict=True)])
        shift = np.cumsum(counts) - counts - first  # from a stored position to its place among those that were read
        out = np.empty(flat.size, dtype)
        out[order] = np.frombuffer(raw, dtype)[ascending + np.repeat(shift, stops - starts)]
        return out.reshape(flat.shape)

    def array(self) -> Array:
        """All elements in the stored shape, as numbers; float16 and bfloat16 as float32."""
        return self._stretch(0, self.size).reshape(self.shape)

    def blocks(self, elements: int = 2**16) -> Iterator[Array]:
        """The same numbers, flat and in order, in blocks of at most ``elements``, a multiple of 8."""
        for start in range(0, self.size, elements):
            yield self._stretch(start, min(start + elements, self.size))

    def _stretch(self, start: int, stop: int) -> Array:
        """Neighbours as numbers, flat; the first of them begins a byte."""
        bits = PACKED_BITS.get(_NAMES[self.data_type])
        each = 8 // bits if bits else 1
        first, last = start // each, -(-stop // each)
        if self.inline is not None:
            stored = self.inline[first:last]
        else:
            assert self.source is not None
            stored = np.empty(last - first, _NUMPY.get(self.data_type, "u1"))
            if stored.size:
                place = self.offset + first * stored.itemsize
                with self.source.opened() as descriptor:
                    wire.read_into(descriptor, stored.view("u1").data, place)
        if bits:
            return _decode(unpack(stored, bits)[: stop - start], self.data_type)
        return (_decode if self.inline is None else _decode_inline)(stored, self.data_type)

    def raw_chunks(self, length: int = 2**22) -> Iterator[bytes]:
        """The canonical little-endian bytes, as ``raw_data`` would hold them, in chunks."""
        if self.source is None:
            assert self.inline is not None
            yield _encode_inline(self.inline, self.data_type)
            return
        total = byte_length(self.data_type, self.size)
        for start in range(0, total, length):
            with self.source.opened() as descriptor:
                piece = wire.read_exactly(descriptor, min(length, total - start), self.offset + start)
            yield piece

    def encode(self, values: Array) -> bytes:
        """Numbers as the bytes in which this tensor stores them, rounded to nearest even; overflow becomes infinity."""
        return _encode(values, self.data_type)


def possible(shape: Sequence[int]) -> bool:
    """Whether an array can have this shape; dimensions may be huge where another one is 0."""
    return len(shape) <= MAX_DIMENSIONS and math.prod(n for n in shape if n) < 2**48


def round_to(values: Array, type_name: str) -> Array:
    """What reading back gives after ``values`` were stored as a floating-point type."""
    data_type = TensorProto.DataType.Value(type_name.upper())
    return _decode(np.frombuffer(_encode(values, data_type), _NUMPY[data_type]), data_type)


def convert(values: Array, data_type: int, saturate: bool = True) -> Array | None:
    """What ONNX's Cast to an element type gives, as numbers; None for types that are not read.

    Args:
        saturate: Whether what is too large for eight bits of floating point becomes the largest number.
    """
    with np.errstate(all="ignore"):
        if _NAMES.get(data_type, "") in _ROUNDED:
            return round_small(values, _NAMES[data_type], saturate)
        if data_type in _FLOATS:
            return _decode(np.frombuffer(_encode(values, data_type), _NUMPY[data_type]), data_type).reshape(
                values.shape
            )
        if data_type == TensorProto.BOOL:
            truth: Array = (values != 0).astype("u1")
            return truth
        if data_type not in _NUMPY or np.dtype(_NUMPY[data_type]).kind == "c" or _NAMES[data_type] in SMALL_FLOATS:
            return None
        whole = np.trunc(values).astype(np.int64) if values.dtype.kind == "f" else values
        narrow: Array = whole.astype(_NUMPY[data_type])
        return narrow


def _encode(values: Array, data_type: int) -> bytes:
    with np.errstate(over="ignore", invalid="ignore"):
        if data_type == TensorProto.BFLOAT16:
            bits = np.ascontiguousarray(values, "<f4").view("<u4")
            rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
            return np.where(np.isnan(values), 0x7FC0, rounded).astype("<u2").tobytes()
        return np.ascontiguousarray(values).astype(_NUMPY[data_type]).tobytes()


def _decode(stored: Array, data_type: int) -> Array:
    if data_type == TensorProto.BFLOAT16:
        return (stored.astype("<u4") << 16).view("<f4")
    if data_type == TensorProto.FLOAT16:
        return stored.astype("<f4")
    return decode_small(stored, _NAMES[data_type])


def _decode_inline(values: Array, data_type: int) -> Array:
    return decode_small(values, _NAMES[data_type]) if _NAMES[data_type] in SMALL_FLOATS else values


def _encode_inline(values: Array, data_type: int) -> bytes:
    if values.dtype == object:  # strings: length-prefixed, so that no two lists share their bytes
        return b"".join(len(text).to_bytes(8, "little") + text for text in values.tolist())
    if data_type == TensorProto.FLOAT16:
        return values.astype("<f2").tobytes()
    if data_type == TensorProto.BFLOAT16:
        return (np.ascontiguousarray(values, "<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return values.astype(values.dtype.newbyteorder("<")).tobytes()


def byte_length(data_type: int, elements: int) -> int:
    """Bytes of ``elements`` in raw form; -1 for strings."""
    name = _NAMES[data_type]
    if name in PACKED_BITS:
        return -(-elements * PACKED_BITS[name] // 8)
    if data_type in _NUMPY:
        return elements * np.dtype(_NUMPY[data_type]).itemsize
    return -1


def holds(field_name: str, data_type: int) -> bool:
    """Whether ``field_name`` is where ONNX stores elements of this type."""
    name = _NAMES[data_type]
    homes = [f for f, names in _VALUE_FIELDS.items() if name in names] or ["int32_data"]
    return field_name in homes


def inline_values(proto: TensorProto, size: int, expected: int, present: str) -> Array:
    """The values of a tensor that stayed in the skeleton, flat and decoded."""
    if not present:
        if size:
            raise UnreadableNetwork(f"shape {list(proto.dims)} needs {size} values, but none are stored")
        return np.empty(0, np.float32)
    name = _NAMES[proto.data_type]
    if present == "raw_data":
        if len(proto.raw_data) != expected:
            raise UnreadableNetwork(
                f"shape {list(proto.dims)} needs {expected} bytes, but {len(proto.raw_data)} are stored"
            )
        if name in PACKED_BITS or name in SMALL_FLOATS:
            return np.frombuffer(proto.raw_data, "u1")
        return _decode(np.frombuffer(proto.raw_data, _NUMPY[proto.data_type]), proto.data_type)
    if not holds(present, proto.data_type):
        raise UnreadableNetwork(f"its {name.lower()} values are in {present}, the field of another element type")
    values = getattr(proto, present)
    parts = 2 if name.startswith("COMPLEX") else 1
    count = expected if name in PACKED_BITS else size * parts
    if len(values) != count:
        raise UnreadableNetwork(f"shape {list(proto.dims)} needs {count} values, but {len(values)} are stored")
    if present == "string_data":
        out = np.empty(size, object)
        out[:] = list(values)
        return out
    if proto.data_type in (TensorProto.FLOAT16, TensorProto.BFLOAT16):
        return _decode(
            (np.array(values, np.int64) & 0xFFFF).astype("<u2").view(_NUMPY[proto.data_type]), proto.data_type
        )
    if name in PACKED_BITS or name in SMALL_FLOATS:
        return (np.array(values, np.int64) & 0xFF).astype("u1")
    if name.startswith("COMPLEX"):
        return np.array(values, "<f4" if name == "COMPLEX64" else "<f8").view(_NUMPY[proto.data_type])
    if present in ("float_data", "double_data"):
        return np.array(values, np.float64).astype(_NUMPY[proto.data_type])
    wide = np.array(values, np.uint64 if present == "uint64_data" else np.int64)
    narrow = wide.astype(_NUMPY[proto.data_type])
    if (narrow != wide).any():
        raise UnreadableNetwork(f"a stored value is no {name.lower()}")
    return narrow
