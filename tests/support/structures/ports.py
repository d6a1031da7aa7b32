"""Mutations of what callers see: inputs and outputs, and what is said of a file beside its graph."""

import random
from collections.abc import Sequence

from google.protobuf.message import Message
from onnx import GraphProto, ModelProto, TensorProto, helper

from tests.support.networks import field
from tests.support.structures.places import NotHere, a_body, a_node, bodies, fresh, mutation, names_in, one, rename

# Inputs and outputs of the network


@mutation
def input_names_swapped(model: ModelProto, rng: random.Random) -> None:
    """The callers' names change places, and what the graph does with each place stays."""
    _swap_ports(model.graph, model.graph.input, rng)


@mutation
def output_names_swapped(model: ModelProto, rng: random.Random) -> None:
    _swap_ports(model.graph, model.graph.output, rng)


def _swap_ports(graph: GraphProto, values: Sequence[Message], rng: random.Random) -> None:
    if len(values) < 2:
        raise NotHere
    first, second = (values[place] for place in rng.sample(range(len(values)), 2))
    names = {first.name: second.name, second.name: first.name}
    match rng.randrange(3):
        case 0:  # the declarations change places: another order, the same names
            held = type(first)()
            held.CopyFrom(first)
            first.CopyFrom(second)
            second.CopyFrom(held)
        case 1:  # every reader and writer follows the other name: another order of what is computed
            for body in bodies(graph):
                for node in body.node:
                    node.input[:] = [names.get(name, name) for name in node.input]
                    node.output[:] = [names.get(name, name) for name in node.output]
        case _:  # both: what stood in a place stands there still, under the other name
            for body in bodies(graph):
                for node in body.node:
                    node.input[:] = [names.get(name, name) for name in node.input]
                    node.output[:] = [names.get(name, name) for name in node.output]
            held = type(first)()
            held.CopyFrom(first)
            first.CopyFrom(second)
            second.CopyFrom(held)


@mutation
def port_renamed(model: ModelProto, rng: random.Random) -> None:
    """A caller has to use another name."""
    values = rng.choice((model.graph.input, model.graph.output))
    value = one(values, rng)
    old, new = value.name, fresh(model, "port")
    rename(model.graph, {old: new})
    value.name = new


@mutation
def port_type(model: ModelProto, rng: random.Random) -> None:
    """Another element type or shape is promised."""
    value = one((*model.graph.input, *model.graph.output), rng)
    kind = value.type.tensor_type
    if rng.random() < 0.4:
        kind.elem_type = rng.choice((TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT64, 0))
    else:
        kind.shape.Clear()
        for dim in rng.choice(([], [4, 32], [2, 6, 32], ["n", 32], [1, 1])):
            kind.shape.dim.add(**({"dim_param": dim} if isinstance(dim, str) else {"dim_value": dim}))


@mutation
def initializer_that_a_caller_may_replace(model: ModelProto, rng: random.Random) -> None:
    stored: TensorProto = one(model.graph.initializer, rng)
    model.graph.input.append(helper.make_tensor_value_info(stored.name, stored.data_type, list(stored.dims)))


@mutation
def initializer_that_a_caller_gives(model: ModelProto, rng: random.Random) -> None:
    initializer_that_a_caller_may_replace(model, rng)
    name = model.graph.input[-1].name
    kept = [stored for stored in model.graph.initializer if stored.name != name]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


@mutation
def another_output(model: ModelProto, rng: random.Random) -> None:
    name = rng.choice(names_in(model.graph))
    place = rng.randrange(len(model.graph.output) + 1)
    values = list(model.graph.output)
    values.insert(place, helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    del model.graph.output[:]
    model.graph.output.extend(values)


@mutation
def another_input(model: ModelProto, rng: random.Random) -> None:
    """One that nothing reads."""
    model.graph.input.append(helper.make_tensor_value_info(fresh(model, "unused"), TensorProto.FLOAT, [1]))


@mutation
def port_removed(model: ModelProto, rng: random.Random) -> None:
    values = rng.choice((model.graph.input, model.graph.output))
    if len(values) < 2 and values is not model.graph.input:
        raise NotHere  # without outputs there is nothing to compare
    if values:
        del values[rng.randrange(len(values))]


# All the rest of a file


@mutation
def opset_version(model: ModelProto, rng: random.Random) -> None:
    rng.choice(model.opset_import).version = rng.choice((1, 7, 9, 11, 13, 17, 18, 20, 22, 99, -1))


@mutation
def opset_twice(model: ModelProto, rng: random.Random) -> None:
    model.opset_import.append(helper.make_opsetid(rng.choice(("", "ai.onnx", "local")), rng.choice((9, 13, 21))))


@mutation
def metadata(model: ModelProto, rng: random.Random) -> None:
    _, node = a_node(model, rng)
    rng.choice((model, model.graph, node)).metadata_props.add(key="a", value=rng.choice(("", "b", "\x1b[31m")))


@mutation
def unknown_field(model: ModelProto, rng: random.Random) -> None:
    """A field that this version of ONNX does not know."""
    _, node = a_node(model, rng)
    among: list[Message] = [model, model.graph, node, *model.graph.initializer[:1], *node.attribute[:1]]
    rng.choice(among).MergeFromString(field(rng.choice((77, 1000)), rng.choice((b"hidden", 5))))


@mutation
def value_info(model: ModelProto, rng: random.Random) -> None:
    """What is said of a value inside, rightly or wrongly."""
    body = a_body(model, rng)
    kind = rng.choice((TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.INT64))
    name: str = one(names_in(body), rng)
    body.value_info.append(helper.make_tensor_value_info(name, kind, rng.choice((None, [4, 32], [1]))))


@mutation
def training_information(model: ModelProto, rng: random.Random) -> None:
    part = model.training_info.add()
    if rng.random() < 0.5:
        part.algorithm.CopyFrom(model.graph)
    part.initialization_binding.add(key="a", value="b")


@mutation
def quantisation_note(model: ModelProto, rng: random.Random) -> None:
    note = model.graph.quantization_annotation.add(tensor_name=rng.choice(names_in(model.graph)))
    note.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value=rng.choice(names_in(model.graph)))


@mutation
def version_of_the_format(model: ModelProto, rng: random.Random) -> None:
    model.ir_version = rng.choice((0, 3, 7, 9, 11, 99))
