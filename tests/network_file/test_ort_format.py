"""onnxruntime's own format: rebuilt as the network it was made of, traced at every level, and its damage told."""

import contextlib
import random
import struct
from collections.abc import Callable
from pathlib import Path

import flatbuffers
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnxruntime.tools.ort_format_model.ort_flatbuffers_py import fbs

from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.errors import TraceabilityError, UnreadableNetwork
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import Network, open_network
from onnxnnw.network_file.ort_format.sorting import in_order
from onnxnnw.records.record_file import load_record
from onnxnnw.runtime import quantize_dynamically
from onnxnnw.verification.verify import verify
from tests.support.byte_fuzz import damaged
from tests.support.networks import convolutional, dense, model_of, save, subgraph, tensor, weight
from tests.support.range_server import RangeServer

LEVELS = ("DISABLE_ALL", "ENABLE_BASIC", "ENABLE_EXTENDED", "ENABLE_ALL")


def saved(model: ModelProto | Path, path: Path, level: str = "DISABLE_ALL") -> Path:
    """A network as onnxruntime writes it in its own format."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_{level}")
    options.optimized_model_filepath = str(path)
    options.add_session_config_entry("session.save_model_format", "ORT")
    content = str(model) if isinstance(model, Path) else model.SerializeToString()
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return path


def branching() -> ModelProto:
    """Branches with weights of their own, texts, a sparse tensor, lists as attributes, an input with a default."""
    there = subgraph("t", [helper.make_node("MatMul", ["x", "wt"], ["t"])], ["t"], weight("wt", 48, 48))
    inner = subgraph("i", [helper.make_node("MatMul", ["m", "wi"], ["i"])], ["i"], weight("wi", 48, 48, seed=2))
    nodes = [
        helper.make_node("MatMul", ["x", "wm"], ["m"]),
        helper.make_node("If", ["c"], ["e"], then_branch=inner, else_branch=inner, name="inside"),
    ]
    other = subgraph("e", nodes, ["e"], weight("wm", 48, 48, seed=1))
    nodes = [
        helper.make_node("If", ["c"], ["h"], then_branch=there, else_branch=other, name="if"),
        helper.make_node("MatMul", ["h", "s"], ["d"]),
        helper.make_node("Add", ["d", "b"], ["y"]),
        helper.make_node("LabelEncoder", ["k"], ["l"], domain="ai.onnx.ml", keys_strings=["a", "ü"], values_floats=[1.0, 2.0]),
    ]  # fmt: skip
    model = model_of(nodes, [weight("b", 48)], outputs=("y", "l"), domains=["ai.onnx.ml"])
    model.opset_import[1].version = 3
    names = numpy_helper.from_array(np.array(["a", "ü"], dtype=object), "k")
    model.graph.initializer.append(names)
    model.graph.input.extend([helper.make_tensor_value_info("b", 1, [48]), helper.make_tensor_value_info("c", 9, [])])
    rows = np.arange(48, dtype="i8") * 49
    sparse = helper.make_sparse_tensor(tensor("s", np.linspace(1, 2, 48).astype("f4")), tensor("", rows), [48, 48])
    model.graph.sparse_initializer.append(sparse)
    return model


def filled(network: Network) -> ModelProto:
    """A network's model with all of its tensors in it."""
    out = ModelProto.FromString(network.model.SerializeToString())
    stack = [out.graph]
    while stack:
        graph = stack.pop()
        for proto in graph.initializer:
            if proto.external_data:
                stored = network.tensor(proto)
                del proto.external_data[:]
                proto.raw_data = b"".join(stored.raw_chunks())
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    stack.append(attribute.g)
    return out


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("model", [dense(), convolutional(), branching()], ids=["dense", "convolutional", "branching"])
def test_the_rebuilt_network_computes_what_the_file_computes(model, level, tmp_path):
    """As ONNX and as it is, onnxruntime gives the same outputs."""
    path = saved(model, tmp_path / "m.ort", level)
    with open_network(path) as network:
        assert (network.format, network.has_graph) == ("ort", True)
        rebuilt = filled(network)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    theirs, ours = (
        onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        for content in (str(path), rebuilt.SerializeToString())
    )
    assert [port.name for port in ours.get_inputs()] == [port.name for port in theirs.get_inputs()]
    shape = (1, 3, 8, 8) if model.graph.node[0].op_type == "Conv" else (2, 48)
    x = np.random.default_rng(0).normal(size=shape).astype("f4")
    for condition in (True, False):
        given = {"x": x} | ({"c": np.array(condition)} if len(theirs.get_inputs()) > 1 else {})
        for mine, wanted in zip(ours.run(None, given), theirs.run(None, given), strict=True):
            np.testing.assert_array_equal(mine, wanted)


def test_nodes_tensors_and_attributes_are_those_of_the_published_bindings(tmp_path):
    """Read by onnxruntime's own reader of this format."""
    path = saved(branching(), tmp_path / "m.ort")
    theirs = fbs.InferenceSession.InferenceSession.GetRootAs(path.read_bytes(), 0).Model().Graph()
    with open_network(path) as network:
        ours = network.model.graph
        nodes = [theirs.Nodes(n) for n in range(theirs.NodesLength())]
        assert {(n.op_type, *n.input) for n in ours.node} == {
            (n.OpType().decode(), *(n.Inputs(i).decode() for i in range(n.InputsLength()))) for n in nodes
        }
        for index in range(theirs.InitializersLength()):
            wanted = theirs.Initializers(index)
            proto = next(p for p in ours.initializer if p.name == wanted.Name().decode())
            assert proto.dims == (wanted.DimsAsNumpy().tolist() if wanted.DimsLength() else [])
            if proto.data_type != TensorProto.STRING:
                assert b"".join(network.tensor(proto).raw_chunks()) == wanted.RawDataAsNumpy().tobytes()


def test_a_network_is_traced_at_every_level_and_a_stranger_is_not(tmp_path):
    """From ONNX to .ort and back; folded and blocked for the processor too."""
    ours, other = save(convolutional(), tmp_path / "a.onnx"), save(convolutional(seed=50), tmp_path / "b.onnx")
    fingerprint(ours, tmp_path / "a.record", 400)
    record = load_record(tmp_path / "a.record")
    for level in LEVELS:
        path = saved(ours, tmp_path / f"{level}.ort", level)
        verdict = verify(path, [record])[0]
        assert verdict.decision == "traced", level
        if level != "DISABLE_ALL":
            assert "batch-norm-folded" in {finding.id for finding in verdict.findings}
        assert verify(saved(other, tmp_path / "b.ort", level), [record])[0].decision == "not traced", level
        fingerprint(path, tmp_path / f"{level}.record", 400)
        for candidate in (ours, path):
            assert verify(candidate, [load_record(tmp_path / f"{level}.record")])[0].decision == "traced", level


def test_eight_bits_and_dead_weights_are_seen_as_in_onnx(tmp_path):
    """What the graph says counts: scales of codes, and what no output depends on."""
    model = dense(layers=3, width=64)
    fingerprint(save(model, tmp_path / "a.onnx"), tmp_path / "a.record", 300)
    quantize_dynamically(tmp_path / "a.onnx", tmp_path / "q.onnx")
    path = saved(tmp_path / "q.onnx", tmp_path / "q.ort", "ENABLE_EXTENDED")
    verdict = verify(path, [load_record(tmp_path / "a.record")])[0]
    assert verdict.decision == "traced"
    assert "type-changed" in {finding.id for finding in verdict.findings}
    model.graph.node.append(helper.make_node("MatMul", ["x", "dead"], ["nowhere"]))
    model.graph.initializer.append(weight("dead", 64, 64, seed=9))
    with open_network(saved(model, tmp_path / "dead.ort")) as network:
        view = find_slots(network)
        assert "dead" not in {slot.name for slot in view.slots}


def test_a_mark_is_written_into_a_copy_that_onnxruntime_loads(tmp_path):
    """Changed by the byte, as an ONNX file is; found there, and not where it was not written."""
    path = saved(dense(width=128), tmp_path / "m.ort")
    embed(path, tmp_path / "out.ort", tmp_path / "w.record", positions=256)
    record = load_record(tmp_path / "w.record")
    assert verify(tmp_path / "out.ort", [record])[0].decision == "traced"
    assert verify(path, [record])[0].decision != "traced"
    assert (tmp_path / "out.ort").stat().st_size == path.stat().st_size
    x = np.ones((1, 128), "f4")
    first, second = (
        onnxruntime.InferenceSession(str(tmp_path / name), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for name in ("m.ort", "out.ort")
    )
    assert not np.array_equal(first, second)


def test_behind_an_address_only_parts_are_read(tmp_path):
    """Tensors by range: a network of 8 MiB is traced with a fraction of its bytes."""
    path = saved(dense(layers=2, width=1024), tmp_path / "m.ort")
    fingerprint(path, tmp_path / "r.record", 200)
    with RangeServer(tmp_path) as server:
        verdict = verify(f"{server.url}/m.ort", [load_record(tmp_path / "r.record")])[0]
        assert server.sent < path.stat().st_size / 2
    assert verdict.decision == "traced"


def test_another_name_is_no_hindrance(tmp_path):
    """The first bytes say what it is."""
    path = saved(dense(), tmp_path / "m.ort").rename(tmp_path / "m.bin")
    with open_network(path) as network:
        assert network.format == "ort"


# --- what breaks a rule -------------------------------------------------------------------------------------------------


def made(
    graph: Callable[[flatbuffers.Builder], int] | None, version: str = "6", opsets: int = 1, texts: bytes = b"ORTM"
) -> bytes:
    """A file around a graph."""
    b = flatbuffers.Builder(256)
    at = graph(b) if graph else 0
    imports = []
    for _ in range(opsets):
        domain = b.CreateString("")
        fbs.OperatorSetId.Start(b)
        fbs.OperatorSetId.AddDomain(b, domain)
        fbs.OperatorSetId.AddVersion(b, 17)
        imports.append(fbs.OperatorSetId.End(b))
    listed = vector(b, imports)
    fbs.Model.Start(b)
    fbs.Model.AddOpsetImport(b, listed)
    if at:
        fbs.Model.AddGraph(b, at)
    model, said = fbs.Model.End(b), b.CreateString(version)
    fbs.InferenceSession.Start(b)
    fbs.InferenceSession.AddOrtVersion(b, said)
    fbs.InferenceSession.AddModel(b, model)
    b.Finish(fbs.InferenceSession.End(b), texts)
    return bytes(b.Output())


def vector(b: flatbuffers.Builder, places: list[int]) -> int:
    b.StartVector(4, len(places), 4)
    for place in reversed(places):
        b.PrependUOffsetTRelative(place)
    return b.EndVector()


def graph_of(b: flatbuffers.Builder, nodes: list[int] = (), tensors: list[int] = (), infos: list[int] = ()) -> int:  # type: ignore[assignment]
    lists = [vector(b, list(places)) for places in (tensors, infos, nodes)]
    fbs.Graph.Start(b)
    for add, place in zip((fbs.Graph.AddInitializers, fbs.Graph.AddNodeArgs, fbs.Graph.AddNodes), lists, strict=True):
        add(b, place)
    return fbs.Graph.End(b)


def node(
    b: flatbuffers.Builder, inputs: list[str], outputs: list[str], attributes: list[int] = (), since: int = 1
) -> int:  # type: ignore[assignment]
    names = [vector(b, [b.CreateString(name) for name in some]) for some in (inputs, outputs)]
    op, listed = b.CreateString("Relu"), vector(b, list(attributes))
    fbs.Node.Start(b)
    fbs.Node.AddOpType(b, op)
    fbs.Node.AddSinceVersion(b, since)
    fbs.Node.AddInputs(b, names[0])
    fbs.Node.AddOutputs(b, names[1])
    fbs.Node.AddAttributes(b, listed)
    return fbs.Node.End(b)


def attribute(b: flatbuffers.Builder, kind: int, graphs: list[int] = (), name: str = "a") -> int:  # type: ignore[assignment]
    named, listed = b.CreateString(name), vector(b, list(graphs))
    fbs.Attribute.Start(b)
    fbs.Attribute.AddName(b, named)
    fbs.Attribute.AddType(b, kind)
    fbs.Attribute.AddGraphs(b, listed)
    return fbs.Attribute.End(b)


def stored(b: flatbuffers.Builder, raw: int, kind: int = 1, external: int = -1, texts: int = 0, name: str = "w") -> int:
    named = b.CreateString(name)
    dims = b.CreateNumpyVector(np.array([16, 32], "<i8"))
    fbs.Tensor.Start(b)
    fbs.Tensor.AddName(b, named)
    fbs.Tensor.AddDims(b, dims)
    fbs.Tensor.AddDataType(b, kind)
    if raw:
        fbs.Tensor.AddRawData(b, raw)
    if texts:
        fbs.Tensor.AddStringData(b, texts)
    fbs.Tensor.AddExternalDataOffset(b, external)
    return fbs.Tensor.End(b)


def raw(b: flatbuffers.Builder) -> int:
    return int(b.CreateByteVector(bytes(2048)))


def nested(b: flatbuffers.Builder, depth: int, times: int) -> int:
    """A graph whose node's attribute leads so many times to one graph, and so on."""
    at = graph_of(b)
    for _ in range(depth):
        at = graph_of(b, [node(b, [], [], [attribute(b, 10, [at] * times)])])
    return at


def shared(b: flatbuffers.Builder) -> int:
    content = raw(b)
    return graph_of(b, tensors=[stored(b, content), stored(b, content, name="v")])


def valued(b: flatbuffers.Builder) -> int:
    named = b.CreateString("x")
    fbs.ValueInfo.Start(b)
    fbs.ValueInfo.AddName(b, named)
    place = fbs.ValueInfo.End(b)
    return graph_of(b, infos=[place, place])


BROKEN = {
    "no graph": (made(None), "holds no graph"),
    "another version": (made(graph_of, version="77"), "of version '77'"),
    "operators imported twice": (made(graph_of, opsets=2), "imported twice"),
    "a circle": (made(lambda b: graph_of(b, [node(b, ["p"], ["q"]), node(b, ["q"], ["p"])])), "wait for each other"),
    "a newer node": (made(lambda b: graph_of(b, [node(b, [], ["q"], since=18)])), "of which 17 is imported"),
    "an attribute twice": (
        made(lambda b: graph_of(b, [node(b, [], [], [attribute(b, 2), attribute(b, 2)])])),
        "twice",
    ),
    "an unknown attribute": (made(lambda b: graph_of(b, [node(b, [], [], [attribute(b, 12)])])), "unknown kind 12"),
    "an empty attribute": (made(lambda b: graph_of(b, [node(b, [], [], [attribute(b, 5)])])), "is empty"),
    "deep graphs": (made(lambda b: nested(b, 20, 1)), "nested deeper"),
    "graphs without end": (made(lambda b: nested(b, 16, 40)), "again and again"),
    "shared bytes": (made(shared), "share the bytes"),
    "another file": (made(lambda b: graph_of(b, tensors=[stored(b, 0, external=8)])), "lies in another file"),
    "stored twice": (
        made(lambda b: graph_of(b, tensors=[stored(b, raw(b), texts=vector(b, [b.CreateString("a")]))])),
        "stored twice",
    ),
    "numbers as texts": (
        made(lambda b: graph_of(b, tensors=[stored(b, 0, texts=vector(b, [b.CreateString("a")]))])),
        "in a field of texts",
    ),
    "texts as numbers": (made(lambda b: graph_of(b, tensors=[stored(b, raw(b), kind=8)])), "in a field of numbers"),
    "described twice": (made(valued), "described twice"),
    "no readable text": (
        made(lambda b: graph_of(b), version="\udc80".encode("utf-8", "surrogatepass").decode("latin-1")),
        "of version",
    ),
    "another format": (b"\x10\0\0\0TFL3" + bytes(20), "does not begin like one"),
    "short": (b"\x10\0\0\0ORTM", "shorter than its head"),
    "a root outside": (b"\xff\xff\xff\xffORTM" + bytes(20), "leads nowhere"),
    "a root without fields": (struct.pack("<I4siHH", 8, b"ORTM", 4, 3, 4) + bytes(8), "damaged"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_breaks_a_rule_is_refused(case, tmp_path):
    """One clear sentence with the file's name."""
    content, said = BROKEN[case]
    (tmp_path / "m.ort").write_bytes(content)
    with pytest.raises(UnreadableNetwork) as refused:
        open_network(tmp_path / "m.ort")
    assert said in str(refused.value)
    assert "m.ort" in str(refused.value)


def test_a_list_of_billions_costs_nothing(tmp_path):
    """A length that the file does not have; and a file of two GiB is not of this format."""
    content = bytearray(made(lambda b: graph_of(b, [node(b, [], ["q"])])))
    place = content.index(b"Relu") - 4
    content[place : place + 4] = b"\xff\xff\xff\x7f"
    (tmp_path / "m.ort").write_bytes(content)
    with pytest.raises(UnreadableNetwork, match="behind the end"):
        open_network(tmp_path / "m.ort")
    with (tmp_path / "m.ort").open("r+b") as file:
        file.truncate(2**31)
    with pytest.raises(UnreadableNetwork, match="less than 2 GiB"):
        open_network(tmp_path / "m.ort")


def test_nodes_come_after_what_they_read():
    """By number where nothing else is said; what a body reads from outside counts, what it makes itself does not."""
    body = subgraph("b", [helper.make_node("Relu", ["late"], ["late2"])], ["late2"])
    nodes = [
        helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body),
        helper.make_node("Relu", ["x"], ["late"]),
        helper.make_node("Relu", ["y"], ["late2"]),
        helper.make_node("Relu", ["x"], ["z"]),
    ]
    assert [n.output[0] for n in in_order(nodes)] == ["late", "y", "late2", "z"]


def spoilt(seed: int, contents: list[bytes], path: Path) -> None:
    """Damage, then everything that a verification does: an answer or an error that was meant."""
    rng = random.Random(seed)
    content = rng.choice(contents)
    if rng.random() < 0.5:
        changed = bytearray(content)
        for _ in range(rng.choice((1, 2, 5))):
            place = rng.randrange(0, len(changed) - 4, rng.choice((1, 4)))
            changed[place : place + 4] = rng.choice(
                (rng.randbytes(4), struct.pack("<i", rng.randrange(-300, 300)), b"\xff\xff\xff\x7f", bytes(4))
            )
        content = bytes(changed)
    else:
        content = damaged(content, rng)
    path.write_bytes(content)
    with contextlib.suppress(TraceabilityError), open_network(path) as network:
        for proto in network.model.graph.initializer:
            stored = network.tensor(proto)
            if stored.readable:
                stored.array()
        find_slots(network)


def seeds(folder: Path) -> list[bytes]:
    small = [dense(width=16), convolutional(), branching()]
    return [saved(model, folder / f"{n}.ort", "ENABLE_BASIC").read_bytes() for n, model in enumerate(small)]


def test_any_damage_is_a_clear_error_or_a_network(tmp_path):
    """Bytes changed, cut or added anywhere: nothing else is raised, and what opens can be read."""
    contents = seeds(tmp_path)
    for seed in range(150):
        spoilt(seed, contents, tmp_path / "m.ort")


@pytest.mark.slow
def test_much_damage_is_a_clear_error_or_a_network(tmp_path):
    """The same, often."""
    contents = seeds(tmp_path)
    for seed in range(1000, 9000):
        spoilt(seed, contents, tmp_path / "m.ort")


def test_onnx_named_like_the_format_is_refused(tmp_path):
    """Runtimes go by the name, and so does this reader."""
    onnx.save(dense(), tmp_path / "m.ort")
    with pytest.raises(UnreadableNetwork, match="does not begin like one"):
        open_network(tmp_path / "m.ort")
