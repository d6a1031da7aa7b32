"""How values flow: every graph, branch, loop body and local function of a network as one flat list of nodes.

Values are integers. ``tracing`` makes a flow of a network; what stands here is what everything else reads.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from onnx import AttributeProto, FunctionProto, NodeProto, SparseTensorProto

from onnxnnw.errors import UnreadableNetwork
from onnxnnw.network_file.stored import StoredTensor

__all__ = ["ABSENT", "UNREAD", "Body", "Flow", "Node"]

ABSENT = -1
"""The value of an optional input that is not given."""

UNREAD = "local function:"
"""Begins the domain of a call whose body is not read. No rule knows such a domain, so none takes the call for the operator."""


@dataclass(slots=True, eq=False)
class Body:
    """A graph inside a node: a branch of If, the body of Loop or Scan.

    Attributes:
        level: Counts the bodies around it.
        handed: Numbers of the outputs that hand a value on as it came, see ``handing``.
    """

    attribute: str
    inputs: list[int]
    outputs: list[int]
    level: int = 1
    handed: frozenset[int] = frozenset()

    def computed(self) -> list[int]:
        """The outputs that are not only handed on."""
        return [value for place, value in enumerate(self.outputs) if place not in self.handed]


@dataclass(slots=True, eq=False)
class Node:
    """One operation with its values as integers.

    Attributes:
        proto: The NodeProto; its attributes may refer to those of a function call, so read them through ``attribute``.
        op: Operator name; domain ``ai.onnx`` is written as the empty domain.
        version: Opset version in force where the node stands.
        conditional: Whether it stands in a branch or loop body and so may never run.
        function: The local function that it calls, where a runtime has an operator of that name and may run that instead. Its
            body is not read, and ``domain`` is ``UNREAD`` and the function's: ``local function:com.microsoft``. The same in
            the graphs that such a call is given.
    """

    proto: NodeProto
    op: str
    domain: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    conditional: bool = False
    bodies: tuple[Body, ...] = ()
    bindings: "dict[str, AttributeProto] | None" = None
    function: FunctionProto | None = None

    @property
    def result(self) -> int:
        """The first output that is given; ABSENT where none is."""
        return next((value for value in self.outputs if value != ABSENT), ABSENT)

    def attributes(self) -> dict[str, AttributeProto]:
        """The attributes by name, references to a function's attributes resolved; outside a function they refer to nothing."""
        out: dict[str, AttributeProto] = {}
        for attribute in self.proto.attribute[:]:
            name, reference = attribute.name, attribute.ref_attr_name
            if name in out:
                raise UnreadableNetwork(f"an attribute of {self.op[:80]!r} is given twice; readers would disagree")
            if type(name) is not str:
                raise UnreadableNetwork("an attribute's name is no readable text")
            if reference and self.bindings is not None:
                bound = self.bindings.get(reference)
                if bound is not None:
                    out[name] = bound
            else:
                out[name] = attribute
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
        opaque: Constants that are no stored tensors (sparse tensors, texts), with what they are.
        sparse: Values, indices and shape of those that are sparse tensors.
        replaceable: Initializers that are graph inputs too, so a caller may replace them at run time.
        ports: All graph inputs, in order.
        inputs: Those without a stored value.
        outputs: Graph outputs.
        calls: Domain and name of the local functions that were inlined, each once, in the order in which they are called.
        unread_functions: Those that are called and not read, each once; see ``Node.function``.
        handed: Values that are another value for sure: state that a loop hands on unchanged, what both branches hand on.
        slices: Inputs of a Scan's body that are one slice of a stack after the other: the stack, and its axis.
        passing: Inputs of nodes that only lead into a body in these ways: id of the node, number of the input.
        has_graph: Whether the file has a graph; else it holds tensors alone, and what reads them stands for nothing.
    """

    names: list[str] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    producer: dict[int, Node] = field(default_factory=dict)
    tensors: dict[int, StoredTensor] = field(default_factory=dict)
    opaque: dict[int, SparseTensorProto | NodeProto] = field(default_factory=dict)
    sparse: dict[int, tuple[StoredTensor, StoredTensor, tuple[int, ...]]] = field(default_factory=dict)
    replaceable: set[int] = field(default_factory=set)
    ports: list[int] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)
    unread_functions: list[FunctionProto] = field(default_factory=list)
    handed: dict[int, int] = field(default_factory=dict)
    slices: dict[int, tuple[int, int]] = field(default_factory=dict)
    passing: set[tuple[int, int]] = field(default_factory=set)
    has_graph: bool = True

    def value(self, name: str) -> int:
        """A new value."""
        self.names.append(name)
        return len(self.names) - 1

    def roots(self, value: int, seen: set[int]) -> Iterator[int]:
        """Everything stored from which a value is computed: values that ``tensors`` or ``opaque`` have.

        Args:
            seen: Values that were looked at; more are added.
        """
        stack = [value]
        while stack:
            current = stack.pop()
            if current == ABSENT or current in seen:
                continue
            seen.add(current)
            if current in self.tensors or current in self.opaque:
                yield current
            elif current in self.handed:
                stack.append(self.handed[current])
            elif current in self.slices:
                stack.append(self.slices[current][0])
            elif current in self.producer:
                node = self.producer[current]
                stack += node.inputs
                stack += [output for body in node.bodies for output in body.outputs]
