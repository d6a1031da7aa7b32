"""Lazy constant folding: a weight behind Transpose, Cast or DequantizeLinear is still a weight."""

import math
from typing import ClassVar

import numpy as np
from onnx import TensorProto

from onnxnnw.constants.arrays import Constant, Positions, Scattered, Stored
from onnxnnw.constants.decoding import Dequantized
from onnxnnw.constants.moved import Reshaped, Transposed
from onnxnnw.constants.rules import MAX_GROWTH, SMALL, apply_rule
from onnxnnw.flow.nodes import ABSENT, Flow, Node
from onnxnnw.network_file.stored import Array, possible

__all__ = ["Constant", "Constants", "Dequantized", "Positions", "Reshaped", "Stored", "Transposed"]

_MAX_STEPS = 60
_SPARSE_GROWTH, _MAX_INDICES = 64, 2**24
_INDICES = (TensorProto.INT64, TensorProto.INT32, TensorProto.INT16, TensorProto.INT8)
"""ONNX says 64 bits; onnxruntime writes as few as will do."""

_EXAMINED, _EXAMINED_TOGETHER = 2**22, 2**25
_GROWN, _GROWN_TOGETHER = 2**22, 2**26
"""Elements that a constant, and all of them together, may have beyond what follows from what is stored."""

_WORK_TOGETHER = 2**37
"""Multiplications of constant matrix products in a network: seconds, if each is computed once."""


class Constants:
    """The constants of a flow, found and remembered as they are asked for."""

    UNREADABLE: ClassVar[object] = object()
    """Constant, but not by a rule that this version knows."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self._known: dict[int, Constant | object | None] = dict.fromkeys(_computed(flow))
        self._magnitudes: dict[int, tuple[float, float] | None] = {}
        self._examinable = _EXAMINED_TOGETHER
        self._grown: dict[int, Constant] = {}
        self._growable, self._work = _GROWN_TOGETHER, _WORK_TOGETHER

    def of(self, value: int) -> Constant | None:
        """The constant that a value is, or None."""
        known = self._known
        found = known[value] if value in known else self.status(value)
        return found if found is not self.UNREADABLE else None  # type: ignore[return-value]

    def is_unreadable(self, value: int) -> bool:
        """Whether a value is constant by a rule that this version does not know."""
        return self.status(value) is self.UNREADABLE

    def status(self, value: int) -> Constant | object | None:
        """A Constant, UNREADABLE, or None for a value computed from an input."""
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
            elif current in flow.handed:
                source = flow.handed[current]
                if source in known or source in entered or current in entered:
                    known[current] = known.get(source)
                else:
                    entered.add(current)
                    stack.append(source)
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
        return constant.array() if constant is not None and constant.size <= SMALL else None

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
            or size > _SPARSE_GROWTH * values.size + SMALL
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
        parts = [self._grown.get(i, self._known[i]) if i != ABSENT else None for i in node.inputs]
        constants = [part if isinstance(part, Constant) else None for part in parts]
        if not constants or constants[0] is None or any(part is self.UNREADABLE for part in parts):
            return self.UNREADABLE
        try:
            result = apply_rule(node, constants, node.outputs.index(value))
        except (ValueError, LookupError, TypeError, ArithmeticError):
            return self.UNREADABLE
        if result is None or result.steps > _MAX_STEPS or not possible(result.shape):
            return self.UNREADABLE
        return self._bounded(result, value)

    def _bounded(self, result: Constant, value: int) -> Constant | object:
        """The same constant, if evaluating it stays within bounds.

        It is measured by what is stored, not by the parts: growth would add up from step to step. What is larger may be made so
        in few places, and elsewhere only on the way to something smaller, as the product of two narrow matrices is that is
        added to a weight.
        """
        if result.work:
            if result.work > self._work:
                return self.UNREADABLE
            self._work -= result.work
        allowed = MAX_GROWTH * result.extent + SMALL
        if result.peak > allowed:  # whole numbers are packed by arithmetic too: several in one
            allowed = max(
                allowed, MAX_GROWTH * max((t.size * t.itemsize for t in result.stored() if not t.is_float), default=0)
            )
        excess = result.peak - allowed
        if excess <= 0:
            return result
        if excess <= min(_GROWN, self._growable):
            self._growable -= excess
            return result
        self._grown[value] = result
        return self.UNREADABLE


def _is_source(node: Node) -> bool:
    """Whether what a node computes is not constant even where its inputs are; of a function that is not read nobody knows."""
    if node.function is not None:
        return False
    return bool(node.bodies) or not node.inputs or node.op.startswith("Random")


def _computed(flow: Flow) -> set[int]:
    """Values computed from an input, as far as one look at the nodes in the file's order shows: usually all of them."""
    out = set(flow.inputs)
    for node in flow.nodes:
        if not out.isdisjoint(node.inputs) or _is_source(node):
            out.update(node.outputs)
            out.discard(ABSENT)  # an output that is not given is no input that is not given
            if node.bodies:
                out.difference_update([value for value in node.outputs if value in flow.handed])
    return out
