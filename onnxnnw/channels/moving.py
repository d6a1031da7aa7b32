"""Rules of operators that move channels: concatenate, split, select, transpose and reshape."""

import numpy as np

from onnxnnw.channels.shapes import Shape
from onnxnnw.channels.tags import FIXED, MAX_TAGS, Tags
from onnxnnw.channels.walk import Rule, Walk, aligned
from onnxnnw.flow.nodes import Node

__all__ = ["MOVING"]


def _concat(walk: Walk, node: Node) -> None:
    operands = walk.operands(node)
    ranks = {one.rank for one in operands}
    walk.tracker.use(*(one.constant for one in operands))
    if all(one.tags is None for one in operands):
        return
    rank = next(iter(ranks))
    if len(ranks) != 1 or not rank:
        walk.tracker.freeze(*(one.tags for one in operands))
        return
    axis = node.integer("axis", 0) % rank
    parts: list[Tags] = []
    for one in operands:
        length = one.length(axis)
        if not isinstance(length, int) or length > MAX_TAGS:
            walk.tracker.freeze(*(each.tags for each in operands))
            return
        tags = np.zeros((1,) * rank, np.int64) if one.tags is None else one.tags
        parts.append(np.repeat(tags, length, axis) if tags.shape[axis] == 1 else tags)
    try:
        lengths = np.broadcast_shapes(
            *([n if place != axis else 1 for place, n in enumerate(part.shape)] for part in parts)
        )
        if np.prod(lengths, dtype=np.float64) * sum(part.shape[axis] for part in parts) > MAX_TAGS:
            raise ValueError
        whole = [np.broadcast_to(p, [*lengths[:axis], p.shape[axis], *lengths[axis + 1 :]]) for p in parts]
    except ValueError:
        walk.tracker.freeze(*parts)
        return
    walk.give(node, np.concatenate(whole, axis))


def _split(walk: Walk, node: Node) -> None:
    tags = walk.first(node)
    if tags is None:
        return
    axis = node.integer("axis", 0) % tags.ndim
    if tags.shape[axis] == 1:
        for number in range(len(node.outputs)):
            walk.give(node, tags, number)
        return
    shapes = [walk.shape(output) for output in node.outputs]
    lengths = [shape[axis] if shape is not None and len(shape) == tags.ndim else None for shape in shapes]
    if (
        not all(isinstance(n, int) for n in lengths)
        or sum(n for n in lengths if isinstance(n, int)) != tags.shape[axis]
    ):
        walk.give_up(node)
        return
    walk.tracker.stiffen(tags)
    ends = np.cumsum([n for n in lengths if isinstance(n, int)])
    for number, part in enumerate(np.split(tags, ends[:-1], axis)):
        walk.give(node, part, number)


def _slice(walk: Walk, node: Node) -> None:
    tags = walk.first(node)
    if tags is None:
        return
    if len(node.inputs) > 1:
        given = [walk.small(node, number) for number in range(1, len(node.inputs))]
    else:
        given = [None if (a := node.integers(name)) is None else np.array(a) for name in ("starts", "ends", "axes")]
    starts, ends, axes, steps = [*given, None, None, None, None][:4]
    if (
        starts is None
        or ends is None
        or any(g is None for g, v in zip(given[2:], node.inputs[3:], strict=False) if v >= 0)
    ):
        walk.give_up(node)
        return
    axes = np.arange(starts.size) if axes is None else axes
    steps = np.ones(starts.size, np.int64) if steps is None else steps
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if tags.shape[int(axis)] > 1:
            walk.tracker.stiffen(tags)
            if step == 0 or (step != 1 and _repeats(tags)):
                walk.give_up(node)
                return
            places = np.arange(tags.shape[int(axis)])[
                slice(int(start), None if step < 0 and end < -(2**31) else int(end), int(step))
            ]
            tags = np.take(tags, places, int(axis))
    walk.give(node, tags if tags.size else None)


def _gather(walk: Walk, node: Node) -> None:
    data, places = walk.operand(node, 0), walk.operand(node, 1)
    if data is None or places is None or data.rank is None or places.rank is None:
        walk.give_up(node)
        return
    axis = node.integer("axis", 0) % max(1, data.rank)
    if data.constant is not None:
        use = walk.tracker.use(data.constant)
        walk.tracker.freeze(places.tags)
        if axis or data.rank != 2 or not data.constant.stored():
            return
        rank = places.rank + 1
        made = walk.tracker.fresh(data.constant.shape[1], rank - 1, rank)
        if made is not None:
            walk.tracker.role(data.constant, made.reshape(1, -1), 1, use)
        walk.give(node, made)
        return
    tags = data.tags
    if tags is None:
        walk.tracker.freeze(places.tags)
        return
    if tags.shape[axis] == 1:
        walk.tracker.freeze(places.tags)
        walk.give(node, tags.reshape(*tags.shape[:axis], *(1,) * places.rank, *tags.shape[axis + 1 :]))
        return
    chosen = walk.small(node, 1)
    if chosen is None or chosen.ndim > 1 or _repeats(tags) or (np.abs(chosen) >= tags.shape[axis]).any():
        walk.give_up(node)
        return
    walk.tracker.stiffen(tags)
    walk.give(node, np.take(tags, chosen.astype(np.int64), axis))


def _repeats(tags: Tags) -> bool:
    moving = tags[tags != FIXED]
    return bool(np.unique(moving).size < moving.size)


def _transposed(walk: Walk, node: Node) -> None:
    tags = walk.first(node)
    if tags is not None:
        order = node.integers("perm") or list(range(tags.ndim))[::-1]
        walk.give(node, tags.transpose(order))


def _squeezed(walk: Walk, node: Node) -> None:
    """Axes of length 1 come or go, whatever the others are."""
    tags = walk.first(node)
    if tags is None:
        return
    axes = walk.small(node, 1) if len(node.inputs) > 1 else np.array(node.integers("axes") or [])
    if axes is None or not axes.size:
        _reshaped(walk, node)
        return
    more = axes.size if node.op == "Unsqueeze" else 0
    over = {int(axis) % (tags.ndim + more) for axis in axes.reshape(-1)}
    if more:
        lengths = iter(tags.shape)
        walk.give(node, tags.reshape([1 if axis in over else next(lengths) for axis in range(tags.ndim + more)]))
    elif any(tags.shape[axis] > 1 for axis in over):
        walk.give_up(node)
    else:
        walk.give(node, tags.reshape([n for axis, n in enumerate(tags.shape) if axis not in over]))


def _reshaped(walk: Walk, node: Node) -> None:
    data, out = walk.operand(node, 0), walk.shape(node.result)
    if data is None or data.tags is None:
        return
    tags = data.tags
    found = (
        None if out is None or data.shape is None or len(data.shape) != tags.ndim else _in_shape(tags, data.shape, out)
    )
    if found is None:
        walk.give_up(node)
        return
    wanted = walk.small(node, 1) if node.op == "Reshape" else None
    free = node.op in ("Flatten", "Squeeze", "Unsqueeze") or (
        wanted is not None
        and wanted.size == found.ndim
        and all(wanted[axis] in (0, -1) for axis, n in enumerate(found.shape) if n > 1)
    )
    if not free:
        walk.tracker.stiffen(tags)
    walk.give(node, found)


def _in_shape(tags: Tags, old: Shape, new: Shape) -> Tags | None:
    """Tags in another shape: axes in front, or behind, on which nothing depends may be open."""
    varying = [axis for axis, length in enumerate(tags.shape) if length > 1]
    same = 0
    while same < min(len(old), len(new)) and old[same] is not None and old[same] == new[same]:
        same += 1
    if varying[-1] < same:  # everything that moves stands in axes that stay
        return tags[(slice(None),) * same + (0,) * (tags.ndim - same)].reshape(
            tags.shape[:same] + (1,) * (len(new) - same)
        )
    for start in range(varying[0], -1, -1):
        length = _product_of(old[start:])
        if length is None or length > MAX_TAGS:
            return None
        for first in range(len(new)):
            if _product_of(new[first:]) == length:
                whole = np.broadcast_to(
                    tags.reshape(tags.shape[start:]), [n for n in old[start:] if isinstance(n, int)]
                )
                parts = [n for n in new[first:] if isinstance(n, int)]
                return whole.reshape((1,) * first + tuple(parts))
    return None


def _product_of(lengths: Shape) -> int | None:
    total = 1
    for length in lengths:
        if not isinstance(length, int):
            return None
        total *= length
    return total


def _expanded(walk: Walk, node: Node) -> None:
    tags, out = walk.first(node), walk.shape(node.result)
    if walk.spread(node) or tags is None:
        return
    if out is None:
        walk.give_up(node)
        return
    walk.tracker.stiffen(tags)
    walk.give(node, aligned(tags, len(out)))


def _asked(walk: Walk, node: Node) -> None:
    """What asks for a shape does not care for values."""
    walk.tracker.stiffen(walk.first(node))


MOVING: dict[str, Rule] = {
    **dict.fromkeys(("Reshape", "Flatten"), _reshaped),
    **dict.fromkeys(("Squeeze", "Unsqueeze"), _squeezed),
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Transpose": _transposed,
    "Expand": _expanded,
    "Shape": _asked,
    "Size": _asked,
}
