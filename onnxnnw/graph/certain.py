"""Constants that every runtime computes alike: booleans and whole numbers, moved, compared, and counted with.

Real numbers are no such constants. Runtimes round a sum, and a sine, in ways of their own, and differ about NaN, overflow and casts
out of range; so what such a step decides is not known before it runs.
"""

import numpy as np
from onnx import TensorProto

from onnxnnw.constants.constants import Constants
from onnxnnw.flow.nodes import ABSENT, Flow, Node
from onnxnnw.network_file.stored import StoredTensor

__all__ = ["Certain"]

_EXACT = frozenset(
    "Identity Not And Or Xor Equal Greater GreaterOrEqual Less LessOrEqual Reshape Squeeze Unsqueeze Transpose Flatten Slice "
    "Gather Concat Split Expand Shape Size Add Sub Mul Div".split()
)
_WHOLE = frozenset(
    (
        TensorProto.BOOL,
        TensorProto.INT8,
        TensorProto.UINT8,
        TensorProto.INT16,
        TensorProto.UINT16,
        TensorProto.INT32,
        TensorProto.UINT32,
        TensorProto.INT64,
    )
)
"""Element types; a cast from one to another keeps the lowest bits in all runtimes."""

_SMALL = 1e-4
"""Smaller numbers are zero to a runtime that flushes them, in the narrowest format."""

_MOST_STEPS = 1000
_EXAMINED = 2**12


class Certain:
    """Numbers of a flow that are the same whatever runs it, and those of them that no caller can replace."""

    def __init__(self, flow: Flow, constants: Constants) -> None:
        self.flow, self.constants = flow, constants
        self._replaceable = frozenset(id(flow.tensors[v]) for v in flow.replaceable if v in flow.tensors)
        self._known: dict[tuple[int, bool], float | None] = {}

    def number(self, value: int, fixed: bool) -> float | None:
        """The one number that a value is, or None.

        Args:
            fixed: Whether it must not rest on a stored tensor that a caller may replace, be it on its shape alone.
        """
        if value == ABSENT:
            return None
        key = value, fixed
        if key not in self._known:
            self._known[key] = self._number(value, fixed)
        return self._known[key]

    def _number(self, value: int, fixed: bool) -> float | None:
        constant = self.constants.of(value)
        if constant is None or constant.size != 1 or not self._is_exact(value, fixed):
            return None
        return float(constant.array().reshape(-1)[0])

    def _is_exact(self, value: int, fixed: bool) -> bool:
        """Whether everything that a constant is computed from, and each step, is the same in all runtimes."""
        flow, stack, seen = self.flow, [(value, True)], set[tuple[int, bool]]()
        while stack:
            one = stack.pop()
            current, read = one
            if one in seen or current == ABSENT:
                continue
            seen.add(one)
            if len(seen) > _MOST_STEPS:
                return False
            node = flow.producer.get(current)
            if current in flow.tensors:
                tensor = flow.tensors[current]
                if (fixed and id(tensor) in self._replaceable) or (read and not _is_whole(tensor)):
                    return False
            elif node is not None and node.op == "Cast" and self._is_plain(node):
                stack.append((node.inputs[0], False))
            elif current in flow.handed:
                stack.append((flow.handed[current], read))
            elif node is None or node.domain or node.bodies:
                return False
            elif node.op in _EXACT or (node.op == "Cast" and node.integer("to", 0) in _WHOLE):
                of_shape = node.op in ("Shape", "Size")
                stack += [(parent, read and not of_shape) for parent in node.inputs]
            else:
                return False
        return True

    def _is_plain(self, node: Node) -> bool:
        """Whether stored real numbers are cast to booleans of which nobody doubts whether they are zero."""
        tensor = self.flow.tensors.get(node.inputs[0])
        if node.domain or node.integer("to", 0) != TensorProto.BOOL or tensor is None or tensor.size > _EXAMINED:
            return False
        if not tensor.is_float:
            return False
        values = np.abs(tensor.array().astype(np.float64))
        return bool((np.isfinite(values) & ((values == 0) | (values > _SMALL))).all())


def _is_whole(tensor: StoredTensor) -> bool:
    """Whether a small tensor holds whole numbers, and booleans that are true or false and nothing else."""
    if tensor.data_type not in _WHOLE or tensor.size > _EXAMINED:
        return False
    return tensor.data_type != TensorProto.BOOL or bool((tensor.array() <= 1).all())
