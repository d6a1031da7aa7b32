"""The contents of local functions that are not inlined: their bodies are only counted."""

from array import array
from collections.abc import Iterable, Iterator

import numpy as np
from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto, SparseTensorProto, TensorProto

from onnxnnw.flow.names import key_of
from onnxnnw.network_file.file import Network
from onnxnnw.network_file.stored import StoredTensor

__all__ = ["contents_of_functions", "stored_in_functions"]

_VALUES = ("raw_data", "float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data",
           "external_data", "data_location")  # fmt: skip


def stored_in_functions(network: Network, functions: Iterable[FunctionProto]) -> list[StoredTensor]:
    """All that is stored in local functions and in those that they call; each function is looked at once.

    Tensors are there as they are stored, those of attributes and nested graphs too. What else the attributes of a function hold
    is one tensor of each kind: its real numbers, its integers, and its texts as bytes.

    Raises:
        UnreadableNetwork: A tensor contradicts itself.
    """
    return [tensor for body, _ in _reached(network, functions) for tensor in body.stored()]


def contents_of_functions(
    network: Network, functions: Iterable[FunctionProto]
) -> Iterator[tuple[bytes, list[StoredTensor]]]:
    """The same functions as bytes without the values of tensors, and those tensors in their order: what tells them from others.

    Equal for the same functions in another file, however their tensors are stored.
    """
    for _, function in _reached(network, functions):
        bare = FunctionProto()
        bare.CopyFrom(function)
        bare.ClearField("doc_string")
        body = _Body(network, "")
        body.fill(bare)
        tensors = [network.tensor(proto) for proto in body.tensors]
        for proto in body.tensors:
            for field in _VALUES:
                proto.ClearField(field)
        yield bare.SerializeToString(deterministic=True), tensors


def _reached(network: Network, functions: Iterable[FunctionProto]) -> Iterator[tuple["_Body", FunctionProto]]:
    """The functions and all functions that they call, each once, with their contents."""
    local = {key_of(function): function for function in network.model.functions}
    waiting = {key_of(function): function for function in functions}
    seen = set(waiting)
    while waiting:
        _, function = waiting.popitem()
        body = _Body(network, f"{function.domain}.{function.name}/")
        for node in body.fill(function):
            key = key_of(node)
            if key in local and key not in seen:
                seen.add(key)
                waiting[key] = local[key]
        yield body, function


class _Body:
    """The contents of one function, as they are found."""

    def __init__(self, network: Network, name: str) -> None:
        self.network, self.name = network, name
        self.tensors: list[TensorProto] = []
        self.numbers, self.integers, self.texts = array("f"), array("q"), bytearray()
        self.graphs: list[GraphProto] = []

    def fill(self, function: FunctionProto) -> list[NodeProto]:
        """Look at all of a function; its nodes, and those of all graphs inside them."""
        self.attributes(function.attribute_proto)
        found: list[NodeProto] = []
        nodes: Iterable[NodeProto] = function.node
        while True:
            for node in nodes:
                self.attributes(node.attribute)
                found.append(node)
            if not self.graphs:
                return found
            graph = self.graphs.pop()
            self.tensors += graph.initializer
            self.sparse(graph.sparse_initializer)
            nodes = graph.node

    def attributes(self, attributes: Iterable[AttributeProto]) -> None:
        """Whatever attributes hold."""
        for attribute in attributes:
            self.tensors += [*attribute.tensors, *([attribute.t] if attribute.HasField("t") else ())]
            sparse = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else ()
            self.sparse([*attribute.sparse_tensors, *sparse])
            self.graphs += [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else ())]
            self.numbers.extend([*attribute.floats, *([attribute.f] if attribute.HasField("f") else ())])
            self.integers.extend([*attribute.ints, *([attribute.i] if attribute.HasField("i") else ())])
            for text in (attribute.s, *attribute.strings):
                self.texts += text
            for kind in (attribute.tp, *attribute.type_protos):
                self.texts += kind.SerializeToString()

    def sparse(self, tensors: Iterable[SparseTensorProto]) -> None:
        """Sparse tensors: their values and indices."""
        for proto in tensors:
            self.tensors += (proto.values, proto.indices)

    def stored(self) -> Iterator[StoredTensor]:
        """All that was found."""
        for proto in self.tensors:
            yield self.network.tensor(proto, f"{self.name}{proto.name}")
        for kind, data_type, values in (
            ("numbers", TensorProto.FLOAT, np.array(self.numbers, "<f4")),
            ("integers", TensorProto.INT64, np.array(self.integers, "<i8")),
            ("texts", TensorProto.UINT8, np.frombuffer(bytes(self.texts), "u1")),
        ):
            if values.size:
                yield StoredTensor(f"{self.name}{kind}", data_type, values.shape, "inline", inline=values)
