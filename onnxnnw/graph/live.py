"""Which nodes an output depends on: everything else may be a decoy.

An edge that carries nothing is not followed: the branch that a constant condition never takes, the side that a constant
Where never picks, a loop that never runs, and a summand that a constant factor makes negligible beside its neighbours.

Some of that is certain and some is not: a caller may replace an initializer that is an input too, and a factor is negligible
only as long as nothing before it is huge. So there are two answers. What carries a mark must be live as the file stands, or
decoys would be weights. What is left out of a digest, or of the share that a record explains, must be dead for certain, or
weights could hide there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxnnw.errors import UnreadableNetwork
from onnxnnw.graph.constants import Constant, Constants
from onnxnnw.graph.flow import ABSENT, Body, Flow, Node
from onnxnnw.graph.stored import Array

__all__ = ["NEGLIGIBLE", "Live", "live_nodes"]

NEGLIGIBLE = 5e-7
"""A summand is dead when its constant factor is below this share of the largest factor beside it. Residual branches may begin
their training with a factor of 1e-6 [LayerScale, arXiv:2103.17239; ConvNeXt, arXiv:2201.03545], and they are alive."""

_MAX_FACTORS = 16
_SAMPLE = 64


@dataclass(frozen=True)
class Live:
    """Nodes that an output depends on, each after those it depends on.

    Attributes:
        nodes: As the file stands.
        possible: All but those that are dead for certain.
    """

    nodes: list[Node]
    possible: list[Node]


def live_nodes(flow: Flow, constants: Constants) -> Live:
    """The nodes that an output depends on.

    Raises:
        UnreadableNetwork: A value depends on itself.
    """
    known = _Known(constants)
    certain = _Known(constants, True, frozenset(id(flow.tensors[v]) for v in flow.replaceable if v in flow.tensors))
    nodes, cut = _followed(flow, known)
    doubtful = any(list(_needed(node, flow, known)) != list(_needed(node, flow, certain)) for node in cut)
    return Live(nodes, _followed(flow, certain)[0] if doubtful else nodes)


@dataclass(frozen=True)
class _Known:
    """The constants that a decision may rest on.

    Attributes:
        certain: Whether only what is dead for certain is left out, so that no factor is negligible.
        replaceable: Ids of the stored tensors that prove nothing.
    """

    constants: Constants
    certain: bool = False
    replaceable: frozenset[int] = frozenset()

    def of(self, value: int) -> Constant | None:
        """The constant that a value is and stays, or None."""
        constant = self.constants.of(value) if value != ABSENT else None
        if constant is None or not self.replaceable:
            return constant
        return None if any(id(tensor) in self.replaceable for tensor in constant.stored()) else constant

    def small(self, value: int) -> Array | None:
        """See ``Constants.small``."""
        return self.constants.small(value) if self.of(value) is not None else None

    def magnitudes(self, value: int) -> tuple[float, float] | None:
        """See ``Constants.magnitudes``."""
        return self.constants.magnitudes(value) if self.of(value) is not None else None

    def is_dynamic(self, value: int) -> bool:
        """Whether a value is computed from an input, or given by one."""
        return self.constants.status(value) is None


def _followed(flow: Flow, known: _Known) -> tuple[list[Node], list[Node]]:
    """The nodes that an output depends on, in order; and those of them that do not depend on all they are given."""
    cut: list[Node] = []
    order: list[Node] = []
    state: dict[int, bool] = {}  # node -> finished
    stack: list[Node] = [flow.producer[v] for v in reversed(flow.outputs) if v in flow.producer]
    producer = flow.producer
    while stack:
        node = stack[-1]
        key = id(node)
        finished = state.get(key)
        if finished is None:
            state[key] = False
            needed = _needed(node, flow, known)
            if len(needed) < len(node.inputs) + sum(len(body.outputs) for body in node.bodies):
                cut.append(node)
            for value in needed:
                parent = producer.get(value)
                if parent is None:
                    continue
                entered = state.get(id(parent))
                if entered is None:
                    stack.append(parent)
                elif not entered:
                    raise UnreadableNetwork("a value depends on itself; no runtime can order its nodes")
        else:
            stack.pop()
            if not finished:
                state[key] = True
                order.append(node)
    return order, cut


def _needed(node: Node, flow: Flow, known: _Known) -> Sequence[int]:
    """The values that reach what the node computes."""
    if node.op in _EDGES and not node.domain:
        return _EDGES[node.op](node, flow, known)
    if node.bodies:
        return [*node.inputs, *(value for body in node.bodies for value in body.outputs)]
    return node.inputs


def _if(node: Node, flow: Flow, known: _Known) -> Sequence[int]:
    condition = known.small(node.inputs[0]) if node.inputs else None
    bodies: Sequence[Body] = node.bodies
    if condition is not None and condition.size == 1:
        taken = "then_branch" if bool(condition.reshape(-1)[0]) else "else_branch"
        bodies = [body for body in bodies if body.attribute == taken]
    return [*node.inputs, *(value for body in bodies for value in body.outputs)]


def _loop(node: Node, flow: Flow, known: _Known) -> Sequence[int]:
    limits = [known.small(value) for value in node.inputs[:2]]
    if any(limit is not None and limit.size == 1 and limit.reshape(-1)[0] <= 0 for limit in limits):
        return node.inputs[2:]
    return [*node.inputs, *(value for body in node.bodies for value in body.outputs)]


def _where(node: Node, flow: Flow, known: _Known) -> Sequence[int]:
    condition = known.magnitudes(node.inputs[0]) if len(node.inputs) == 3 else None
    if condition is None:
        return node.inputs
    smallest, largest = condition
    if smallest > 0:
        return [node.inputs[1]]
    return node.inputs if largest > 0 else [node.inputs[2]]


def _sum(node: Node, flow: Flow, known: _Known) -> Sequence[int]:
    if known.certain:
        return node.inputs
    dynamic = [v for v in node.inputs if v != ABSENT and known.is_dynamic(v)]
    if len(dynamic) < 2 and not any(_is_product(v, flow) for v in dynamic):
        return node.inputs
    factors = {value: _factor(value, flow, known) for value in dynamic}
    largest = max(factors.values(), default=1.0)
    return [v for v in node.inputs if v not in factors or (factors[v] >= NEGLIGIBLE * largest and factors[v] > 0)]


def _product(node: Node, flow: Flow, known: _Known) -> Sequence[int]:
    """A product with zero carries nothing of its other operand."""
    for value in node.inputs:
        constant = known.of(value)
        if constant is None or not constant.size or constant.take(np.arange(min(constant.size, _SAMPLE))).any():
            continue
        if known.magnitudes(value) == (0.0, 0.0):
            return [value]
    return node.inputs


def _normalisation(node: Node, flow: Flow, known: _Known) -> Sequence[int]:
    """A normalisation whose gamma is zero carries nothing but its beta."""
    gamma = known.magnitudes(node.inputs[1]) if len(node.inputs) == 5 else None
    return node.inputs[1:] if gamma == (0.0, 0.0) else node.inputs


_SCALING = ("Mul", "Div", "BatchNormalization", "Gemm", "FusedGemm", "FusedMatMul")
_MOVING = ("Identity", "Cast", "Reshape", "Transpose")


def _is_product(value: int, flow: Flow) -> bool:
    node = flow.producer.get(value)
    return node is not None and node.op in _SCALING


def _factor(value: int, flow: Flow, known: _Known) -> float:
    """The largest magnitude of the constants by which a value is multiplied on its last steps."""
    factor = 1.0
    for _ in range(_MAX_FACTORS):
        node = flow.producer.get(value)
        if (
            node is None
            or not node.inputs
            or node.domain not in ("", "com.microsoft")
            or node.op not in (*_SCALING, *_MOVING)
        ):
            break
        if node.op in _MOVING:
            value = node.inputs[0]
            continue
        own, value = _own_factor(node, known)
        if own is None:
            break
        factor *= own
        if value == ABSENT:
            break
    return factor


def _own_factor(node: Node, known: _Known) -> tuple[float | None, int]:
    """By how much a node multiplies at most, and what; ABSENT where nothing further can be followed."""
    inputs = node.inputs
    with np.errstate(all="ignore"):
        if node.op == "BatchNormalization":
            gamma, variance = (known.magnitudes(inputs[k]) if len(inputs) == 5 else None for k in (1, 4))
            if gamma is None or variance is None or np.isnan([*gamma, *variance]).any():
                return None, ABSENT
            epsilon = node.attributes().get("epsilon")
            deviation = np.sqrt(variance[0] + (1e-5 if epsilon is None else float(epsilon.f)))
            return float(gamma[1] / deviation), inputs[0]
        if node.op not in ("Mul", "Div"):
            alpha = node.attributes().get("alpha")
            return (None if alpha is None else abs(float(alpha.f))), ABSENT
        index = next((i for i in (1, 0) if len(inputs) == 2 and not known.is_dynamic(inputs[i])), None)
        scale = known.magnitudes(inputs[index]) if index is not None else None
        if index is None or scale is None or np.isnan(scale).any() or (node.op == "Div" and index == 0):
            return None, ABSENT
        return (scale[1] if node.op == "Mul" else float(np.divide(1.0, scale[0]))), inputs[1 - index]


_EDGES = {"If": _if, "Loop": _loop, "Where": _where, "Add": _sum, "Sub": _sum, "Sum": _sum, "Mul": _product}
_EDGES["BatchNormalization"] = _normalisation
