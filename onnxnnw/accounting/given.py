"""Graph inputs in the place of a weight: the caller supplies them at run time, so their values are unknown here."""

from collections.abc import Iterator

from onnxnnw.accounting.amounts import elements_of
from onnxnnw.flow.nodes import Flow, Node
from onnxnnw.graph.slot_view import SlotView
from onnxnnw.graph.uses import uses_of
from onnxnnw.network_file.file import Network

__all__ = ["inputs_given_as_weights"]

_MAX_MOVES = 32
_HANDED_ON = frozenset(
    ("Identity", "Cast", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "DequantizeLinear", "Slice")
)


def inputs_given_as_weights(network: Network, view: SlotView) -> Iterator[tuple[str, str, int]]:
    """Name of each, the operator that would read it as a weight, and how many elements it has."""
    flow = view.flow
    inputs: dict[int, int] | None = None  # made where it is needed: there may be very many
    seen: set[int] = set()
    for node in view.possible:
        for use in uses_of(node):
            place = use.weight
            if place >= len(node.inputs) or use.layout == "table" or not _stands_for_a_weight(node, place):
                continue
            value = _source(flow, node.inputs[place])
            if value in flow.producer or value in flow.tensors or value in seen:
                continue
            if inputs is None:
                given = set(flow.inputs)
                inputs = {port: number for number, port in enumerate(flow.ports) if port in given}
            if value not in inputs or _source(flow, node.inputs[0]) == value:  # a product of an input with itself
                continue
            seen.add(value)
            port = network.model.graph.input[inputs[value]]
            yield port.name, f"{node.op}.{place}", elements_of(port.type.tensor_type)


def _source(flow: Flow, value: int) -> int:
    """The origin of a value that is only moved."""
    for _ in range(_MAX_MOVES):
        if value in flow.handed:
            value = flow.handed[value]
            continue
        node = flow.producer.get(value)
        if node is None or node.op not in _HANDED_ON or node.domain or not node.inputs:
            break
        value = node.inputs[0]
    return value


def _stands_for_a_weight(node: Node, place: int) -> bool:
    """Whether this input holds a weight in other networks, not a computed value."""
    if node.op in ("Gather", "Add", "QLinearAdd", "EmbedLayerNormalization") or node.op in _HANDED_ON:
        return False
    return place > 0 and node.op not in _ELEMENTWISE


_ELEMENTWISE = frozenset("Mul Sub Div Pow QLinearMul Max Min Sum Mean Concat Where PRelu ScatterND Attention".split())
