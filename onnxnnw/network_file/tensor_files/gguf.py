"""GGUF: a header of names and values, a list of tensors, then their bytes, plain or in blocks [ggml, docs/gguf.md, version 2, 3].

Nothing of the metadata is used but the alignment. Its dimensions stand in the reverse order of ONNX's.
"""

import math
import secrets
import struct
from typing import TYPE_CHECKING

from onnx import TensorProto

from onnxnnw.errors import UnreadableNetwork
from onnxnnw.network_file.cutting import Extent, Skeleton
from onnxnnw.network_file.stored import byte_length, possible
from onnxnnw.network_file.tensor_files.gguf_blocks import BlockTensor
from onnxnnw.network_file.tensor_list import MAX_TENSORS, Listed, model_of
from onnxnnw.network_file.wire import read_exactly

if TYPE_CHECKING:
    from onnxnnw.network_file.source import Source
    from onnxnnw.sources.remote import RemoteHandle, RemoteSource

__all__ = ["MAGIC", "SUFFIX", "gguf_skeleton"]

SUFFIX, MAGIC = ".gguf", b"GGUF"
_MAX_VALUES, _MAX_ITEMS, _MAX_NAME, _MAX_DIMENSIONS, _MAX_NESTED = 100_000, 1_000_000, 1_024, 8, 4
_PIECE = 2**18
_MAX_HEADER = 256 * 2**20
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value of the metadata, by its type."""

_TEXT, _LIST, _UINT32 = 8, 9, 4
_PLAIN = {
    0: TensorProto.FLOAT,
    1: TensorProto.FLOAT16,
    24: TensorProto.INT8,
    25: TensorProto.INT16,
    26: TensorProto.INT32,
    27: TensorProto.INT64,
    28: TensorProto.DOUBLE,
    30: TensorProto.BFLOAT16,
}
_BLOCKS = {2: "q4_0", 3: "q4_1", 6: "q5_0", 7: "q5_1", 8: "q8_0", 12: "q4_k", 13: "q5_k", 14: "q6_k"}
_OTHERS = {9: "q8_1", 10: "q2_k", 11: "q3_k", 15: "q8_k", 16: "iq2_xxs", 17: "iq2_xs", 18: "iq3_xxs", 19: "iq1_s"}
_OTHERS |= {20: "iq4_nl", 21: "iq3_s", 22: "iq2_s", 23: "iq4_xs", 29: "iq1_m", 34: "tq1_0", 35: "tq2_0", 39: "mxfp4"}


class _Header:
    """Reads a header from front to back, a piece at a time; what is skipped is not read."""

    def __init__(self, descriptor: "int | RemoteHandle", size: int) -> None:
        self.descriptor, self.size, self.place = descriptor, size, 0
        self._piece, self._start = b"", 0

    def take(self, length: int) -> bytes:
        """The next bytes."""
        end = self.place + length
        self._refuse(end)
        if not self._start <= self.place <= end <= self._start + len(self._piece):
            self._start = self.place
            wanted = min(max(length, _PIECE), self.size - self.place)
            self._piece = read_exactly(self.descriptor, wanted, self.place)
        at, self.place = self.place - self._start, end
        return self._piece[at : at + length]

    def skip(self, length: int) -> None:
        """Leave bytes out."""
        self._refuse(self.place + length)
        self.place += length

    def _refuse(self, end: int) -> None:
        if end > self.size:
            raise UnreadableNetwork(
                f"the header of a GGUF file goes on to byte {end:,}, behind its end at {self.size:,}"
            )
        if end > _MAX_HEADER:
            raise UnreadableNetwork(f"a header of more than {_MAX_HEADER:,} bytes")

    def number(self, form: str) -> int:
        """One number, as ``struct`` has it."""
        (value,) = struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))
        return int(value)

    def name(self, what: str) -> str:
        """A short text."""
        length = self.number("Q")
        if not 0 < length <= _MAX_NAME:
            raise UnreadableNetwork(f"the name of {what} has {length:,} bytes; 1 to {_MAX_NAME:,} are read")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise UnreadableNetwork(f"the name of {what} is no readable text") from None


def gguf_skeleton(source: "Source | RemoteSource") -> Skeleton:
    """The network that a file of this format holds.

    Raises:
        UnreadableNetwork: It breaks a rule of the format, or has blocks of a kind that is not read.
    """
    with source.opened() as descriptor:
        header = _Header(descriptor, source.size)
        found, alignment = _listed(header)
    begin = _aligned(header.place, alignment)
    key = "onnxnnw-" + secrets.token_hex(16)
    cuts: list[Extent] = []
    listed: list[Listed] = []
    for name, kind, shape, offset in found:
        data_type, length = _type(name, kind, shape)
        listed.append(Listed(name, data_type, shape, {key: str(len(cuts))}))
        cuts.append(Extent(begin + offset, length, _BLOCKS.get(kind, "raw")))
    _refuse_places(found, cuts, alignment, begin, source.size)
    model = model_of(listed)
    for tensor in model.graph.initializer:  # the bytes are in the file that was opened
        tensor.ClearField("data_location")
    return Skeleton(model.SerializeToString(deterministic=True), cuts, key)


def _listed(header: _Header) -> tuple[list[tuple[str, int, tuple[int, ...], int]], int]:
    """Name, type, shape and offset of each tensor, and the alignment of their bytes."""
    if header.take(4) != MAGIC:
        raise UnreadableNetwork("no GGUF file")
    version = header.number("I")
    if version not in (2, 3):
        raise UnreadableNetwork(f"a GGUF file of version {version:,} (or of another order of bytes); 2 and 3 are read")
    tensors, values = header.number("Q"), header.number("Q")
    if tensors > MAX_TENSORS or values > _MAX_VALUES:
        raise UnreadableNetwork(
            f"{tensors:,} tensors and {values:,} values; at most {MAX_TENSORS:,} and {_MAX_VALUES:,}"
        )
    alignment, items = 32, [_MAX_ITEMS]
    names: set[str] = set()
    for _ in range(values):
        name = _new_name(header, "value", names)
        kind = header.number("I")
        if name == "general.alignment":
            alignment = header.number("I") if kind == _UINT32 else 0
            if not 8 <= alignment <= 2**20 or alignment % 8:
                raise UnreadableNetwork("general.alignment is no multiple of 8, or larger than 1 MiB")
        else:
            _skip(header, kind, items, 0)
    found: list[tuple[str, int, tuple[int, ...], int]] = []
    seen: set[str] = set()
    for _ in range(tensors):
        name = _new_name(header, "tensor", seen)
        count = header.number("I")
        if count > _MAX_DIMENSIONS:
            raise UnreadableNetwork(f"tensor {name[:80]!r} has {count:,} dimensions")
        shape = tuple(header.number("Q") for _ in range(count))[::-1]
        found.append((name, header.number("I"), shape, header.number("Q")))
    return found, alignment


def _new_name(header: _Header, what: str, seen: set[str]) -> str:
    """The next name; each stands once."""
    name = header.name(f"a {what}")
    if name in seen:
        raise UnreadableNetwork(f"{what} {name[:80]!r} stands twice; readers would disagree")
    seen.add(name)
    return name


def _skip(header: _Header, kind: int, items: list[int], depth: int) -> None:
    """Leave a value of the metadata out."""
    if kind in _SIZES:
        header.skip(_SIZES[kind])
    elif kind == _TEXT:
        header.skip(header.number("Q"))
    elif kind == _LIST and depth < _MAX_NESTED:
        of, count = header.number("I"), header.number("Q")
        if of in _SIZES:
            header.skip(_SIZES[of] * count)
            return
        items[0] -= count
        if items[0] < 0:
            raise UnreadableNetwork(f"lists of more than {_MAX_ITEMS:,} texts in the header")
        for _ in range(count):
            _skip(header, of, items, depth + 1)
    else:
        raise UnreadableNetwork(f"a value of the unknown type {kind:,} in the header")


def _type(name: str, kind: int, shape: tuple[int, ...]) -> tuple[int, int]:
    """ONNX's element type of what is read, and the bytes that are stored."""
    shown = f"tensor {name[:80]!r}"
    if not possible(shape) or any(n >= 2**48 for n in shape):
        raise UnreadableNetwork(f"{shown} has an impossible shape")
    if kind in _PLAIN:
        return _PLAIN[kind], byte_length(_PLAIN[kind], math.prod(shape))
    if kind not in _BLOCKS:
        what = f"in {_OTHERS[kind]} blocks" if kind in _OTHERS else f"of the unknown type {kind:,}"
        read = ", ".join(_BLOCKS.values())
        raise UnreadableNetwork(f"{shown} is {what}, which are not read; plain numbers and {read} are")
    length = BlockTensor.bytes_of(_BLOCKS[kind], shape)
    if length < 0:
        raise UnreadableNetwork(f"{shown}: rows of {shape[-1] if shape else 1:,} are no whole {_BLOCKS[kind]} blocks")
    return TensorProto.FLOAT, length


def _refuse_places(
    found: list[tuple[str, int, tuple[int, ...], int]], cuts: list[Extent], alignment: int, begin: int, size: int
) -> None:
    """Refuse bytes that two tensors share, that belong to none, or that are not there."""
    end = begin
    for (name, *_), cut in sorted(zip(found, cuts, strict=True), key=lambda pair: (pair[1].offset, pair[1].length)):
        if cut.offset != end:
            what = "overlaps the one before" if cut.offset < end else "leaves a hole before it"
            raise UnreadableNetwork(f"tensor {name[:80]!r} {what}, or is not aligned to {alignment} bytes")
        if cut.offset + cut.length > size:
            raise UnreadableNetwork(f"tensor {name[:80]!r} ends behind the file, which has {size:,} bytes")
        end = _aligned(cut.offset + cut.length, alignment)
    if size > end:
        raise UnreadableNetwork(f"{size - end:,} bytes behind the last tensor belong to none")


def _aligned(place: int, alignment: int) -> int:
    return -(-place // alignment) * alignment
