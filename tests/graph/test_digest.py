"""The canonical digest: indifferent to storage, sensitive to every bit of every weight, every attribute and edge."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, SparseTensorProto, helper, numpy_helper

from onnxnnw.graph.digest import network_digest
from onnxnnw.network_file.file import open_network
from onnxnnw.records.record_file import load_record
from onnxnnw.verification.verify import verify
from tests.support.networks import convolutional, dense, externalise, model_of, save, subgraph, tensor, weight


def digest(model: ModelProto, tmp_path: Path) -> str:
    with open_network(save(model, tmp_path / "d.onnx")) as network:
        return network_digest(network)


def as_float_data(model: ModelProto) -> None:
    for proto in model.graph.initializer:
        proto.float_data.extend(numpy_helper.to_array(proto).reshape(-1).tolist())
        proto.ClearField("raw_data")


def as_constant_nodes(model: ModelProto) -> None:
    for proto in reversed(model.graph.initializer):
        model.graph.node.insert(0, helper.make_node("Constant", [], [proto.name], value=proto))
    model.graph.ClearField("initializer")


def renamed(model: ModelProto) -> None:
    ports = {port.name for port in (*model.graph.input, *model.graph.output)}
    for proto in model.graph.initializer:
        proto.name = "n_" + proto.name
    for node in model.graph.node:
        node.name = ""
        for names in (node.input, node.output):
            names[:] = [name if name in ports else "n_" + name for name in names]


def reordered(model: ModelProto) -> None:
    for field in (model.graph.initializer, model.graph.node):
        parts = list(field)[::-1]
        del field[:]
        field.extend(parts)


def documented(model: ModelProto) -> None:
    model.doc_string, model.producer_name, model.graph.name = "new", "another tool", "another"
    model.metadata_props.add(key="k", value="v")
    for node in model.graph.node:
        node.doc_string = "a node"


def with_identities(model: ModelProto) -> None:
    model.graph.node[0].input[1] = "same"
    model.graph.node.insert(0, helper.make_node("Identity", ["c1.weight"], ["same"]))


def with_decoys(model: ModelProto) -> None:
    model.graph.initializer.append(weight("spare", 9, 9))
    model.graph.node.append(helper.make_node("Relu", ["x"], ["nobody reads this"]))


def as_function(model: ModelProto) -> None:
    """The first three nodes inside a local function that is called once."""
    inner = list(model.graph.node)[:3]
    inputs = ["x", "c1.weight", "c1.bias", "bn.g", "bn.b", "bn.m", "bn.v"]
    function = helper.make_function("local", "stem", inputs, ["h3"], inner, [helper.make_opsetid("", 21)])
    rest = list(model.graph.node)[3:]
    del model.graph.node[:]
    model.graph.node.extend([helper.make_node("stem", inputs, ["h3"], domain="local"), *rest])
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("local", 1))


SAME = [as_float_data, as_constant_nodes, renamed, reordered, documented, with_identities, with_decoys]


@pytest.mark.parametrize("change", SAME, ids=lambda change: change.__name__)
def test_storage_names_and_order_do_not_count(tmp_path: Path, change: Callable[[ModelProto], None]) -> None:
    """The same network in another file."""
    model = convolutional()
    expected = digest(model, tmp_path)
    change(model)
    assert digest(model, tmp_path) == expected


def test_external_storage_does_not_count(tmp_path: Path) -> None:
    """Nor do its offsets, nor how the file was opened."""
    expected = digest(convolutional(), tmp_path)
    path = externalise(convolutional(), tmp_path, "m.onnx", lambda name: f"{len(name)}.bin")
    for for_writing in (False, True):
        with open_network(path, for_writing=for_writing) as network:
            assert network_digest(network) == expected


def test_every_bit_of_every_value_counts(tmp_path: Path) -> None:
    """Weights, biases, normalisation: one flipped bit anywhere is another network."""
    model = convolutional()
    expected = digest(model, tmp_path)
    rng = np.random.default_rng(0)
    for number, proto in enumerate(model.graph.initializer):
        bits = [0, len(proto.raw_data) * 8 - 1, *rng.integers(0, len(proto.raw_data) * 8, 6).tolist()]
        for bit in bits:
            changed = ModelProto()
            changed.CopyFrom(model)
            content = bytearray(proto.raw_data)
            content[bit // 8] ^= 1 << bit % 8
            changed.graph.initializer[number].raw_data = bytes(content)
            assert digest(changed, tmp_path) != expected, (proto.name, bit)


def _attribute(model: ModelProto) -> None:
    model.graph.node[0].attribute[1].ints[0] = 2


def _more_attributes(model: ModelProto) -> None:
    model.graph.node[6].attribute.append(helper.make_attribute("alpha", 0.5))


def _edge(model: ModelProto) -> None:
    model.graph.node[2].input[0] = "h1"


def _exchanged(model: ModelProto) -> None:
    model.graph.node[1].input[3:] = ["bn.v", "bn.m"]


def _operator(model: ModelProto) -> None:
    model.graph.node[2].op_type = "Sigmoid"


def _opset(model: ModelProto) -> None:
    model.opset_import[0].version = 20


def _shape(model: ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [16, 3, 9, 1]


def _renamed_input(model: ModelProto) -> None:
    model.graph.input[0].name = model.graph.node[0].input[0] = "other"


def _renamed_output(model: ModelProto) -> None:
    model.graph.output[0].name = model.graph.node[-1].output[0] = "other"


def _typed_input(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = 10


def _one_more(model: ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("h5", 1, None))


@pytest.mark.parametrize(
    "change",
    [_attribute, _more_attributes, _edge, _exchanged, _operator, _opset, _shape, _one_more, as_function, _renamed_input,
     _renamed_output, _typed_input],
    ids=lambda change: change.__name__,
)  # fmt: skip
def test_every_attribute_and_edge_counts(tmp_path: Path, change: Callable[[ModelProto], None]) -> None:
    """One attribute, edge, operator, version, shape or output is another network."""
    model = convolutional()
    expected = digest(model, tmp_path)
    change(model)
    assert digest(model, tmp_path) != expected


def test_the_type_of_an_element_counts(tmp_path: Path) -> None:
    """The same values in another type are another network."""
    assert digest(dense(), tmp_path) != digest(dense(dtype="float64"), tmp_path)


def test_sparse_constants_and_texts_count(tmp_path: Path) -> None:
    """What is not read as numbers is digested all the same, large or small."""
    found = set()
    for size, last in ((4, 1.0), (4, 2.0), (900, 1.0), (900, 2.0)):
        values = tensor("s", np.append(np.ones(size - 1, "f4"), np.float32(last)))
        sparse = SparseTensorProto(values=values, indices=tensor("", np.arange(size)), dims=[size])
        model = model_of([helper.make_node("Add", ["x", "s"], ["y"])], [])
        model.graph.sparse_initializer.append(sparse)
        assert digest(model, tmp_path) == digest(model, tmp_path)
        found.add(digest(model, tmp_path))
        constant = helper.make_node("Constant", [], ["s"], sparse_value=sparse)
        model = model_of([constant, helper.make_node("Add", ["x", "s"], ["y"])], [])
        assert digest(model, tmp_path) == digest(model, tmp_path)
        found.add(digest(model, tmp_path))
    for text in ("a", "b"):
        constant = helper.make_node("Constant", [], ["s"], value_string=text)
        found.add(digest(model_of([constant, helper.make_node("Equal", ["x", "s"], ["y"])], []), tmp_path))
    assert len(found) == 10


def test_weights_in_branches_count(tmp_path: Path) -> None:
    """And which branch they are in."""

    def network(first: int, second: int) -> ModelProto:
        branches = [
            subgraph("b", [helper.make_node("MatMul", ["x", "w"], ["t"])], ["t"], weight("w", 9, 9, seed=seed))
            for seed in (first, second)
        ]
        return model_of(
            [helper.make_node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1])], [], "xc"
        )

    assert len({digest(network(*seeds), tmp_path) for seeds in ((1, 2), (2, 1), (1, 1), (1, 3))}) == 4


def test_which_loop_a_value_comes_from_counts(tmp_path: Path) -> None:
    """An inner body that reads the outer loop's counter is another one than that which reads its own."""

    def network(read: str) -> ModelProto:
        def loop(prefix: str, nodes: list) -> object:
            ports = [helper.make_tensor_value_info(f"{prefix}{n}", t, None) for n, t in (("i", 7), ("c", 9), ("v", 1))]
            carried = [helper.make_tensor_value_info(f"{prefix}{n}", t, None) for n, t in (("c2", 9), ("v2", 1))]
            copy = helper.make_node("Identity", [f"{prefix}c"], [f"{prefix}c2"])
            return helper.make_graph([copy, *nodes], prefix, ports, carried)

        cast = helper.make_node("Cast", [read], ["f"], to=1)
        inner = loop("in_", [cast, helper.make_node("Add", ["in_v", "f"], ["in_v2"])])
        outer = loop("out_", [helper.make_node("Loop", ["n", "", "out_v"], ["out_v2"], body=inner)])
        return model_of([helper.make_node("Loop", ["n", "", "x"], ["y"], body=outer)], [], ["x", "n"])

    assert digest(network("in_i"), tmp_path) != digest(network("out_i"), tmp_path)


def test_what_differs_is_named(enrolled, tmp_path):
    """`--full` tells which stored tensors are not as they left, biases included, whatever they are called now."""
    model = onnx.load(enrolled.marked)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for name in ("fc.bias", "block1.conv1.weight"):
        values = numpy_helper.to_array(tensors[name]).copy()
        values.flat[0] += 1
        tensors[name].CopyFrom(numpy_helper.from_array(values, name))
    onnx.save(onnx.compose.add_prefix(model, "other/"), tmp_path / "changed.onnx")
    (verdict,) = verify(tmp_path / "changed.onnx", [load_record(enrolled.record)], full=True)
    assert verdict.decision == "traced"
    (finding,) = [one for one in verdict.findings if one.name == "tensors differ"]
    assert set(finding.slots) == {"fc.bias", "block1.conv1.weight"}
    assert finding.evidence["tensors"] == 2
    (quick,) = verify(tmp_path / "changed.onnx", [load_record(enrolled.record)])
    assert not [one for one in quick.findings if one.name == "tensors differ"]


def test_another_graph_around_the_same_tensors_is_told(enrolled, tmp_path):
    """One more operator, and not a bit of any tensor changed."""
    model = onnx.load(enrolled.marked)
    (output,) = model.graph.output
    model.graph.node.append(onnx.helper.make_node("Neg", [output.name], ["negated"]))
    output.name = "negated"
    onnx.save(model, tmp_path / "changed.onnx")
    (verdict,) = verify(tmp_path / "changed.onnx", [load_record(enrolled.record)], full=True)
    assert verdict.decision == "traced"
    assert "graph differs" in {finding.name for finding in verdict.findings}


def test_a_reference_outside_a_function_refers_to_nothing(tmp_path: Path) -> None:
    """Runtimes take the attribute's own value, so it counts as if it were written plainly."""
    digests = {digest(convolutional(), tmp_path)}
    for value in (0, 1):
        model = convolutional()
        attribute = next(a for a in model.graph.node[6].attribute if a.name == "transB")
        attribute.ref_attr_name, attribute.i = "transB", value
        digests.add(digest(model, tmp_path))
    assert len(digests) == 2


def test_the_order_of_branches_among_attributes_does_not_count(tmp_path: Path) -> None:
    """An If is the same whichever branch is written first."""
    branches = {
        f"{name}_branch": subgraph(name, [helper.make_node(op, ["x"], [name])], [name])
        for name, op in (("then", "Relu"), ("else", "Neg"))
    }
    node = helper.make_node("If", ["cond"], ["y"], **branches)
    turned = helper.make_node("If", ["cond"], ["y"])
    turned.attribute.extend(reversed(node.attribute))
    assert digest(model_of([node], [], inputs=("x", "cond")), tmp_path) == digest(
        model_of([turned], [], inputs=("x", "cond")), tmp_path
    )


def test_an_attribute_of_identity_counts(tmp_path: Path) -> None:
    """Runtimes refuse it, so it is not the network without it."""
    plain = helper.make_node("Identity", ["x"], ["h"])
    odd = helper.make_node("Identity", ["x"], ["h"], alpha=1.0)
    last = helper.make_node("Relu", ["h"], ["y"])
    assert digest(model_of([plain, last], []), tmp_path) != digest(model_of([odd, last], []), tmp_path)
