"""Mutations of what stands inside: local functions, branches and bodies."""

import random
from collections.abc import Callable, Sequence

from onnx import FunctionProto, ModelProto, NodeProto, helper

from tests.support.networks import tensor
from tests.support.structures.places import (
    a_body,
    a_node,
    array_of,
    mutation,
    names_in,
    one,
    opset,
    owners,
    place_of,
    put,
    subgraphs,
)

# Functions

TAKEN = (("com.microsoft", "Gelu"), ("com.microsoft", "FusedMatMul"), ("", "Relu"), ("ai.onnx.ml", "Scaler"))
OWN = (("own", "layer"), ("local", "Relu"), ("com.microsoft", "NotThere"), ("", "OwnLayer"))


def wrap(model: ModelProto, rng: random.Random, names: Sequence[tuple[str, str]]) -> None:
    """Put a node into a local function, and a call in its place."""
    wanted: Callable[[NodeProto], object] = lambda n: all(n.output) and n.output and n.input and not subgraphs(n)  # noqa: E731
    owner, node = a_node(model, rng, lambda n: wanted(n) and not any(a.ref_attr_name for a in n.attribute))
    space, name = rng.choice(names)
    inner = NodeProto()
    inner.CopyFrom(node)
    given = list(dict.fromkeys(name for name in node.input if name))
    imported = {known.domain: known for known in model.opset_import}
    used = [imported[d] for d in {node.domain, ""} if d in imported]
    model.functions.append(helper.make_function(space, name, given, list(node.output), [inner], used))
    call = helper.make_node(name, given, list(node.output), domain=space)
    index = place_of(owner, node)
    del owner.node[index]
    put(owner, index, call)
    opset(model, space)
    if isinstance(owner, FunctionProto) and all(known.domain != space for known in owner.opset_import):
        owner.opset_import.append(helper.make_opsetid(space, 1))


@mutation
def node_moved_into_a_function(model: ModelProto, rng: random.Random) -> None:
    wrap(model, rng, (*TAKEN, *OWN))


@mutation
def function_renamed(model: ModelProto, rng: random.Random) -> None:
    """To a name that runtimes know, or to one that nobody knows; its calls follow, mostly."""
    function: FunctionProto = one(model.functions, rng)
    old = (function.domain, function.name)
    function.domain, function.name = rng.choice((*TAKEN, *OWN))
    opset(model, function.domain)
    for owner in owners(model):
        for node in owner.node:
            if (node.domain, node.op_type) == old and rng.random() < 0.9:
                node.domain, node.op_type = function.domain, function.name


@mutation
def function_inputs_permuted(model: ModelProto, rng: random.Random) -> None:
    """The calls follow, or do not."""
    function: FunctionProto = one((f for f in model.functions if len(f.input) > 1), rng)
    order = rng.sample(range(len(function.input)), len(function.input))
    names = list(function.input)
    function.input[:] = [names[place] for place in order]
    if rng.random() < 0.5:
        return
    for owner in owners(model):
        for node in owner.node:
            if (node.domain, node.op_type) == (function.domain, function.name) and len(node.input) == len(order):
                node.input[:] = [list(node.input)[place] for place in order]


@mutation
def function_taken_out(model: ModelProto, rng: random.Random) -> None:
    """The body of a call with one node stands in its place."""
    calls = {(f.domain, f.name): f for f in model.functions if len(f.node) == 1}
    owner, node = a_node(model, rng, lambda node: (node.domain, node.op_type) in calls)
    function = calls[node.domain, node.op_type]
    formal = dict(zip(function.input, node.input, strict=False)) | dict(zip(function.output, node.output, strict=False))
    inner = NodeProto()
    inner.CopyFrom(function.node[0])
    inner.input[:] = [formal.get(name, "") for name in inner.input]
    inner.output[:] = [formal.get(name, name) for name in inner.output]
    for attribute in inner.attribute:
        for given in node.attribute:
            if attribute.ref_attr_name and attribute.ref_attr_name == given.name:
                name = attribute.name
                attribute.CopyFrom(given)
                attribute.name = name
                break
    index = place_of(owner, node)
    del owner.node[index]
    put(owner, index, inner)


@mutation
def function_default_attribute(model: ModelProto, rng: random.Random) -> None:
    """An attribute of a function gets a default; a call leaves it out."""
    function: FunctionProto = one((f for f in model.functions if f.attribute), rng)
    name = function.attribute[0]
    del function.attribute[:]
    function.attribute_proto.add(name=name, type=1, f=rng.choice((0.1, 0.5)))
    calls = [n for o in owners(model) for n in o.node if (n.domain, n.op_type) == (function.domain, function.name)]
    if calls:
        del rng.choice(calls).attribute[:]


# Subgraphs


@mutation
def captured_name_shadowed(model: ModelProto, rng: random.Random) -> None:
    """A body gets a value of its own under a name that it reads from outside."""
    body = a_body(model, rng, lambda body: body is not model.graph)
    made = {name for node in body.node for name in node.output} | {t.name for t in body.initializer}
    made |= {value.name for value in body.input}
    outside = {t.name: t for t in model.graph.initializer}
    read = sorted({name for node in body.node for name in node.input if name} - made)
    name: str = one(read, rng)
    if name in outside and rng.random() < 0.7:
        values = array_of(outside[name])
        body.initializer.append(tensor(name, values if rng.random() < 0.3 else (values * 0.5).astype(values.dtype)))
    else:
        source: str = one([other for other in names_in(body) if other != name], rng)
        put(body, 0, helper.make_node("Relu", [source], [name]))


@mutation
def body_outputs_swapped(model: ModelProto, rng: random.Random) -> None:
    body = a_body(model, rng, lambda body: body is not model.graph and len(body.output) > 1)
    first, second = body.output[0].name, body.output[1].name
    body.output[0].name, body.output[1].name = second, first


@mutation
def body_inputs_swapped(model: ModelProto, rng: random.Random) -> None:
    body = a_body(model, rng, lambda body: body is not model.graph and len(body.input) > 1)
    first, second = rng.sample(range(len(body.input)), 2)
    one_name, other = body.input[first].name, body.input[second].name
    body.input[first].name, body.input[second].name = other, one_name


@mutation
def branches_exchanged(model: ModelProto, rng: random.Random) -> None:
    _, node = a_node(model, rng, lambda node: node.op_type == "If" and len(node.attribute) == 2)
    node.attribute[0].name, node.attribute[1].name = node.attribute[1].name, node.attribute[0].name
