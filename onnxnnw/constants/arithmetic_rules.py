"""Constant folding of arithmetic: element by element, along axes, as matrices, and between element types."""

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto

from onnxnnw.constants.arrays import Constant, Literal
from onnxnnw.constants.decoding import Cast, Elementwise, Reduced
from onnxnnw.constants.elementwise import OPERATORS, function_of
from onnxnnw.constants.evaluated import Evaluated, Product
from onnxnnw.constants.moved import Reshaped, Transposed
from onnxnnw.constants.rulebook import MAX_PARTS, axis_of, element_type, integers_of, number_of, real, rule
from onnxnnw.flow.nodes import Node
from onnxnnw.network_file.stored import Array, convert

__all__: list[str] = []


@rule("Cast")
def _cast(node: Node, parts: list[Any]) -> Constant | None:
    return _converted(parts[0], node.integer("to", TensorProto.FLOAT), bool(node.integer("saturate", 1)))


@rule("CastLike")
def _cast_like(node: Node, parts: list[Any]) -> Constant | None:
    target = element_type(parts[1]) if parts[1] is not None else None
    return None if target is None else _converted(parts[0], target, bool(node.integer("saturate", 1)))


def _converted(part: Constant, target: int, saturate: bool) -> Constant | None:
    return Cast(part, target, saturate) if convert(np.zeros(1), target) is not None else None


@rule(*OPERATORS)
def _elementwise(node: Node, parts: list[Any]) -> Constant | None:
    if None in parts or len(parts) > MAX_PARTS:
        return None
    operands = _as_before(node, parts) if 0 < node.version < 7 and len(parts) == 2 else parts
    function = function_of(node, len(parts))
    return None if operands is None or function is None else _checked(Elementwise(function, tuple(operands)))


def _checked(result: Elementwise) -> Elementwise:
    """The same; TypeError where the operation is none of such elements."""
    assert result.dtype is not None
    return result


def _as_before(node: Node, parts: list[Any]) -> list[Any] | None:
    """Operands as they were broadcast before version 7: the second one from an axis of the first on, and only if it says so."""
    first, second = parts
    if first.shape == second.shape:
        return parts
    if not node.integer("broadcast", 0) or len(second.shape) > len(first.shape):
        return None
    rank = len(first.shape)
    axis = node.integer("axis", rank - len(second.shape))
    axis = axis + rank if axis < 0 else axis
    if second.size != 1 and first.shape[axis : axis + len(second.shape)] != second.shape:
        return None
    tail = (1,) * (rank - axis - len(second.shape))
    return [first, Reshaped(second, (1,) * rank if second.size == 1 else (*second.shape, *tail))]


@rule("Clip")
def _clip(node: Node, parts: list[Any]) -> Constant | None:
    """Limits are attributes [ONNX Clip-6] or inputs [ONNX Clip-11]; where they cross, the upper one holds."""
    values: Constant = parts[0]
    if 0 < node.version < 11:
        given = node.attributes()
        limits = [Literal(np.array(given[n].f, values.dtype)) if n in given else None for n in ("min", "max")]
    else:
        limits = [*parts[1:], None, None][:2]
    if any(limit is not None and limit.size != 1 for limit in limits):
        return None
    low, high = limits

    def clip(array: Array, *bounds: Array) -> Array:
        rest = list(bounds)
        array = np.maximum(array, rest.pop(0).astype(array.dtype)) if low is not None else array
        return np.minimum(array, rest.pop(0).astype(array.dtype)) if high is not None else array

    bounds = [Reshaped(limit, ()) for limit in limits if limit is not None]
    return _checked(Elementwise(clip, (values, *bounds))) if bounds else values


_REDUCTIONS: dict[str, Callable[[Array, tuple[int, ...]], Array]] = {
    "ReduceSum": lambda values, axes: values.sum(axes),
    "ReduceMean": lambda values, axes: values.mean(axes),
    "ReduceMax": lambda values, axes: values.max(axes),
    "ReduceMin": lambda values, axes: values.min(axes),
    "ReduceSumSquare": lambda values, axes: np.square(values).sum(axes),
    "ReduceL1": lambda values, axes: np.abs(values).sum(axes),
    "ReduceProd": lambda values, axes: values.prod(axes),
    "ReduceLogSum": lambda values, axes: np.log(values.sum(axes)),
    "ReduceLogSumExp": lambda values, axes: np.logaddexp.reduce(values, axes),
    "ReduceL2": lambda values, axes: np.sqrt(np.square(values).sum(axes)),
}


@rule(*_REDUCTIONS)
def _reduce(node: Node, parts: list[Any]) -> Constant | None:
    inner = parts[0]
    wanted = node.integers("axes")
    if wanted is None and len(parts) > 1:
        wanted = integers_of(parts[1])
        if wanted is None:
            return None
    axes = tuple(axis_of(axis, inner) for axis in wanted or range(len(inner.shape)))
    if len(set(axes)) != len(axes):
        return None
    if not wanted and node.integer("noop_with_empty_axes", 0):
        return inner  # type: ignore[no-any-return]
    if not inner.size:
        return None
    keep = node.integer("keepdims", 1)
    shape = tuple(1 if i in axes else n for i, n in enumerate(inner.shape) if keep or i not in axes)
    reduce = _REDUCTIONS[node.op]
    return Reduced(inner, lambda values: reduce(values, axes), shape)


# --- along an axis


@rule("CumSum")
def _cumulative_sum(node: Node, parts: list[Any]) -> Constant | None:
    axis = axis_of(int(number_of(parts[1])), parts[0])
    exclusive, reverse = node.integer("exclusive", 0), node.integer("reverse", 0)

    def add_up(values: Array) -> Array:
        values = np.flip(values, axis) if reverse else values
        sums = np.cumsum(values, axis, dtype=np.float64 if values.dtype.kind == "f" else values.dtype)
        if exclusive:
            sums = np.roll(sums, 1, axis)
            sums[(slice(None),) * axis + (slice(0, 1),)] = 0
        return np.flip(sums, axis) if reverse else sums

    return Evaluated(add_up, (parts[0],), parts[0].shape, parts[0].dtype)


def _normalised(function: Callable[..., Array], operands: list[Any]) -> Constant | None:
    """An array by a function of its own statistics; None where there are none, or of whole numbers."""
    values = operands[0]
    if not values.size or any(part.dtype.kind != "f" for part in operands):
        return None
    return Evaluated(function, tuple(operands), values.shape, values.dtype)


@rule("Softmax", "LogSoftmax")
def _softmax(node: Node, parts: list[Any]) -> Constant | None:
    """Along one axis, or along all from it on before version 13."""
    rank = len(parts[0].shape)
    late = not 0 < node.version < 13
    axis = axis_of(node.integer("axis", -1 if late else 1), parts[0])
    axes = (axis,) if late else tuple(range(axis, rank))
    logarithm = node.op == "LogSoftmax"

    def normalise(values: Array) -> Array:
        shifted: Array = values - values.max(axes, keepdims=True)
        if logarithm:
            shifted -= np.log(np.exp(shifted).sum(axes, keepdims=True))
            return shifted
        powers: Array = np.exp(shifted)
        powers /= powers.sum(axes, keepdims=True)
        return powers

    return _normalised(normalise, parts[:1])


# --- matrices


def _product(left: Constant, right: Constant) -> Constant:
    """A product as NumPy's matmul has it; ValueError where shapes do not fit."""
    if not left.shape or not right.shape:
        raise ValueError
    line, column = len(left.shape) == 1, len(right.shape) == 1
    left = Reshaped(left, (1, *left.shape)) if line else left
    right = Reshaped(right, (*right.shape, 1)) if column else right
    out = Product(left, right)
    if not line and not column:
        return out
    shape = (*out.shape[:-2], *(() if line else out.shape[-2:-1]), *(() if column else out.shape[-1:]))
    return Reshaped(out, shape)


@rule("MatMul")
def _matmul(node: Node, parts: list[Any]) -> Constant | None:
    return None if None in parts else _product(*parts)


@rule("Gemm")
def _gemm(node: Node, parts: list[Any]) -> Constant | None:
    """alpha * A' B' + beta * C [ONNX Gemm-13]."""
    if parts[1] is None or {len(part.shape) for part in parts[:2]} != {2}:
        return None
    left, right = (Transposed(part, (1, 0)) if node.integer(name, 0) else part
                   for part, name in zip(parts, ("transA", "transB"), strict=False))  # fmt: skip
    out: Constant = Product(left, right)
    alpha, beta = real(node, "alpha", 1.0), real(node, "beta", 1.0)
    if out.dtype.kind != "f" and (alpha, beta) != (1, 1):
        return None
    out = out if alpha == 1 else _times(out, alpha)
    if len(parts) < 3 or parts[2] is None:
        return out
    if np.broadcast_shapes(parts[2].shape, out.shape) != out.shape:
        return None
    return _checked(Elementwise(np.add, (out, parts[2] if beta == 1 else _times(parts[2], beta))))


def _times(part: Constant, factor: float) -> Constant:
    return Elementwise(np.multiply, (part, Literal(np.array(factor, part.dtype))))


# --- weights that are standardised


def _standardised(values: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    wide = values.astype(np.float64)
    wide -= wide.mean(axes, keepdims=True)
    wide /= np.sqrt(np.square(wide).mean(axes, keepdims=True) + epsilon)
    return wide


@rule("BatchNormalization")
def _batch_normalization(node: Node, parts: list[Any]) -> Constant | None:
    """By statistics that are given, or by its own: that is how weights are standardised [ONNX BatchNormalization-15]."""
    if (
        node.version < 7
        or len(parts) != 5
        or None in parts
        or len(parts[0].shape) < 2
        or not node.integer("spatial", 1)
    ):
        return None
    shape = parts[0].shape
    line = (1, shape[1], *[1] * (len(shape) - 2))
    if any(part.size != shape[1] for part in parts[1:]):
        return None
    epsilon = real(node, "epsilon", 1e-5)
    scale, shift, mean, variance = (Reshaped(part, line) for part in parts[1:])
    if node.integer("training_mode", 0):
        axes = (0, *range(2, len(shape)))
        return _affine(parts[0], scale, shift, axes, epsilon, (mean, variance))

    def normalise(values: Array, by: Array, add: Array, middle: Array, spread: Array) -> Array:
        out: Array = (values - middle) / np.sqrt(spread + spread.dtype.type(epsilon)) * by + add
        return out

    return _checked(Elementwise(normalise, (parts[0], scale, shift, mean, variance)))


def _affine(
    values: Constant,
    scale: Constant | None,
    shift: Constant | None,
    axes: tuple[int, ...],
    epsilon: float,
    unused: tuple[Constant, ...] = (),
) -> Constant | None:
    """Standardised along some axes, times ``scale`` plus ``shift``, which broadcast; ``unused`` only belongs to it."""
    given = [part for part in (scale, shift) if part is not None]
    if any(np.broadcast_shapes(part.shape, values.shape) != values.shape for part in given):
        return None

    def normalise(array: Array, *rest: Array) -> Array:
        out = _standardised(array, axes, epsilon)
        left = list(rest)
        out = out * left.pop(0) if scale is not None else out
        return out + left.pop(0) if shift is not None else out

    return _normalised(normalise, [values, *given, *unused])


@rule("InstanceNormalization")
def _instance_normalization(node: Node, parts: list[Any]) -> Constant | None:
    shape = parts[0].shape
    if node.version < 6 or len(parts) != 3 or None in parts or len(shape) < 3:
        return None
    if any(part.size != shape[1] for part in parts[1:]):
        return None
    line = (shape[1], *[1] * (len(shape) - 2))
    axes = tuple(range(2, len(shape)))
    return _affine(parts[0], Reshaped(parts[1], line), Reshaped(parts[2], line), axes, real(node, "epsilon", 1e-5))


@rule("LayerNormalization")
def _layer_normalization(node: Node, parts: list[Any]) -> Constant | None:
    axis = axis_of(node.integer("axis", -1), parts[0])
    scale, shift = [*parts[1:], None, None][:2]
    if scale is None or (len(parts) > 2 and shift is None):
        return None
    return _affine(parts[0], scale, shift, tuple(range(axis, len(parts[0].shape))), real(node, "epsilon", 1e-5))


@rule("LpNormalization")
def _lp_normalization(node: Node, parts: list[Any]) -> Constant | None:
    """Divided by the norm along an axis; 0 where that is 0."""
    axis, order = axis_of(node.integer("axis", -1), parts[0]), node.integer("p", 2)
    if order not in (1, 2):
        return None

    def normalise(values: Array) -> Array:
        norm = (
            np.abs(values).sum(axis, keepdims=True)
            if order == 1
            else np.sqrt(np.square(values).sum(axis, keepdims=True))
        )
        out: Array = np.where(norm == 0, 0, values / norm)
        return out

    return _normalised(normalise, parts[:1])


@rule("MeanVarianceNormalization")
def _mean_variance(node: Node, parts: list[Any]) -> Constant | None:
    axes = tuple(axis_of(axis, parts[0]) for axis in node.integers("axes") or (0, 2, 3))

    def normalise(values: Array) -> Array:
        wide: Array = values - values.mean(axes, keepdims=True, dtype=np.float64)
        wide /= np.sqrt(np.square(wide).mean(axes, keepdims=True)) + 1e-9
        return wide

    return _normalised(normalise, parts[:1])
