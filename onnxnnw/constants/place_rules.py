"""Constant folding of operators that select elements by index, or write them there."""

from typing import Any

import numpy as np

from onnxnnw.constants.arrays import Constant, Positions
from onnxnnw.constants.decoding import Elementwise
from onnxnnw.constants.evaluated import Chosen, Evaluated
from onnxnnw.constants.moved import Gathered, Reshaped, Sliced
from onnxnnw.constants.rulebook import MAX_GROWTH, SMALL, axis_of, number_of, rule, text
from onnxnnw.constants.structure_rules import line_of
from onnxnnw.flow.nodes import Node
from onnxnnw.network_file.stored import MAX_DIMENSIONS, Array, possible

__all__: list[str] = []

_AT_ONCE = 2**24
"""Elements of indices that are evaluated while a network is opened."""


@rule("Gather")
def _gather(node: Node, parts: list[Any]) -> Constant | None:
    axis = axis_of(node.integer("axis", 0), parts[0])
    length, indices = parts[0].shape[axis], parts[1]
    if indices is None or not indices.size or not length or indices.dtype.kind not in "iu":
        return None
    if len(parts[0].shape) + len(indices.shape) > MAX_DIMENSIONS:
        return None
    if indices.size > min(parts[0].size, max(SMALL, MAX_GROWTH * length)) or indices.peak > _AT_ONCE or indices.work:
        return Chosen(parts[0], axis, indices)  # a palette: the weight is in the indices as much as in the table
    chosen = _places(indices.array(), length)
    if chosen is None:
        return None
    shape = parts[0].shape
    return Reshaped(Gathered(parts[0], axis, chosen.reshape(-1)), (*shape[:axis], *indices.shape, *shape[axis + 1 :]))


def _places(indices: Array, length: int) -> Positions | None:
    """Places counted from the front; None where one is outside."""
    chosen: Positions = indices.astype(np.int64)
    chosen = np.where(chosen < 0, chosen + length, chosen)
    return chosen if not chosen.size or (chosen.min() >= 0 and chosen.max() < length) else None


@rule("OneHot")
def _one_hot(node: Node, parts: list[Any]) -> Constant | None:
    indices, values = parts[0], parts[2]
    depth = int(number_of(parts[1]))
    if values is None or values.shape != (2,) or depth < 1 or len(indices.shape) >= MAX_DIMENSIONS:
        return None
    rank = len(indices.shape) + 1
    axis = node.integer("axis", -1)
    if not -rank <= axis < rank:
        return None
    axis %= rank
    off, on = (Sliced(values, (place,), (1,), (1,)) for place in (0, 1))
    places = Reshaped(indices, (*indices.shape[:axis], 1, *indices.shape[axis:]))

    def hot(place: Array, line: Array, nothing: Array, one: Array) -> Array:
        return np.where((place == line) | (place + depth == line), one, nothing)

    return Elementwise(
        hot, (Elementwise(lambda place: place.astype(np.int64), (places,)), line_of(depth, axis, rank), off, on)
    )


def _inside(places: Array, length: int) -> tuple[Positions, Array]:
    found = places.astype(np.int64)
    found = np.where(found < 0, found + length, found)
    there = (found >= 0) & (found < length)
    return np.where(there, found, 0), there


@rule("GatherElements")
def _gather_elements(node: Node, parts: list[Any]) -> Constant | None:
    data, indices = parts
    axis = axis_of(node.integer("axis", 0), data)
    if indices is None or indices.dtype.kind not in "iu" or not data.shape[axis]:
        return None
    if not _fit(indices.shape, data.shape, axis):
        return None

    def choose(values: Array, places: Array) -> Array:
        chosen, there = _inside(places, values.shape[axis])
        out = np.take_along_axis(values[_corner(places.shape, axis)], chosen, axis)
        return out if there.all() else np.where(there, out, _nothing(values))

    return Evaluated(choose, (data, indices), indices.shape, data.dtype)


@rule("ScatterElements", "Scatter")
def _scatter_elements(node: Node, parts: list[Any]) -> Constant | None:
    data, indices, updates = parts
    axis = axis_of(node.integer("axis", 0), data)
    if None in (indices, updates) or indices.shape != updates.shape or indices.dtype.kind not in "iu":
        return None
    combine = _REDUCTIONS.get(text(node, "reduction", "none"))
    if combine is None or not _fit(indices.shape, data.shape, axis):
        return None

    def scatter(values: Array, places: Array, new: Array) -> Array:
        chosen, there = _inside(places, max(1, values.shape[axis]))
        where: list[Array] = list(np.indices(places.shape, sparse=True))
        where[axis] = chosen
        out = values.copy()
        if places.size:
            combine(out, tuple(where), new.astype(out.dtype, copy=False))
        return out if there.all() else np.full(out.shape, _nothing(out), out.dtype)

    return Evaluated(scatter, (data, indices, updates), data.shape, data.dtype)


def _put(out: Array, where: tuple[Array, ...], new: Array) -> None:
    out[where] = new


def _fit(indices: tuple[int, ...], data: tuple[int, ...], axis: int) -> bool:
    """Whether indices may stand beside an array: of as many dimensions, and no longer but along the axis."""
    return len(indices) == len(data) and all(
        n <= length or place == axis for place, (n, length) in enumerate(zip(indices, data, strict=True))
    )


def _corner(shape: tuple[int, ...], axis: int) -> tuple[slice, ...]:
    return tuple(slice(None) if place == axis else slice(n) for place, n in enumerate(shape))


def _nothing(values: Array) -> Any:
    """What stands where no runtime would find a value."""
    return np.nan if values.dtype.kind == "f" else 0


def _rows_at(values: Array, places: Array, depth: int) -> tuple[tuple[Array, ...], bool]:
    """The last axis of ``places`` as indices of the first ``depth`` axes, and whether all are inside."""
    found = [_inside(places[..., axis], max(1, values.shape[axis])) for axis in range(depth)]
    return tuple(at for at, _ in found), all(bool(there.all()) for _, there in found)


@rule("GatherND")
def _gather_nd(node: Node, parts: list[Any]) -> Constant | None:
    data, indices = parts
    if indices is None or not indices.shape or indices.dtype.kind not in "iu" or node.integer("batch_dims", 0):
        return None
    depth = indices.shape[-1]
    if not 0 < depth <= len(data.shape) or not data.size:
        return None
    shape = (*indices.shape[:-1], *data.shape[depth:])
    if not possible(shape):
        return None

    def choose(values: Array, places: Array) -> Array:
        where, there = _rows_at(values, places, depth)
        return values[where] if there else np.full(shape, _nothing(values))

    return Evaluated(choose, (data, indices), shape, data.dtype)


@rule("ScatterND")
def _scatter_nd(node: Node, parts: list[Any]) -> Constant | None:
    data, indices, updates = parts
    if None in (indices, updates) or not indices.shape or indices.dtype.kind not in "iu":
        return None
    depth = indices.shape[-1]
    combine = _REDUCTIONS.get(text(node, "reduction", "none"))
    if combine is None or not 0 < depth <= len(data.shape):
        return None
    if updates.shape != (*indices.shape[:-1], *data.shape[depth:]):
        return None

    def scatter(values: Array, places: Array, new: Array) -> Array:
        where, there = _rows_at(values, places, depth)
        out = values.copy()
        if new.size and out.size:
            combine(out, where, new.astype(out.dtype, copy=False))
        return out if there else np.full(out.shape, _nothing(out), out.dtype)

    return Evaluated(scatter, (data, indices, updates), data.shape, data.dtype)


_REDUCTIONS = {"none": _put, "add": np.add.at, "mul": np.multiply.at, "max": np.maximum.at, "min": np.minimum.at}
