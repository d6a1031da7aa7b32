"""Embedding changes exactly the bytes of N weights (and external locations), compared byte by byte."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import GraphProto, ModelProto, TensorProto, helper

from onnxnnw.enrolment.copies import copies_of
from onnxnnw.enrolment.enrol import Enrolment, embed, fingerprint
from onnxnnw.errors import CapacityError, FileChanged, UnsupportedNetwork, UsageError
from onnxnnw.graph.slots import find_slots
from onnxnnw.methods import nct
from onnxnnw.modifications.base import apply
from onnxnnw.modifications.gaussian_noise import GaussianNoise
from onnxnnw.network_file.file import open_network
from onnxnnw.network_file.patch import Edit, write_patched
from onnxnnw.records.key import Key
from onnxnnw.verification.verify import verify
from tests.support.networks import (
    convolutional,
    dense,
    differing,
    externalise,
    field,
    model_of,
    point_outside,
    save,
    subgraph,
    tensor,
    varint,
    weight,
)

N = 60


def marked(source: Path, tmp_path: Path, positions: int = N, decision: str = "identical") -> tuple[Path, Enrolment]:
    """A marked copy with its enrolment; the mark reads back, and verification finds it."""
    out = tmp_path / "marked.onnx"
    enrolment = embed(source, out, tmp_path / "record", positions=positions, key=Key(b"k" * 32))
    expected = nct.mark(enrolment.record)
    with open_network(out) as network:
        slots = find_slots(network).by_name()
        for name, (places, values) in expected.items():
            np.testing.assert_array_equal(slots[name].values(places), values)
    (verdict,) = verify(out, [enrolment.record], rate=1e-4, full=True)
    assert verdict.decision == decision
    assert verdict.log10_p < -4
    return out, enrolment


def weight_ranges(source: Path, enrolment: Enrolment, width: int) -> np.ndarray:
    """Byte offsets in the source file of every marked element, in copies of a weight too."""
    with open_network(source, for_writing=True) as network:
        view = find_slots(network)
        slots = view.by_name()
        starts = []
        written = nct.mark(enrolment.record)
        edits = [slots[name].edits(places, values) for name, (places, values) in written.items()]
        for copy in copies_of(view.slots):
            places, values = written[copy.of.name]
            edits.append(copy.slot.edits(copy.positions(places), values))
        for stored, positions, content in edits:
            assert stored.itemsize == width
            assert len(content) == width * positions.size
            starts.append(stored.offset + positions * width)
    return np.unique(np.concatenate(starts)[:, None] + np.arange(width))


def check_embedded(
    source: Path, tmp_path: Path, width: int = 4, decision: str = "identical", copied: bool = False
) -> None:
    """The marked copy differs from the source only within the bytes of N elements, and within each of most of them.

    Where a weight is stored twice, its marked elements count twice.
    """
    out, enrolment = marked(source, tmp_path, decision=decision)
    allowed = weight_ranges(source, enrolment, width)
    assert N * width < allowed.size < 2 * N * width if copied else allowed.size == N * width
    changed = differing(source.read_bytes(), out.read_bytes())
    assert np.isin(changed, allowed).all()
    assert np.unique(np.searchsorted(allowed, changed) // width).size > 0.8 * N, (
        "a mark value may equal the old one, rarely"
    )


def test_an_embedded_network_keeps_every_other_byte(tmp_path: Path) -> None:
    """Metadata, documentation and names included."""
    check_embedded(save(convolutional(), tmp_path / "m.onnx"), tmp_path)


def test_unknown_fields_stay_where_they_are(tmp_path: Path) -> None:
    """In the model, the graph, a node and a tensor; nobody knows what they mean, so such a file is never called identical."""
    model = dense()
    proto = field(5, weight("extra", 40, 40).SerializeToString() + field(99, b"tensor"))
    node = field(1, helper.make_node("MatMul", ["x", "extra"], ["z"]).SerializeToString() + field(88, b"node"))
    port = field(12, helper.make_tensor_value_info("z", 1, None).SerializeToString())
    graph = model.graph.SerializeToString() + proto + node + port + field(77, 7)
    model.ClearField("graph")
    path = tmp_path / "m.onnx"
    path.write_bytes(field(700, b"first") + model.SerializeToString() + field(7, graph) + field(600, b"last" * 500))
    check_embedded(path, tmp_path, decision="traced")


@pytest.mark.parametrize(("dtype", "width"), [("float16", 2), ("float32", 4), ("float64", 8)])
def test_each_floating_point_type_is_written_in_its_own_width(tmp_path: Path, dtype: str, width: int) -> None:
    """Values are rounded to the type before they are written, so reading back gives them exactly."""
    check_embedded(save(dense(dtype=dtype), tmp_path / "m.onnx"), tmp_path, width)


def test_bfloat16_is_written_in_its_own_width(tmp_path: Path) -> None:
    """Two bytes, rounded to nearest even."""
    model = dense()
    for proto in model.graph.initializer:
        bits = np.frombuffer(proto.raw_data, "<u4")
        proto.raw_data, proto.data_type = (bits >> 16).astype("<u2").tobytes(), TensorProto.BFLOAT16
    check_embedded(save(model, tmp_path / "m.onnx"), tmp_path, 2)


@pytest.mark.parametrize(("data_type", "width"), [("FLOAT", 4), ("DOUBLE", 8)])
def test_typed_fields_are_written_in_place(tmp_path: Path, data_type: str, width: int) -> None:
    """float_data and double_data are packed: as good as raw_data."""
    model = dense()
    for number, proto in enumerate(model.graph.initializer):
        values = np.frombuffer(proto.raw_data, "<f4").tolist()
        kind = getattr(TensorProto, data_type)
        model.graph.initializer[number].CopyFrom(helper.make_tensor(proto.name, kind, list(proto.dims), values))
    check_embedded(save(model, tmp_path / "m.onnx"), tmp_path, width)


def test_weights_in_constant_nodes_are_written_in_place(tmp_path: Path) -> None:
    """A Constant's tensor is an attribute; its bytes are as good as an initializer's."""
    nodes = [
        helper.make_node("Constant", [], ["w"], value=weight("", 64, 64)),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    check_embedded(save(model_of(nodes, []), tmp_path / "m.onnx"), tmp_path)


def test_weights_in_branches_loops_and_functions_are_written_in_place(tmp_path: Path) -> None:
    """Bodies and local functions are walked."""
    branch = subgraph("b", [helper.make_node("MatMul", ["x", "wb"], ["t"])], ["t"], weight("wb", 32, 32, seed=1))
    ports = [helper.make_tensor_value_info(n, t, None) for n, t in (("i", 7), ("c", 9), ("v", 1))]
    carried = [helper.make_tensor_value_info(n, t, None) for n, t in (("c2", 9), ("v2", 1))]
    body: GraphProto = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("MatMul", ["v", "wl"], ["v2"])],
        "loop", ports, carried, [weight("wl", 32, 32, seed=2)],
    )  # fmt: skip
    inside = [
        helper.make_node("Constant", [], ["wf"], value=weight("", 32, 32, seed=3)),
        helper.make_node("MatMul", ["a", "wf"], ["b"]),
    ]
    function = helper.make_function("local", "layer", ["a"], ["b"], inside, [helper.make_opsetid("", 21)])
    nodes = [
        helper.make_node("If", ["cond"], ["h1"], then_branch=branch, else_branch=branch, name="if"),
        helper.make_node("Loop", ["trips", "", "h1"], ["h2"], body=body, name="loop"),
        helper.make_node("layer", ["h2"], ["y"], domain="local", name="call"),
    ]
    model = model_of(nodes, [], ["x", "cond", "trips"], functions=[function], domains=["local"])
    path = save(model, tmp_path / "m.onnx")
    check_embedded(path, tmp_path, copied=True)
    with open_network(path) as network:
        names = [slot.name for slot in find_slots(network).slots]
    assert sorted(names) == ["call/wf", "if.else_branch/wb", "if.then_branch/wb", "loop.body/wl"]


def test_a_function_that_is_called_twice_is_marked_once(tmp_path: Path) -> None:
    """Two calls read the same bytes: one slot."""
    inside = [
        helper.make_node("Constant", [], ["wf"], value=weight("", 32, 32)),
        helper.make_node("MatMul", ["a", "wf"], ["b"]),
    ]
    function = helper.make_function("local", "layer", ["a"], ["b"], inside, [helper.make_opsetid("", 21)])
    nodes = [
        helper.make_node("layer", ["x"], ["h"], domain="local", name="first"),
        helper.make_node("layer", ["h"], ["y"], domain="local", name="second"),
    ]
    check_embedded(save(model_of(nodes, [], functions=[function], domains=["local"]), tmp_path / "m.onnx"), tmp_path)
    with open_network(tmp_path / "m.onnx") as network:
        assert [slot.name for slot in find_slots(network).slots] == ["first/wf"]


def test_tied_weights_are_marked_once(tmp_path: Path) -> None:
    """An embedding that is also the output matrix: its first use is the slot, and both uses carry the mark."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["h"]),
        helper.make_node("Transpose", ["table"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["h", "turned"], ["y"]),
    ]
    path = save(model_of(nodes, [weight("table", 90, 32)], ["ids"]), tmp_path / "m.onnx")
    check_embedded(path, tmp_path)
    with open_network(path) as network:
        assert [(slot.name, slot.use) for slot in find_slots(network).slots] == [("table", "Gather.0")]


def test_weights_that_something_else_reads_are_left_alone(tmp_path: Path) -> None:
    """A tensor that is also added, shown or compared is no place for a mark."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Add", ["h", "w"], ["a"]),
        helper.make_node("MatMul", ["a", "v"], ["y"]),
    ]
    path = save(model_of(nodes, [weight("w", 32, 32), weight("v", 32, 32, seed=1)]), tmp_path / "m.onnx")
    _, enrolment = marked(path, tmp_path)
    assert [entry.name for entry in enrolment.record.slots if entry.eligible] == ["v"]


def test_recurrent_and_grouped_weights_are_written_in_place(tmp_path: Path) -> None:
    """LSTM, GRU and a ConvTranspose with groups: positions are canonical, bytes are where they were."""
    nodes = [
        helper.make_node("LSTM", ["x", "lw", "lr"], ["l"], hidden_size=16),
        helper.make_node("GRU", ["l2", "gw", "gr"], ["g"], hidden_size=16),
        helper.make_node("Squeeze", ["l"], ["l2"]),
        helper.make_node("ConvTranspose", ["g", "tw"], ["y"], group=4),
    ]
    tensors = [
        weight("lw", 1, 64, 8), weight("lr", 1, 64, 16, seed=1), weight("gw", 1, 48, 16, seed=2),
        weight("gr", 1, 48, 16, seed=3), weight("tw", 16, 6, 3, 3, seed=4),
    ]  # fmt: skip
    check_embedded(save(model_of(nodes, tensors), tmp_path / "m.onnx"), tmp_path)


def test_weights_behind_a_transpose_are_written_in_place(tmp_path: Path) -> None:
    """What only moves elements about can be written through."""
    nodes = [
        helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
        helper.make_node("Reshape", ["t", "shape"], ["r"]),
        helper.make_node("Cast", ["r"], ["c"], to=TensorProto.DOUBLE),
        helper.make_node("MatMul", ["x", "c"], ["y"]),
    ]
    path = save(model_of(nodes, [weight("w", 40, 50), tensor("shape", np.array([100, 20]))]), tmp_path / "m.onnx")
    check_embedded(path, tmp_path)


def test_external_data_keeps_every_other_byte(tmp_path: Path) -> None:
    """Two external files with gaps, some tensors embedded, small ones too; keys of other tools survive."""
    model = dense(layers=4)
    places = {"w0": "a.bin", "w1": "sub/b.bin", "b1": "a.bin", "w2": "sub/b.bin"}
    source = tmp_path / "in"
    source.mkdir()
    path = externalise(model, source, "m.onnx", places.get)
    reread = ModelProto.FromString(path.read_bytes())
    reread.graph.initializer[0].external_data.add(key="tool", value="kept")
    reread.graph.initializer[0].external_data.add(key="checksum", value="0" * 40)
    save(reread, path)
    out, _ = marked(path, tmp_path)

    old, new = ModelProto.FromString(path.read_bytes()), ModelProto.FromString(out.read_bytes())
    data = out.with_name("marked.onnx.data").read_bytes()
    differences = 0
    for before, after in zip(old.graph.initializer, new.graph.initializer, strict=True):
        if before.name in places:
            entries = {entry.key: entry.value for entry in after.external_data}
            was = {entry.key: entry.value for entry in before.external_data}
            assert entries["location"] == "marked.onnx.data"
            assert "checksum" not in entries, "it was of the old file"
            assert entries.get("tool") == was.get("tool")
            assert entries["length"] == was["length"]
            start, length = int(entries["offset"]), int(entries["length"])
            left = (source / was["location"]).read_bytes()[int(was["offset"]) :][:length]
            right = data[start : start + length]
        else:
            left, right = before.raw_data, after.raw_data
        differences += np.unique(differing(left, right) // 4).size
        for proto in (before, after):
            proto.ClearField("raw_data")
            proto.ClearField("external_data")
    assert old == new, "nothing but values and locations changed"
    assert 0.8 * N < differences <= N


def test_gaps_in_external_data_are_copied(tmp_path: Path) -> None:
    """Bytes that no tensor uses are somebody's, too."""
    source = tmp_path / "in"
    source.mkdir()
    path = externalise(dense(), source, "m.onnx", lambda name: "w.bin" if name[0] == "w" else None)
    with (source / "w.bin").open("ab") as file:
        file.write(b"the end")
    out, _ = marked(path, tmp_path)
    old, new = (source / "w.bin").read_bytes(), out.with_name("marked.onnx.data").read_bytes()
    assert np.unique(differing(old, new[: len(old)]) // 4).size <= N
    assert new.endswith(b"the end")


def test_integers_behind_dequantizelinear_are_fingerprinted_and_not_embedded(tmp_path: Path) -> None:
    """A fingerprint reads; a mark would have to be an integer."""
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=1),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    integers = np.random.default_rng(0).integers(-128, 128, (64, 64)).astype("i1")
    scales = np.random.default_rng(1).uniform(0.01, 0.02, 64).astype("f4")
    path = save(model_of(nodes, [tensor("q", integers), tensor("s", scales)]), tmp_path / "m.onnx")
    enrolment = fingerprint(path, tmp_path / "f.record", positions=N)
    assert enrolment.record.slots[0].data_type == "int8"
    with pytest.raises(CapacityError, match="'q' is computed from int8 values"):
        embed(path, tmp_path / "out.onnx", tmp_path / "record", positions=N)
    assert not (tmp_path / "out.onnx").exists()
    assert not (tmp_path / "record").exists()


def one_by_one(model: ModelProto, data_type: int, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Store tensors in int32_data, a varint per element; their bits by name."""
    bits = {}
    for proto in model.graph.initializer:
        values = np.frombuffer(proto.raw_data, "<f4")
        half = data_type == TensorProto.FLOAT16
        kept = values.astype("<f2").view("<u2") if half else (values.view("<u4") >> 16).astype("<u2")
        name, dims = proto.name, list(proto.dims)
        if name in names:
            bits[name] = kept
            proto.CopyFrom(TensorProto(name=name, data_type=data_type, dims=dims, int32_data=kept.tolist()))
        else:
            proto.CopyFrom(TensorProto(name=name, data_type=data_type, dims=dims, raw_data=kept.tobytes()))
    return bits


def bits_of(proto: TensorProto) -> np.ndarray:
    """However they are stored."""
    return np.frombuffer(proto.raw_data, "<u2") if proto.raw_data else np.array(proto.int32_data).astype("<u2")


@pytest.mark.parametrize("data_type", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
@pytest.mark.parametrize("outside", [False, True])
def test_values_stored_one_by_one_are_marked(tmp_path: Path, data_type: int, outside: bool) -> None:
    """float16 in int32_data has a length per element: what is marked gets one width, and nothing else is touched."""
    model = dense(layers=4)
    bits = one_by_one(model, data_type, ["w0", "w2", "b1"])
    if outside:
        proto = next(proto for proto in model.graph.initializer if proto.name == "w1")
        (tmp_path / "w.bin").write_bytes(bytes(64) + proto.raw_data)
        point_outside(proto, "w.bin", 64, len(proto.raw_data))
    model.graph.doc_string = "kept"
    path = tmp_path / "m.onnx"
    path.write_bytes(save(model, path).read_bytes() + field(600, b"last" * 500))
    out, enrolment = marked(path, tmp_path, decision="traced")
    with open_network(path, for_writing=True) as network:
        slots = find_slots(network).by_name()
        mark = nct.mark(enrolment.record).items()
        expected = {name: slots[name].edits(places, values)[1] for name, (places, values) in mark}
    before, after = ModelProto.FromString(path.read_bytes()), ModelProto.FromString(out.read_bytes())
    for old, new in zip(before.graph.initializer, after.graph.initializer, strict=True):
        if old.name not in ("w0", "w2"):
            if not outside:
                assert old == new or old.name in expected
            continue
        assert not new.int32_data
        changed = np.flatnonzero(bits_of(new) != bits[old.name])
        assert set(changed.tolist()) <= set(expected[old.name].tolist())
        assert changed.size > 0.8 * expected[old.name].size
    for model_ in (before, after):
        for proto in model_.graph.initializer:
            proto.Clear()
    assert before == after
    assert onnx.load(out).graph.doc_string == "kept"


def test_values_stored_one_by_one_elsewhere_are_marked(tmp_path: Path) -> None:
    """In a branch and in a Constant node; ModelProto and onnx's checker read what is written."""
    inner = dense(layers=1)
    one_by_one(inner, TensorProto.FLOAT16, ["w0", "b0"])
    (proto,) = [proto for proto in inner.graph.initializer if proto.name == "w0"]
    constant = helper.make_node("Constant", [], ["c"], value=proto)
    proto.name = "w"
    branch = subgraph("g", [helper.make_node("MatMul", ["x", "w"], ["t"])], ["t"], proto)
    nodes = [constant, helper.make_node("MatMul", ["x", "c"], ["z"])]
    nodes.append(helper.make_node("If", ["k"], ["y"], then_branch=branch, else_branch=branch))
    model = model_of([*nodes], [])
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT16, None))
    path = save(model, tmp_path / "m.onnx")
    with open_network(path, for_writing=True) as network:
        slots = find_slots(network).slots
        assert [slot.read_only for slot in slots] == [""] * len(slots)
        edits = [Edit(*slot.edits(np.array([5, 0]), np.array([1.5, -2.0]))) for slot in slots]
        assert len(edits) >= 2
        write_patched(network, tmp_path / "out.onnx", edits)
    with open_network(tmp_path / "out.onnx") as network, open_network(path) as original:
        for new, old in zip(find_slots(network).slots, find_slots(original).slots, strict=True):
            assert new.values(np.array([5, 0])).tolist() == [1.5, -2.0]
            rest = np.setdiff1d(np.arange(new.size), [5, 0])
            np.testing.assert_array_equal(new.values(rest), old.values(rest))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "out.onnx"]


def test_values_stored_one_by_one_without_a_length_are_read_only(tmp_path: Path) -> None:
    """A field for every element, as no tool of today writes them: nobody knows where they begin."""
    model = dense()
    values = np.frombuffer(model.graph.initializer[0].raw_data, "<f4").astype("<f2").view("<u2").astype(int)
    head = TensorProto(name="w0", data_type=TensorProto.FLOAT16, dims=[48, 48]).SerializeToString()
    del model.graph.initializer[0]
    graph = model.graph.SerializeToString() + field(5, head + b"".join(b"\x28" + varint(v) for v in values.tolist()))
    model.ClearField("graph")
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString() + field(7, graph))
    with open_network(path, for_writing=True) as network:
        slot = find_slots(network).slots[0]
        assert "variable-length" in slot.read_only
        edit = Edit(slot.tensor, range(48 * 48), bytes(48 * 48 * 2))
        with pytest.raises(UnsupportedNetwork, match="variable-length"):
            write_patched(network, tmp_path / "out.onnx", [edit])
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


@pytest.mark.parametrize("kind", ["model", "external", "link"])
def test_the_input_is_never_the_output(tmp_path: Path, kind: str) -> None:
    """Neither the model nor a file of its external data, under whatever name."""
    path = externalise(dense(), tmp_path, "m.onnx", lambda name: "w.bin" if name == "w0" else None)
    target = {"model": path, "external": tmp_path / "w.bin", "link": tmp_path / "link"}[kind]
    if kind == "link":
        os.link(path, target)
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(UsageError, match=r"same file|holds weights of the input"):
        embed(path, target, tmp_path / "record", positions=N)
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_folder_is_no_output(tmp_path: Path) -> None:
    """And no data file is left beside it."""
    (tmp_path / "in").mkdir()
    path = externalise(dense(), tmp_path / "in", "m.onnx", lambda name: "w.bin")
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="folder"):
        embed(path, tmp_path / "out", tmp_path / "record", positions=N)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]


def test_a_new_output_replaces_an_older_one_with_its_data(tmp_path: Path) -> None:
    """The older data file goes when the newer model is in place, unless the input itself lies in it."""
    (tmp_path / "in").mkdir()
    path = externalise(dense(), tmp_path / "in", "m.onnx", lambda name: "w.bin")
    for _ in range(3):
        apply(GaussianNoise(ratio=0.1), path, tmp_path / "out.onnx")
    files = [p.name for p in tmp_path.iterdir() if p.is_file()]
    assert len(files) == 2
    model = ModelProto.FromString((tmp_path / "out.onnx").read_bytes())
    entries = {entry.key: entry.value for entry in model.graph.initializer[0].external_data}
    assert entries["location"] in files


def test_data_that_the_input_needs_is_not_removed_with_an_old_output(tmp_path: Path) -> None:
    """Input and old output share a data file that carries the output's name."""
    model = dense()
    content = model.graph.initializer[0].raw_data
    (tmp_path / "out.onnx.data").write_bytes(content)
    point_outside(model.graph.initializer[0], "out.onnx.data", 0, len(content))
    save(model, tmp_path / "in.onnx")
    save(model, tmp_path / "out.onnx")
    apply(GaussianNoise(ratio=0.1), tmp_path / "in.onnx", tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx.data").read_bytes() == content


def test_an_input_that_changes_meanwhile_leaves_no_output(tmp_path: Path) -> None:
    """What was read before and what is copied now would be two networks."""
    path = save(dense(), tmp_path / "m.onnx")
    with open_network(path, for_writing=True) as network:
        find_slots(network)

        def edits() -> list[Edit]:
            os.utime(path, ns=(1, 1))
            return []

        with pytest.raises(FileChanged):
            write_patched(network, tmp_path / "out.onnx", (edit for edit in edits()))
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_the_output_has_the_permissions_of_the_umask(tmp_path: Path) -> None:
    """Not those of a temporary file; the record is for its owner only."""
    old = os.umask(0o027)
    try:
        embed(save(dense(), tmp_path / "m.onnx"), tmp_path / "out.onnx", tmp_path / "record", positions=N)
    finally:
        os.umask(old)
    assert (tmp_path / "out.onnx").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "record").stat().st_mode & 0o777 == 0o600


def test_edits_read_back_as_rounded_values(tmp_path: Path) -> None:
    """Write then read is rounding to the stored type, for every way of storing."""
    rng = np.random.default_rng(5)
    for number, dtype in enumerate(("float16", "float32", "float64")):
        path = save(dense(dtype=dtype, seed=number), tmp_path / f"{dtype}.onnx")
        with open_network(path, for_writing=True) as network:
            slot = find_slots(network).slots[1]
            places = rng.choice(slot.size, 100, replace=False)
            values = rng.normal(size=100)
            write_patched(network, tmp_path / "out.onnx", [Edit(*slot.edits(places, values))])
        with open_network(tmp_path / "out.onnx") as network:
            read = find_slots(network).slots[1].values(places)
        np.testing.assert_array_equal(read, values.astype(dtype).astype(np.float64))
