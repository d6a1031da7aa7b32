"""Flatten a network into its flow.

A name is looked up once, in its own scope and then outwards. Local functions are inlined, so that a weight inside a function
is as visible as any other: all but those whose name a runtime knows as an operator of its own, since it may run that instead.
What a body receives from outside an iteration stays unknown (dynamic), unless it is handed on unchanged; see ``handing``.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto, SparseTensorProto, TensorProto

from onnxnnw.errors import UnreadableNetwork
from onnxnnw.flow.attribute_weights import ATTRIBUTE_WEIGHTS, attribute_weights
from onnxnnw.flow.handing import hand_on
from onnxnnw.flow.literals import ATTRIBUTE_TYPES, LITERALS
from onnxnnw.flow.names import inside, key_of, versions_of
from onnxnnw.flow.nodes import ABSENT, UNREAD, Body, Flow, Node
from onnxnnw.network_file.file import Network
from onnxnnw.network_file.stored import StoredTensor

__all__ = ["trace_flow"]

MAX_DEPTH = 60
MAX_NODES, _BYTES_PER_NODE = 100_000, 33  # a node costs 1,300 bytes of memory: 100,000 always, more in larger models
_SPARE, _TENSOR = 300_000, 5  # values that function calls may copy; a tensor costs as much memory as five
_GIVING = ("Loop", "Scan")  # they give their bodies inputs; old files list initializers among those beside them


def trace_flow(network: Network) -> Flow:
    """Flatten a network.

    Raises:
        UnreadableNetwork: A name is defined twice in one scope, functions call each other in a circle, or inlining explodes.
    """
    try:
        flow = _Tracer(network).run()
        flow.has_graph = network.has_graph
        return flow
    except (TypeError, AttributeError, UnicodeError):  # protobuf hands out bytes where a text is no UTF-8
        raise UnreadableNetwork(f"{network.path}: a name in it is no readable text") from None
    except UnreadableNetwork as error:
        if str(error).startswith(str(network.path)):
            raise
        raise type(error)(f"{network.path}: {error}") from None


class _Scope:
    """Names of one graph or function body; ``outer`` is where an unknown name is looked up next.

    ``level`` counts the branches and loops around it; ``bindings`` are the attributes of the function call that it is in.
    ``unread`` is the function that a graph is given to whose body is not read: who knows what becomes of the graph. In a
    ``sealed`` graph a caller's attribute came to where a function uses it, and readers disagree whose names it sees there.
    """

    __slots__ = ("bindings", "level", "names", "outer", "prefix", "sealed", "unread", "versions")

    def __init__(
        self,
        prefix: str,
        outer: "_Scope | None",
        versions: dict[str, int],
        level: int,
        bindings: dict[str, AttributeProto] | None,
        unread: FunctionProto | None = None,
        sealed: bool = False,
    ) -> None:
        self.names: dict[str, int] = {}
        self.unread, self.sealed = unread, sealed
        self.prefix, self.outer, self.versions = prefix, outer, versions
        self.level, self.bindings = level, bindings

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
            key = key_of(function)
            if key in self.functions:
                raise UnreadableNetwork(f"the local function {function.name[:80]!r} is defined twice")
            self.functions[key] = function
        self.unread = _named_like_operators(self.functions) if self.functions else frozenset()
        self.called: set[tuple[str, ...]] = set()
        self.limit = self.left = MAX_NODES + network.skeleton_size // _BYTES_PER_NODE
        self.unfolded = _SPARE + 10 * len(model.graph.node)

    def run(self) -> Flow:
        model = self.network.model
        scope = _Scope("", None, versions_of(model.opset_import), 0, None)
        inputs, self.flow.outputs = self.graph(model.graph, scope, 0)
        self.flow.ports = inputs
        self.flow.replaceable = {value for value in inputs if value in self.flow.tensors or value in self.flow.opaque}
        self.flow.inputs = [value for value in inputs if value not in self.flow.replaceable]
        return self.flow

    def graph(self, graph: GraphProto, scope: _Scope, depth: int) -> tuple[list[int], list[int]]:
        """Flatten one graph into the flow; its inputs and outputs."""
        flow, names, prefix = self.flow, scope.names, scope.prefix
        if scope.bindings is not None:
            self.unfold(_TENSOR * (len(graph.initializer) + len(graph.sparse_initializer)))
            self.unfold(len(graph.input) + len(graph.output))
        for initializer in graph.initializer:
            if initializer.name in names:
                raise UnreadableNetwork(f"the name {initializer.name[:80]!r} is defined twice")
            value = names[initializer.name] = flow.value(prefix + initializer.name)
            self.stored(value, initializer, scope)
        for sparse in graph.sparse_initializer:
            if sparse.values.name in names:
                raise UnreadableNetwork(f"the name {sparse.values.name[:80]!r} is defined twice")
            value = names[sparse.values.name] = flow.value(prefix + sparse.values.name)
            flow.opaque[value] = sparse
            self.sparse(value, sparse)
        inputs, seen = [], set()
        for port in graph.input:
            known = names.get(port.name)
            if known in seen:
                raise UnreadableNetwork(f"the input {port.name[:80]!r} is defined twice")
            if known is None:
                known = names[port.name] = flow.value(prefix + port.name)
            inputs.append(known)
            seen.add(known)
        self.nodes(graph.node, scope, depth)
        outputs = []
        for port in graph.output:
            found = scope.find(port.name)
            if found is None:
                raise UnreadableNetwork(f"the output {port.name[:80]!r} is computed by no node")
            outputs.append(found)
        return inputs, outputs

    def stored(self, value: int, proto: TensorProto, scope: _Scope) -> None:
        tensor = self.flow.tensors[value] = self.network.tensor(proto, self.flow.names[value])
        if scope.bindings is not None and tensor.inline is not None:
            self.unfold(tensor.size)

    def unfold(self, amount: int) -> None:
        """Charge what a function call copies, so that calls of calls stay bounded."""
        self.unfolded -= amount
        if self.unfolded < 0:
            raise UnreadableNetwork("its local functions unfold into too much")

    def nodes(self, nodes: Sequence[NodeProto], scope: _Scope, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise UnreadableNetwork(f"graphs or functions are nested deeper than {MAX_DEPTH}")
        flow, names, prefix = self.flow, scope.names, scope.prefix
        self.left -= len(nodes)
        if self.left < 0:
            raise UnreadableNetwork(f"more than {self.limit:,} nodes in a network of this size")
        nodes = nodes[:]  # protobuf hands out a copy at half the cost of one element after the other
        if scope.bindings is not None:
            self.unfold(sum(1 + len(proto.input) + len(proto.output) for proto in nodes))
        produced: list[tuple[int, ...]] = []
        for proto in nodes:  # all names first: the order of nodes is a tool's habit, not a promise
            outputs: list[int] = []
            for name in proto.output[:]:
                if not name:
                    outputs.append(ABSENT)
                    continue
                if name in names:
                    raise UnreadableNetwork(f"the name {name[:80]!r} is defined twice")
                value = names[name] = len(flow.names)
                flow.names.append(prefix + name)
                outputs.append(value)
            produced.append(tuple(outputs))  # of integers: nothing for the garbage collector to look at
        for proto, values in zip(nodes, produced, strict=True):
            self.node(proto, values, scope, depth)

    def node(self, proto: NodeProto, outputs: tuple[int, ...], scope: _Scope, depth: int) -> None:
        flow, names = self.flow, scope.names
        inputs: list[int] = []
        for name in proto.input[:]:
            value = names.get(name) if name else ABSENT
            if value is None:
                value = scope.find(name)
                if value is None:  # a name from nowhere: no runtime loads it, nothing is known of it
                    if scope.sealed:
                        raise UnreadableNetwork("a local function is given a graph that uses values from outside it")
                    value = names[name] = flow.value(scope.prefix + name)
            inputs.append(value)
        op, domain = proto.op_type, proto.domain
        if type(op) is not str or type(domain) is not str:
            raise UnreadableNetwork("an operator's name is no readable text")
        if domain == "ai.onnx":
            domain = ""
        function = self.functions.get(key_of(proto)) if self.functions else None
        version, conditional, unread = scope.versions.get(domain, 0), scope.level > 0, scope.unread
        if scope.sealed and any(attribute.ref_attr_name for attribute in proto.attribute):
            raise UnreadableNetwork("a local function is given a graph that uses attributes from outside it")
        if function is not None:
            listed = (domain, op) in self.unread
            self.remember(function, listed)
            if not listed:
                self.call(function, proto, inputs, outputs, scope, depth)
                return
            unread = function
        constant = op == "Constant" and not domain and function is None
        if unread is not None and not constant:
            domain = UNREAD + domain
        node = Node(proto, op, domain, version, tuple(inputs), outputs, conditional, (), scope.bindings, unread)
        if constant:
            self.constant(node, scope)
            return
        if max(outputs, default=ABSENT) == ABSENT:  # it computes nothing, so nothing depends on it
            return
        if domain == "ai.onnx.ml" and op in ATTRIBUTE_WEIGHTS:
            self.attribute_weights(node, scope)
        bodies: list[Body] = []
        for attribute in proto.attribute[:]:
            name, given = attribute.name, False
            if attribute.ref_attr_name and scope.bindings is not None:
                given, attribute = True, scope.bindings.get(attribute.ref_attr_name, attribute)
            for graph in [attribute.g, *attribute.graphs] if attribute.HasField("g") else attribute.graphs[:]:
                bodies.append(self.body(node, name, graph, scope, depth, given))
        if bodies:
            node.bodies = tuple(bodies)
        flow.nodes.append(node)
        for value in outputs:
            if value != ABSENT:  # an output that is not given leads nowhere
                flow.producer[value] = node
        if bodies:
            hand_on(node, flow)

    def attribute_weights(self, node: Node, scope: _Scope) -> None:
        """Put the weights that a node has in its attributes behind its input."""
        taken = []
        for tensor in attribute_weights(node, self.flow.names[node.result]):
            if scope.bindings is not None:
                self.unfold(tensor.size)
            value = self.flow.value(tensor.name)
            self.flow.tensors[value] = tensor
            taken.append(value)
        node.inputs += tuple(taken)

    def body(self, node: Node, attribute: str, graph: GraphProto, scope: _Scope, depth: int, given: bool) -> Body:
        inner = _Scope(
            inside(scope.prefix, f"{node.proto.name or node.op}.{attribute}"),
            None if given else scope,
            scope.versions,
            scope.level + 1,
            scope.bindings,
            node.function,
            given or scope.sealed,
        )
        inputs, outputs = self.graph(graph, inner, depth + 1)
        if node.op in _GIVING and len(inputs) <= len(node.inputs) and any(v in self.flow.tensors for v in inputs):
            raise UnreadableNetwork(
                f"the body of a {node.op} has an initializer for what it is given; readers would disagree"
            )
        return Body(attribute, inputs, outputs, inner.level)

    def call(
        self,
        function: FunctionProto,
        proto: NodeProto,
        inputs: Sequence[int],
        outputs: Sequence[int],
        scope: _Scope,
        depth: int,
    ) -> None:
        """Inline a call: the body's nodes with the call's inputs, then one Identity per output."""
        if len(inputs) > len(function.input) or len(outputs) > len(function.output):
            raise UnreadableNetwork(
                f"a call of {function.name[:80]!r} has more inputs or outputs than the local function"
            )
        self.unfold(sum(map(len, (function.input, function.output, function.attribute_proto, function.opset_import))))
        attributes = {a.name: a for a in function.attribute_proto}
        attributes |= Node(proto, function.name, "", 0, (), (), bindings=scope.bindings).attributes()
        prefix = inside(scope.prefix, proto.name or function.name)
        inner = _Scope(prefix, None, versions_of(function.opset_import), scope.level, attributes, scope.unread)
        for index, name in enumerate(function.input):
            inner.names[name] = inputs[index] if index < len(inputs) else ABSENT
        self.nodes(function.node, inner, depth + 1)
        for index, value in enumerate(outputs):
            if value == ABSENT or index >= len(function.output):
                continue
            source = inner.names.get(function.output[index])
            if source is None:
                raise UnreadableNetwork(f"the local function {function.name[:80]!r} does not compute its output")
            alias = Node(proto, "Identity", "", 0, (source,), (value,), scope.level > 0)
            self.flow.nodes.append(alias)
            self.flow.producer[value] = alias

    def remember(self, function: FunctionProto, unread: bool) -> None:
        """Note a call of a local function."""
        key = key_of(function)
        called = key if unread else key[:2]
        if called in self.called:
            return
        self.called.add(called)
        if unread:
            self.flow.unread_functions.append(function)
        else:
            self.flow.calls.append(key[:2])

    def constant(self, node: Node, scope: _Scope) -> None:
        (value,) = node.outputs if len(node.outputs) == 1 else (ABSENT,)
        if value == ABSENT:
            raise UnreadableNetwork("a Constant node without an output")
        name = self.flow.names[value]
        given = node.attributes()
        if len(given) > 1:
            raise UnreadableNetwork(f"the Constant {name[:80]!r} has two values; readers would disagree")
        kind, attribute = next(iter(given.items())) if given else ("", AttributeProto())
        if attribute.type and attribute.type != ATTRIBUTE_TYPES.get(kind, attribute.type):
            raise UnreadableNetwork(
                f"the type of the Constant {name[:80]!r} contradicts its value; readers would disagree"
            )
        if kind == "value" and attribute.HasField("t"):
            self.stored(value, attribute.t, scope)
        elif kind in LITERALS:
            source, many, data_type, dtype = LITERALS[kind]
            content = getattr(attribute, source)
            values = np.array(content if many else [content], dtype)
            shape = (len(values),) if many else ()
            self.flow.tensors[value] = StoredTensor(name, data_type, shape, "inline", inline=values)
        else:
            self.flow.opaque[value] = node.proto
            if kind == "sparse_value" and attribute.HasField("sparse_tensor"):
                self.sparse(value, attribute.sparse_tensor)

    def sparse(self, value: int, proto: SparseTensorProto) -> None:
        name = self.flow.names[value]
        values, indices = (self.network.tensor(part, name) for part in (proto.values, proto.indices))
        self.flow.sparse[value] = values, indices, tuple(proto.dims)


def _named_like_operators(functions: Iterable[tuple[str, str, str]]) -> frozenset[tuple[str, str]]:
    from onnxnnw.flow.runtime_operators import is_runtime_operator  # its data: only where there are local functions

    return frozenset((domain, name) for domain, name, _ in functions if is_runtime_operator(domain, name))
