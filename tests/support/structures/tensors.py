"""Mutations of what is stored, and of what is multiplied by nothing or never picked."""

import random
from collections.abc import Callable

import numpy as np
from onnx import FunctionProto, GraphProto, ModelProto, TensorProto, helper

from tests.support.networks import tensor
from tests.support.structures.places import (
    NotHere,
    Owner,
    a_node,
    an_initializer,
    array_of,
    fresh,
    mutation,
    place_of,
    put,
    redirect,
)


def removed(graph: GraphProto, stored: TensorProto) -> TensorProto:
    """Take an initializer away, and return a copy."""
    copy = TensorProto()
    copy.CopyFrom(stored)
    index = next(index for index, other in enumerate(graph.initializer) if other is stored or other == stored)
    del graph.initializer[index]
    return copy


def taken_away(
    model: ModelProto, rng: random.Random, wanted: Callable[[TensorProto], object] = bool
) -> tuple[GraphProto, TensorProto]:
    """Take an initializer away that no caller may replace; something else must make its value."""
    given = {value.name for value in model.graph.input}
    graph, stored = an_initializer(model, rng, lambda t: t.name not in given and wanted(t))
    return graph, removed(graph, stored)


@mutation
def constant_with_a_list(model: ModelProto, rng: random.Random) -> None:
    """A small tensor as value_floats or value_float of a Constant node."""
    few: Callable[[TensorProto], object] = lambda t: t.data_type == 1 and len(t.dims) <= 1 and 0 not in t.dims  # noqa: E731
    graph, stored = taken_away(model, rng, few)
    values = array_of(stored)
    kept = {"value_floats": values.tolist()} if values.ndim else {"value_float": float(values)}
    put(graph, 0, helper.make_node("Constant", [], [stored.name], **kept))


@mutation
def sparse(model: ModelProto, rng: random.Random) -> None:
    """A sparse initializer, or a Constant with one; complete or with values left out."""
    graph, stored = taken_away(model, rng, lambda t: t.data_type == 1 and t.dims)
    values = array_of(stored).ravel()
    places = np.arange(values.size) if rng.random() < 0.6 else np.flatnonzero(values > 0)
    made = helper.make_sparse_tensor(tensor(stored.name, values[places]), tensor("", places), list(stored.dims))
    if rng.random() < 0.5:
        graph.sparse_initializer.append(made)
    else:
        put(graph, 0, helper.make_node("Constant", [], [stored.name], sparse_value=made))


@mutation
def stored_transposed(model: ModelProto, rng: random.Random) -> None:
    graph, stored = taken_away(model, rng, lambda t: len(t.dims) > 1)
    values, other = array_of(stored), fresh(model, "turned")
    order = rng.sample(range(values.ndim), values.ndim)
    graph.initializer.append(tensor(other, values.transpose(order)))
    put(graph, 0, helper.make_node("Transpose", [other], [stored.name], perm=np.argsort(order).tolist()))


@mutation
def stored_in_two(model: ModelProto, rng: random.Random) -> None:
    graph, stored = taken_away(model, rng, lambda t: t.dims and max(t.dims) > 1)
    values = array_of(stored)
    axis = rng.choice([axis for axis, length in enumerate(values.shape) if length > 1])
    parts, names = np.split(values, [rng.randrange(values.shape[axis])], axis), [fresh(model, f"part{n}") for n in "ab"]
    graph.initializer.extend(tensor(name, part) for name, part in zip(names, parts, strict=True))
    put(graph, 0, helper.make_node("Concat", names, [stored.name], axis=axis))


@mutation
def stored_as_another_type(model: ModelProto, rng: random.Random) -> None:
    """Exactly as double precision, or rounded to half."""
    graph, stored = taken_away(model, rng, lambda t: t.data_type == 1)
    other = fresh(model, "cast")
    graph.initializer.append(tensor(other, array_of(stored).astype(rng.choice(("f8", "f2")))))
    put(graph, 0, helper.make_node("Cast", [other], [stored.name], to=1))


@mutation
def stored_empty_or_of_one_element(model: ModelProto, rng: random.Random) -> None:
    graph, stored = an_initializer(model, rng)
    values = array_of(stored)
    name = removed(graph, stored).name
    graph.initializer.append(tensor(name, values.ravel()[: rng.randrange(2)]))


@mutation
def stored_twice(model: ModelProto, rng: random.Random) -> None:
    """One reader reads the copy, or nobody; or both copies have one name."""
    graph, stored = an_initializer(model, rng)
    copy = TensorProto()
    copy.CopyFrom(stored)
    match rng.randrange(3):
        case 0:
            copy.name = fresh(model, "twin")
            redirect(graph, stored.name, copy.name, rng, every=False)
        case 1:
            copy.name = fresh(model, "twin")
    graph.initializer.append(copy)


@mutation
def value_changed(model: ModelProto, rng: random.Random) -> None:
    """One element, by its sign or to something that is no number."""
    graph, stored = an_initializer(model, rng, lambda t: t.data_type == 1)
    values = array_of(stored)
    if not values.size:
        raise NotHere
    place = rng.randrange(values.size)
    values.flat[place] = rng.choice((-values.flat[place], np.nan, np.inf, 0.0, -0.0))
    name = removed(graph, stored).name
    graph.initializer.append(tensor(name, values))


# What is multiplied by nothing, and what is never picked


def _aside(model: ModelProto, rng: random.Random) -> tuple[Owner, str, str, int]:
    """A graph with a value to change, a new name for what it was, and where its maker stands."""
    owner, node = a_node(model, rng, lambda n: n.output and n.output[0] and n.op_type not in ("Constant", "If", "Loop"))
    if isinstance(owner, FunctionProto):
        raise NotHere
    old, new = node.output[0], fresh(model, "real")
    node.output[0] = new
    return owner, old, new, place_of(owner, node) + 1


@mutation
def summand_of_nothing(model: ModelProto, rng: random.Random) -> None:
    """A value plus zero times itself, times something that is infinite, or times a value of its own."""
    owner, old, new, index = _aside(model, rng)
    assert isinstance(owner, GraphProto)
    zero, product, made = (fresh(model, stem) for stem in ("zero", "product", "made"))
    owner.initializer.append(tensor(zero, np.array(rng.choice((0.0, -0.0, 1e-30, 1e-9)), "f4")))
    operator = rng.choice(("Exp", "Log", "Relu", "Identity", "Reciprocal"))
    nodes = [helper.make_node(operator, [new], [made]), helper.make_node("Mul", [made, zero], [product])]
    put(owner, index, *nodes, helper.make_node(rng.choice(("Add", "Sub")), [new, product], [old]))


@mutation
def where_that_is_constant(model: ModelProto, rng: random.Random) -> None:
    """One side is never picked, whatever stands there; sides of other shapes still decide the shape."""
    owner, old, new, index = _aside(model, rng)
    assert isinstance(owner, GraphProto)
    condition, other = fresh(model, "pick"), fresh(model, "other")
    picked = rng.random() < 0.5
    owner.initializer.append(tensor(condition, np.array(picked)))
    sides = [new, other] if picked else [other, new]
    nodes = [helper.make_node(rng.choice(("Exp", "Neg", "Unsqueeze")), [new], [other])]
    if nodes[0].op_type == "Unsqueeze":
        axes = fresh(model, "axes")
        owner.initializer.append(tensor(axes, np.array([0])))
        nodes[0].input.append(axes)
    put(owner, index, *nodes, helper.make_node("Where", [condition, *sides], [old]))


@mutation
def normalised_to_nothing(model: ModelProto, rng: random.Random) -> None:
    """A value plus its normalisation with gamma 0."""
    owner, old, new, index = _aside(model, rng)
    assert isinstance(owner, GraphProto)
    gamma, nothing = fresh(model, "gamma"), fresh(model, "nothing")
    owner.initializer.append(tensor(gamma, np.zeros(1, "f4")))
    layer = helper.make_node("LayerNormalization", [new, gamma], [nothing], axis=-1)
    put(owner, index, layer, helper.make_node("Add", [nothing, new], [old]))
