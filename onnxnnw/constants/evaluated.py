"""Constants computed from several others: products, normalisations, selected and scattered elements, ranges.

Each is evaluated when it is asked for; nothing is kept but a few numbers.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from onnxnnw.constants.arrays import Constant, Positions
from onnxnnw.constants.moved import broadcast
from onnxnnw.network_file.stored import Array

__all__ = ["Chosen", "Evaluated", "Padded", "Product", "Ramp", "Whole"]

_KEPT = 64
"""Elements of a result that is kept, as a norm is: a row of a weight asks for it again and again."""

_BLOCK = 2**20
"""Elements of a product that are computed at once in float64."""

_ROW = 4
"""Elements in a row of a table by which a look-up may be larger than its indices, at most."""

_WHOLE = 64
"""Times that a multiplication of integers takes longer than one of real numbers."""


class Whole(Constant):
    """A constant that can only be evaluated as a whole."""

    @abstractmethod
    def compute(self) -> Array:
        """All elements, in ``shape`` and of ``dtype``."""

    @cached_property
    def _kept(self) -> Array:
        return self.compute()

    def array(self) -> Array:
        return self._kept if self.size <= _KEPT else self.compute()

    def take(self, flat: Positions) -> Array:
        return self.array().reshape(-1)[flat] if flat.size else np.empty(flat.shape, self.dtype)


@dataclass(frozen=True, eq=False)
class Evaluated(Whole):
    """A function of whole arrays: ``function`` is given them, and is total: what no runtime would compute is NaN or 0.

    Attributes:
        kind: Element type of the result.
    """

    function: Callable[..., Array]
    operands: tuple[Constant, ...]
    shape: tuple[int, ...]
    kind: "np.dtype[Any]"

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", self.operands)
        object.__setattr__(self, "dtype", self.kind)

    def compute(self) -> Array:
        with np.errstate(all="ignore"):
            out: Array = self.function(*(operand.array() for operand in self.operands))
            return out.reshape(self.shape).astype(self.kind, copy=False)


@dataclass(frozen=True, eq=False)
class Product(Constant):
    """A matrix product of stacks of matrices [ONNX MatMul], accumulated in float64 and rounded once."""

    left: Constant
    right: Constant

    def __post_init__(self) -> None:
        if self.left.shape[-1] != self.right.shape[-2]:
            raise ValueError("matrices do not fit")
        stack = np.broadcast_shapes(self.left.shape[:-2], self.right.shape[:-2])
        object.__setattr__(self, "parts", (self.left, self.right))
        object.__setattr__(self, "shape", (*stack, self.left.shape[-2], self.right.shape[-1]))
        object.__setattr__(self, "dtype", np.result_type(self.left.dtype, self.right.dtype))

    @cached_property
    def work(self) -> int:
        own = self.size * self.left.shape[-1]
        return sum(part.work for part in self.parts) + own * (1 if self.dtype.kind == "f" else _WHOLE)

    @property
    def _wide(self) -> "np.dtype[Any]":
        return np.dtype(np.float64) if self.dtype.kind == "f" else self.dtype

    @cached_property
    def _kept(self) -> Array:
        return self._compute()

    def array(self) -> Array:
        return self._kept if self.size <= _KEPT else self._compute()

    def _compute(self) -> Array:
        left, right = self.left.array(), self.right.array().astype(self._wide, copy=False)
        out = np.empty(self.shape, self.dtype)
        rows = max(1, _BLOCK * self.shape[-2] // max(1, self.size))
        with np.errstate(all="ignore"):
            for start in range(0, self.shape[-2], rows):
                some = left[..., start : start + rows, :].astype(self._wide, copy=False)
                out[..., start : start + rows, :] = np.matmul(some, right)
        return out

    def take(self, flat: Positions) -> Array:
        if not flat.size:
            return np.empty(flat.shape, self.dtype)
        if self.size <= max(_KEPT, 4 * flat.size):
            return self.array().reshape(-1)[flat]
        height, width = self.shape[-2:]
        length = self.left.shape[-1]
        places = flat.reshape(-1)
        stack = places // (height * width)
        lefts = broadcast(stack, self.shape[:-2], self.left.shape[:-2]) * height + places // width % height
        rights = broadcast(stack, self.shape[:-2], self.right.shape[:-2]) * width + places % width
        rows, row = np.unique(lefts, return_inverse=True)
        columns, column = np.unique(rights, return_inverse=True)
        steps = np.arange(length)
        left = self.left.take(rows[:, None] * length + steps)
        right = self.right.take((columns // width * length * width + columns % width)[:, None] + steps * width)
        left, right = left.astype(self._wide, copy=False), right.astype(self._wide, copy=False)
        out = np.empty(places.size, self.dtype)
        some = max(1, _BLOCK // max(1, length))
        with np.errstate(all="ignore"):
            for start in range(0, places.size, some):
                part = slice(start, start + some)
                out[part] = np.einsum("pk,pk->p", left[row[part]], right[column[part]])
        return out.reshape(flat.shape)


@dataclass(frozen=True, eq=False)
class Chosen(Constant):
    """Slices of a table along ``axis`` at places that are constants too, as those of a palette are [ONNX Gather].

    Of a place outside the table, which no runtime would look up, the result is not a number; 0 where all are whole.
    """

    table: Constant
    axis: int
    indices: Constant

    def __post_init__(self) -> None:
        shape = self.table.shape
        object.__setattr__(self, "parts", (self.table, self.indices))
        object.__setattr__(self, "shape", (*shape[: self.axis], *self.indices.shape, *shape[self.axis + 1 :]))

    @cached_property
    def extent(self) -> int:
        row = min(_ROW, self.table.size // max(1, self.table.shape[self.axis]))
        return self.table.extent + self.indices.extent * max(1, row)

    @cached_property
    def dtype(self) -> "np.dtype[Any]":
        return self.table.dtype

    def _places(self, places: Array) -> tuple[Positions, Array]:
        """Places counted from the front, and which of them there are."""
        length = self.table.shape[self.axis]
        found = places.astype(np.int64)
        found = np.where(found < 0, found + length, found)
        there = (found >= 0) & (found < length)
        return np.where(there, found, 0), there

    def take(self, flat: Positions) -> Array:
        inner = math.prod(self.table.shape[self.axis + 1 :])
        before, rest = flat // inner, flat % inner
        places, there = self._places(self.indices.take(before % self.indices.size))
        outer = before // self.indices.size * self.table.shape[self.axis]
        values = self.table.take((outer + places) * inner + rest)
        return values if there.all() else np.where(there, values, self._nothing)

    def array(self) -> Array:
        places, there = self._places(self.indices.array())
        values: Array = self.table.array().take(places, self.axis)
        if there.all():
            return values
        shape = (*there.shape, *[1] * (len(self.shape) - self.axis - there.ndim))
        return np.where(there.reshape(shape), values, self._nothing)

    @property
    def _nothing(self) -> Any:
        return self.dtype.type(np.nan if self.dtype.kind == "f" else 0)


@dataclass(frozen=True, eq=False)
class Padded(Constant):
    """An array with one value around it: element 0 of ``inner`` stands at ``before`` [ONNX Pad, mode constant]."""

    inner: Constant
    value: Constant
    before: tuple[int, ...]
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", (self.inner, self.value))

    @property
    def _around(self) -> Any:
        with np.errstate(all="ignore"):
            return self.value.array().reshape(-1)[:1].astype(self.inner.dtype)[0]

    def take(self, flat: Positions) -> Array:
        inside = np.ones(flat.shape, bool)
        source, rest, stride = np.zeros_like(flat), flat, 1
        for axis in reversed(range(len(self.shape))):
            place = rest % self.shape[axis] - self.before[axis]
            rest = rest // self.shape[axis]
            inside &= (place >= 0) & (place < self.inner.shape[axis])
            source += place * stride
            stride *= self.inner.shape[axis]
        out = np.full(flat.shape, self._around, self.inner.dtype)
        out[inside] = self.inner.take(source[inside])
        return out

    def array(self) -> Array:
        inner = self.inner.array()
        out = np.full(self.shape, self._around, inner.dtype)
        out[tuple(slice(at, at + n) for at, n in zip(self.before, inner.shape, strict=True))] = inner
        return out


@dataclass(frozen=True, eq=False)
class Ramp(Constant):
    """``start + i * step`` for i below ``count``, of the element type of ``start``; stored nowhere."""

    start: Array
    step: Array
    count: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", (self.count,))

    @cached_property
    def extent(self) -> int:
        return 1

    def take(self, flat: Positions) -> Array:
        kind = self.start.dtype
        out: Array = self.start + flat.astype(kind) * self.step.astype(kind)
        return out

    def array(self) -> Array:
        return self.take(np.arange(self.count))
