"""Constant folding of operators that move elements: reshape, slice, repeat, select, and ranges of numbers."""

import math
from typing import Any

import numpy as np
from onnx import AttributeProto, TensorProto, numpy_helper

from onnxnnw.constants.arrays import Constant, Literal
from onnxnnw.constants.decoding import Elementwise
from onnxnnw.constants.evaluated import Padded, Ramp
from onnxnnw.constants.moved import Expanded, Gathered, Joined, Reshaped, Sliced, Transposed
from onnxnnw.constants.rulebook import (
    MAX_GROWTH,
    MAX_PARTS,
    SMALL,
    axis_of,
    integers_of,
    number_of,
    outputs_rule,
    real,
    rule,
    text,
)
from onnxnnw.flow.nodes import Node
from onnxnnw.network_file.stored import MAX_DIMENSIONS, Array, convert, possible

__all__ = ["line_of"]


@rule("Identity")
def _identity(node: Node, parts: list[Any]) -> Constant | None:
    return parts[0]  # type: ignore[no-any-return]


@rule("Dropout")
def _dropout(node: Node, parts: list[Any]) -> Constant | None:
    """Nothing happens, but in a training [ONNX Dropout-7, Dropout-12]."""
    if node.version < 7 or (len(parts) > 2 and parts[2] is not None and number_of(parts[2])):
        return None
    return parts[0]  # type: ignore[no-any-return]


@rule("Transpose")
def _transpose(node: Node, parts: list[Any]) -> Constant | None:
    rank = len(parts[0].shape)
    axes = node.integers("perm") or list(range(rank))[::-1]
    return Transposed(parts[0], tuple(axes)) if sorted(axes) == list(range(rank)) else None


@rule("Reshape", "Flatten", "Squeeze", "Unsqueeze")
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


@rule("Concat")
def _concat(node: Node, parts: list[Any]) -> Constant | None:
    if None in parts or len(parts) > MAX_PARTS or "axis" not in node.attributes():
        return None
    return parts[0] if len(parts) == 1 else Joined(tuple(parts), axis_of(node.integer("axis", 0), parts[0]))


@rule("Slice")
def _slice(node: Node, parts: list[Any]) -> Constant | None:
    shape = parts[0].shape
    if len(parts) > 1:
        given = [integers_of(part) for part in (*parts[1:], *[None] * (5 - len(parts)))]
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
        places[axis_of(axis, parts[0])] = slice(start, stop, step)
    ranges = [range(length)[place] for place, length in zip(places, shape, strict=True)]
    return Sliced(parts[0], tuple(r.start if len(r) else 0 for r in ranges), tuple(r.step for r in ranges),
                  tuple(map(len, ranges)))  # fmt: skip


@outputs_rule("Split")
def _split(node: Node, parts: list[Any], place: int) -> Constant | None:
    """One of the outputs of Split."""
    shape = parts[0].shape
    axis = axis_of(node.integer("axis", 0), parts[0])
    lengths = integers_of(parts[1]) if len(parts) > 1 else node.integers("split")
    if lengths is None:
        each = -(-shape[axis] // node.integer("num_outputs", len(node.outputs)))
        lengths = [min(each, shape[axis] - k * each) for k in range(len(node.outputs))]
    if sum(lengths) != shape[axis] or min(lengths) < 0:
        return None
    starts = [0] * len(shape)
    starts[axis] = sum(lengths[:place])
    return Sliced(parts[0], tuple(starts), (1,) * len(shape), (*shape[:axis], lengths[place], *shape[axis + 1 :]))


@rule("Shape")
def _shape(node: Node, parts: list[Any]) -> Constant | None:
    shape = parts[0].shape
    return Literal(np.array(shape[node.integer("start", 0) : node.integer("end", len(shape))], np.int64))


@rule("Size")
def _size(node: Node, parts: list[Any]) -> Constant | None:
    return Literal(np.array(parts[0].size, np.int64))


@rule("ConstantOfShape")
def _constant_of_shape(node: Node, parts: list[Any]) -> Constant | None:
    shape = integers_of(parts[0])
    if shape is None or not possible(shape) or min(shape, default=1) < 0:
        return None
    given = node.attributes().get("value")
    value = np.zeros((), np.float32) if given is None else _single(given)
    return None if value is None else Expanded(Literal(value.reshape((1,) * len(shape))), tuple(shape))


def _single(attribute: AttributeProto) -> Array | None:
    """The one number of a tensor that is an attribute."""
    proto = attribute.t
    if math.prod(proto.dims) != 1 or proto.external_data or proto.data_location != TensorProto.DEFAULT:
        return None
    value: Array = numpy_helper.to_array(proto)
    if value.size != 1:
        return None
    kinds = {
        "b": np.dtype("u1"),
        "i": value.dtype,
        "u": value.dtype,
        "f": np.dtype("f8" if value.itemsize == 8 else "f4"),
    }
    kind = kinds.get(value.dtype.kind)
    return value.astype(kind) if kind is not None else None


@rule("Expand")
def _expand(node: Node, parts: list[Any]) -> Constant | None:
    wanted = integers_of(parts[1])
    if wanted is None or not possible(wanted):
        return None
    return Expanded(parts[0], tuple(np.broadcast_shapes(parts[0].shape, tuple(wanted))))


@rule("Tile")
def _tile(node: Node, parts: list[Any]) -> Constant | None:
    """Repeated along each axis [ONNX Tile-6]."""
    shape, times = parts[0].shape, integers_of(parts[1]) if len(parts) == 2 else None
    if times is None or len(times) != len(shape) or min(times, default=1) < 0 or 2 * len(shape) > MAX_DIMENSIONS:
        return None
    split = Reshaped(parts[0], tuple(n for length in shape for n in (1, length)))
    wide = tuple(n for count, length in zip(times, shape, strict=True) for n in (count, length))
    if not possible(wide):
        return None
    return Reshaped(Expanded(split, wide), tuple(count * n for count, n in zip(times, shape, strict=True)))


@rule("Pad", domains=("", "com.microsoft"))
def _pad(node: Node, parts: list[Any]) -> Constant | None:
    """Values around it, or cut off [ONNX Pad-1, Pad-2, Pad-11 and Pad-18; com.microsoft Pad]."""
    inner: Constant = parts[0]
    rank = len(inner.shape)
    as_attributes = not node.domain and 0 < node.version < 11
    axes: list[int] | None = list(range(rank))
    value: Constant = Literal(np.zeros((), np.float32))
    if as_attributes:
        pads = node.integers("paddings" if node.version < 2 else "pads")
        value = Literal(np.array(real(node, "value", 0.0), np.float32))
    else:
        pads = integers_of(parts[1])
        value = parts[2] if len(parts) > 2 and parts[2] is not None else value
        if len(parts) > 3 and parts[3] is not None:
            axes = integers_of(parts[3])
    if pads is None or axes is None or value.size != 1 or value.peak > SMALL or len(pads) != 2 * len(axes):
        return None
    before, after = [0] * rank, [0] * rank
    places = [axis_of(axis, inner) for axis in axes]
    if len(set(places)) != len(places):
        return None
    for number, axis in enumerate(places):
        before[axis], after[axis] = pads[number], pads[number + len(axes)]
    kept = [n + min(0, a) + min(0, b) for n, a, b in zip(inner.shape, before, after, strict=True)]
    if min(kept, default=0) < 0:
        return None
    if kept != list(inner.shape):
        inner = Sliced(
            inner, tuple(max(0, -a) if n else 0 for a, n in zip(before, kept, strict=True)), (1,) * rank, tuple(kept)
        )
    before, after = [max(0, n) for n in before], [max(0, n) for n in after]
    mode = text(node, "mode", "constant")
    if mode == "constant":
        shape = tuple(a + n + b for a, n, b in zip(before, kept, after, strict=True))
        return Padded(inner, value, tuple(before), shape) if possible(shape) else None
    if mode not in ("edge", "reflect", "wrap"):
        return None
    for axis, length in enumerate(kept):
        if not before[axis] and not after[axis]:
            continue
        if before[axis] + after[axis] > MAX_GROWTH * length or not length:
            return None
        order = np.pad(np.arange(length), (before[axis], after[axis]), mode)  # type: ignore[call-overload]
        inner = Gathered(inner, axis, order)
    return inner


@rule("DepthToSpace", "SpaceToDepth")
def _depth_and_space(node: Node, parts: list[Any]) -> Constant | None:
    batch, depth, height, width = parts[0].shape
    block = node.integer("blocksize", 0)
    mode = text(node, "mode", "DCR")
    if block < 1 or mode not in ("DCR", "CRD"):
        return None
    if node.op == "SpaceToDepth":
        if height % block or width % block:
            return None
        split = Reshaped(parts[0], (batch, depth, height // block, block, width // block, block))
        moved = Transposed(split, (0, 3, 5, 1, 2, 4))
        return Reshaped(moved, (batch, depth * block * block, height // block, width // block))
    if depth % (block * block):
        return None
    less = depth // (block * block)
    if mode == "DCR":
        moved = Transposed(Reshaped(parts[0], (batch, block, block, less, height, width)), (0, 3, 4, 1, 5, 2))
    else:
        moved = Transposed(Reshaped(parts[0], (batch, less, block, block, height, width)), (0, 1, 4, 2, 5, 3))
    return Reshaped(moved, (batch, less, height * block, width * block))


# --- numbers that follow from others


@rule("Range", domains=("", "com.microsoft"))
def _range(node: Node, parts: list[Any]) -> Constant | None:
    start, limit = number_of(parts[0]), number_of(parts[1])
    step = number_of(parts[2]) if len(parts) > 2 and parts[2] is not None else start.dtype.type(1)
    if not np.isfinite([start, limit, step]).all() or not step:
        return None
    if start.dtype.kind in "iu":
        count = max(0, -((int(start) - int(limit)) // int(step)))
    else:
        count = max(0, math.ceil((float(limit) - float(start)) / float(step)))
    return Ramp(np.asarray(start), np.asarray(step), count) if possible((count,)) else None


def line_of(length: int, axis: int, rank: int) -> Constant:
    """Numbers from 0 on along an axis."""
    ramp = Ramp(np.asarray(np.int64(0)), np.asarray(np.int64(1)), length)
    return Reshaped(ramp, tuple(length if place == axis else 1 for place in range(rank)))


@rule("EyeLike")
def _eye_like(node: Node, parts: list[Any]) -> Constant | None:
    rows, columns = parts[0].shape
    offset, target = node.integer("k", 0), node.integer("dtype", TensorProto.FLOAT)
    if "dtype" not in node.attributes() and parts[0].dtype != np.float32:
        return None
    kind = convert(np.zeros(1), target)
    if kind is None:
        return None
    return Elementwise(lambda row, column: (column - row == offset).astype(kind.dtype),
                       (line_of(rows, 0, 2), line_of(columns, 1, 2)))  # fmt: skip


@rule("Trilu", domains=("", "com.microsoft"))
def _trilu(node: Node, parts: list[Any]) -> Constant | None:
    rank = len(parts[0].shape)
    if rank < 2:
        return None
    offset = int(number_of(parts[1])) if len(parts) > 1 and parts[1] is not None else 0
    upper = bool(node.integer("upper", 1))

    def cut(values: Array, row: Array, column: Array) -> Array:
        kept = column - row >= offset if upper else column - row <= offset
        return np.where(kept, values, values.dtype.type(0))

    rows, columns = (line_of(parts[0].shape[axis], axis, rank) for axis in (rank - 2, rank - 1))
    return Elementwise(cut, (parts[0], rows, columns))


# --- choices element by element
