"""Evaluate what is constant, lazily: a weight behind Transpose, Cast or DequantizeLinear is still a weight.

One rule per operator, none per tool: a tool that leaves a constant subgraph behind is undone by the rules of its operators.
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from onnx import TensorProto

from onnxnnw.graph.arrays import (
    Constant,
    Expanded,
    Gathered,
    Joined,
    Literal,
    Positions,
    Reshaped,
    Scattered,
    Sliced,
    Stored,
    Transposed,
)
from onnxnnw.graph.decoding import Cast, Dequantized, Elementwise, Quantized, Reduced, dequantize, fit_parameters
from onnxnnw.graph.flow import ABSENT, Flow, Node
from onnxnnw.graph.stored import Array, convert, possible

__all__ = ["Constant", "Constants", "Dequantized", "Positions", "Reshaped", "Stored", "Transposed"]

_MAX_STEPS = 60
_MAX_GROWTH = 4
_MAX_PARTS = 64
_SMALL = 4096
_SPARSE_GROWTH, _MAX_INDICES = 64, 2**24
_INDICES = (TensorProto.INT64, TensorProto.INT32, TensorProto.INT16, TensorProto.INT8)
"""ONNX says 64 bits; onnxruntime writes as few as will do."""

_EXAMINED, _EXAMINED_TOGETHER = 2**22, 2**25


class Constants:
    """The constants of a flow, found and remembered as they are asked for."""

    UNREADABLE: ClassVar[object] = object()
    """Constant, but not by a rule that this version knows."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self._known: dict[int, Constant | object | None] = dict.fromkeys(_computed(flow))
        self._magnitudes: dict[int, tuple[float, float] | None] = {}
        self._examinable = _EXAMINED_TOGETHER

    def of(self, value: int) -> Constant | None:
        """The constant that a value is, or None."""
        known = self._known
        found = known[value] if value in known else self.status(value)
        return found if found is not self.UNREADABLE else None  # type: ignore[return-value]

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
            if current in flow.sparse:
                known[current] = self._scattered(current)
            elif current in flow.opaque:
                known[current] = self.UNREADABLE
            elif node is None or _is_source(node):
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

    def _scattered(self, value: int) -> Constant | object:
        """A sparse tensor, if its indices are what ONNX wants: inside, ascending, none twice."""
        values, indices, shape = self.flow.sparse[value]
        size, rank = math.prod(shape), max(1, len(shape))
        if (
            not values.readable
            or len(values.shape) != 1
            or indices.data_type not in _INDICES
            or indices.shape not in ((values.size,), (values.size, rank))
            or indices.size > min(_MAX_INDICES, self._examinable)
            or not possible(shape)
            or min(shape, default=1) < 0
            or size > _SPARSE_GROWTH * values.size + _SMALL
        ):
            return self.UNREADABLE
        self._examinable -= indices.size
        places = indices.array().astype(np.int64)
        if indices.shape != (values.size,):
            if ((places < 0) | (places >= np.array(shape))).any():
                return self.UNREADABLE
            places = places @ np.append(np.cumprod(np.array(shape)[:0:-1])[::-1], 1).astype(np.int64)
        if places.size and (places[0] < 0 or places[-1] >= size or (np.diff(places) <= 0).any()):
            return self.UNREADABLE
        return Scattered(values, places, tuple(shape))

    def _apply(self, node: Node, value: int) -> Constant | object:
        rule = _RULES.get(node.op) if node.domain in ("", "com.microsoft") else None
        parts = [self._known[i] if i != ABSENT else None for i in node.inputs]
        if rule is None or any(part is self.UNREADABLE for part in parts):
            return self.UNREADABLE
        if node.outputs[0] != value and node.op != "Split":
            return self.UNREADABLE
        constants = [part if isinstance(part, Constant) else None for part in parts]
        if constants[0] is None:
            return self.UNREADABLE
        try:
            result = rule(node, constants) if rule is not _split else _part(node, constants, node.outputs.index(value))
        except (ValueError, LookupError, TypeError, ArithmeticError):
            return self.UNREADABLE
        if result is None or result.steps > _MAX_STEPS or not possible(result.shape):
            return self.UNREADABLE
        # measured by what is stored, not by the parts: growth would add up from step to step
        return result if result.size <= _MAX_GROWTH * result.extent + _SMALL else self.UNREADABLE


def _is_source(node: Node) -> bool:
    """Whether what a node computes is not constant even where its inputs are."""
    return bool(node.bodies) or not node.inputs or node.op.startswith("Random")


def _computed(flow: Flow) -> set[int]:
    """Values computed from an input, as far as one look at the nodes in the file's order shows: usually all of them."""
    out = set(flow.inputs)
    for node in flow.nodes:
        if not out.isdisjoint(node.inputs) or _is_source(node):
            out.update(node.outputs)
    out.discard(ABSENT)
    return out


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


@_rule("Concat")
def _concat(node: Node, parts: list[Any]) -> Constant | None:
    if None in parts or len(parts) > _MAX_PARTS or "axis" not in node.attributes():
        return None
    return parts[0] if len(parts) == 1 else Joined(tuple(parts), _axis(node.integer("axis", 0), parts[0]))


@_rule("Slice")
def _slice(node: Node, parts: list[Any]) -> Constant | None:
    shape = parts[0].shape
    if len(parts) > 1:
        given = [_integers(part) for part in (*parts[1:], *[None] * (5 - len(parts)))]
    else:
        given = [node.integers(name) for name in ("starts", "ends", "axes", "steps")]
    starts, ends, axes, steps = given
    if starts is None or ends is None:
        return None
    places = [slice(None)] * len(shape)
    for start, end, axis, step in zip(
        starts, ends, range(len(starts)) if axes is None else axes, [1] * len(starts) if steps is None else steps,
        strict=True,
    ):  # fmt: skip
        stop = None if step < 0 and end < -shape[axis] else end
        places[_axis(axis, parts[0])] = slice(start, stop, step)
    ranges = [range(length)[place] for place, length in zip(places, shape, strict=True)]
    return Sliced(parts[0], tuple(r.start if len(r) else 0 for r in ranges), tuple(r.step for r in ranges),
                  tuple(map(len, ranges)))  # fmt: skip


@_rule("Split")
def _split(node: Node, parts: list[Any]) -> Constant | None:
    return _part(node, parts, 0)


def _part(node: Node, parts: list[Any], place: int) -> Constant | None:
    """One of the outputs of Split."""
    shape = parts[0].shape
    axis = _axis(node.integer("axis", 0), parts[0])
    lengths = _integers(parts[1]) if len(parts) > 1 else node.integers("split")
    if lengths is None:
        each = -(-shape[axis] // node.integer("num_outputs", len(node.outputs)))
        lengths = [min(each, shape[axis] - k * each) for k in range(len(node.outputs))]
    if sum(lengths) != shape[axis] or min(lengths) < 0:
        return None
    starts = [0] * len(shape)
    starts[axis] = sum(lengths[:place])
    return Sliced(parts[0], tuple(starts), (1,) * len(shape), (*shape[:axis], lengths[place], *shape[axis + 1 :]))


@_rule("Gather")
def _gather(node: Node, parts: list[Any]) -> Constant | None:
    axis = _axis(node.integer("axis", 0), parts[0])
    length, indices = parts[0].shape[axis], parts[1]
    if indices is None or indices.size > max(_SMALL, _MAX_GROWTH * length) or not indices.size:
        return None
    chosen = indices.array().astype(np.int64).reshape(-1)
    chosen = np.where(chosen < 0, chosen + length, chosen)
    if chosen.min() < 0 or chosen.max() >= length:
        return None
    shape = parts[0].shape
    return Reshaped(Gathered(parts[0], axis, chosen), (*shape[:axis], *indices.shape, *shape[axis + 1 :]))


@_rule("Shape")
def _shape(node: Node, parts: list[Any]) -> Constant | None:
    shape = parts[0].shape
    return Literal(np.array(shape[node.integer("start", 0) : node.integer("end", len(shape))], np.int64))


@_rule("ConstantOfShape")
def _constant_of_shape(node: Node, parts: list[Any]) -> Constant | None:
    shape = _integers(parts[0])
    if shape is None or "value" in node.attributes() or math.prod(shape) > _SMALL:  # zeros, by default
        return None
    return Literal(np.zeros(shape, np.float32))


@_rule("Expand")
def _expand(node: Node, parts: list[Any]) -> Constant | None:
    wanted = _integers(parts[1])
    if wanted is None or not possible(wanted):
        return None
    return Expanded(parts[0], tuple(np.broadcast_shapes(parts[0].shape, tuple(wanted))))


def _axis(axis: int, part: Constant) -> int:
    """An axis counted from the front; ValueError where there is none."""
    rank = len(part.shape)
    if not -rank <= axis < rank:
        raise ValueError
    return axis % rank


def _integers(part: Constant | None) -> list[int] | None:
    """A short list of whole numbers."""
    return [int(n) for n in part.array().reshape(-1)] if part is not None and part.size <= _MAX_PARTS else None


@_rule("DequantizeLinear")
def _dequantize_linear(node: Node, parts: list[Any]) -> Constant | None:
    if len(parts) < 2 or parts[1] is None:
        return None
    zero = parts[2] if len(parts) > 2 else None
    return dequantize(parts[0], parts[1], zero, node.integer("axis", 1), node.integer("block_size", 0))


_RANGES = {f"{sign}INT{bits}": (0 if sign else -(2 ** (bits - 1)), 2 ** (bits - (not sign)) - 1)
           for sign in ("", "U") for bits in (2, 4, 8, 16)}  # fmt: skip


@_rule("QuantizeLinear")
def _quantize_linear(node: Node, parts: list[Any]) -> Constant | None:
    if len(parts) < 2 or parts[1] is None:
        return None
    zero = parts[2] if len(parts) > 2 else None
    target = node.integer("output_dtype", 0) or (zero.stored()[0].data_type if zero is not None else TensorProto.UINT8)
    limits = _RANGES.get(TensorProto.DataType.Name(target))
    fitting = fit_parameters(parts[0], (parts[1], zero), node.integer("axis", 1), node.integer("block_size", 0))
    return Quantized(parts[0], *fitting, *limits) if fitting is not None and limits is not None else None


def _divide(left: Array, right: Array) -> Array:
    """ONNX divides integers without remainder, towards zero."""
    quotient: Array = np.divide(left, right)
    whole = left.dtype.kind in "iu" and right.dtype.kind in "iu"
    return np.trunc(quotient).astype(left.dtype) if whole else quotient


_ARITHMETIC: dict[str, Callable[..., Array]] = {
    "Mul": np.multiply,
    "Div": _divide,
    "Add": np.add,
    "Sub": np.subtract,
    "Pow": np.power,
    "Max": np.maximum,
    "Min": np.minimum,
}
_UNARY: dict[str, Callable[..., Array]] = {
    "Neg": np.negative,
    "Sqrt": np.sqrt,
    "Reciprocal": np.reciprocal,
    "Abs": np.abs,
    "Exp": np.exp,
    "Log": np.log,
    "Tanh": np.tanh,
}


@_rule(*_ARITHMETIC)
def _arithmetic(node: Node, parts: list[Any]) -> Constant | None:
    return Elementwise(_ARITHMETIC[node.op], tuple(parts)) if len(parts) == 2 and None not in parts else None


@_rule(*_UNARY)
def _unary(node: Node, parts: list[Any]) -> Constant | None:
    return Elementwise(_UNARY[node.op], (parts[0],))


_REDUCTIONS: dict[str, Callable[[Array, tuple[int, ...]], Array]] = {
    "ReduceSum": lambda values, axes: values.sum(axes),
    "ReduceMean": lambda values, axes: values.mean(axes),
    "ReduceMax": lambda values, axes: values.max(axes),
    "ReduceMin": lambda values, axes: values.min(axes),
    "ReduceSumSquare": lambda values, axes: np.square(values).sum(axes),
    "ReduceL1": lambda values, axes: np.abs(values).sum(axes),
    "ReduceL2": lambda values, axes: np.sqrt(np.square(values).sum(axes)),
}


@_rule(*_REDUCTIONS)
def _reduce(node: Node, parts: list[Any]) -> Constant | None:
    inner = parts[0]
    wanted = node.integers("axes")
    if wanted is None and len(parts) > 1:
        wanted = _integers(parts[1])
        if wanted is None:
            return None
    axes = tuple(_axis(axis, inner) for axis in wanted or range(len(inner.shape)))
    if not wanted and node.integer("noop_with_empty_axes", 0):
        return inner  # type: ignore[no-any-return]
    keep = node.integer("keepdims", 1)
    shape = tuple(1 if i in axes else n for i, n in enumerate(inner.shape) if keep or i not in axes)
    reduce = _REDUCTIONS[node.op]
    return Reduced(inner, lambda values: reduce(values, axes), shape)
