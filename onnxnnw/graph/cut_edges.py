"""Inputs of nodes of which no value matters for what the node computes: their shape alone does, or nothing."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from onnxnnw.constants.constants import Constant, Constants
from onnxnnw.flow.nodes import ABSENT, Node

__all__ = ["SHAPE_ONLY", "CutEdges", "cut_edges"]

SHAPE_ONLY = frozenset((("Shape", 0), ("Size", 0), ("EyeLike", 0), ("CastLike", 1)))
"""Operator and input of which the shape or type alone is read."""

CutEdges = dict[int, frozenset[int]]
"""Id of a node -> numbers of its inputs."""

_SAMPLES = (2, 64)
"""Elements that are looked at before all are: of nearly every weight the first are no zeros."""


def cut_edges(nodes: Sequence[Node], constants: Constants) -> CutEdges:
    """All of them in these nodes, as far as an operator and its constants show it."""
    found: CutEdges = {}
    for node in nodes:
        rule = _RULES.get(node.op)
        if rule is None or node.domain not in ("", "com.microsoft"):
            continue
        places = frozenset(place for place in rule(node, constants) if place < len(node.inputs))
        if places and constants.status(node.result) is None:
            found[id(node)] = places
    return found


_Places = Iterator[int]


def _of_shape(node: Node, constants: Constants) -> _Places:
    """Its shape or its type alone is read."""
    yield from (place for op, place in SHAPE_ONLY if op == node.op)


def _of_drawn(node: Node, constants: Constants) -> _Places:
    """Only as many random numbers are drawn as it has elements."""
    yield 0


def _itself(node: Node, constants: Constants) -> _Places:
    """A value minus, over or against itself is the same whatever it is, but for NaN and infinity."""
    if len(node.inputs) == 2 and node.inputs[0] == node.inputs[1]:
        yield from (0, 1)


def _bounded(node: Node, constants: Constants) -> _Places:
    """Clip between a number and the same one, or a smaller one."""
    given = node.attributes()

    def bound(place: int, name: str) -> float | None:
        number = constants.small(node.inputs[place]) if place < len(node.inputs) else None
        if number is not None and number.size == 1:
            return float(number.reshape(-1)[0])
        return float(given[name].f) if name in given else None

    least, most = bound(1, "min"), bound(2, "max")
    if least is not None and most is not None and least >= most:
        yield 0


def _power(node: Node, constants: Constants) -> _Places:
    """Anything to the power of nothing is one."""
    exponent = constants.small(node.inputs[1]) if len(node.inputs) == 2 else None
    if exponent is not None and exponent.size and not exponent.any():
        yield 0


def _slope(node: Node, constants: Constants) -> _Places:
    """A slope of nothing."""
    alpha = node.attributes().get("alpha")
    if alpha is not None and alpha.f == 0:
        yield 0


def _product(node: Node, constants: Constants) -> _Places:
    """The factor beside a weight of nothing but zeros; and Gemm's summand, if it is multiplied by nothing."""
    beta = node.attributes().get("beta") if node.op in ("Gemm", "FusedGemm") else None
    if beta is not None and beta.f == 0:
        yield 2
    for place in (0, 1):
        other = node.inputs[1 - place] if len(node.inputs) > 1 else ABSENT
        constant = constants.of(other) if other != ABSENT else None
        if constant is not None and _is_zero(constant, constants, other):
            yield place


def _is_zero(constant: Constant, constants: Constants, value: int) -> bool:
    """Whether a constant has only zeros; a few elements show of nearly every weight that it has not."""
    if not constant.size:
        return False
    for count in _SAMPLES:
        places = np.linspace(constant.size // 3, constant.size - 1, min(count, constant.size)).astype(np.int64)
        if constant.take(places).any():
            return False
    magnitudes = constants.magnitudes(value)
    return magnitudes is not None and magnitudes[1] == 0


_RULES: dict[str, Callable[[Node, Constants], _Places]] = {
    **{op: _of_shape for op, _ in SHAPE_ONLY},
    **dict.fromkeys(("RandomNormalLike", "RandomUniformLike"), _of_drawn),
    **dict.fromkeys("Sub Div Mod Xor BitwiseXor Equal Less LessOrEqual Greater GreaterOrEqual".split(), _itself),
    "Clip": _bounded,
    "Pow": _power,
    **dict.fromkeys(("HardSigmoid", "ScaledTanh"), _slope),
    **dict.fromkeys("MatMul Gemm Conv ConvTranspose FusedMatMul FusedGemm FusedConv Einsum".split(), _product),
}
