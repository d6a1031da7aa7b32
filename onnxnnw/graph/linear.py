"""Weights that act as one: sums of what reads the same value, products with nothing non-linear between.

W x + B A x is (W + B A) x: an adapter that was not merged, a weight that was split into summands or factors, branches of a
convolution before they are merged. Each such sum and product is read as one more slot, for record slots of which nothing else
agrees. Only weights that certainly reach an output take part, with the constant factors that stand between.
"""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from onnxnnw.graph.arrays import Constant, Literal, Positions
from onnxnnw.graph.decoding import Elementwise
from onnxnnw.graph.downstream import Downstream
from onnxnnw.graph.flow import ABSENT, Node
from onnxnnw.graph.slots import Slot, SlotView
from onnxnnw.network_file.stored import Array

__all__ = ["combined_slots"]

_MAX_FACTORS, _MAX_SUMMANDS = 8, 16
"""Weights in one product, and in one sum."""

_MAX_SLOTS, _MAX_VALUES = 512, 20_000
_MAX_STEPS = 60
"""Operations that one evaluation of a combination takes."""

_ELEMENTS, _GROWTH = 2**22, 4
"""Elements that a combination may always have, and over those that are stored."""

_MULTIPLICATIONS = 2**34
"""All products of one network together."""

_MATRICES = ("MatMul", "Gemm", "FusedMatMul", "MatMulNBits")
_MOVES = ("Identity", "Dropout")
_Geometry = tuple[str, tuple[int, ...], int, tuple[int, ...]]
"""``conv``, strides, groups, dilations."""


@dataclass(frozen=True, eq=False)
class _Product(Constant):
    """[out, middle, *kernel] after [middle, in, *kernel], one of the two without a kernel or with one of a single tap."""

    left: Constant
    right: Constant

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", (self.left, self.right))
        kernel = max(self.left.shape[2:], self.right.shape[2:], key=math.prod)
        object.__setattr__(self, "shape", (self.left.shape[0], self.right.shape[1], *kernel))

    def take(self, flat: Positions) -> Array:
        return self.array().reshape(-1)[flat]

    def array(self) -> Array:
        left, right = self.left.array(), self.right.array()
        if left.dtype != np.float64:
            left, right = left.astype(np.float32, copy=False), right.astype(np.float32, copy=False)
        with np.errstate(all="ignore"):
            if math.prod(left.shape[2:]) == 1:
                return np.tensordot(left.reshape(left.shape[:2]), right, 1).reshape(self.shape)
            out = np.tensordot(left, right.reshape(right.shape[:2]), ([1], [0]))  # [out, *kernel, in]
            return np.moveaxis(out, -1, 1)


@dataclass(frozen=True, eq=False)
class _Centred(Constant):
    """A kernel in the middle of a larger one that is zero elsewhere."""

    inner: Constant
    kernel: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", (self.inner,))
        object.__setattr__(self, "shape", (*self.inner.shape[:2], *self.kernel))

    def take(self, flat: Positions) -> Array:
        return self.array().reshape(-1)[flat]

    def array(self) -> Array:
        wide = zip(self.kernel, self.inner.shape[2:], strict=True)
        return np.pad(self.inner.array(), [(0, 0), (0, 0), *(((k - n) // 2, (k - n) // 2) for k, n in wide)])


@dataclass(frozen=True)
class _Map:
    """A value as a linear map of an earlier one.

    Attributes:
        source: The earlier value.
        weight: [out, in, *kernel].
        slots: The slots that it is made of.
        geometry: Strides, dilations and groups of a convolution; empty for a matrix.
        margins: Twice what a convolution's kernel reaches to the left of its place, per axis: 0 where it is centred.
        work: Multiplications that one evaluation takes.
        name: How it is called.
    """

    source: int
    weight: Constant
    slots: tuple[Slot, ...]
    geometry: "_Geometry | tuple[()]" = ()
    margins: tuple[int, ...] = ()
    work: int = 0
    name: str = ""


def combined_slots(view: SlotView, shapes: Collection[tuple[int, int]]) -> list[Slot]:
    """Sums and products of slots, as slots that nothing can be written to.

    Args:
        view: A network's slots.
        shapes: Rows and row size of what is wanted; others are left out.
    """
    return _Combinations(view, shapes).found


class _Combinations:
    """One pass over the live nodes: which values are linear maps of which earlier ones."""

    def __init__(self, view: SlotView, shapes: Collection[tuple[int, int]]) -> None:
        self.constants = view.constants
        self.shapes = {shape for rows, size in shapes for shape in ((rows, size), (size, rows))}
        self.used = {id(node): slot for node, slot in zip(view.nodes, view.slots, strict=True)}
        self.downstream = Downstream(view.flow, view.constants, view.possible)
        self.maps: dict[int, tuple[_Map, ...]] = {}
        self.quantised: dict[int, int] = {}
        self.found: list[Slot] = []
        self.work = 0
        for node in view.live:
            if len(node.outputs) and node.outputs[0] != ABSENT and node.function is None:
                self._node(node)

    def _node(self, node: Node) -> None:
        if node.domain not in ("", "com.microsoft"):
            return
        slot = self.used.get(id(node))
        if slot is not None:
            maps = self._of_weight(node, slot)
        else:
            step = _STEPS.get(node.op)
            maps = step(self, node) if step is not None and len(node.inputs) >= _INPUTS.get(node.op, 1) else ()
        maps = tuple(each for each in maps[:_MAX_FACTORS] if each.weight.steps <= _MAX_STEPS)
        if not maps or len(self.maps) > _MAX_VALUES:
            return
        self.maps[node.outputs[0]] = maps
        for each in maps:
            self._offer(node, each)

    def _of_weight(self, node: Node, slot: Slot) -> tuple[_Map, ...]:
        """What an operator computes with its weight: from its input, and from what that is a map of."""
        if self.downstream.activates(node) or not slot.use.endswith(".1"):
            return ()
        if node.op == "Conv" and slot.layout == "conv" and len(slot.shape) > 2:
            geometry = _geometry(node, slot)
            if geometry is None:
                return ()
            first = _Map(node.inputs[0], slot.constant, (slot,), *geometry, name=slot.name)
        elif node.op in _MATRICES and len(slot.shape) == 2 and not node.integer("transA", 0):
            first = _Map(node.inputs[0], slot.constant, (slot,), name=slot.name)
            alpha = node.attributes().get("alpha")
            if alpha is not None and alpha.f != 1:
                first = _times(first, np.float32(alpha.f))
        else:
            return ()
        maps = (first, *self._after(first))
        if node.op == "Gemm" and len(node.inputs) > 2 and node.inputs[2] in self.maps:
            beta = node.attributes().get("beta")
            other = self.maps[node.inputs[2]]
            factor = np.float32(1 if beta is None else beta.f)
            return tuple(self._sums(maps, tuple(_times(each, factor) for each in other)))
        return maps

    def _after(self, last: _Map) -> Iterator[_Map]:
        """A map after those that lead to its source."""
        for before in self.maps.get(last.source, ()):
            if len(before.slots) >= _MAX_FACTORS or bool(last.geometry) is not bool(before.geometry):
                continue
            left, right = last.weight, before.weight
            if left.shape[1] != right.shape[0]:
                continue
            if last.geometry and not (_is_pointwise(last) or _is_pointwise(before)):
                continue
            if any(each.geometry and each.geometry[2] != 1 for each in (last, before)):  # groups
                continue
            product = _Product(left, right)
            stored = sum(slot.covered for slot in (*last.slots, *before.slots))
            if product.size > max(_ELEMENTS, _GROWTH * stored):
                continue
            wide = last if math.prod(left.shape[2:]) > 1 else before
            yield _Map(
                source=before.source,
                weight=product,
                slots=(*last.slots, *before.slots),
                geometry=wide.geometry,
                margins=wide.margins,
                work=last.work + before.work + product.size * left.shape[1],
                name=f"{last.name} · {before.name}",
            )

    def _sums(self, left: tuple[_Map, ...], right: tuple[_Map, ...], sign: int = 1) -> Iterator[_Map]:
        """Two values added that are maps of the same one."""
        sources = {each.source: each for each in right}
        for one in left:
            other = sources.get(one.source)
            if other is None or len(one.slots) + len(other.slots) > _MAX_SUMMANDS:
                continue
            pair = _same_kernel(one, other)
            if pair is None:
                continue
            wide = max(one, other, key=lambda each: math.prod(each.weight.shape[2:]))
            yield replace(
                wide,
                weight=Elementwise(np.add if sign > 0 else np.subtract, pair),
                slots=(*one.slots, *other.slots),
                work=one.work + other.work,
                name=f"{one.name} {'+' if sign > 0 else '-'} {other.name}",
            )

    def _add(self, node: Node) -> tuple[_Map, ...]:
        """Add, Sub and Sum: of maps of one value, or with a bias."""
        maps: tuple[_Map, ...] | None = None
        for place, value in enumerate(node.inputs):
            if self.downstream.is_constant(value):
                continue
            here = self.maps.get(value, ())
            sign = -1 if node.op == "Sub" and place else 1
            if maps is None:
                maps = here if sign > 0 else tuple(_times(each, np.float32(-1)) for each in here)
            else:
                maps = tuple(self._sums(maps, here, sign))
            if not maps:
                return ()
        return maps or ()

    def _scale(self, node: Node) -> tuple[_Map, ...]:
        """Mul and Div by a constant: one number, or one for each output channel."""
        for place, value in enumerate(node.inputs[:2]):
            if value in self.maps and not (node.op == "Div" and place):
                factor = self.downstream.constant(node.inputs[1 - place])
                if factor is None:
                    return ()
                with np.errstate(all="ignore"):
                    numbers = 1 / factor.astype(np.float32) if node.op == "Div" else factor
                return self._rows(self.maps[value], numbers)
        return ()

    def _normalise(self, node: Node) -> tuple[_Map, ...]:
        """BatchNormalization: one factor for each channel."""
        maps = self.maps.get(node.inputs[0], ())
        given = [self.downstream.constant(value) for value in (node.inputs[1], node.inputs[4])] if maps else []
        if not maps or given[0] is None or given[1] is None or node.integer("training_mode", 0):
            return ()
        epsilon = node.attributes().get("epsilon")
        with np.errstate(all="ignore"):
            factor = given[0] / np.sqrt(given[1] + np.float32(1e-5 if epsilon is None else epsilon.f))
        return tuple(_times(each, factor) for each in maps if each.geometry and factor.shape == each.weight.shape[:1])

    def _rows(self, maps: tuple[_Map, ...], factor: Array) -> tuple[_Map, ...]:
        """Maps whose outputs are multiplied by a constant that broadcasts along their channels."""
        out = []
        for each in maps:
            rows, axis = each.weight.shape[0], 1 - len(each.weight.shape) if each.geometry else -1
            if factor.size == 1:
                out.append(_times(each, factor.reshape(())))
            elif factor.size == rows and len(factor.shape) >= -axis and factor.shape[axis] == rows:
                out.append(_times(each, factor.reshape(-1)))
        return tuple(out)

    def _moved(self, node: Node) -> tuple[_Map, ...]:
        if len(node.inputs) > 2:  # Dropout as in training
            return ()
        return self.maps.get(node.inputs[0], ())

    def _quantise(self, node: Node) -> tuple[_Map, ...]:
        """Activations in integers and back, on one grid."""
        if node.op == "QuantizeLinear":
            self.quantised[node.outputs[0]] = node.inputs[1]
            return self.maps.get(node.inputs[0], ())
        before = self.quantised.get(node.inputs[0])
        if before is None:
            return ()
        scales = [self.constants.small(value) for value in (before, node.inputs[1])]
        same = scales[0] is not None and scales[1] is not None and np.array_equal(scales[0], scales[1])
        return self.maps.get(node.inputs[0], ()) if same else ()

    def _offer(self, node: Node, combined: _Map) -> None:
        """Keep a combination of two weights and more that has a wanted shape."""
        shape = combined.weight.shape
        if len(combined.slots) < 2 or (shape[0], math.prod(shape[1:])) not in self.shapes:
            return
        if node.op in ("QuantizeLinear", "DequantizeLinear", *_MOVES) or len(self.found) >= _MAX_SLOTS:
            return
        if self.work + combined.work > _MULTIPLICATIONS:
            return
        self.work += combined.work
        parts = {id(slot.tensor): slot for slot in combined.slots}
        main = max(combined.slots, key=lambda slot: slot.covered)
        layout = "conv" if combined.geometry else "matmul"
        self.found.append(
            Slot(
                name=combined.name,
                use=main.use,
                constant=combined.weight,
                tensor=main.tensor,
                bias="",
                layout=layout,
                conditional=any(slot.conditional for slot in combined.slots),
                replaceable=any(slot.replaceable for slot in combined.slots),
                shared=True,
                covered=sum(slot.covered for slot in parts.values()),
                gain=partial(self.downstream.gains, node, layout, len(shape), shape[0]),
            )
        )


_INPUTS = {"Mul": 2, "Div": 2, "QuantizeLinear": 2, "DequantizeLinear": 2, "BatchNormalization": 5}
"""Inputs that an operator has at least, where that is more than one."""

_STEPS = {
    **dict.fromkeys(("Add", "Sub", "Sum"), _Combinations._add),
    **dict.fromkeys(("Mul", "Div"), _Combinations._scale),
    **dict.fromkeys(_MOVES, _Combinations._moved),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _Combinations._quantise),
    "BatchNormalization": _Combinations._normalise,
}


def _times(combined: _Map, factor: Array | np.float32) -> _Map:
    """A map whose out-rows are multiplied."""
    numbers = np.asarray(factor, np.float32).reshape(-1)
    wide = Literal(numbers.reshape(-1, *[1] * (len(combined.weight.shape) - 1)))
    return replace(combined, weight=Elementwise(np.multiply, (combined.weight, wide)))


def _geometry(node: Node, slot: Slot) -> tuple[_Geometry, tuple[int, ...]] | None:
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


def _is_pointwise(combined: _Map) -> bool:
    """Whether a convolution mixes channels at each place alone, without steps or borders."""
    strides = combined.geometry[1] if combined.geometry else ()
    centred, single = not any(combined.margins), math.prod(combined.weight.shape[2:]) == 1
    return centred and single and all(stride == 1 for stride in strides)


def _same_kernel(one: _Map, other: _Map) -> tuple[Constant, Constant] | None:
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
        out.append(part if part.shape[2:] == kernel else _Centred(part, kernel))
    return out[0], out[1]
