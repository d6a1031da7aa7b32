"""Moved elements: reshaped, transposed, sliced, gathered, repeated and concatenated constants, as index maps."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from onnxnnw.constants.arrays import Constant, Positions
from onnxnnw.network_file.stored import Array, StoredTensor

__all__ = [
    "NCHWC_BLOCKS",
    "Diagonal",
    "Expanded",
    "Gathered",
    "Joined",
    "Reshaped",
    "Sliced",
    "Transposed",
    "as_unblocked",
    "blocked",
    "broadcast",
    "slices_of",
    "unblocked",
]

NCHWC_BLOCKS = (16, 8)
"""Channels in a block of onnxruntime's blocked convolutions: as many as the machine's vectors hold. The file does not say which."""


class _Moved(Constant):
    """The elements of ``inner`` in other places: ``source`` says where each one was."""

    inner: Constant

    @abstractmethod
    def source(self, flat: Positions) -> Positions:
        """Flat positions of the result -> flat positions of ``inner``."""

    def take(self, flat: Positions) -> Array:
        return self.inner.take(self.source(flat))

    def locate(self, flat: Positions) -> tuple[StoredTensor, Positions] | None:
        return self.inner.locate(self.source(flat))


@dataclass(frozen=True, eq=False)
class Reshaped(_Moved):
    """The same elements in the same order in another shape."""

    inner: Constant
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", (self.inner,))

    def source(self, flat: Positions) -> Positions:
        return flat

    def array(self) -> Array:
        return self.inner.array().reshape(self.shape)


@dataclass(frozen=True, eq=False)
class Transposed(_Moved):
    """Axes in another order: axis i of the result is axis ``axes[i]`` of ``inner``."""

    inner: Constant
    axes: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", (self.inner,))
        object.__setattr__(self, "shape", tuple(self.inner.shape[axis] for axis in self.axes))

    def source(self, flat: Positions) -> Positions:
        strides = _strides(self.inner.shape)
        return _strided(flat, self.shape, [strides[axis] for axis in self.axes])

    def array(self) -> Array:
        return self.inner.array().transpose(self.axes)


@dataclass(frozen=True, eq=False)
class Sliced(_Moved):
    """Every ``strides[i]``-th element of axis i from ``starts[i]`` on, ``shape[i]`` of them; strides may be negative."""

    inner: Constant
    starts: tuple[int, ...]
    strides: tuple[int, ...]
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", (self.inner,))
        for start, step, count, length in zip(self.starts, self.strides, self.shape, self.inner.shape, strict=True):
            if count and not (0 <= start < length and 0 <= start + (count - 1) * step < length):
                raise ValueError("a slice leaves its array")

    def source(self, flat: Positions) -> Positions:
        lengths = _strides(self.inner.shape)
        offset = sum(start * length for start, length in zip(self.starts, lengths, strict=True))
        steps = [stride * length for stride, length in zip(self.strides, lengths, strict=True)]
        return _strided(flat, self.shape, steps) + offset

    def array(self) -> Array:
        stops = (start + step * count for start, step, count in zip(self.starts, self.strides, self.shape, strict=True))
        places = zip(self.starts, stops, self.strides, strict=True)
        return self.inner.array()[tuple(slice(a, None if b < 0 else b, step) for a, b, step in places)]


@dataclass(frozen=True, eq=False)
class Gathered(_Moved):
    """Chosen elements along one axis: index i of the result is index ``indices[i]`` of ``inner``."""

    inner: Constant
    axis: int
    indices: Positions

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", (self.inner,))
        shape = self.inner.shape
        object.__setattr__(self, "shape", (*shape[: self.axis], self.indices.size, *shape[self.axis + 1 :]))

    @cached_property
    def repeats(self) -> bool:
        return self.inner.repeats or np.unique(self.indices).size < self.indices.size

    def source(self, flat: Positions) -> Positions:
        inner = math.prod(self.shape[self.axis + 1 :])
        before, rest = flat // inner, flat % inner
        chosen = self.indices[before % self.indices.size]
        source: Positions = (before // self.indices.size * self.inner.shape[self.axis] + chosen) * inner + rest
        return source

    def array(self) -> Array:
        return self.inner.array().take(self.indices, self.axis)


@dataclass(frozen=True, eq=False)
class Diagonal(_Moved):
    """The blocks on the diagonal of a matrix, one below the other: (n, groups * m) -> (n, m)."""

    inner: Constant
    groups: int

    def __post_init__(self) -> None:
        rows, columns = self.inner.shape
        if rows % self.groups or columns % self.groups:
            raise ValueError("a matrix that has no such blocks")
        object.__setattr__(self, "parts", (self.inner,))
        object.__setattr__(self, "shape", (rows, columns // self.groups))

    def source(self, flat: Positions) -> Positions:
        rows, columns = self.shape
        row = flat // columns
        source: Positions = (row * self.groups + row // (rows // self.groups)) * columns + flat % columns
        return source

    def array(self) -> Array:
        rows, columns = self.shape
        own = np.arange(self.groups)
        blocks: Array = self.inner.array().reshape(self.groups, rows // self.groups, self.groups, columns)[own, :, own]
        return blocks.reshape(self.shape)


@dataclass(frozen=True, eq=False)
class Expanded(_Moved):
    """One array broadcast to a larger shape."""

    inner: Constant
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", (self.inner,))

    @cached_property
    def repeats(self) -> bool:
        return self.inner.repeats or self.size > self.inner.size

    def source(self, flat: Positions) -> Positions:
        return broadcast(flat, self.shape, self.inner.shape)

    def array(self) -> Array:
        return np.broadcast_to(self.inner.array(), self.shape)


@dataclass(frozen=True, eq=False)
class Joined(Constant):
    """Arrays side by side along one axis."""

    pieces: tuple[Constant, ...]
    axis: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", self.pieces)
        first = self.parts[0].shape
        others = {(part.shape[: self.axis], part.shape[self.axis + 1 :]) for part in self.parts}
        if len(others) != 1:
            raise ValueError("arrays of other shapes cannot be joined")
        length = sum(part.shape[self.axis] for part in self.parts)
        object.__setattr__(self, "shape", (*first[: self.axis], length, *first[self.axis + 1 :]))

    @cached_property
    def extent(self) -> int:
        pieces = {tuple(tensor.place for tensor in part.stored()): part.extent for part in self.parts}
        return sum(pieces.values())  # a piece that comes twice counts once

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        return np.result_type(*(part.dtype for part in self.parts))

    def take(self, flat: Positions) -> Array:
        inner = math.prod(self.shape[self.axis + 1 :])
        length = self.shape[self.axis]
        index = flat // inner % length
        ends = np.cumsum([part.shape[self.axis] for part in self.parts])
        owner = np.searchsorted(ends, index, side="right")
        out = np.zeros(flat.shape, self.dtype)
        for number, part in enumerate(self.parts):
            chosen = owner == number
            if not chosen.any():
                continue
            own = part.shape[self.axis]
            row = flat[chosen] // (inner * length) * own + index[chosen] - (ends[number] - own)
            out[chosen] = part.take(row * inner + flat[chosen] % inner)
        return out

    def array(self) -> Array:
        return np.concatenate([part.array() for part in self.parts], self.axis)


def slices_of(stack: Constant, axis: int) -> list[Constant]:
    """The slices of a stack along one of its axes (counted from the front), without that axis."""
    shape = stack.shape
    one, rest = (*shape[:axis], 1, *shape[axis + 1 :]), (*shape[:axis], *shape[axis + 1 :])
    ones = (1,) * len(shape)
    starts = [tuple(number * (place == axis) for place in range(len(shape))) for number in range(shape[axis])]
    return [Reshaped(Sliced(stack, start, ones, one), rest) for start in starts]


def _strides(shape: Sequence[int]) -> list[int]:
    """Elements from one index to the next, for each axis of a row-major array."""
    out = [1]
    for length in shape[:0:-1]:
        out.append(out[-1] * length)
    return out[::-1] if shape else []


def _strided(flat: Positions, shape: Sequence[int], strides: Sequence[int]) -> Positions:
    """Flat positions in ``shape`` -> sums of index times stride."""
    out = np.zeros_like(flat)
    rest = flat
    for length, stride in zip(reversed(shape), reversed(strides), strict=True):
        out += rest % length * stride
        rest = rest // length
    return out


def broadcast(
    flat: Positions, shape: Sequence[int], operand: Sequence[int], axis: int = -1, block: int = 1
) -> Positions:
    """Flat positions in ``shape`` -> flat positions in an operand that is broadcast to it.

    Args:
        flat: Positions in ``shape``.
        shape: The larger shape.
        operand: The operand's shape, aligned from the right; its dimensions are 1 or those of ``shape``.
        axis: The axis of ``shape`` along which ``block`` neighbours share one element of the operand.
        block: Length of such a block.
    """
    if tuple(shape) == tuple(operand) and block == 1:
        return flat
    out = np.zeros_like(flat)
    rest, stride = flat, 1
    for place in range(1, len(shape) + 1):
        index, rest = rest % shape[-place], rest // shape[-place]
        if place <= len(operand):
            if operand[-place] != 1:
                out += (index // block if len(shape) - place == axis else index) * stride
            stride *= operand[-place]
    return out


def unblocked(weight: Constant, block: int) -> Constant | None:
    """A weight of onnxruntime's blocked convolution as [out, in, *kernel], still padded to whole blocks.

    Stored are [out / b, in / b, *kernel, b (in), b (out)], or [out / b, in, *kernel, b (out)] where there are fewer inputs
    than a block: the first layer, and depthwise ones [onnxruntime, MlasReorderFilterOIHWBiBo and OIHWBo].
    """
    out, inputs, *kernel = weight.shape
    if out % block:
        return None
    axes = tuple(range(2, 2 + len(kernel)))
    if inputs % block:
        parts = Reshaped(weight, (out // block, inputs, *kernel, block))
        return Reshaped(Transposed(parts, (0, 2 + len(kernel), 1, *axes)), weight.shape)
    parts = Reshaped(weight, (out // block, inputs // block, *kernel, block, block))
    return Reshaped(Transposed(parts, (0, 3 + len(kernel), 1, 2 + len(kernel), *axes)), weight.shape)


def blocked(weight: Constant, block: int) -> Constant | None:
    """The inverse of ``unblocked``: [out, in, *kernel] as it is stored in such blocks; None where they do not divide it."""
    out, inputs, *kernel = weight.shape
    if out % block:
        return None
    if inputs % block:
        parts = Reshaped(weight, (out // block, block, inputs, *kernel))
        axes = tuple(range(3, 3 + len(kernel)))
        return Reshaped(Transposed(parts, (0, 2, *axes, 1)), weight.shape)
    parts = Reshaped(weight, (out // block, block, inputs // block, block, *kernel))
    axes = tuple(range(4, 4 + len(kernel)))
    return Reshaped(Transposed(parts, (0, 2, *axes, 3, 1)), weight.shape)


def as_unblocked(stored: Constant) -> Constant | None:
    """A blocked convolution's weight in the longest block that divides it, since the file does not say which it was."""
    readings = (unblocked(stored, block) for block in NCHWC_BLOCKS)
    return next((reading for reading in readings if reading is not None), None)
