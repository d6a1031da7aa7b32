"""Where things stand in a network, and how a mutation that finds nothing says so."""

import random
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias, TypeVar

import numpy as np
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

Mutation = Callable[[ModelProto, random.Random], None]
Owner: TypeAlias = GraphProto | FunctionProto
T = TypeVar("T")

MUTATIONS: dict[str, Mutation] = {}
"""What may change the network, by name."""

NEUTRAL: dict[str, Mutation] = {}
"""What the canonical digest must not notice: inner names, storage, order, documentation, Identity."""


class NotHere(Exception):
    """This network has nothing that the mutation could change."""


def mutation(function: Mutation) -> Mutation:
    """Add a mutation under its name."""
    MUTATIONS[function.__name__.replace("_", " ")] = function
    return function


def neutral(function: Mutation) -> Mutation:
    """Add a rewriting that changes nothing but the writing."""
    NEUTRAL[function.__name__.replace("_", " ")] = function
    return function


def bodies(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph and those inside it."""
    yield graph
    for node in graph.node:
        yield from (inner for one in subgraphs(node) for inner in bodies(one))


def subgraphs(node: NodeProto) -> list[GraphProto]:
    """The graphs of a node's attributes."""
    return [attribute.g for attribute in node.attribute if attribute.HasField("g")]


def owners(model: ModelProto) -> list[Owner]:
    """All that has nodes."""
    return [*bodies(model.graph), *model.functions]


def one(found: Iterable[T], rng: random.Random) -> T:
    """One of several; ``NotHere`` where there are none."""
    several = list(found)
    if not several:
        raise NotHere
    return rng.choice(several)


def a_node(
    model: ModelProto, rng: random.Random, wanted: Callable[[NodeProto], object] = bool
) -> tuple[Owner, NodeProto]:
    """A node that is as wanted, and where it stands."""
    places = [(owner, node) for owner in owners(model) for node in owner.node if wanted(node)]
    return one(places, rng)


def a_body(model: ModelProto, rng: random.Random, wanted: Callable[[GraphProto], object] = bool) -> GraphProto:
    """The main graph or one inside it."""
    return one([body for body in bodies(model.graph) if wanted(body)], rng)


def an_initializer(
    model: ModelProto, rng: random.Random, wanted: Callable[[TensorProto], object] = bool
) -> tuple[GraphProto, TensorProto]:
    """A stored tensor that is as wanted, and the graph that it stands in."""
    places = [(body, t) for body in bodies(model.graph) for t in body.initializer if wanted(t)]
    return one(places, rng)


def an_attribute(model: ModelProto, rng: random.Random) -> AttributeProto:
    """An attribute that is no graph."""
    _, node = a_node(model, rng, lambda node: any(not a.HasField("g") for a in node.attribute))
    return rng.choice([a for a in node.attribute if not a.HasField("g")])


def names_in(owner: Owner) -> list[str]:
    """Values that are named in a graph or function, those of the graphs inside left out."""
    found = [name for node in owner.node for name in (*node.input, *node.output)]
    if isinstance(owner, GraphProto):
        found += [value.name for value in (*owner.input, *owner.output)] + [t.name for t in owner.initializer]
    return list(dict.fromkeys(name for name in found if name))


def read_by(node: NodeProto) -> set[str]:
    """Names that a node reads, and those that are named anywhere in the graphs inside it."""
    inner = {name for graph in subgraphs(node) for body in bodies(graph) for name in names_in(body)}
    return {*node.input, *inner} - {""}


def fresh(model: ModelProto, stem: str = "n") -> str:
    """A name that is nowhere."""
    taken = {name for owner in owners(model) for name in names_in(owner)} | {f.name for f in model.functions}
    number = 0
    while f"{stem}{number}" in taken:
        number += 1
    return f"{stem}{number}"


def put(owner: Owner, index: int, *nodes: NodeProto) -> None:
    """Insert nodes."""
    rest = list(owner.node)
    rest[index:index] = nodes
    del owner.node[:]
    owner.node.extend(rest)


def place_of(owner: Owner, node: NodeProto) -> int:
    """Where a node stands."""
    for index, other in enumerate(owner.node):
        if other is node or other == node:
            return index
    raise NotHere


def redirect(owner: Owner, old: str, new: str, rng: random.Random, every: bool = True) -> None:
    """Let the readers of a value read another one, all of them or one."""
    edges = [(node, place) for node in owner.node for place, name in enumerate(node.input) if name == old]
    if not edges:
        raise NotHere
    for node, place in edges if every else [rng.choice(edges)]:
        node.input[place] = new


def opset(model: ModelProto, domain: str, version: int = 1) -> None:
    """Import a domain where it is not yet."""
    if all(known.domain != domain for known in model.opset_import):
        model.opset_import.append(helper.make_opsetid(domain, version))


def array_of(stored: TensorProto) -> np.ndarray:
    """Values of a tensor, which a mutation may have made unreadable."""
    try:
        return np.array(numpy_helper.to_array(stored))
    except Exception:
        raise NotHere from None


def rename(graph: GraphProto, names: dict[str, str]) -> None:
    """Let values of a graph, and of those inside it, have other names."""
    for body in bodies(graph):
        for node in body.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
        for stored in body.initializer:
            stored.name = names.get(stored.name, stored.name)
        for part in body.sparse_initializer:
            part.values.name = names.get(part.values.name, part.values.name)
        for value in (*body.value_info, *body.input, *body.output):
            value.name = names.get(value.name, value.name)
        for note in body.quantization_annotation:
            note.tensor_name = names.get(note.tensor_name, note.tensor_name)
            for pair in note.quant_parameter_tensor_names:
                pair.value = names.get(pair.value, pair.value)
