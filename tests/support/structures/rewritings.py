"""Other writings of the same network, which its canonical digest must not notice."""

import random
from collections.abc import Callable

from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, helper

from tests.support.networks import tensor
from tests.support.structures.inside import TAKEN
from tests.support.structures.places import (
    NotHere,
    Owner,
    a_body,
    an_initializer,
    array_of,
    bodies,
    fresh,
    names_in,
    neutral,
    one,
    owners,
    place_of,
    put,
    read_by,
    rename,
    subgraphs,
)
from tests.support.structures.tensors import removed, taken_away


def a_read_node(
    model: ModelProto, rng: random.Random, wanted: Callable[[NodeProto], object] = bool
) -> tuple[Owner, NodeProto]:
    """A node that is as wanted, where what it says is read."""
    read = [owner for owner in owners(model) if isinstance(owner, GraphProto)] + _read_functions(model)
    return one([(owner, node) for owner in read for node in owner.node if wanted(node)], rng)


def _read_functions(model: ModelProto) -> list[FunctionProto]:
    """A function that a runtime has an operator for is nothing but its bytes, and so are those that it may call."""
    return [] if any((f.domain, f.name) in TAKEN for f in model.functions) else list(model.functions)


@neutral
def inner_names(model: ModelProto, rng: random.Random) -> None:
    """All but those that callers use, in one permutation with new ones."""
    outside = {value.name for value in (*model.graph.input, *model.graph.output)} | {""}
    names = sorted({name for body in bodies(model.graph) for name in names_in(body)} - outside)
    new = [f"renamed/{number}" for number in range(len(names))] if rng.random() < 0.5 else list(names)
    rng.shuffle(new)
    rename(model.graph, dict(zip(names, new, strict=True)))


@neutral
def names_in_functions(model: ModelProto, rng: random.Random) -> None:
    function = one(_read_functions(model), rng)
    names = {name: f"f{rng.randrange(100)}/{number}" for number, name in enumerate(names_in(function))}
    names |= {name: f"i{number}" for number, name in enumerate(function.input)}
    for node in function.node:
        if subgraphs(node):
            raise NotHere
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    function.input[:] = [names.get(name, name) for name in function.input]
    function.output[:] = [names.get(name, name) for name in function.output]


@neutral
def storage(model: ModelProto, rng: random.Random) -> None:
    """Bytes, or numbers one by one."""
    graph, stored = an_initializer(model, rng, lambda t: t.data_type == 1)
    values, dims = array_of(stored), list(stored.dims)
    raw = stored.HasField("raw_data")
    name = removed(graph, stored).name
    made = helper.make_tensor(name, 1, dims, values.ravel().tolist()) if raw else tensor(name, values)
    graph.initializer.append(made)


@neutral
def order_of_nodes(model: ModelProto, rng: random.Random) -> None:
    """Another order in which every value is made before it is read."""
    owner, _ = a_read_node(model, rng)
    waiting = list(owner.node)
    makers = {name: index for index, node in enumerate(waiting) for name in node.output if name}
    if len(makers) != sum(1 for node in waiting for name in node.output if name):
        raise NotHere  # a name is made twice
    needs = [{makers[name] for name in read_by(node) if name in makers} - {n} for n, node in enumerate(waiting)]
    order: list[int] = []
    while len(order) < len(waiting):
        ready = [n for n in range(len(waiting)) if n not in order and needs[n] <= set(order)]
        if not ready:
            raise NotHere  # it never was in order
        order.append(rng.choice(ready))
    del owner.node[:]
    owner.node.extend(waiting[n] for n in order)


@neutral
def identity(model: ModelProto, rng: random.Random) -> None:
    """On the way to one reader."""
    owner, node = a_read_node(model, rng, lambda node: any(node.input))
    place = rng.choice([place for place, name in enumerate(node.input) if name])
    name, source = fresh(model, "same"), node.input[place]
    node.input[place] = name
    put(owner, place_of(owner, node), helper.make_node("Identity", [source], [name]))


@neutral
def constant_for_initializer(model: ModelProto, rng: random.Random) -> None:
    graph, stored = taken_away(model, rng)
    name = stored.name
    stored.name = rng.choice(("", "inside"))
    put(graph, 0, helper.make_node("Constant", [], [name], value=stored))


def _constant(node: NodeProto) -> bool:
    """Whether a node is a Constant with a tensor, and nothing about it is strange."""
    if (node.domain, node.op_type, len(node.input), len(node.output), len(node.attribute)) != ("", "Constant", 0, 1, 1):
        return False
    plain = AttributeProto(name="value", type=AttributeProto.TENSOR, t=node.attribute[0].t)
    return bool(plain == node.attribute[0])


@neutral
def initializer_for_constant(model: ModelProto, rng: random.Random) -> None:
    owner, node = a_read_node(model, rng, _constant)
    if isinstance(owner, FunctionProto):
        raise NotHere
    made, name = TensorProto(), node.output[0]
    made.CopyFrom(node.attribute[0].t)
    made.name = name
    if not name or name in {t.name for t in owner.initializer}:
        raise NotHere
    owner.initializer.append(made)
    del owner.node[place_of(owner, node)]


@neutral
def documentation(model: ModelProto, rng: random.Random) -> None:
    owner, node = a_read_node(model, rng)
    node.name, node.doc_string, owner.doc_string = f"node {rng.random()}", "says", "more"
    model.producer_name, model.model_version = "somebody", rng.randrange(9)


@neutral
def order_of_initializers(model: ModelProto, rng: random.Random) -> None:
    body = a_body(model, rng, lambda body: len(body.initializer) > 1)
    tensors = list(body.initializer)
    rng.shuffle(tensors)
    del body.initializer[:]
    body.initializer.extend(tensors)


@neutral
def order_of_attributes(model: ModelProto, rng: random.Random) -> None:
    _, node = a_read_node(model, rng, lambda node: len(node.attribute) > 1)
    kept = list(node.attribute)
    if len({attribute.name for attribute in kept}) < len(kept):
        raise NotHere
    rng.shuffle(kept)
    del node.attribute[:]
    node.attribute.extend(kept)
