"""Combined weights: sums of slots that read the same value, products of slots with nothing non-linear between.

W x + B A x is (W + B A) x: an adapter that was not merged, a weight that was split into summands or factors, branches of a
convolution before they are merged. Each such sum and product is read as one more slot, for record slots of which nothing else
agrees. Only weights that certainly reach an output take part, with the constant factors that stand between.
"""

import math
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from onnxnnw.constants.decoding import Elementwise
from onnxnnw.flow.nodes import ABSENT, Node
from onnxnnw.graph.downstream import Downstream
from onnxnnw.graph.linear_map import LinearMap, after, geometry_of, is_pointwise, same_kernel, times
from onnxnnw.graph.slot import Slot
from onnxnnw.graph.slot_view import SlotView
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
        self.maps: dict[int, tuple[LinearMap, ...]] = {}
        self.multiples: dict[int, tuple[int, np.float32]] = {}
        self.transposed: dict[int, tuple[int, list[int] | None]] = {}
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
        multiple = self._multiple(node) if slot is None else None
        if multiple is not None:
            source, factor = multiple
            origin, before = self.multiples.get(source, (source, np.float32(1)))
            self.multiples[node.outputs[0]] = origin, factor * before
        if slot is not None:
            maps = self._of_weight(node, slot)
        elif multiple is not None:
            maps = tuple(times(each, factor) if factor != 1 else each for each in self.maps.get(source, ()))
            if node.op in _UNLESS_SPATIAL:
                maps = tuple(each for each in maps if not each.geometry)
        else:
            step = _STEPS.get(node.op)
            maps = step(self, node) if step is not None and len(node.inputs) >= _INPUTS.get(node.op, 1) else ()
        maps = tuple(each for each in maps[:_MAX_FACTORS] if each.weight.steps <= _MAX_STEPS)
        if not maps or len(self.maps) > _MAX_VALUES:
            return
        self.maps[node.outputs[0]] = maps
        for each in maps:
            self._offer(node, each)

    def _multiple(self, node: Node) -> tuple[int, np.float32] | None:
        """The value of which a node's is a multiple, moved at most along axes before the last, and by what it is multiplied."""
        one, source = np.float32(1), node.inputs[0] if node.inputs else ABSENT
        if node.domain or source == ABSENT:
            return None
        if node.op == "Identity" or (node.op == "Dropout" and len(node.inputs) <= 2):
            return source, one
        if node.op == "Neg":
            return source, -one
        if node.op in ("Squeeze", "Unsqueeze"):
            return (source, one) if self._moves_first_axes(node) else None
        if node.op == "Transpose":
            origin = self._turned_back(node)
            return None if origin == ABSENT else (origin, one)
        return self._scaled(node) if node.op in ("Mul", "Div") and len(node.inputs) == 2 else None

    def _moves_first_axes(self, node: Node) -> bool:
        """Whether Squeeze or Unsqueeze is about axes before all others."""
        given = self.constants.small(node.inputs[1]) if len(node.inputs) > 1 else None
        axes = (node.integers("axes") or []) if given is None else given.reshape(-1).tolist()
        return bool(axes) and sorted(axes) == list(range(len(axes)))

    def _turned_back(self, node: Node) -> int:
        """The value that a Transpose gives back after another one; ABSENT where it does not."""
        order = node.integers("perm")
        self.transposed[node.outputs[0]] = node.inputs[0], order
        origin, first = self.transposed.get(node.inputs[0], (ABSENT, None))
        if order is None or first is None:
            return origin if order is first else ABSENT
        axes = list(range(len(first)))
        return origin if sorted(order) == axes and [first[n] for n in order] == axes else ABSENT

    def _scaled(self, node: Node) -> tuple[int, np.float32] | None:
        """The value that Mul or Div multiplies by one constant number, and that number."""
        for place in (0, 1) if node.op == "Mul" else (1,):
            factor, other = self.constants.small(node.inputs[place]), node.inputs[1 - place]
            if factor is None or factor.size != 1 or len(factor.shape) > 1 or self.downstream.is_constant(other):
                continue
            with np.errstate(all="ignore"):
                number = np.float32(factor.reshape(-1)[0])
                number = number if node.op == "Mul" else np.float32(1) / number
            return (other, number) if np.isfinite(number) and number else None
        return None

    def _of_weight(self, node: Node, slot: Slot) -> tuple[LinearMap, ...]:
        """What an operator computes with its weight: from its input, and from what that is a map of."""
        if self.downstream.activates(node) or not slot.use.endswith(".1"):
            return ()
        if node.op == "Conv" and slot.layout == "conv" and len(slot.shape) > 2:
            geometry = geometry_of(node, slot)
            if geometry is None:
                return ()
            first = LinearMap(node.inputs[0], slot.constant, (slot,), *geometry, name=slot.name)
        elif node.op in _MATRICES and len(slot.shape) == 2 and not node.integer("transA", 0):
            first = LinearMap(node.inputs[0], slot.constant, (slot,), name=slot.name)
            alpha = node.attributes().get("alpha")
            if alpha is not None and alpha.f != 1:
                first = times(first, np.float32(alpha.f))
        else:
            return ()
        maps = (first, *self._after(first))
        if first.source in self.multiples:
            origin, by = self.multiples[first.source]
            maps = (*maps, replace(times(first, by) if by != 1 else first, source=origin))
        if node.op == "Gemm" and len(node.inputs) > 2 and node.inputs[2] in self.maps:
            beta = node.attributes().get("beta")
            other = self.maps[node.inputs[2]]
            factor = np.float32(1 if beta is None else beta.f)
            return tuple(self._sums(maps, tuple(times(each, factor) for each in other)))
        return maps

    def _after(self, last: LinearMap) -> Iterator[LinearMap]:
        """A map after those that lead to its source."""
        for before in self.maps.get(last.source, ()):
            if len(before.slots) >= _MAX_FACTORS or bool(last.geometry) is not bool(before.geometry):
                continue
            left, right = last.weight, before.weight
            if left.shape[1] != right.shape[0]:
                continue
            if last.geometry and not (is_pointwise(last) or is_pointwise(before)):
                continue
            if any(each.geometry and each.geometry[2] != 1 for each in (last, before)):  # groups
                continue
            product = after(left, right)
            stored = sum(slot.covered for slot in (*last.slots, *before.slots))
            if product.size > max(_ELEMENTS, _GROWTH * stored):
                continue
            wide = last if math.prod(left.shape[2:]) > 1 else before
            yield LinearMap(
                source=before.source,
                weight=product,
                slots=(*last.slots, *before.slots),
                geometry=wide.geometry,
                margins=wide.margins,
                name=f"{last.name} · {before.name}",
            )

    def _sums(self, left: tuple[LinearMap, ...], right: tuple[LinearMap, ...], sign: int = 1) -> Iterator[LinearMap]:
        """Two values added that are maps of the same one."""
        sources = {each.source: each for each in right}
        for one in left:
            other = sources.get(one.source)
            if other is None or len(one.slots) + len(other.slots) > _MAX_SUMMANDS:
                continue
            pair = same_kernel(one, other)
            if pair is None:
                continue
            wide = max(one, other, key=lambda each: math.prod(each.weight.shape[2:]))
            yield replace(
                wide,
                weight=Elementwise(np.add if sign > 0 else np.subtract, pair),
                slots=(*one.slots, *other.slots),
                name=f"{one.name} {'+' if sign > 0 else '-'} {other.name}",
            )

    def _add(self, node: Node) -> tuple[LinearMap, ...]:
        """Add, Sub and Sum: of maps of one value, or with a bias."""
        maps: tuple[LinearMap, ...] | None = None
        for place, value in enumerate(node.inputs):
            if self.downstream.is_constant(value):
                continue
            here = self.maps.get(value, ())
            sign = -1 if node.op == "Sub" and place else 1
            if maps is None:
                maps = here if sign > 0 else tuple(times(each, np.float32(-1)) for each in here)
            else:
                maps = tuple(self._sums(maps, here, sign))
            if not maps:
                return ()
        return maps or ()

    def _scale(self, node: Node) -> tuple[LinearMap, ...]:
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

    def _normalise(self, node: Node) -> tuple[LinearMap, ...]:
        """BatchNormalization: one factor for each channel."""
        maps = self.maps.get(node.inputs[0], ())
        given = [self.downstream.constant(value) for value in (node.inputs[1], node.inputs[4])] if maps else []
        if not maps or given[0] is None or given[1] is None or node.integer("training_mode", 0):
            return ()
        epsilon = node.attributes().get("epsilon")
        with np.errstate(all="ignore"):
            factor = given[0] / np.sqrt(given[1] + np.float32(1e-5 if epsilon is None else epsilon.f))
        return tuple(times(each, factor) for each in maps if each.geometry and factor.shape == each.weight.shape[:1])

    def _rows(self, maps: tuple[LinearMap, ...], factor: Array) -> tuple[LinearMap, ...]:
        """Maps whose outputs are multiplied by a constant that broadcasts along their channels."""
        out = []
        for each in maps:
            rows, axis = each.weight.shape[0], 1 - len(each.weight.shape) if each.geometry else -1
            if factor.size == 1:
                out.append(times(each, factor.reshape(())))
            elif factor.size == rows and len(factor.shape) >= -axis and factor.shape[axis] == rows:
                out.append(times(each, factor.reshape(-1)))
        return tuple(out)

    def _quantise(self, node: Node) -> tuple[LinearMap, ...]:
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

    def _offer(self, node: Node, combined: LinearMap) -> None:
        """Keep a combination of two or more weights if it has a wanted shape."""
        shape = combined.weight.shape
        if len(combined.slots) < 2 or (shape[0], math.prod(shape[1:])) not in self.shapes:
            return
        if node.op in ("QuantizeLinear", "DequantizeLinear", *_MOVES) or len(self.found) >= _MAX_SLOTS:
            return
        if self.work + combined.weight.work > _MULTIPLICATIONS:
            return
        self.work += combined.weight.work
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


_UNLESS_SPATIAL = ("Squeeze", "Unsqueeze", "Transpose")
"""Moves that keep the last axis, and so what a matrix does, but not what a convolution does."""

_INPUTS = {"Mul": 2, "Div": 2, "QuantizeLinear": 2, "DequantizeLinear": 2, "BatchNormalization": 5}
"""Inputs that an operator has at least, where that is more than one."""

_STEPS = {
    **dict.fromkeys(("Add", "Sub", "Sum"), _Combinations._add),
    **dict.fromkeys(("Mul", "Div"), _Combinations._scale),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _Combinations._quantise),
    "BatchNormalization": _Combinations._normalise,
}
