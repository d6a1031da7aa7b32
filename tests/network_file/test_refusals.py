"""What is refused: every construction that two readers would read differently, and every limit."""

import os
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from onnxnnw.errors import UnreadableNetwork
from onnxnnw.flow import tracing
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file import cutting
from onnxnnw.network_file.file import open_network
from tests.support.networks import convolutional, dense, field, model_of, save, subgraph, tensor, varint, weight

GRAPH, INITIALIZER, NODE = 7, 5, 1
RAW_DATA, FLOAT_DATA, EXTERNAL_DATA, DATA_LOCATION = 9, 4, 13, 14


def refused(content: bytes, path: Path, match: str) -> None:
    path.write_bytes(content)
    for for_writing in (False, True):
        with (
            pytest.raises(UnreadableNetwork, match=match) as caught,
            open_network(path, for_writing=for_writing) as net,
        ):
            find_slots(net)
        assert str(caught.value).startswith(str(path)), "the error names the file"


def graph_plus(model: ModelProto, extra: bytes) -> bytes:
    """A model with bytes appended to its graph."""
    whole = ModelProto()
    whole.CopyFrom(model)
    whole.ClearField("graph")
    return whole.SerializeToString() + field(GRAPH, model.graph.SerializeToString() + extra)


def test_two_graphs_are_refused(tmp_path: Path) -> None:
    """Protobuf would merge a second graph field into the first; the cutter would not."""
    model = dense()
    refused(model.SerializeToString() + field(GRAPH, model.graph.SerializeToString()), tmp_path / "m", "twice")


def test_a_second_empty_graph_is_refused(tmp_path: Path) -> None:
    """Even an empty repetition is one."""
    refused(dense().SerializeToString() + field(GRAPH, b""), tmp_path / "m", "twice")


def test_a_singular_field_twice_is_refused_in_small_messages_too(tmp_path: Path) -> None:
    """Messages below the cutter's threshold are looked at when protobuf's own size says that something was merged."""
    small = weight("s", 2, 2).SerializeToString() + field(2, TensorProto.FLOAT)  # data_type again
    refused(graph_plus(dense(), field(INITIALIZER, small)), tmp_path / "m", "data_type is present twice")


def test_raw_data_twice_is_refused(tmp_path: Path) -> None:
    """The last one would win in protobuf."""
    large = weight("s", 32, 32).SerializeToString() + field(RAW_DATA, bytes(4096))
    refused(graph_plus(dense(), field(INITIALIZER, large)), tmp_path / "m", "raw_data is present twice")


@pytest.mark.parametrize("number", [1, 6, 7, 9, 10, 11])
def test_a_known_field_with_another_wire_type_is_refused(tmp_path: Path, number: int) -> None:
    """Such a field is unknown to protobuf and known to others."""
    wrong = varint(number << 3) + b"\x01" if number in (9, 10) else varint(number << 3 | 5) + bytes(4)
    name = {1: "external", 6: "string", 7: "int64", 9: "raw", 10: "double", 11: "uint64"}[number]
    large = weight("s", 32, 32).SerializeToString() + wrong
    if number == 1:  # a singular varint: ir_version as a string
        model = dense()
        model.ClearField("ir_version")
        refused(model.SerializeToString() + field(1, b"8"), tmp_path / "m", "another wire type")
        return
    refused(graph_plus(dense(), field(INITIALIZER, large)), tmp_path / "m", f"{name}_data is stored with another wire")


@pytest.mark.parametrize("wire_type", [3, 4, 6, 7])
def test_groups_and_unknown_wire_types_are_refused(tmp_path: Path, wire_type: int) -> None:
    """Groups left protobuf long ago; no ONNX file has any."""
    refused(dense().SerializeToString() + varint(900 << 3 | wire_type), tmp_path / "m", "group")


@pytest.mark.parametrize("size", [4, 64])
def test_a_tensor_with_two_value_fields_is_refused(tmp_path: Path, size: int) -> None:
    """raw_data and float_data in one tensor: readers choose differently, small or large."""
    proto = weight("w", size, size)
    proto.float_data.extend([0.5] * size * size)
    refused(
        graph_plus(dense(), field(INITIALIZER, proto.SerializeToString())), tmp_path / "m", "two value|stored twice"
    )


def test_packed_values_in_two_pieces_are_refused(tmp_path: Path) -> None:
    """A packed field may come in pieces in protobuf; a tensor's values may not."""
    values = np.arange(512, dtype="<f4").tobytes()
    header = field(1, 1024) + field(2, TensorProto.FLOAT) + field(8, b"w")
    for first, second in ((values, values), (values + values[:-8], values[-8:])):
        proto = header + field(FLOAT_DATA, first) + field(FLOAT_DATA, second)
        refused(graph_plus(dense(), field(INITIALIZER, proto)), tmp_path / "m", "two value fields|stored twice")


@pytest.mark.parametrize("size", [4, 64])
def test_embedded_and_external_data_together_are_refused(tmp_path: Path, size: int) -> None:
    """A tensor is in one place."""
    proto = weight("w", size, size)
    (tmp_path / "w.bin").write_bytes(proto.raw_data)
    proto.data_location = TensorProto.EXTERNAL
    proto.external_data.add(key="location", value="w.bin")
    refused(graph_plus(dense(), field(INITIALIZER, proto.SerializeToString())), tmp_path / "m", "stored twice")


@pytest.mark.parametrize(("dims", "count"), [((8, 8), 63), ((8, 8), 65), ((64, 64), 4095), ((64, 64), 4097), ((), 2)])
def test_dims_and_length_must_agree(tmp_path: Path, dims: tuple[int, ...], count: int) -> None:
    """Shape times element size is the number of bytes."""
    raw = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, raw_data=bytes(4 * count))
    typed = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, float_data=[1.0] * count)
    for proto in (raw, typed):
        refused(graph_plus(dense(), field(INITIALIZER, proto.SerializeToString())), tmp_path / "m", "needs")


@pytest.mark.parametrize("dims", [(2**62, 2**62), (-1, 4), (2**62, 0), (1,) * 65, (2**40,)])
def test_impossible_shapes_are_refused(tmp_path: Path, dims: tuple[int, ...]) -> None:
    """Negative, astronomical, or of more dimensions than anything has."""
    proto = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims)
    refused(graph_plus(dense(), field(INITIALIZER, proto.SerializeToString())), tmp_path / "m", "shape|dimensions")


@pytest.mark.parametrize("data_type", [0, 99, 2**31 - 1])
def test_unknown_element_types_are_refused(tmp_path: Path, data_type: int) -> None:
    """Nothing is known about their size."""
    proto = TensorProto(name="w", data_type=data_type, dims=[0])
    refused(graph_plus(dense(), field(INITIALIZER, proto.SerializeToString())), tmp_path / "m", "unknown element type")


def test_values_in_the_field_of_another_type_are_refused(tmp_path: Path) -> None:
    """float16 values in float_data: onnx and onnxruntime disagree."""
    for data_type, kind in ((TensorProto.FLOAT16, "float_data"), (TensorProto.FLOAT, "int32_data")):
        for count in (4, 4096):
            proto = TensorProto(name="w", data_type=data_type, dims=[count])
            getattr(proto, kind).extend([1] * count)
            extra = field(INITIALIZER, proto.SerializeToString())
            refused(graph_plus(dense(), extra), tmp_path / "m", "another element type")


def test_stored_integers_outside_their_type_are_refused(tmp_path: Path) -> None:
    """300 is no int8; onnx refuses it too."""
    for data_type, value in ((TensorProto.INT8, 300), (TensorProto.UINT8, -1), (TensorProto.INT16, 2**20)):
        proto = TensorProto(name="w", data_type=data_type, dims=[1], int32_data=[value])
        refused(graph_plus(dense(), field(INITIALIZER, proto.SerializeToString())), tmp_path / "m", "is no")


def test_a_name_defined_twice_is_refused(tmp_path: Path) -> None:
    """onnxruntime runs the first, a dictionary keeps the last."""
    double_initializer = dense()
    double_initializer.graph.initializer.append(weight("w0", 48, 48, seed=9))
    double_output = dense()
    double_output.graph.node.append(helper.make_node("Identity", ["x"], ["h0"]))
    both = dense()
    both.graph.node.append(helper.make_node("Identity", ["x"], ["w1"]))
    double_input = dense()
    double_input.graph.input.append(double_input.graph.input[0])
    for model in (double_initializer, double_output, both, double_input):
        refused(model.SerializeToString(), tmp_path / "m", "defined twice")


def test_a_name_defined_twice_inside_a_branch_is_refused(tmp_path: Path) -> None:
    """Each scope is checked by itself; shadowing an outer name is another matter."""
    nodes = [helper.make_node("Identity", ["a"], ["t"]), helper.make_node("Identity", ["a"], ["t"])]
    branch = subgraph("b", nodes, ["t"], weight("a", 8, 8))
    model = model_of([helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)], [])
    refused(model.SerializeToString(), tmp_path / "m", "defined twice")


def test_an_attribute_given_twice_is_refused(tmp_path: Path) -> None:
    """transB = 0 and transB = 1 in one node: two readers, two networks."""
    node = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
    node.attribute.append(helper.make_attribute("transB", 0))
    model = model_of([node], [weight("w", 32, 32)])
    path = save(model, tmp_path / "m")
    with pytest.raises(UnreadableNetwork, match="twice"), open_network(path) as network:
        find_slots(network)


def test_a_constant_with_two_values_is_refused(tmp_path: Path) -> None:
    """value and value_float in one Constant."""
    node = helper.make_node("Constant", [], ["w"], value_float=1.0)
    node.attribute.append(helper.make_attribute("value", weight("", 8, 8)))
    model = model_of([node, helper.make_node("MatMul", ["x", "w"], ["y"])], [])
    refused(model.SerializeToString(), tmp_path / "m", "two values")


@pytest.mark.parametrize("padding", [0, 2000])
def test_deep_nesting_is_refused(tmp_path: Path, padding: int) -> None:
    """More than 60 messages deep, whether they are large or small (there protobuf's own limit of 100 ends it)."""
    graph = b""
    for _ in range(40):  # GraphProto.node / NodeProto.attribute / AttributeProto.g
        graph = field(NODE, field(5, field(1, b"then_branch") + field(6, graph))) + field(10, b"." * padding)
    refused(field(1, 8) + field(GRAPH, graph), tmp_path / "m", "nested|readable ONNX")


def test_too_many_fields_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than two million fields cost more time than any network is worth (here: more than twenty thousand)."""
    assert cutting.MAX_FIELDS == 2_000_000
    monkeypatch.setattr(cutting, "MAX_FIELDS", 20_000)
    refused(field(1, 8) + field(GRAPH, field(NODE, b"") * 20_001), tmp_path / "m", "fields")


def test_too_many_nodes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node costs two bytes in the file and 1,300 in memory (here: one in 33 bytes, and a thousand)."""
    assert tracing.MAX_NODES == 100_000
    monkeypatch.setattr(tracing, "MAX_NODES", 1000)
    refused(field(1, 8) + field(GRAPH, field(NODE, b"") * 2000), tmp_path / "m", "more than 1,1.. nodes")


def test_too_much_outside_large_tensors_is_refused(tmp_path: Path) -> None:
    """64 MiB of names and attributes are more than any network has; large tensors do not count."""
    path = tmp_path / "m"
    content = field(1, 8) + field(GRAPH, b"") + field(10, bytes(0)) + field(6, b"d" * (cutting.MAX_SKELETON + 1))
    refused(content, path, "64 MiB")


@pytest.mark.parametrize("size", [2**31, 2**33])
def test_an_embedded_network_of_2_gib_is_refused_unread(tmp_path: Path, size: int) -> None:
    """No runtime loads it, so nothing of it is read (the file is sparse)."""
    path = save(dense(), tmp_path / "m")
    os.truncate(path, size)
    with pytest.raises(UnreadableNetwork, match="2 GiB"):
        open_network(path)


def test_unknown_fields_pass(tmp_path: Path) -> None:
    """Tomorrow's fields do not make today's network unreadable."""
    model = convolutional()
    content = graph_plus(model, field(400, b"u" * 3000) + field(401, 7)) + field(500, b"v" * 5000) + field(501, 1)
    path = tmp_path / "m"
    path.write_bytes(content)
    with open_network(path) as network:
        assert [s.name for s in find_slots(network).slots] == ["c1.weight", "c2.weight", "fc.weight"]


@pytest.mark.parametrize(
    "content", [b"", b"\x00", b"PK\x03\x04", b"{}", b"\x80\x05", b"GIF89a", b"\x08\x08", b"\xff" * 99]
)
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """Archives, JSON, pickles, pictures, nothing at all."""
    refused(content, tmp_path / "m", "not|holds no graph|m: is (empty|an? )")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_network_is_refused(tmp_path: Path, share: float) -> None:
    """Half a download is not a network."""
    content = convolutional().SerializeToString()
    refused(content[: int(len(content) * share)], tmp_path / "m", "truncated|broken off|no graph|not a readable")


def test_a_segmented_tensor_is_refused(tmp_path: Path) -> None:
    """TensorProto.segment is in the schema and in no runtime."""
    proto = weight("w", 8, 8)
    proto.segment.begin, proto.segment.end = 0, 10
    refused(graph_plus(dense(), field(INITIALIZER, proto.SerializeToString())), tmp_path / "m", "segment")


@pytest.mark.parametrize("place", ["initializer", "node", "output", "op", "domain", "function"])
def test_names_that_are_no_utf8_are_refused(tmp_path: Path, place: str) -> None:
    """protobuf hands such names out as bytes; nothing else here works with bytes."""
    marked = b"QQQQ"
    model = dense()
    if place == "initializer":
        model.graph.initializer[0].name = model.graph.node[0].input[1] = marked.decode()
    elif place == "node":
        model.graph.node[0].input[0] = marked.decode()
    elif place == "output":
        model.graph.node[0].output[0] = model.graph.node[1].input[0] = marked.decode()
    elif place == "op":
        model.graph.node[2].op_type = marked.decode()
    elif place == "domain":
        model.graph.node[2].domain = marked.decode()
    else:
        node = helper.make_node("Identity", ["a"], ["b"])
        function = helper.make_function("local", "f", ["a"], ["b"], [node], [helper.make_opsetid("", 21)])
        function.output[0] = function.node[0].output[0] = marked.decode()
        model.functions.append(function)
        model.graph.node[2].domain, model.graph.node[2].op_type = "local", "f"
    refused(
        model.SerializeToString().replace(marked, b"\xff\xfe\xfd\xfc"), tmp_path / "m", "readable text|not a readable"
    )


def test_an_undefined_output_is_refused(tmp_path: Path) -> None:
    """An output that no node computes."""
    model = dense()
    model.graph.output[0].name = "nowhere"
    refused(model.SerializeToString(), tmp_path / "m", "computed by no node")


def test_a_cycle_is_refused(tmp_path: Path) -> None:
    """A value that depends on itself has no order of computation."""
    model = model_of(
        [
            helper.make_node("Add", ["x", "b"], ["a"]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("MatMul", ["a", "w"], ["y"]),
        ],
        [weight("w", 16, 16)],
    )
    path = save(model, tmp_path / "m")
    with pytest.raises(UnreadableNetwork, match="depends on itself"), open_network(path) as network:
        find_slots(network)


def test_a_tensor_of_texts_is_no_weight(tmp_path: Path) -> None:
    """Strings are read for the digest, never as numbers."""
    texts = helper.make_tensor("t", TensorProto.STRING, [8, 8], [b"a"] * 64)
    model = model_of(
        [helper.make_node("Identity", ["t"], ["u"]), helper.make_node("MatMul", ["x", "t"], ["y"])], [texts]
    )
    with open_network(save(model, tmp_path / "m")) as network:
        view = find_slots(network)
    assert view.slots == []
    assert len(view.not_understood) == 1


def test_constants_may_be_empty(tmp_path: Path) -> None:
    """Zero elements are a shape like any other."""
    empty = tensor("e", np.zeros((0, 5), "f4"))
    model = model_of([helper.make_node("Concat", ["x", "e"], ["y"], axis=0)], [empty])
    with open_network(save(model, tmp_path / "m")) as network:
        assert find_slots(network).slots == []


def test_a_constant_whose_type_contradicts_its_value_is_refused(tmp_path: Path) -> None:
    """One reader goes by the type of the attribute, another by the field that is there."""
    node = helper.make_node("Constant", [], ["c"], value=tensor("", np.ones((2, 2), "f4")))
    node.attribute[0].type = 1
    model = model_of([node, helper.make_node("Add", ["x", "c"], ["y"])], [])
    refused(model.SerializeToString(), tmp_path / "m", "contradicts its value")


@pytest.mark.parametrize("more", ["input", "output"])
def test_a_call_with_more_than_its_function_has_is_refused(tmp_path: Path, more: str) -> None:
    """No runtime loads it, so what would become of the rest is nobody's to say."""
    body = [helper.make_node("Relu", ["a"], ["b"])]
    function = helper.make_function("own", "f", ["a"], ["b"], body, [helper.make_opsetid("", 21)])
    call = helper.make_node("f", ["x"], ["y"], domain="own")
    getattr(call, more).append("x" if more == "input" else "z")
    refused(
        model_of([call], [], functions=[function], domains=["own"]).SerializeToString(), tmp_path / "m", "more inputs"
    )


def nested(levels: int) -> ModelProto:
    """A weight in branches of branches, in a message that is too small to be cut."""
    graph = subgraph("g", [helper.make_node("MatMul", ["x", "w"], ["t"])], ["t"])
    for _ in range(levels):
        graph = subgraph("g", [helper.make_node("If", ["x"], ["t"], then_branch=graph)], ["t"])
    return model_of([helper.make_node("If", ["x"], ["y"], then_branch=graph)], [weight("w", 16, 16)])


@pytest.mark.parametrize("levels", [0, 10, 18, 19, 25, 30])
@pytest.mark.parametrize("for_writing", [False, True])
def test_messages_nest_alike_for_whoever_reads(tmp_path: Path, levels: int, for_writing: bool) -> None:
    """The limit is one of the file, not of the command that reads it: a graph in a graph takes three levels."""
    path = save(nested(levels), tmp_path / "m.onnx")
    if levels > 18:
        with pytest.raises(UnreadableNetwork, match="nested deeper than 60"):
            open_network(path, for_writing=for_writing)
        return
    with open_network(path, for_writing=for_writing) as network:
        assert [slot.name for slot in find_slots(network).slots] == ["w"]


@pytest.mark.parametrize("op", ["Loop", "Scan"])
def test_a_body_that_has_its_own_value_for_what_it_is_given_is_refused(op: str, tmp_path: Path) -> None:
    """onnxruntime refuses it, others run what is given: the initializer would be a decoy.

    Listed beside what is given, as old files do, it is a constant.
    """
    port = helper.make_tensor_value_info
    given = {"Loop": ["i", "c", "s"], "Scan": ["s", "e"]}[op]
    kinds = {"i": TensorProto.INT64, "c": TensorProto.BOOL}
    for own, refused in (("w", True), ("k", False)):
        inputs = [*given, "w"] if op == "Loop" else ["s", "w", "e"]
        ports = [port(name, kinds.get(name, TensorProto.FLOAT), None) for name in inputs]
        if own == "k":
            ports.append(port("k", TensorProto.FLOAT, [8, 8]))
        nodes = [
            helper.make_node("MatMul", ["s", own], ["t"]),
            helper.make_node("Identity", ["c" if op == "Loop" else "e"], ["o"]),
        ]
        results = ["o", "t", "w"] if op == "Loop" else ["t", "w", "o"]
        body = helper.make_graph(
            nodes, "body", ports, [port(name, TensorProto.FLOAT, None) for name in results], [weight(own, 8, 8)]
        )
        if op == "Loop":
            node = helper.make_node("Loop", ["n", "", "x", "a"], ["y", "u"], body=body)
        else:
            node = helper.make_node("Scan", ["x", "a", "sequence"], ["y", "u", "q"], body=body, num_scan_inputs=1)
        more = [tensor("n", np.array(2)), tensor("sequence", np.zeros((2, 1), "f4")), weight("a", 8, 8, seed=1)]
        path = save(model_of([node], more), tmp_path / f"{own}.onnx")
        with open_network(path) as network:
            if refused:
                with pytest.raises(UnreadableNetwork, match="readers would disagree"):
                    find_slots(network)
            else:
                assert any(slot.name.endswith("/k") for slot in find_slots(network).slots)
