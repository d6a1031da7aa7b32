"""Weights that are not stored as such: supplied by the caller at run time, or computed from a table while the network runs."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from onnxnnw.accounting.amounts import elements_of
from onnxnnw.constants.constants import Constants
from onnxnnw.flow.nodes import ABSENT, Flow, Node
from onnxnnw.graph.slot_view import SlotView
from onnxnnw.graph.uses import MIN_ELEMENTS, uses_of
from onnxnnw.network_file.file import Network

__all__ = ["RunTimeWeights", "run_time_weights"]

_MAX_STEPS = 200
_MOVED = frozenset(
    "Identity Cast Transpose Reshape Squeeze Unsqueeze Flatten DequantizeLinear Slice Gather GatherND GatherElements SequenceAt "
    "OptionalGetElement Expand Tile Pad".split()
)
_ELEMENTWISE = frozenset("Mul Div Add Sub Sum Neg Exp Log Concat Where".split())


@dataclass
class RunTimeWeights:
    """What stands where weights would, and is not stored as one.

    Attributes:
        inputs: Name of each input that a caller supplies, the operator that would read it, and how many elements it has.
        tables: Elements of stored tables that only moves and arithmetic stand between and such a place.
    """

    inputs: list[tuple[str, str, int]]
    tables: int


def run_time_weights(network: Network, view: SlotView) -> RunTimeWeights:
    """All of a network's."""
    flow, lines, seen = view.flow, list[tuple[str, str, int]](), set[int]()
    inputs: dict[int, int] | None = None  # made where it is needed: there may be very many
    tables: dict[int, int] = {}
    for node, place in _computed_weights(view):
        found = _origins(flow, view.constants, node.inputs[place])
        tables |= found.tables
        if found.activation or not found.inputs:
            continue
        if inputs is None:
            given = set(flow.inputs)
            inputs = {port: number for number, port in enumerate(flow.ports) if port in given}
        others = _origins(flow, view.constants, node.inputs[0]).inputs  # a product of an input with itself
        for value in found.inputs:
            if value in inputs and value not in seen and value not in others:
                seen.add(value)
                port = network.model.graph.input[inputs[value]]
                lines.append((port.name, f"{node.op}.{place}", elements_of(port.type.tensor_type)))
    return RunTimeWeights(lines, sum(tables.values()))


def _computed_weights(view: SlotView) -> Iterator[tuple[Node, int]]:
    """Where a weight would stand, and a value stands that is computed or given while the network runs, as the other operand is."""
    for node in view.possible:
        for use in uses_of(node):
            place = use.weight
            if 0 < place < len(node.inputs) and use.layout != "table" and _stands_for_a_weight(node):
                status = view.constants.status
                value, other = node.inputs[place], node.inputs[0]
                if value != ABSENT and status(value) is None and (other == ABSENT or status(other) is None):
                    yield node, place


@dataclass
class _Origins:
    """What a value is made of by moves and arithmetic.

    Attributes:
        inputs: Values that no node computes: inputs of the network.
        tables: Stored tensors of two dimensions and more, and their elements.
        activation: Whether something else is in it that other operators computed.
    """

    inputs: list[int] = field(default_factory=list)
    tables: dict[int, int] = field(default_factory=dict)
    activation: bool = False


def _origins(flow: Flow, constants: Constants, value: int) -> _Origins:
    found, stack, seen = _Origins(), [value], set[int]()
    while stack and len(seen) < _MAX_STEPS:
        current = stack.pop()
        if current == ABSENT or current in seen:
            continue
        seen.add(current)
        constant = constants.of(current)
        node = flow.producer.get(current)
        if constant is not None:
            if sum(length > 1 for length in constant.shape) > 1 and constant.size >= MIN_ELEMENTS:
                found.tables |= {id(tensor): tensor.size for tensor in constant.stored() if tensor.size >= MIN_ELEMENTS}
        elif current in flow.handed:
            stack.append(flow.handed[current])
        elif node is None:
            if constants.status(current) is None:
                found.inputs.append(current)
        elif node.domain or not (node.op in _MOVED or node.op in _ELEMENTWISE):
            found.activation = True
        else:
            stack += node.inputs if node.op in _ELEMENTWISE else node.inputs[:1]
    return found


def _stands_for_a_weight(node: Node) -> bool:
    """Whether an operator's further inputs are weights in other networks, not computed values."""
    if node.op in ("Gather", "Add", "QLinearAdd", "EmbedLayerNormalization") or node.op in _MOVED:
        return False
    return node.op not in _ARITHMETIC


_ARITHMETIC = frozenset("Mul Sub Div Pow QLinearMul Max Min Sum Mean Concat Where PRelu ScatterND Attention".split())
