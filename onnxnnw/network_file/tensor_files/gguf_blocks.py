"""Weights in GGUF's blocks: some neighbours share a scale; read as the numbers that they stand for.

Each kind is a function from the bytes of n blocks, (n, bytes), to their numbers, (n, elements) [ggml, ggml-quants.h].
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnxnnw.network_file import wire
from onnxnnw.network_file.source import groups
from onnxnnw.network_file.stored import Array, StoredTensor

__all__ = ["BLOCKS", "BlockFormat", "BlockTensor"]

Bytes = NDArray[np.uint8]
_AT_ONCE = 2**16


@dataclass(frozen=True)
class BlockFormat:
    """A kind of block.

    Attributes:
        name: As GGUF has it, in lower case.
        elements: Weights of a block, neighbours in a row.
        size: Its bytes.
        decode: The weights of some blocks.
    """

    name: str
    elements: int
    size: int
    decode: Callable[[Bytes], Array]


def _half(blocks: Bytes, place: int) -> NDArray[np.float32]:
    """A number of 16 bits of each block: (n, 1)."""
    return np.ascontiguousarray(blocks[:, place : place + 2]).view("<f2").astype(np.float32)


def _nibbles(packed: Bytes) -> Bytes:
    """The lower halves of all bytes, then the upper ones."""
    return np.concatenate([packed & 15, packed >> 4], axis=1)


def _fifth(blocks: Bytes, place: int) -> Bytes:
    """The highest bit of 32 numbers of five bits, where it belongs."""
    bits: Bytes = np.unpackbits(np.ascontiguousarray(blocks[:, place : place + 4]), axis=1, bitorder="little")
    return bits << np.uint8(4)


def _q4_0(blocks: Bytes) -> Array:
    return _half(blocks, 0) * (_nibbles(blocks[:, 2:]).astype(np.float32) - 8)


def _q4_1(blocks: Bytes) -> Array:
    return _half(blocks, 0) * _nibbles(blocks[:, 4:]) + _half(blocks, 2)


def _q5_0(blocks: Bytes) -> Array:
    return _half(blocks, 0) * ((_nibbles(blocks[:, 6:]) | _fifth(blocks, 2)).astype(np.float32) - 16)


def _q5_1(blocks: Bytes) -> Array:
    codes: Bytes = _nibbles(blocks[:, 8:]) | _fifth(blocks, 4)
    return _half(blocks, 0) * codes + _half(blocks, 2)


def _q8_0(blocks: Bytes) -> Array:
    codes: NDArray[np.int8] = np.ascontiguousarray(blocks[:, 2:]).view(np.int8)
    return _half(blocks, 0) * codes


def _scales(packed: Bytes) -> tuple[Array, Array]:
    """Scales and minima of eight parts, six bits each in twelve bytes."""
    low, middle, high = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.concatenate([low & 63, (high & 15) | (low >> 6 << 4)], axis=1)
    minima = np.concatenate([middle & 63, (high >> 4) | (middle >> 6 << 4)], axis=1)
    return scales.astype(np.float32), minima.astype(np.float32)


def _parts(blocks: Bytes, codes: Bytes) -> Array:
    """Eight parts of 32 codes with a scale and a minimum each."""
    scales, minima = _scales(blocks[:, 4:16])
    scaled = (_half(blocks, 0) * scales)[..., None] * codes.reshape(-1, 8, 32)
    numbers: Array = scaled - (_half(blocks, 2) * minima)[..., None]
    return numbers.reshape(len(blocks), 256)


def _q4_k(blocks: Bytes) -> Array:
    packed = blocks[:, 16:].reshape(-1, 4, 32)
    return _parts(blocks, np.stack([packed & 15, packed >> 4], axis=2))


def _q5_k(blocks: Bytes) -> Array:
    packed = blocks[:, 48:].reshape(-1, 4, 32)
    codes = np.stack([packed & 15, packed >> 4], axis=2).reshape(-1, 8, 32)
    fifth = blocks[:, None, 16:48] >> np.arange(8, dtype=np.uint8)[:, None] & 1
    return _parts(blocks, codes | fifth << 4)


def _q6_k(blocks: Bytes) -> Array:
    low = blocks[:, :128].reshape(-1, 2, 1, 64)
    four = np.concatenate([low & 15, low >> 4], axis=2).reshape(-1, 2, 4, 32)
    high = blocks[:, 128:192].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8)[:, None] & 3
    codes = (four | high << 4).astype(np.float32) - 32
    scales = np.ascontiguousarray(blocks[:, 192:208]).view("i1").astype(np.float32) * _half(blocks, 208)
    numbers: Array = codes.reshape(-1, 16, 16) * scales[..., None]
    return numbers.reshape(len(blocks), 256)


BLOCKS = {
    form.name: form
    for form in (
        BlockFormat("q4_0", 32, 18, _q4_0),
        BlockFormat("q4_1", 32, 20, _q4_1),
        BlockFormat("q5_0", 32, 22, _q5_0),
        BlockFormat("q5_1", 32, 24, _q5_1),
        BlockFormat("q8_0", 32, 34, _q8_0),
        BlockFormat("q4_k", 256, 144, _q4_k),
        BlockFormat("q5_k", 256, 176, _q5_k),
        BlockFormat("q6_k", 256, 210, _q6_k),
    )
}
"""The kinds that are read, by name."""


@dataclass(frozen=True, slots=True, eq=False)
class BlockTensor(StoredTensor):
    """A tensor in blocks; its ``storage`` is their kind, and its numbers are float32."""

    @property
    def form(self) -> BlockFormat:
        """The kind of its blocks."""
        return BLOCKS[self.storage]

    @property
    def type_name(self) -> str:
        """What its numbers are stored as."""
        return self.storage

    @property
    def read_only(self) -> str:
        """Why single elements cannot be written in place."""
        return f"{self.name[:80]!r} is stored in blocks of {self.form.elements} numbers"

    def take(self, flat: NDArray[np.int64]) -> Array:
        """The elements at flat positions, as float32."""
        if not flat.size:
            return np.empty(flat.shape, np.float32)
        numbers, where = np.unique(flat.reshape(-1) // self.form.elements, return_inverse=True)
        stored = self._pieces(numbers, self.form.size, np.dtype(f"V{self.form.size}"))
        values = self._decoded(np.frombuffer(stored.tobytes(), np.uint8))
        return values[where.reshape(-1), flat.reshape(-1) % self.form.elements].reshape(flat.shape)

    def extents(self, flat: NDArray[np.int64]) -> tuple[list[int], list[int]]:
        """Where ``take`` reads for these positions: byte offsets in its source, and lengths."""
        numbers, size = np.unique(flat // self.form.elements), self.form.size
        starts, stops = groups(numbers, size)
        first, last = numbers[starts], numbers[stops - 1]
        return (self.offset + first * size).tolist(), ((last - first + 1) * size).tolist()

    def _stretch(self, start: int, stop: int) -> Array:
        """Neighbours as numbers, flat."""
        assert self.source is not None
        out, form = np.empty(max(0, stop - start), np.float32), self.form
        for begin in range(start, stop, _AT_ONCE):
            end = min(stop, begin + _AT_ONCE)
            first, last = begin // form.elements, -(-end // form.elements)
            with self.source.opened() as descriptor:
                piece = wire.read_exactly(descriptor, (last - first) * form.size, self.offset + first * form.size)
            values = self._decoded(np.frombuffer(piece, np.uint8)).reshape(-1)
            out[begin - start : end - start] = values[begin - first * form.elements : end - first * form.elements]
        return out

    def _decoded(self, stored: Bytes) -> Array:
        with np.errstate(all="ignore"):  # a scale may be anything
            return self.form.decode(stored.reshape(-1, self.form.size)).astype(np.float32)

    def raw_chunks(self, length: int = 2**22) -> Iterator[bytes]:
        """The numbers as ``raw_data`` of float32 would hold them, in chunks."""
        for block in self.blocks(max(8, length // 32 * 8)):
            yield block.astype("<f4").tobytes()

    @classmethod
    def of(cls, kind: str, name: str, shape: tuple[int, ...], source: object, offset: int) -> "BlockTensor":
        """A tensor at a place in a file."""
        return cls(name, TensorProto.FLOAT, shape, kind, source, offset)  # type: ignore[arg-type]

    @staticmethod
    def bytes_of(kind: str, shape: tuple[int, ...]) -> int:
        """How many bytes a tensor needs; -1 where its rows are no whole blocks."""
        form = BLOCKS[kind]
        whole = bool(shape) and shape[-1] % form.elements == 0
        return math.prod(shape) // form.elements * form.size if whole else -1
