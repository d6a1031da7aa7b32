"""Attributes that are each small enough for a setting: together they may be a layer, so it counts how many of them differ."""

from collections.abc import Iterator

from onnx import AttributeProto

from onnxnnw.flow.attribute_weights import read_attributes
from onnxnnw.flow.nodes import Node

__all__ = ["SmallAttributes"]

_MOST_DIFFERENT = 64
"""Values of one attribute of one operator in a network: axes, paddings and slopes are few different ones, weights are many."""


class SmallAttributes:
    """The different values of each attribute of each operator."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str, str], dict[bytes, int]] = {}

    def add_node(self, node: Node) -> None:
        """All attributes of a node but graphs, and those that are read as weights."""
        if node.proto.attribute:
            read = read_attributes(node)
            for name, attribute in node.attributes().items():
                if name not in read:
                    self.add(node, name, attribute)

    def add(self, node: Node, name: str, attribute: AttributeProto) -> None:
        """One attribute."""
        if attribute.type not in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
            content = attribute.SerializeToString()
            known = self._values.setdefault((node.domain, node.op, name), {})
            known[content] = max(1, len(content) - len(name.encode()) - _AROUND)

    def too_many(self) -> Iterator[tuple[str, str, str, int]]:
        """Name, operator, reason and bytes of those that have more values than settings have."""
        for (domain, op, name), values in self._values.items():
            if len(values) > _MOST_DIFFERENT:
                reason = f"{len(values):,} different values where a setting would stand"
                yield name, f"{domain}.{op}".removeprefix("."), reason, sum(values.values())


_AROUND = 5
"""Bytes of an attribute that say its type, and where its name and value begin."""
