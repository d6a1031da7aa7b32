"""Computed constants: casts, arithmetic, and integers that represent real numbers."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from onnx import TensorProto

from onnxnnw.constants.arrays import Constant, Positions
from onnxnnw.constants.evaluated import Whole
from onnxnnw.constants.moved import Reshaped, broadcast
from onnxnnw.network_file.formats import unpack
from onnxnnw.network_file.stored import Array, StoredTensor, convert

__all__ = [
    "Cast",
    "Codebook",
    "Dequantized",
    "Elementwise",
    "Quantized",
    "QuantizedFloat",
    "Reduced",
    "Unpacked",
    "dequantize",
    "fit_parameters",
]

_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)


@dataclass(frozen=True, eq=False)
class Cast(Constant):
    """Another element type; between floating-point types an element is still where it was."""

    inner: Constant
    target: int
    saturate: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", (self.inner,))
        object.__setattr__(self, "shape", self.inner.shape)

    def _cast(self, values: Array) -> Array:
        converted = convert(values, self.target, self.saturate)
        assert converted is not None  # the rule let it pass
        return converted

    def take(self, flat: Positions) -> Array:
        return self._cast(self.inner.take(flat))

    def array(self) -> Array:
        return self._cast(self.inner.array())

    def locate(self, flat: Positions) -> tuple[StoredTensor, Positions] | None:
        place = self.inner.locate(flat)
        floats = place is not None and place[0].is_float and self.target in _FLOATS
        return place if floats else None


@dataclass(frozen=True, eq=False)
class Elementwise(Constant):
    """An arithmetic operation on some constants, with broadcasting."""

    function: Callable[..., Array]
    operands: tuple[Constant, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", self.operands)
        object.__setattr__(self, "shape", np.broadcast_shapes(*(operand.shape for operand in self.operands)))

    @cached_property
    def dtype(self) -> "np.dtype[Any]":
        """Raises TypeError where the operation is none of such elements."""
        with np.errstate(all="ignore"):
            return self.function(*(np.zeros(0, operand.dtype) for operand in self.operands)).dtype

    def take(self, flat: Positions) -> Array:
        with np.errstate(all="ignore"):
            return self.function(*(o.take(broadcast(flat, self.shape, o.shape)) for o in self.operands))

    def array(self) -> Array:
        with np.errstate(all="ignore"):
            return self.function(*(operand.array() for operand in self.operands))


@dataclass(frozen=True, eq=False)
class Reduced(Whole):
    """One number for all elements along some axes, as the norm of a row is; of the same type as they are."""

    inner: Constant
    function: Callable[[Array], Array]
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", (self.inner,))

    @cached_property
    def dtype(self) -> "np.dtype[Any]":
        return self.inner.dtype

    def compute(self) -> Array:
        with np.errstate(all="ignore"):
            out: Array = self.function(self.inner.array())
            return out.reshape(self.shape).astype(self.dtype, copy=False)


@dataclass(frozen=True, eq=False)
class Unpacked(Constant):
    """Codes that share bytes along the last axis: (..., n) bytes -> (..., n * 8 / bits) codes."""

    inner: Constant
    bits: int
    high_first: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", (self.inner,))
        shape = self.inner.shape
        object.__setattr__(self, "shape", (*shape[:-1], shape[-1] * (8 // self.bits)))

    def take(self, flat: Positions) -> Array:
        each = 8 // self.bits
        place = flat % each
        shift = (each - 1 - place if self.high_first else place) * self.bits
        stored: Array = self.inner.take(flat // each)
        codes: Array = stored.astype("u1") >> shift.astype("u1") & np.uint8(2**self.bits - 1)
        return codes

    def array(self) -> Array:
        return unpack(self.inner.array().astype("u1", copy=False), self.bits, self.high_first)


@dataclass(frozen=True, eq=False)
class Codebook(Constant):
    """Codes as the numbers that a table gives them."""

    inner: Constant
    table: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", (self.inner,))
        object.__setattr__(self, "shape", self.inner.shape)

    def take(self, flat: Positions) -> Array:
        return np.array(self.table, np.float32)[self.inner.take(flat)]

    def array(self) -> Array:
        return np.array(self.table, np.float32)[self.inner.array()]


@dataclass(frozen=True, eq=False)
class _Scaled(Constant):
    """Something with a scale and a zero point: per tensor, per slice of an axis, or per block along it.

    Both have as many dimensions as ``inner``: 1, the length of the axis, or the number of blocks along ``axis``.
    """

    inner: Constant
    scale: Constant | None
    zero_point: Constant | None
    axis: int
    block: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(p for p in (self.inner, self.scale, self.zero_point) if p is not None))
        object.__setattr__(self, "shape", self.inner.shape)

    @property
    def granularity(self) -> str:
        """``tensor``, ``channel`` or ``block``."""
        if self.block > 1:
            return "block"
        return "channel" if self.scale is not None and self.scale.size > 1 else "tensor"

    def _few(self, parameter: Constant | None, flat: Positions) -> Array | None:
        if parameter is None:
            return None
        return parameter.take(broadcast(flat, self.shape, parameter.shape, self.axis, self.block)).astype(np.float32)

    def _all(self, parameter: Constant | None) -> Array | None:
        """A parameter in a shape that broadcasts to the constant."""
        if parameter is None:
            return None
        values: Array = parameter.array().astype(np.float32)
        if self.block > 1 and values.shape[self.axis] > 1:
            values = values.repeat(self.block, self.axis)
            values = values[(slice(None),) * self.axis + (slice(self.shape[self.axis]),)]
        return values


class Dequantized(_Scaled):
    """``(x - zero_point) * scale`` [ONNX DequantizeLinear-21]."""

    def take(self, flat: Positions) -> Array:
        out: Array = self.inner.take(flat).astype(np.float32)
        zero, scale = self._few(self.zero_point, flat), self._few(self.scale, flat)
        with np.errstate(all="ignore"):
            out = out if zero is None else out - zero
            return out if scale is None else out * scale

    def array(self) -> Array:
        out: Array = self.inner.array().astype(np.float32)
        with np.errstate(all="ignore"):
            zero = self._all(self.zero_point)
            if zero is not None:
                out -= zero
            del zero
            scale = self._all(self.scale)
            if scale is not None:
                out *= scale
        return out


@dataclass(frozen=True, eq=False)
class Quantized(_Scaled):
    """``saturate(round(x / scale) + zero_point)`` [ONNX QuantizeLinear-21]."""

    low: int
    high: int

    def _quantize(self, values: Array, scale: Array | None, zero: Array | None) -> Array:
        kind = np.min_scalar_type(self.low if self.low < 0 else self.high)
        with np.errstate(all="ignore"):
            out: Array = np.rint(values / (1 if scale is None else scale)) + (0 if zero is None else zero)
            whole: Array = np.clip(np.nan_to_num(out, nan=0.0), self.low, self.high).astype(kind)
        return whole

    def take(self, flat: Positions) -> Array:
        values = self.inner.take(flat).astype(np.float32)
        return self._quantize(values, self._few(self.scale, flat), self._few(self.zero_point, flat))

    def array(self) -> Array:
        values = self.inner.array().astype(np.float32)
        return self._quantize(values, self._all(self.scale), self._all(self.zero_point))


@dataclass(frozen=True, eq=False)
class QuantizedFloat(_Scaled):
    """``saturate(x / scale)`` as a small float; its zero point is 0 [ONNX QuantizeLinear-19].

    Attributes:
        target: Element type.
        saturate: Whether what is too large becomes the largest number.
    """

    target: int
    saturate: bool

    def _quantize(self, values: Array, scale: Array | None) -> Array:
        with np.errstate(all="ignore"):
            rounded = convert(values / (np.float32(1) if scale is None else scale), self.target, self.saturate)
        assert rounded is not None  # the rule let it pass
        return rounded

    def take(self, flat: Positions) -> Array:
        return self._quantize(self.inner.take(flat).astype(np.float32), self._few(self.scale, flat))

    def array(self) -> Array:
        return self._quantize(self.inner.array().astype(np.float32), self._all(self.scale))


def dequantize(
    inner: Constant, scale: Constant | None, zero: Constant | None, axis: int, block: int = 0
) -> Dequantized | None:
    """A dequantised constant, or None where the parameters do not fit the shape."""
    fitting = fit_parameters(inner, (scale, zero), axis, block)
    return None if fitting is None else Dequantized(inner, *fitting)


def fit_parameters(
    inner: Constant, parameters: tuple[Constant | None, Constant | None], axis: int, block: int
) -> tuple[Constant | None, Constant | None, int, int] | None:
    """Scale and zero point with as many dimensions as what they belong to, the axis and the block; None if they do not fit.

    A parameter has one element, one for each index of the axis (and of the axes before the last two, in a stack of
    matrices), or one for each block along the axis.
    """
    shape = inner.shape
    rank = len(shape)
    axis = axis + rank if axis < 0 else axis
    out: list[Constant | None] = []
    blocked = False
    for parameter in parameters:
        if parameter is None or parameter.size == 1:
            out.append(parameter and Reshaped(parameter, (1,) * rank))
            continue
        if not 0 <= axis < rank:
            return None
        blocks = (*shape[:axis], -(-shape[axis] // block), *shape[axis + 1 :]) if block > 0 else None
        line = tuple(shape[axis] if place == axis else 1 for place in range(rank))
        stack = (*shape[:-2], 1, shape[-1]) if rank > 2 and axis == rank - 1 else line
        if blocks is not None and parameter.size == math.prod(blocks):
            blocked = True
            out.append(Reshaped(parameter, blocks))
        elif block <= 0 and parameter.shape == (shape[axis],):
            out.append(Reshaped(parameter, line))
        elif block <= 0 and parameter.size == math.prod(stack):
            out.append(Reshaped(parameter, stack))
        elif block <= 0 and rank > 2 and parameter.shape == shape[:1]:
            out.append(Reshaped(parameter, (shape[0], *[1] * (rank - 1))))
        else:
            return None
    return out[0], out[1], axis if blocked else 0, block if blocked else 1
