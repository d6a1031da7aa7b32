"""Mutations of nodes: their attributes, inputs, outputs and operators, and where they stand."""

import random
from collections.abc import Sequence

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper

from tests.support.networks import tensor
from tests.support.structures.places import (
    NotHere,
    a_node,
    an_attribute,
    fresh,
    mutation,
    names_in,
    one,
    opset,
    owners,
    place_of,
    put,
    redirect,
    subgraphs,
)

# Attributes

_NAMES = "axis transB transA alpha beta epsilon keepdims to perm group pads strides hidden_size axes value mode".split()


def _set(attribute: AttributeProto, kind: int, rng: random.Random) -> None:
    """Give an attribute a value of a kind, and say so."""
    match kind:
        case AttributeProto.INT:
            attribute.i = rng.choice((0, 1, -1, 2, 3, 2**40))
        case AttributeProto.FLOAT:
            attribute.f = rng.choice((0.0, 1.0, 0.5, -1.0, 1e-30, float("nan"), float("inf")))
        case AttributeProto.STRING:
            attribute.s = rng.choice((b"", b"linear", b"\xff"))
        case AttributeProto.INTS:
            attribute.ints.extend(rng.choice(([], [0], [1, 0], [0, 2, 1], [1, 1, 1, 1])))
        case AttributeProto.FLOATS:
            attribute.floats.extend(rng.choice(([], [0.5], [1.0, 2.0])))
        case _:
            attribute.t.CopyFrom(tensor("", np.array(rng.choice(([], [1.0], [0.5, 2.0])), "f4")))
    attribute.type = kind


_KINDS = (
    *(AttributeProto.INT, AttributeProto.FLOAT, AttributeProto.STRING),
    *(AttributeProto.INTS, AttributeProto.FLOATS, AttributeProto.TENSOR),
)


@mutation
def attribute_removed(model: ModelProto, rng: random.Random) -> None:
    _, node = a_node(model, rng, lambda node: node.attribute)
    del node.attribute[rng.randrange(len(node.attribute))]


@mutation
def attribute_added(model: ModelProto, rng: random.Random) -> None:
    """Sometimes one that is there already."""
    _, node = a_node(model, rng)
    known = [attribute.name for attribute in node.attribute]
    _set(node.attribute.add(name=rng.choice((*_NAMES, *known))), rng.choice(_KINDS), rng)


@mutation
def attribute_of_another_type(model: ModelProto, rng: random.Random) -> None:
    attribute = an_attribute(model, rng)
    name = attribute.name
    attribute.Clear()
    attribute.name = name
    _set(attribute, rng.choice(_KINDS), rng)


@mutation
def attribute_type_field(model: ModelProto, rng: random.Random) -> None:
    """The type contradicts the value."""
    an_attribute(model, rng).type = rng.choice((0, *_KINDS))


@mutation
def attribute_value(model: ModelProto, rng: random.Random) -> None:
    attribute = an_attribute(model, rng)
    for name in ("ints", "floats"):
        values = getattr(attribute, name)
        if len(values):
            values[rng.randrange(len(values))] = rng.choice((0, 1, 2, -1))
            return
    if attribute.type not in _KINDS[:3]:
        raise NotHere
    _set(attribute, attribute.type, rng)


@mutation
def attribute_with_two_values(model: ModelProto, rng: random.Random) -> None:
    """The type stays; a field of another type is set beside it."""
    attribute = an_attribute(model, rng)
    kind = attribute.type
    _set(attribute, rng.choice([other for other in _KINDS if other != kind]), rng)
    attribute.type = kind


@mutation
def attribute_reference_outside_a_function(model: ModelProto, rng: random.Random) -> None:
    _, node = a_node(model, rng, lambda node: node.attribute)
    attribute = rng.choice(node.attribute)
    attribute.ref_attr_name = rng.choice(("slope", "x", attribute.name))
    if rng.random() < 0.5:
        for name in ("i", "f", "s", "ints", "floats", "t"):
            attribute.ClearField(name)


# Inputs and outputs


@mutation
def inputs_swapped(model: ModelProto, rng: random.Random) -> None:
    _, node = a_node(model, rng, lambda node: len(node.input) > 1)
    first, second = rng.sample(range(len(node.input)), 2)
    node.input[first], node.input[second] = node.input[second], node.input[first]


@mutation
def input_absent(model: ModelProto, rng: random.Random) -> None:
    _, node = a_node(model, rng, lambda node: node.input)
    node.input[rng.randrange(len(node.input))] = ""


@mutation
def input_dropped(model: ModelProto, rng: random.Random) -> None:
    _, node = a_node(model, rng, lambda node: node.input)
    del node.input[rng.randrange(len(node.input))]


@mutation
def input_extra(model: ModelProto, rng: random.Random) -> None:
    owner, node = a_node(model, rng)
    node.input.append(rng.choice(("", "nowhere", *names_in(owner))))


@mutation
def input_of_another_value(model: ModelProto, rng: random.Random) -> None:
    owner, node = a_node(model, rng, lambda node: node.input)
    node.input[rng.randrange(len(node.input))] = rng.choice(names_in(owner))


@mutation
def output_absent(model: ModelProto, rng: random.Random) -> None:
    _, node = a_node(model, rng, lambda node: node.output)
    node.output[rng.randrange(len(node.output))] = ""


@mutation
def optional_output_absent(model: ModelProto, rng: random.Random) -> None:
    """An empty name in front of or behind the outputs; elsewhere an empty name stands for an input."""
    _, node = a_node(model, rng)
    node.output.append("")
    if rng.random() < 0.5:
        _, other = a_node(model, rng)
        other.input.append("")


@mutation
def output_extra(model: ModelProto, rng: random.Random) -> None:
    _, node = a_node(model, rng)
    node.output.append(fresh(model))


@mutation
def outputs_swapped(model: ModelProto, rng: random.Random) -> None:
    _, node = a_node(model, rng, lambda node: len(node.output) > 1)
    node.output[0], node.output[1] = node.output[1], node.output[0]


@mutation
def output_name_twice(model: ModelProto, rng: random.Random) -> None:
    owner, node = a_node(model, rng, lambda node: node.output)
    node.output[rng.randrange(len(node.output))] = rng.choice(names_in(owner))


# Nodes

_ARITIES = (
    "Relu Sigmoid Tanh Identity Neg Abs Exp Softmax Flatten Squeeze Transpose Shape".split(),
    "Add Sub Mul Div MatMul Pow Max Min PRelu Concat".split(),
    "Gemm Conv ConvTranspose Where Clip DequantizeLinear QuantizeLinear FusedMatMul".split(),
    "LSTM GRU RNN".split(),
)


@mutation
def operator_of_the_same_arity(model: ModelProto, rng: random.Random) -> None:
    arities = [names for names in _ARITIES if any(n.op_type in names for o in owners(model) for n in o.node)]
    among: Sequence[str] = one(arities, rng)
    _, node = a_node(model, rng, lambda node: node.op_type in among)
    node.op_type = rng.choice([name for name in among if name != node.op_type])


@mutation
def operator_unknown(model: ModelProto, rng: random.Random) -> None:
    _, node = a_node(model, rng)
    node.op_type = rng.choice(("", "Nonsense", "relu", "MatMul ", "Matmul"))


@mutation
def domain(model: ModelProto, rng: random.Random) -> None:
    _, node = a_node(model, rng)
    node.domain = rng.choice(("ai.onnx", "com.microsoft", "ai.onnx.ml", "nowhere", "local", ""))
    if rng.random() < 0.7:
        opset(model, node.domain)


@mutation
def overload(model: ModelProto, rng: random.Random) -> None:
    _, node = a_node(model, rng)
    node.overload = "v2"
    if model.functions and rng.random() < 0.5:
        model.functions[0].overload = "v2"


@mutation
def node_doubled(model: ModelProto, rng: random.Random) -> None:
    """Under other names; one reader, or none, reads the copy."""
    owner, node = a_node(model, rng, lambda node: any(node.output))
    copy, old = NodeProto(), [name for name in node.output if name]
    copy.CopyFrom(node)
    copy.name = ""
    for place, name in enumerate(node.output):
        copy.output[place] = fresh(model) if name else ""
    put(owner, place_of(owner, node) + 1, copy)
    if rng.random() < 0.7:
        redirect(owner, old[0], copy.output[list(node.output).index(old[0])], rng, every=False)


@mutation
def nodes_shuffled(model: ModelProto, rng: random.Random) -> None:
    """In any order, which runtimes refuse more often than not."""
    owner, _ = a_node(model, rng)
    nodes = list(owner.node)
    rng.shuffle(nodes)
    del owner.node[:]
    owner.node.extend(nodes)


@mutation
def node_removed(model: ModelProto, rng: random.Random) -> None:
    """Its readers read what it read, or nothing that exists."""
    owner, node = a_node(model, rng)
    index = place_of(owner, node)
    first = next(iter(node.input), "")
    old = [name for name in node.output if name]
    del owner.node[index]
    if first and old and rng.random() < 0.7:
        redirect(owner, old[0], first, rng)


@mutation
def node_moved_into_a_branch(model: ModelProto, rng: random.Random) -> None:
    """Both branches of an If hold the node, or one of them and zeros; the condition is constant or given."""
    graph = model.graph
    nodes = [n for n in graph.node if len(n.output) == 1 and n.output[0] and not subgraphs(n)]
    node: NodeProto = one(nodes, rng)
    index, condition = place_of(graph, node), fresh(model, "cond")
    inner = NodeProto()
    inner.CopyFrom(node)
    inner.output[0] = fresh(model, "inner")
    made = helper.make_graph([inner], "b", [], [helper.make_tensor_value_info(inner.output[0], 1, None)])
    other = GraphProto()
    other.CopyFrom(made)
    if rng.random() < 0.5:
        other.node[0].op_type = "Relu" if len(inner.input) == 1 else inner.op_type
        del other.node[0].attribute[:]
    branches = [made, other]
    rng.shuffle(branches)
    choice = helper.make_node(
        "If", [condition], list(node.output), then_branch=branches[0], else_branch=branches[1], name=node.name
    )
    if rng.random() < 0.8:
        graph.initializer.append(tensor(condition, np.array(rng.random() < 0.5)))
    else:
        graph.input.append(helper.make_tensor_value_info(condition, TensorProto.BOOL, []))
    del graph.node[index]
    put(graph, index, choice)
