"""Evaluate what is constant, lazily: a weight behind Transpose, Cast or DequantizeLinear is still a weight.

A constant is an index map with a decoder: ``take`` reads a few elements through the whole chain, ``array`` all of them, and
``locate`` says where an element is stored, where the chain only moves elements about. One rule per operator, none per tool.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnxnnw.graph.flow import ABSENT, Flow, Node
from onnxnnw.graph.stored import Array, StoredTensor, convert, possible

__all__ = ["Constant", "Constants", "Dequantized", "Reshaped", "Stored", "Transposed"]

Positions = NDArray[np.int64]

_MAX_STEPS = 60
_MAX_GROWTH = 4
_SMALL = 4096
_EXAMINED, _EXAMINED_TOGETHER = 2**22, 2**25


class Constant(ABC):
    """An array that can be read element by element."""

    shape: tuple[int, ...]
    parts: "tuple[Constant, ...]" = ()

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @cached_property
    def steps(self) -> int:
        """Operations that one evaluation takes; a shared part counts each time it is used."""
        return 1 + sum(part.steps for part in self.parts)

    @abstractmethod
    def take(self, flat: Positions) -> Array:
        """The elements at flat row-major positions, in the shape of ``flat``."""

    @abstractmethod
    def array(self) -> Array:
        """All elements, in ``shape``."""

    def locate(self, flat: Positions) -> tuple[StoredTensor, Positions] | None:
        """Where elements are stored as they are (up to the element type), or None where they are computed."""
        return None

    def stored(self) -> list[StoredTensor]:
        """The stored tensors that it is made of, the main one first."""
        return [tensor for part in self.parts for tensor in part.stored()]

    def operations(self) -> list[str]:
        """What happens between storage and use, outermost first."""
        return [type(self).__name__.lower(), *(self.parts[0].operations() if self.parts else [])]


@dataclass(frozen=True, eq=False)
class Stored(Constant):
    """A stored tensor."""

    tensor: StoredTensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", self.tensor.shape)

    def take(self, flat: Positions) -> Array:
        return self.tensor.take(flat)

    def array(self) -> Array:
        return self.tensor.array()

    def locate(self, flat: Positions) -> tuple[StoredTensor, Positions] | None:
        return self.tensor, flat

    def stored(self) -> list[StoredTensor]:
        return [self.tensor]

    def operations(self) -> list[str]:
        return []


@dataclass(frozen=True, eq=False)
class Reshaped(Constant):
    """The same elements in the same order in another shape."""

    inner: Constant
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", (self.inner,))

    def take(self, flat: Positions) -> Array:
        return self.inner.take(flat)

    def array(self) -> Array:
        return self.inner.array().reshape(self.shape)

    def locate(self, flat: Positions) -> tuple[StoredTensor, Positions] | None:
        return self.inner.locate(flat)


@dataclass(frozen=True, eq=False)
class Transposed(Constant):
    """Axes in another order: axis i of the result is axis ``axes[i]`` of ``inner``."""

    inner: Constant
    axes: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", (self.inner,))
        object.__setattr__(self, "shape", tuple(self.inner.shape[axis] for axis in self.axes))

    def _source(self, flat: Positions) -> Positions:
        """Flat positions of the result -> flat positions of ``inner``."""
        strides = np.cumprod((1, *self.inner.shape[:0:-1]))[::-1]
        out = np.zeros_like(flat)
        rest = flat
        for axis in reversed(range(len(self.shape))):
            out += rest % self.shape[axis] * strides[self.axes[axis]]
            rest = rest // self.shape[axis]
        return out

    def take(self, flat: Positions) -> Array:
        return self.inner.take(self._source(flat))

    def array(self) -> Array:
        return self.inner.array().transpose(self.axes)

    def locate(self, flat: Positions) -> tuple[StoredTensor, Positions] | None:
        return self.inner.locate(self._source(flat))


@dataclass(frozen=True, eq=False)
class Cast(Constant):
    """Another element type; between floating-point types an element is still where it was."""

    inner: Constant
    target: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", (self.inner,))
        object.__setattr__(self, "shape", self.inner.shape)

    def _cast(self, values: Array) -> Array:
        converted = convert(values, self.target)
        assert converted is not None  # the rule below let it pass
        return converted

    def take(self, flat: Positions) -> Array:
        return self._cast(self.inner.take(flat))

    def array(self) -> Array:
        return self._cast(self.inner.array())

    def locate(self, flat: Positions) -> tuple[StoredTensor, Positions] | None:
        place = self.inner.locate(flat)
        return place if place is not None and place[0].is_float else None


@dataclass(frozen=True, eq=False)
class Elementwise(Constant):
    """An arithmetic operation on one or two constants, with broadcasting."""

    function: Callable[..., Array]
    operands: tuple[Constant, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", self.operands)
        object.__setattr__(self, "shape", np.broadcast_shapes(*(operand.shape for operand in self.operands)))

    def take(self, flat: Positions) -> Array:
        with np.errstate(all="ignore"):
            return self.function(*(o.take(_broadcast(flat, self.shape, o.shape)) for o in self.operands))

    def array(self) -> Array:
        with np.errstate(all="ignore"):
            return self.function(*(operand.array() for operand in self.operands))


@dataclass(frozen=True, eq=False)
class Dequantized(Constant):
    """``(x - zero_point) * scale``, per tensor, per slice of ``axis``, or per block of it [ONNX DequantizeLinear-21]."""

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
        if self.block:
            return "block"
        return "channel" if self.scale is not None and self.scale.size > 1 else "tensor"

    def _parameter(self, parameter: Constant | None, flat: Positions, neutral: float) -> Array:
        if parameter is None:
            return np.full(flat.shape, neutral, np.float32)
        if parameter.size == 1:
            return np.broadcast_to(parameter.take(np.zeros(1, np.int64)).astype(np.float32), flat.shape)
        inner = math.prod(self.shape[self.axis + 1 :])
        index = flat // inner % self.shape[self.axis]
        if self.block:
            blocks = -(-self.shape[self.axis] // self.block)
            index = (flat // (inner * self.shape[self.axis]) * blocks + index // self.block) * inner + flat % inner
        return parameter.take(index).astype(np.float32)

    def take(self, flat: Positions) -> Array:
        zero = self._parameter(self.zero_point, flat, 0.0)
        with np.errstate(all="ignore"):
            return (self.inner.take(flat).astype(np.float32) - zero) * self._parameter(self.scale, flat, 1.0)

    def array(self) -> Array:
        if self.block:
            return self.take(np.arange(self.size).reshape(self.shape))
        line = tuple(-1 if axis == self.axis else 1 for axis in range(len(self.shape)))
        out: Array = self.inner.array().astype(np.float32)
        with np.errstate(all="ignore"):
            if self.zero_point is not None:
                zero = self.zero_point.array().astype(np.float32)
                out -= zero.reshape(line) if zero.size > 1 else zero.reshape(())
            if self.scale is not None:
                scale = self.scale.array().astype(np.float32)
                out *= scale.reshape(line) if scale.size > 1 else scale.reshape(())
        return out


def _broadcast(flat: Positions, shape: Sequence[int], operand: Sequence[int]) -> Positions:
    """Flat positions in ``shape`` -> flat positions in an operand that is broadcast to it."""
    if tuple(shape) == tuple(operand):
        return flat
    out = np.zeros_like(flat)
    rest, stride = flat, 1
    for axis in range(1, len(shape) + 1):
        index, rest = rest % shape[-axis], rest // shape[-axis]
        if axis <= len(operand):
            if operand[-axis] != 1:
                out += index * stride
            stride *= operand[-axis]
    return out


def dequantize(
    inner: Constant, scale: Constant | None, zero: Constant | None, axis: int, block: int = 0
) -> Constant | None:
    """A dequantised constant, or None where the parameters do not fit the shape."""
    rank = len(inner.shape)
    axis = axis + rank if axis < 0 else axis
    single = all(parameter is None or parameter.size == 1 for parameter in (scale, zero))
    if single:
        return Dequantized(inner, scale, zero, 0, 0)
    if not 0 <= axis < rank:
        return None
    expected: tuple[int, ...] = (inner.shape[axis],)
    if block:
        expected = (*inner.shape[:axis], -(-inner.shape[axis] // block), *inner.shape[axis + 1 :])
    if any(p is not None and p.size != 1 and p.shape != expected for p in (scale, zero)):
        return None
    return Dequantized(inner, scale, zero, axis, block)


class Constants:
    """The constants of a flow, found and remembered as they are asked for."""

    UNREADABLE: ClassVar[object] = object()
    """Constant, but not by a rule that this version knows."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self._known: dict[int, Constant | object | None] = {}
        self._magnitudes: dict[int, tuple[float, float] | None] = {}
        self._examinable = _EXAMINED_TOGETHER

    def of(self, value: int) -> Constant | None:
        """The constant that a value is, or None."""
        found = self.status(value)
        return found if isinstance(found, Constant) else None

    def is_unreadable(self, value: int) -> bool:
        """Whether a value is constant by a rule that this version does not know."""
        return self.status(value) is self.UNREADABLE

    def status(self, value: int) -> Constant | object | None:
        """A Constant, UNREADABLE, or None for what is computed from an input."""
        known = self._known
        if value in known:
            return known[value]
        flow = self.flow
        stack = [value]
        entered: set[int] = set()
        while stack:
            current = stack[-1]
            if current in known:
                stack.pop()
                continue
            if current in flow.tensors:
                known[current] = Stored(flow.tensors[current]) if flow.tensors[current].readable else self.UNREADABLE
                continue
            node = flow.producer.get(current)
            if current in flow.opaque:
                known[current] = self.UNREADABLE
            elif node is None or node.bodies or not node.inputs or node.op.startswith("Random"):
                known[current] = None
            elif current in entered:
                parents = [known.get(i) for i in node.inputs if i != ABSENT]
                known[current] = self._apply(node, current) if all(p is not None for p in parents) else None
            else:
                entered.add(current)
                missing: list[int] = []
                for parent in node.inputs:
                    if parent == ABSENT or parent in known:
                        if parent != ABSENT and known[parent] is None:
                            missing = []
                            known[current] = None
                            break
                    elif parent in entered:  # a cycle
                        missing = []
                        known[current] = None
                        break
                    else:
                        missing.append(parent)
                stack += missing
        return known[value]

    def small(self, value: int) -> Array | None:
        """A constant of at most a few thousand elements, evaluated; None otherwise."""
        constant = self.of(value) if value != ABSENT else None
        return constant.array() if constant is not None and constant.size <= _SMALL else None

    def magnitudes(self, value: int) -> tuple[float, float] | None:
        """The smallest and the largest magnitude in a constant; None where it is none, or too much to look at."""
        if value not in self._magnitudes:
            constant = self.of(value) if value != ABSENT else None
            found = None
            if constant is not None and 0 < constant.size <= min(_EXAMINED, self._examinable):
                self._examinable -= constant.size
                magnitude = np.abs(constant.array().astype(np.float64))
                found = float(np.fmin.reduce(magnitude, axis=None)), float(np.fmax.reduce(magnitude, axis=None))
            self._magnitudes[value] = found
        return self._magnitudes[value]

    def _apply(self, node: Node, value: int) -> Constant | object:
        rule = _RULES.get(node.op) if node.domain in ("", "com.microsoft") and node.outputs[0] == value else None
        parts = [self._known[i] if i != ABSENT else None for i in node.inputs]
        if rule is None or any(part is self.UNREADABLE for part in parts):
            return self.UNREADABLE
        constants = [part if isinstance(part, Constant) else None for part in parts]
        if constants[0] is None:
            return self.UNREADABLE
        try:
            result = rule(node, constants)
        except (ValueError, LookupError, TypeError, ArithmeticError):
            return self.UNREADABLE
        if result is None or result.steps > _MAX_STEPS or not possible(result.shape):
            return self.UNREADABLE
        largest = max(
            tensor.size for tensor in result.stored()
        )  # not the parts': growth would add up from step to step
        return result if result.size <= _MAX_GROWTH * largest + _SMALL else self.UNREADABLE


Rule = Callable[[Node, "list[Any]"], "Constant | None"]
_RULES: dict[str, Rule] = {}


def _rule(*ops: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        _RULES.update(dict.fromkeys(ops, rule))
        return rule

    return register


@_rule("Identity")
def _identity(node: Node, parts: list[Any]) -> Constant | None:
    return parts[0]  # type: ignore[no-any-return]


@_rule("Cast")
def _cast(node: Node, parts: list[Any]) -> Constant | None:
    target = node.integer("to", TensorProto.FLOAT)
    return Cast(parts[0], target) if convert(np.zeros(1), target) is not None else None


@_rule("Transpose")
def _transpose(node: Node, parts: list[Any]) -> Constant | None:
    rank = len(parts[0].shape)
    axes = node.integers("perm") or list(range(rank))[::-1]
    return Transposed(parts[0], tuple(axes)) if sorted(axes) == list(range(rank)) else None


@_rule("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def _reshape(node: Node, parts: list[Any]) -> Constant | None:
    shape = _new_shape(node, parts)
    return Reshaped(parts[0], shape) if math.prod(shape) == parts[0].size else None


def _new_shape(node: Node, parts: list[Any]) -> tuple[int, ...]:
    shape: tuple[int, ...] = parts[0].shape
    if node.op == "Flatten":
        axis = node.integer("axis", 1)
        axis = axis + len(shape) if axis < 0 else axis
        return (math.prod(shape[:axis]), math.prod(shape[axis:]))
    second = parts[1] if len(parts) > 1 else None
    attribute = node.integers("shape" if node.op == "Reshape" else "axes")
    wanted = [int(n) for n in second.array().reshape(-1)] if second is not None and second.size <= 64 else attribute
    if node.op == "Reshape":
        if wanted is None:
            raise ValueError
        keep_zero = node.integer("allowzero", 0)
        target = [shape[i] if n == 0 and not keep_zero else n for i, n in enumerate(wanted)]
        if -1 in target:
            target[target.index(-1)] = parts[0].size // max(1, -math.prod(target))
        if any(n < 0 for n in target):
            raise ValueError
        return tuple(target)
    if node.op == "Squeeze":
        drop = {n % len(shape) for n in wanted} if wanted is not None else {i for i, n in enumerate(shape) if n == 1}
        return tuple(n for i, n in enumerate(shape) if i not in drop)
    rank = len(shape) + len(wanted or ())
    places = {n % rank for n in wanted or ()}
    if len(places) != len(wanted or ()):
        raise ValueError
    rest = iter(shape)
    return tuple(1 if i in places else next(rest) for i in range(rank))


@_rule("DequantizeLinear")
def _dequantize_linear(node: Node, parts: list[Any]) -> Constant | None:
    if len(parts) < 2 or parts[1] is None:
        return None
    zero = parts[2] if len(parts) > 2 else None
    return dequantize(parts[0], parts[1], zero, node.integer("axis", 1), node.integer("block_size", 0))


def _divide(left: Array, right: Array) -> Array:
    """ONNX divides integers without remainder, towards zero."""
    quotient: Array = np.divide(left, right)
    whole = left.dtype.kind in "iu" and right.dtype.kind in "iu"
    return np.trunc(quotient).astype(left.dtype) if whole else quotient


_ARITHMETIC: dict[str, Callable[..., Array]] = {"Mul": np.multiply, "Div": _divide, "Add": np.add, "Sub": np.subtract}
_UNARY: dict[str, Callable[..., Array]] = {"Neg": np.negative, "Sqrt": np.sqrt, "Reciprocal": np.reciprocal}


@_rule(*_ARITHMETIC)
def _arithmetic(node: Node, parts: list[Any]) -> Constant | None:
    return Elementwise(_ARITHMETIC[node.op], tuple(parts)) if len(parts) == 2 and None not in parts else None


@_rule(*_UNARY)
def _unary(node: Node, parts: list[Any]) -> Constant | None:
    return Elementwise(_UNARY[node.op], (parts[0],))
