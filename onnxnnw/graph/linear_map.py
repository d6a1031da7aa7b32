"""A value as a linear map of an earlier one: its weight, and how convolutions are related to each other."""

import math
from dataclasses import dataclass, replace

import numpy as np

from onnxnnw.constants.arrays import Constant, Literal
from onnxnnw.constants.decoding import Elementwise
from onnxnnw.constants.evaluated import Padded, Product
from onnxnnw.constants.moved import Reshaped, Transposed
from onnxnnw.flow.nodes import Node
from onnxnnw.graph.slot import Slot
from onnxnnw.network_file.stored import Array

__all__ = ["Geometry", "LinearMap", "after", "geometry_of", "is_pointwise", "same_kernel", "times"]

Geometry = tuple[str, tuple[int, ...], int, tuple[int, ...]]
"""``conv``, strides, groups, dilations."""


@dataclass(frozen=True)
class LinearMap:
    """A value as a linear map of an earlier one.

    Attributes:
        source: The earlier value.
        weight: [out, in, *kernel].
        slots: The slots that it is made of.
        geometry: Strides, dilations and groups of a convolution; empty for a matrix.
        margins: Twice what a convolution's kernel reaches to the left of its place, per axis: 0 where it is centred.
        name: How it is called.
    """

    source: int
    weight: Constant
    slots: tuple[Slot, ...]
    geometry: "Geometry | tuple[()]" = ()
    margins: tuple[int, ...] = ()
    name: str = ""


def times(combined: LinearMap, factor: Array | np.float32) -> LinearMap:
    """A map whose out-rows are multiplied."""
    numbers = np.asarray(factor, np.float32).reshape(-1)
    wide = Literal(numbers.reshape(-1, *[1] * (len(combined.weight.shape) - 1)))
    return replace(combined, weight=Elementwise(np.multiply, (combined.weight, wide)))


def after(left: Constant, right: Constant) -> Constant:
    """[out, middle, *kernel] after [middle, in, *kernel], one of the two without a kernel or with one of a single tap."""
    if math.prod(left.shape[2:]) == 1:
        matrices = Reshaped(left, left.shape[:2]), Reshaped(right, (right.shape[0], math.prod(right.shape[1:])))
        return Reshaped(Product(*matrices), (left.shape[0], *right.shape[1:]))
    rank = len(left.shape)
    taps_first = Transposed(left, (0, *range(2, rank), 1))
    product = Product(taps_first, Reshaped(right, right.shape[:2]))  # [out, *kernel, in]
    return Transposed(product, (0, rank - 1, *range(1, rank - 1)))


def geometry_of(node: Node, slot: Slot) -> tuple[Geometry, tuple[int, ...]] | None:
    """Strides, dilations and groups of a convolution, and how far its kernel stands from the middle; None if not told."""
    axes = len(slot.shape) - 2
    strides = tuple(node.integers("strides") or [1] * axes)
    dilations = tuple(node.integers("dilations") or [1] * axes)
    pads = node.integers("pads") or [0] * (2 * axes)
    automatic = node.attributes().get("auto_pad")
    if len(pads) != 2 * axes or len(strides) != axes or len(dilations) != axes:
        return None
    if automatic is not None and automatic.s not in (b"", b"NOTSET", b"VALID"):
        if automatic.s != b"SAME_UPPER" or set(strides) != {1} or not all(n % 2 for n in slot.shape[2:]):
            return None
        margins: tuple[int, ...] = (0,) * axes
    else:
        reach = [d * (n - 1) for d, n in zip(dilations, slot.shape[2:], strict=True)]
        margins = tuple(2 * pads[a] - reach[a] for a in range(axes))
    return ("conv", strides, node.integer("group", 1), dilations), margins


def is_pointwise(combined: LinearMap) -> bool:
    """Whether a convolution mixes channels at each place alone, without steps or borders."""
    strides = combined.geometry[1] if combined.geometry else ()
    centred, single = not any(combined.margins), math.prod(combined.weight.shape[2:]) == 1
    return centred and single and all(stride == 1 for stride in strides)


def same_kernel(one: LinearMap, other: LinearMap) -> tuple[Constant, Constant] | None:
    """Two weights in one shape, a smaller kernel in the middle of the larger; None where they do not stand alike."""
    left, right = one.weight, other.weight
    if left.shape[:2] != right.shape[:2] or len(left.shape) != len(right.shape):
        return None
    if one.geometry[:3] != other.geometry[:3] or one.margins != other.margins:
        return None
    taps = sorted((math.prod(left.shape[2:]), math.prod(right.shape[2:])))
    if one.geometry != other.geometry and taps[0] > 1:  # dilations
        return None
    kernel = tuple(map(max, left.shape[2:], right.shape[2:]))
    out: list[Constant] = []
    for part in (left, right):
        if any((k - n) % 2 for k, n in zip(kernel, part.shape[2:], strict=True)):
            return None
        out.append(part if part.shape[2:] == kernel else _centred(part, kernel))
    return out[0], out[1]


def _centred(part: Constant, kernel: tuple[int, ...]) -> Constant:
    """A kernel in the middle of a larger one that is zero elsewhere."""
    before = (0, 0, *((k - n) // 2 for k, n in zip(kernel, part.shape[2:], strict=True)))
    return Padded(part, Literal(np.zeros(1, np.float32)), before, (*part.shape[:2], *kernel))
