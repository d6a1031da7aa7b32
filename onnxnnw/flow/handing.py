"""Values that bodies pass through unchanged: a weight that is loop state is the same weight inside and after the loop.

Only what is the same value in every iteration by the graph's edges is said to be another value; all else stays unknown.
"""

from onnxnnw.flow.nodes import ABSENT, Body, Flow, Node

__all__ = ["hand_on", "same"]

_MAX_HOPS = 64


def hand_on(node: Node, flow: Flow) -> None:
    """Record in the flow which values of a node with bodies equal other values.

    Of Loop and Scan, state that the body returns as it got it; of If, what both branches hand on; of Scan, inputs of the body
    that are one slice of a stack after the other.
    """
    if node.domain or node.function is not None:
        return
    if node.op == "If":
        _chosen(node, flow)
    elif len(node.bodies) == 1 and node.op == "Loop":
        body = node.bodies[0]
        if len(body.inputs) == len(node.inputs) and len(body.outputs) > len(node.inputs) - 2:
            _states(node, body, flow, first=2, count=len(node.inputs) - 2, back=1)
    elif len(node.bodies) == 1 and node.op == "Scan" and node.version >= 9:
        body, slices = node.bodies[0], node.integer("num_scan_inputs", 0)
        count = len(node.inputs) - slices
        if slices > 0 and count >= 0 and len(body.inputs) == len(node.inputs) and len(body.outputs) >= count:
            _states(node, body, flow, first=0, count=count, back=0)
            _slices(node, body, flow, count)


def same(value: int, flow: Flow) -> int:
    """The original of a value that was passed through unchanged."""
    for _ in range(_MAX_HOPS):
        source = flow.handed.get(value)
        if source is None:
            node = flow.producer.get(value)
            if node is None or node.op != "Identity" or node.domain or len(node.inputs) != 1:
                break
            source = node.inputs[0]
        if source == ABSENT:
            break
        value = source
    return value


def _states(node: Node, body: Body, flow: Flow, first: int, count: int, back: int) -> None:
    """State that comes back as it went in, or as what it was at the beginning: by induction it is that in all iterations."""
    for place in range(count):
        start, inside = node.inputs[first + place], body.inputs[first + place]
        if start == ABSENT or not _is_open(inside, flow):
            continue
        returned = same(body.outputs[back + place], flow)
        if returned not in (inside, same(start, flow)):
            continue
        flow.handed[inside] = start
        flow.passing.add((id(node), first + place))
        if place < len(node.outputs) and node.outputs[place] != ABSENT:
            flow.handed[node.outputs[place]] = start
        body.handed |= {back + place}


def _chosen(node: Node, flow: Flow) -> None:
    """Outputs of If that are the same value whichever branch is taken."""
    if len(node.bodies) != 2 or {body.attribute for body in node.bodies} != {"then_branch", "else_branch"}:
        return
    for place, output in enumerate(node.outputs):
        if output == ABSENT or any(place >= len(body.outputs) for body in node.bodies):
            continue
        one, other = (same(body.outputs[place], flow) for body in node.bodies)
        if one == other and one != ABSENT:
            flow.handed[output] = one
            for body in node.bodies:
                body.handed |= {place}


def _slices(node: Node, body: Body, flow: Flow, first: int) -> None:
    """Inputs of a Scan's body that hold one slice of a stack after the other, in whichever order."""
    axes = node.integers("scan_input_axes") or [0] * (len(node.inputs) - first)
    for place, axis in zip(range(first, len(node.inputs)), axes, strict=False):
        stack, inside = node.inputs[place], body.inputs[place]
        if stack != ABSENT and _is_open(inside, flow):
            flow.slices[inside] = stack, axis
            flow.passing.add((id(node), place))


def _is_open(value: int, flow: Flow) -> bool:
    """Whether a body's input has no value of its own."""
    return value not in flow.tensors and value not in flow.opaque and value not in flow.producer
