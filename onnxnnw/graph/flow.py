"""How values flow: every graph, branch, loop body and local function of a network as one flat list of nodes.

Values are integers; a name is looked up once, in its own scope and then outwards. Local functions are inlined, so that a
weight inside a function is as visible as any other. What a body receives from outside an iteration stays unknown (dynamic).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto, TensorProto

from onnxnnw.errors import UnreadableNetwork
from onnxnnw.graph.file import Network
from onnxnnw.graph.stored import StoredTensor

__all__ = ["ABSENT", "Body", "Flow", "Node", "trace_flow"]

ABSENT = -1
"""The value of an optional input that is not given."""

MAX_DEPTH = 60
_SPARE_NODES = 100_000
_STANDARD_DOMAINS = ("", "ai.onnx")


@dataclass(slots=True, eq=False)
class Body:
    """A graph inside a node: a branch of If, the body of Loop or Scan."""

    attribute: str
    inputs: list[int]
    outputs: list[int]


@dataclass(slots=True, eq=False)
class Node:
    """One operation with its values as integers.

    Attributes:
        proto: The NodeProto; its attributes may refer to those of a function call, so read them through ``attribute``.
        op: Operator name; domain ``ai.onnx`` is written as the empty domain.
        version: Opset version in force where the node stands.
        conditional: Whether it stands in a branch or loop body and so may never run.
    """

    proto: NodeProto
    op: str
    domain: str
    version: int
    inputs: list[int]
    outputs: list[int]
    conditional: bool = False
    bodies: list[Body] = field(default_factory=list)
    bindings: "dict[str, AttributeProto] | None" = None

    def attributes(self) -> dict[str, AttributeProto]:
        """The attributes by name, references to a function's attributes resolved."""
        out = {}
        for attribute in self.proto.attribute:
            if attribute.ref_attr_name:
                bound = (self.bindings or {}).get(attribute.ref_attr_name)
                if bound is not None:
                    out[attribute.name] = bound
            else:
                out[attribute.name] = attribute
        return out

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        attribute = self.attributes().get(name)
        return default if attribute is None else int(attribute.i)

    def integers(self, name: str) -> list[int] | None:
        """A list of integers, or None where the attribute is absent."""
        attribute = self.attributes().get(name)
        return None if attribute is None else list(attribute.ints)


@dataclass(slots=True, eq=False)
class Flow:
    """All nodes and values of a network.

    Attributes:
        names: Name of each value, scoped: ``then_branch/weight``.
        nodes: In the order of the file, bodies before the node that holds them.
        producer: The node that computes a value.
        tensors: Stored values: initializers and Constant nodes.
        opaque: Constants that this version cannot read (sparse tensors).
        replaceable: Initializers that are graph inputs too, so a caller may replace them at run time.
        inputs: Graph inputs without a stored value.
        outputs: Graph outputs.
    """

    names: list[str] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    producer: dict[int, Node] = field(default_factory=dict)
    tensors: dict[int, StoredTensor] = field(default_factory=dict)
    opaque: set[int] = field(default_factory=set)
    replaceable: set[int] = field(default_factory=set)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)

    def value(self, name: str) -> int:
        """A new value."""
        self.names.append(name)
        return len(self.names) - 1


def trace_flow(network: Network) -> Flow:
    """Flatten a network.

    Raises:
        UnreadableNetwork: A name is defined twice in one scope, functions call each other in a circle, a local function has the
            name of a standard operator, or inlining explodes.
    """
    try:
        return _Tracer(network).run()
    except UnreadableNetwork as error:
        if str(error).startswith(str(network.path)):
            raise
        raise type(error)(f"{network.path}: {error}") from None


class _Scope:
    """Names of one graph or function body; ``outer`` is where an unknown name is looked up next."""

    __slots__ = ("conditional", "names", "outer", "prefix", "versions")

    def __init__(self, prefix: str, outer: "_Scope | None", versions: dict[str, int], conditional: bool) -> None:
        self.names: dict[str, int] = {}
        self.prefix, self.outer, self.versions, self.conditional = prefix, outer, versions, conditional

    def find(self, name: str) -> int | None:
        scope: _Scope | None = self
        while scope is not None:
            value = scope.names.get(name)
            if value is not None:
                return value
            scope = scope.outer
        return None


class _Tracer:
    def __init__(self, network: Network) -> None:
        self.network = network
        self.flow = Flow()
        model = network.model
        self.functions: dict[tuple[str, str, str], FunctionProto] = {}
        for function in model.functions:
            key = (_domain(function.domain), function.name, _overload(function))
            if key in self.functions:
                raise UnreadableNetwork(f"the local function {function.name!r} is defined twice")
            if key[0] in _STANDARD_DOMAINS and onnx.defs.has(function.name):
                raise UnreadableNetwork(
                    f"a local function is named like the standard operator {function.name}; runtimes disagree which one runs"
                )
            self.functions[key] = function
        self.limit = _SPARE_NODES + 2 * (len(model.graph.node) + sum(len(f.node) for f in model.functions))

    def run(self) -> Flow:
        model = self.network.model
        scope = _Scope("", None, _versions(model.opset_import), conditional=False)
        inputs, self.flow.outputs = self.graph(model.graph, scope, 0)
        self.flow.replaceable = {value for value in inputs if value in self.flow.tensors or value in self.flow.opaque}
        self.flow.inputs = [value for value in inputs if value not in self.flow.replaceable]
        return self.flow

    def graph(self, graph: GraphProto, scope: _Scope, depth: int) -> tuple[list[int], list[int]]:
        """Flatten one graph into the flow; its inputs and outputs."""
        flow, names, prefix = self.flow, scope.names, scope.prefix
        for initializer in graph.initializer:
            if initializer.name in names:
                raise UnreadableNetwork(f"the name {initializer.name[:80]!r} is defined twice")
            value = names[initializer.name] = flow.value(prefix + initializer.name)
            flow.tensors[value] = self.network.tensor(initializer, prefix + initializer.name)
        for sparse in graph.sparse_initializer:
            if sparse.values.name in names:
                raise UnreadableNetwork(f"the name {sparse.values.name[:80]!r} is defined twice")
            value = names[sparse.values.name] = flow.value(prefix + sparse.values.name)
            flow.opaque.add(value)
        inputs = []
        for port in graph.input:
            known = names.get(port.name)
            if known in inputs:
                raise UnreadableNetwork(f"the input {port.name[:80]!r} is defined twice")
            if known is None:
                known = names[port.name] = flow.value(prefix + port.name)
            inputs.append(known)
        self.nodes(graph.node, scope, depth, None)
        outputs = []
        for port in graph.output:
            found = scope.find(port.name)
            if found is None:
                raise UnreadableNetwork(f"the output {port.name[:80]!r} is computed by no node")
            outputs.append(found)
        return inputs, outputs

    def nodes(
        self, nodes: Iterable[NodeProto], scope: _Scope, depth: int, bindings: dict[str, AttributeProto] | None
    ) -> None:
        if depth > MAX_DEPTH:
            raise UnreadableNetwork(f"graphs or functions are nested deeper than {MAX_DEPTH}")
        flow, names, prefix = self.flow, scope.names, scope.prefix
        nodes = list(nodes)
        produced: list[list[int]] = []
        for proto in nodes:  # all names first: the order of nodes is a tool's habit, not a promise
            outputs = []
            for name in proto.output:
                if not name:
                    outputs.append(ABSENT)
                    continue
                if name in names:
                    raise UnreadableNetwork(f"the name {name[:80]!r} is defined twice")
                value = names[name] = len(flow.names)
                flow.names.append(prefix + name)
                outputs.append(value)
            produced.append(outputs)
        self.limit -= len(nodes)
        if self.limit < 0:
            raise UnreadableNetwork("its local functions unfold into too many nodes")
        for proto, outputs in zip(nodes, produced, strict=True):
            self.node(proto, outputs, scope, depth, bindings)

    def node(
        self,
        proto: NodeProto,
        outputs: list[int],
        scope: _Scope,
        depth: int,
        bindings: dict[str, AttributeProto] | None,
    ) -> None:
        flow = self.flow
        inputs = []
        for name in proto.input:
            value: int | None = ABSENT
            if name:
                value = scope.names.get(name)
                if value is None:
                    value = scope.find(name)
                    if value is None:  # a name from nowhere: no runtime loads it, nothing is known of it
                        value = scope.names[name] = flow.value(scope.prefix + name)
            inputs.append(value)
        op, domain = proto.op_type, proto.domain
        if domain == "ai.onnx":
            domain = ""
        if self.functions:
            function = self.functions.get((domain, op, _overload(proto)))
            if function is not None:
                self.call(function, proto, inputs, outputs, scope, depth, bindings)
                return
        node = Node(proto, op, domain, scope.versions.get(domain, 0), inputs, outputs, scope.conditional, [], bindings)
        if op == "Constant" and not domain:
            self.constant(node)
            return
        for attribute in proto.attribute:
            if attribute.HasField("g"):
                self.body(node, attribute.name, attribute.g, scope, depth)
            for graph in attribute.graphs:
                self.body(node, attribute.name, graph, scope, depth)
        flow.nodes.append(node)
        for value in outputs:
            flow.producer[value] = node

    def body(self, node: Node, attribute: str, graph: GraphProto, scope: _Scope, depth: int) -> None:
        inner = _Scope(
            f"{scope.prefix}{node.proto.name or node.op}.{attribute}/", scope, scope.versions, conditional=True
        )
        inputs, outputs = self.graph(graph, inner, depth + 1)
        node.bodies.append(Body(attribute, inputs, outputs))

    def call(
        self,
        function: FunctionProto,
        proto: NodeProto,
        inputs: Sequence[int],
        outputs: Sequence[int],
        scope: _Scope,
        depth: int,
        bindings: dict[str, AttributeProto] | None,
    ) -> None:
        """Inline a call: the body's nodes with the call's inputs, then one Identity per output."""
        inner = _Scope(
            f"{scope.prefix}{proto.name or function.name}/", None, _versions(function.opset_import), scope.conditional
        )
        for index, name in enumerate(function.input):
            inner.names[name] = inputs[index] if index < len(inputs) else ABSENT
        attributes = {a.name: a for a in function.attribute_proto}
        attributes |= Node(proto, "", "", 0, [], [], bindings=bindings).attributes()
        self.nodes(function.node, inner, depth + 1, attributes)
        for index, value in enumerate(outputs):
            if value == ABSENT or index >= len(function.output):
                continue
            source = inner.names.get(function.output[index])
            if source is None:
                raise UnreadableNetwork(f"the local function {function.name!r} does not compute its output")
            alias = Node(proto, "Identity", "", 0, [source], [value], scope.conditional)
            self.flow.nodes.append(alias)
            self.flow.producer[value] = alias

    def constant(self, node: Node) -> None:
        (value,) = node.outputs if len(node.outputs) == 1 else (ABSENT,)
        if value == ABSENT:
            raise UnreadableNetwork("a Constant node without an output")
        name = self.flow.names[value]
        for attribute in node.attributes().values():
            if attribute.name == "value" and attribute.HasField("t"):
                self.flow.tensors[value] = self.network.tensor(attribute.t, name)
            elif attribute.name in ("value_float", "value_floats"):
                self.flow.tensors[value] = _literal(name, TensorProto.FLOAT, attribute.floats, attribute.f, "<f4")
            elif attribute.name in ("value_int", "value_ints"):
                self.flow.tensors[value] = _literal(name, TensorProto.INT64, attribute.ints, attribute.i, "<i8")
            else:
                self.flow.opaque.add(value)
            return
        self.flow.opaque.add(value)


def _literal(name: str, data_type: int, many: Sequence[float], one: float, dtype: str) -> StoredTensor:
    values = np.array(list(many) or [one], dtype)
    return StoredTensor(name, data_type, (len(many),) if len(many) else (), "inline", inline=values)


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _overload(proto: FunctionProto | NodeProto) -> str:
    return str(getattr(proto, "overload", ""))


def _versions(imports: Iterable[onnx.OperatorSetIdProto]) -> dict[str, int]:
    return {_domain(entry.domain): int(entry.version) for entry in imports}
