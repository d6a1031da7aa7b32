"""Which nodes an output depends on, and whether that is certain.

*Dead for certain* is what no output can depend on by the graph's edges, and what stands behind a branch or loop that a constant
nobody can replace closes, one that all runtimes compute alike. It is left out of a digest, and of what a record has to explain.

*Doubtful* is what an output depends on only through factors of (nearly) nothing: a product with zero, a gamma of zero, the side
that a constant Where never picks, the branch that a replaceable condition does not take, or a path whose own factors, up to the
next operator that makes sizes anew or to the output, multiply to less than ``NEGLIGIBLE``; and what is read for its shape alone, or
in a way that makes one number of all (``cut_edges``). Weights there carry no mark, or decoys would be weights; they are in the
digest and in the account, or weights could hide there (0 · inf is NaN). What is joined to others and then dropped is not seen.

Nothing follows for a summand from the factor of *another* summand: an attention mask of -1e9 hides nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from onnxnnw.constants.constants import Constants
from onnxnnw.errors import UnreadableNetwork
from onnxnnw.flow.nodes import ABSENT, Body, Flow, Node
from onnxnnw.graph.certain import Certain
from onnxnnw.graph.cut_edges import SHAPE_ONLY, CutEdges, cut_edges

__all__ = ["NEGLIGIBLE", "Live", "live_nodes"]

NEGLIGIBLE = 5e-7
"""A path whose factors multiply to less carries nothing to speak of. Residual branches may begin their training with a factor of
1e-6 [LayerScale, arXiv:2103.17239; ConvNeXt, arXiv:2201.03545], and they are alive."""


@dataclass(frozen=True)
class Live:
    """Nodes that an output depends on, each after those it depends on.

    Attributes:
        nodes: Without doubt.
        possible: All but those that are dead for certain.
        doubtful: Inputs of nodes without doubt that are multiplied by (nearly) nothing: id of the node, place.
    """

    nodes: list[Node]
    possible: list[Node]
    doubtful: frozenset[tuple[int, int]] = frozenset()


def live_nodes(flow: Flow, constants: Constants) -> Live:
    """The nodes that an output depends on.

    Raises:
        UnreadableNetwork: A value depends on itself.
    """
    known = Certain(flow, constants)
    possible = _followed(flow, known)
    weak, cut = _weak_edges(possible, constants), cut_edges(possible, constants)
    if not weak and not cut:
        return Live(possible, possible)
    reach, doubtful = _reach(flow, possible, weak, cut, known)
    nodes = [node for node in possible if reach[id(node)] >= _needed_by(node)]
    return Live(nodes if len(nodes) < len(possible) else possible, possible, frozenset(doubtful))


# --- what is dead for certain -----------------------------------------------------------------------------------------


def _followed(flow: Flow, known: Certain) -> list[Node]:
    """The nodes that an output depends on by the graph's edges, in order."""
    order: list[Node] = []
    state: dict[int, bool] = {}  # node -> finished
    producer = flow.producer
    stack: list[Node] = [producer[v] for v in reversed(flow.outputs) if v in producer]
    while stack:
        node = stack[-1]
        key = id(node)
        finished = state.get(key)
        if finished is None:
            state[key] = False
            for value in _open_edges(node, known, True) if node.bodies else node.inputs:
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
    return order


def _open_edges(node: Node, known: Certain, certain: bool) -> Sequence[int]:
    """The values that a node with bodies depends on: those of closed branches and of loops that never run are left out.

    Args:
        certain: Whether only a constant that nobody can replace closes anything.
    """
    bodies: Sequence[Body] = node.bodies
    inputs = node.inputs
    if node.domain:
        pass
    elif node.op == "If" and inputs:
        condition = known.number(inputs[0], certain)
        if condition is not None:
            taken = "then_branch" if condition else "else_branch"
            bodies = [body for body in bodies if body.attribute == taken]
    elif node.op == "Loop":
        limits = [known.number(value, certain) for value in inputs[:2]]
        if any(limit is not None and limit <= 0 for limit in limits):
            return inputs[2:]
    return [*inputs, *(value for body in bodies for value in body.outputs)]


# --- what is doubtful -------------------------------------------------------------------------------------------------

_SCALE_FREE = 1e30
_HANDED_ON = frozenset(
    "Identity Cast CastLike Reshape Transpose Flatten Squeeze Unsqueeze Dropout Relu LeakyRelu Add Sub Sum Mean Concat Slice Split "
    "Gather Pad MaxPool AveragePool GlobalAveragePool GlobalMaxPool LpPool ReduceMean ReduceSum ReduceMax ReduceMin Neg Abs Expand "
    "Tile Resize Upsample DepthToSpace SpaceToDepth QuantizeLinear DequantizeLinear Max Min Mul Div BatchNormalization Where "
    "PRelu Clip".split()
)
"""Operators whose output shrinks as their input does: factors before and after them multiply."""

_SIZELESS = frozenset(
    "Log Sign Greater GreaterOrEqual Less LessOrEqual Equal ArgMax ArgMin TopK NonZero DynamicQuantizeLinear LpNormalization Not "
    "Or And Xor IsNaN IsInf Hardmax Shape Size".split()
)
"""Operators that tell a tiny number as well as a large one: no factor before them is negligible."""

_INTEGER_PRODUCTS = frozenset(("ConvInteger", "MatMulInteger"))
_SCALED_PRODUCTS = frozenset(("Gemm", "FusedGemm", "FusedMatMul"))
_INTEGER_GAIN = 1e5
"""Products of integers are as large before they are scaled back to real numbers."""

_NORMALISATIONS = {"LayerNormalization": 1, "SimplifiedLayerNormalization": 1, "RMSNormalization": 1, "InstanceNormalization": 1,
                   "GroupNormalization": 1, "SkipLayerNormalization": 2, "SkipSimplifiedLayerNormalization": 2, "GroupNorm": 1,
                   "SkipGroupNorm": 1}  # fmt: skip
"""Operators that make sizes anew, and where their gamma stands."""

_Edges = dict[int, float]
"""Input of a node -> by what it is multiplied."""


def _needed_by(node: Node) -> float:
    return NEGLIGIBLE / _INTEGER_GAIN if node.op in _INTEGER_PRODUCTS else NEGLIGIBLE


def _weak_edges(nodes: Sequence[Node], constants: Constants) -> dict[int, _Edges]:
    """Nodes that multiply inputs, and by which factor; empty if nothing can shrink and no branch can be closed."""
    found: dict[int, _Edges] = {}
    shrinks = False
    for node in nodes:
        if node.bodies:
            shrinks = True
        rule = _FACTORS.get(node.op)
        if rule is None or node.domain not in ("", "com.microsoft"):
            continue
        if constants.status(node.result) is not None:  # a step on the way to a constant
            continue
        edges = dict(rule(node, constants))
        if edges:
            found[id(node)] = edges
            shrinks = shrinks or min(edges.values()) < 1
    return found if shrinks else {}


def _reach(
    flow: Flow, nodes: Sequence[Node], weak: dict[int, _Edges], cut: CutEdges, known: Certain
) -> tuple[dict[int, float], set[tuple[int, int]]]:
    """Node -> the largest product of own factors on a path from it to what makes sizes anew, or to an output.

    Beside it, the inputs of nodes within reach that are out of it.
    """
    values: dict[int, float] = dict.fromkeys(flow.outputs, 1.0)
    reached: dict[int, float] = {}
    doubtful: set[tuple[int, int]] = set()
    nothing: _Edges = {}
    none = frozenset[int]()
    for node in reversed(nodes):
        own = max([values.get(value, 0.0) for value in node.outputs if value != ABSENT])
        key, op, plain = id(node), node.op, not node.domain
        edges = weak.get(key, nothing)
        if op in _SCALED_PRODUCTS and edges:  # the factor belongs to the product itself, and to both of its operands
            own *= edges[0]
            edges = nothing
        reached[key] = own
        alive = own >= _needed_by(node)
        if plain and op in _SIZELESS:
            own = _SCALE_FREE if alive else own
        elif not (plain and op in _HANDED_ON):
            own *= min(edges.values(), default=1.0)
            own = 1.0 if own >= _needed_by(node) else own
            edges = nothing
        idle = cut.get(key, none)
        for place, value in enumerate(node.inputs):
            if place in idle:
                if alive and (op, place) not in SHAPE_ONLY:  # a weight's shape is none of its values
                    doubtful.add((key, place))
                continue
            factor = own * edges.get(place, 1.0) if edges else own
            if alive and factor < NEGLIGIBLE and edges:
                doubtful.add((key, place))
            if place == 1 and alive and plain and op == "Div":  # small divisors make large numbers
                factor = _SCALE_FREE
            if factor > values.get(value, 0.0):
                values[value] = factor
        if node.bodies:
            taken = set(_open_edges(node, known, False))
            for body in node.bodies:
                for value in body.outputs:
                    if value in taken and own > values.get(value, 0.0):
                        values[value] = own
    return reached, doubtful


_Factors = Iterator[tuple[int, float]]


def _product(node: Node, constants: Constants) -> _Factors:
    """Each operand is multiplied by the others."""
    if len(node.inputs) != 2:
        return
    for place in (0, 1):
        other = constants.magnitudes(node.inputs[1 - place])
        if other is not None and not np.isnan(other[1]) and constants.status(node.inputs[place]) is None:
            yield place, other[1]


def _quotient(node: Node, constants: Constants) -> _Factors:
    divisor = constants.magnitudes(node.inputs[1]) if len(node.inputs) == 2 else None
    if divisor is not None and divisor[0] > 0:
        yield 0, 1 / divisor[0]


def _affine(node: Node, constants: Constants) -> _Factors:
    """gamma / sqrt(variance + epsilon) [ONNX BatchNormalization]."""
    if len(node.inputs) != 5:
        return
    gamma, variance = (constants.magnitudes(node.inputs[place]) for place in (1, 4))
    if gamma is None or variance is None or np.isnan([*gamma, *variance]).any():
        return
    epsilon = node.attributes().get("epsilon")
    with np.errstate(all="ignore"):
        deviation = float(np.sqrt(variance[0] + (1e-5 if epsilon is None else float(epsilon.f))))
    yield 0, gamma[1] / deviation if deviation > 0 else 1.0


def _normalised(node: Node, constants: Constants) -> _Factors:
    place = _NORMALISATIONS[node.op]
    gamma = constants.magnitudes(node.inputs[place]) if place < len(node.inputs) else None
    if gamma is not None and not np.isnan(gamma[1]):
        yield 0, gamma[1]


def _alpha(node: Node, constants: Constants) -> _Factors:
    alpha = node.attributes().get("alpha")
    if alpha is not None:
        yield 0, abs(float(alpha.f))


def _where(node: Node, constants: Constants) -> _Factors:
    """The side that a constant condition never picks."""
    condition = constants.magnitudes(node.inputs[0]) if len(node.inputs) == 3 else None
    if condition is not None and condition[0] > 0:
        yield 2, 0.0
    elif condition is not None and condition[1] == 0:
        yield 1, 0.0


_FACTORS: dict[str, Callable[[Node, Constants], _Factors]] = {
    "Mul": _product,
    "Div": _quotient,
    "BatchNormalization": _affine,
    "Gemm": _alpha,
    "FusedGemm": _alpha,
    "FusedMatMul": _alpha,
    "Where": _where,
    **dict.fromkeys(_NORMALISATIONS, _normalised),
}
