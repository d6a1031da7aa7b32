"""Nodes in an order in which each comes after what it reads: onnxruntime's format has them by their number."""

import heapq
from collections.abc import Sequence

from onnx import GraphProto, NodeProto

from onnxnnw.errors import UnreadableNetwork

__all__ = ["in_order"]


def in_order(nodes: Sequence[NodeProto]) -> list[NodeProto]:
    """The nodes of a graph, each after those it reads from, else as they came.

    Raises:
        UnreadableNetwork: Some wait for each other.
    """
    made_by = {name: number for number, node in enumerate(nodes) for name in node.output if name}
    waits = [{made_by[name] for name in read_by(node) if name in made_by} for node in nodes]
    followers: list[list[int]] = [[] for _ in nodes]
    for number, before in enumerate(waits):
        for each in before:
            followers[each].append(number)
    left = [len(before) for before in waits]
    ready = [number for number, count in enumerate(left) if not count]
    out = []
    while ready:
        number = heapq.heappop(ready)
        out.append(nodes[number])
        for each in followers[number]:
            left[each] -= 1
            if not left[each]:
                heapq.heappush(ready, each)
    if len(out) != len(nodes):
        raise UnreadableNetwork(f"{len(nodes) - len(out):,} nodes wait for each other")
    return out


def read_by(node: NodeProto) -> set[str]:
    """Names that a node reads, its bodies included."""
    names = {name for name in node.input if name}
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
            names |= _from_outside(body)
    return names


def _from_outside(body: GraphProto) -> set[str]:
    own = {port.name for port in body.input} | {tensor.name for tensor in body.initializer}
    own |= {name for node in body.node for name in node.output}
    read = {name for node in body.node for name in read_by(node)} | {port.name for port in body.output}
    return read - own
