"""What one operator makes of constants: a rule per operator, none per tool.

A tool that leaves a constant subgraph behind is undone by the rules of its operators.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto

from onnxnnw.constants.arrays import Constant, Expanded, Gathered, Joined, Literal, Reshaped, Sliced, Transposed
from onnxnnw.constants.decoding import Cast, Elementwise, Quantized, Reduced, dequantize, fit_parameters
from onnxnnw.flow.nodes import Node
from onnxnnw.network_file.stored import Array, convert, possible

__all__ = ["MAX_GROWTH", "SMALL", "apply_rule"]

MAX_GROWTH = 4
"""Elements of a constant over those that are stored."""

SMALL = 4096
"""Elements that a constant may always have."""

_MAX_PARTS = 64

Rule = Callable[[Node, "list[Any]"], "Constant | None"]
_RULES: dict[str, Rule] = {}


def apply_rule(node: Node, parts: list[Any], place: int) -> Constant | None:
    """What a node makes of constants.

    Args:
        parts: One Constant or None (not given) per input; the first is given.
        place: Which of its outputs.

    Raises:
        ValueError, LookupError, TypeError, ArithmeticError: The node contradicts itself; so it has no constant.

    Returns:
        None where no rule is known.
    """
    if node.op == "Split":
        return _part(node, parts, place)
    rule = _RULES.get(node.op) if place == 0 else None
    return rule(node, parts) if rule is not None else None


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
    if indices is None or indices.size > max(SMALL, MAX_GROWTH * length) or not indices.size:
        return None
    chosen = indices.array().reshape(-1)
    if chosen.dtype.kind not in "iu":
        return None
    chosen = chosen.astype(np.int64)
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
    if shape is None or "value" in node.attributes() or math.prod(shape) > SMALL:  # zeros, by default
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
    if len(set(axes)) != len(axes):
        return None
    if not wanted and node.integer("noop_with_empty_axes", 0):
        return inner  # type: ignore[no-any-return]
    keep = node.integer("keepdims", 1)
    shape = tuple(1 if i in axes else n for i, n in enumerate(inner.shape) if keep or i not in axes)
    reduce = _REDUCTIONS[node.op]
    return Reduced(inner, lambda values: reduce(values, axes), shape)
