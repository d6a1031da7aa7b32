"""Slots in canonical layout, against what the operators compute."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper
from onnx.reference import ReferenceEvaluator

from onnxnnw.graph.slot import Slot
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import open_network
from onnxnnw.runtime import open_runtime
from tests.support.networks import dense, model_of, save, tensor, weight


def only_slot(nodes: Sequence[NodeProto], tensors: Sequence[TensorProto], path: Path) -> Slot:
    """The one slot of a small network."""
    (slot,) = find_slots(open_network(save(model_of(nodes, tensors), path / "m.onnx"))).slots
    return slot


def outputs(nodes: Sequence[NodeProto], tensors: Sequence[TensorProto], x: np.ndarray) -> np.ndarray:
    """What onnx's reference evaluator computes."""
    return np.asarray(ReferenceEvaluator(model_of(nodes, tensors)).run(None, {"x": x})[0])


def check_rows(slot: Slot, nodes: Sequence[NodeProto], tensors: Sequence[TensorProto], rows: int) -> None:
    """``values`` and ``array`` agree, and the array has that many out-rows."""
    array = slot.array()
    assert array.shape == (rows, slot.size // rows)
    positions = np.random.default_rng(0).permutation(slot.size)
    np.testing.assert_array_equal(slot.values(positions), array.reshape(-1)[positions])


X = np.random.default_rng(7).normal(size=(5, 12)).astype("f4")


@pytest.mark.parametrize("turned", [0, 1])
def test_gemm_rows_are_outputs(tmp_path: Path, turned: int) -> None:
    """transB or not, y = x times the transpose of the rows."""
    w = weight("w", *((20, 12) if turned else (12, 20)))
    nodes = [helper.make_node("Gemm", ["x", "w"], ["y"], transB=turned)]
    slot = only_slot(nodes, [w], tmp_path)
    check_rows(slot, nodes, [w], 20)
    np.testing.assert_allclose(X @ slot.array().T, outputs(nodes, [w], X), rtol=1e-5)


@pytest.mark.parametrize("turned", [0, 1])
def test_gemm_weights_on_the_left(tmp_path: Path, turned: int) -> None:
    """A constant first factor, transA or not."""
    w = weight("w", *((12, 20) if turned else (20, 12)))
    nodes = [helper.make_node("Gemm", ["w", "x"], ["y"], transA=turned, transB=1)]
    slot = only_slot(nodes, [w], tmp_path)
    check_rows(slot, nodes, [w], 20)
    np.testing.assert_allclose(slot.array() @ X.T, outputs(nodes, [w], X), rtol=1e-5)


def test_matmul_rows_are_outputs(tmp_path: Path) -> None:
    """A matrix on the right; a stack of matrices has the rows of all of them."""
    w = weight("w", 12, 20)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    slot = only_slot(nodes, [w], tmp_path)
    check_rows(slot, nodes, [w], 20)
    np.testing.assert_allclose(X @ slot.array().T, outputs(nodes, [w], X), rtol=1e-5)
    stack = weight("w", 3, 12, 20)
    slot = only_slot(nodes, [stack], tmp_path)
    check_rows(slot, nodes, [stack], 60)
    whole = np.einsum("bi,goi->gbo", X, slot.array().reshape(3, 20, 12))
    np.testing.assert_allclose(whole, outputs(nodes, [stack], X), rtol=1e-4, atol=1e-6)


def test_gather_rows_are_table_entries(tmp_path: Path) -> None:
    """Row i is what index i looks up."""
    w = weight("w", 30, 8)
    nodes = [helper.make_node("Cast", ["x"], ["i"], to=7), helper.make_node("Gather", ["w", "i"], ["y"])]
    slot = only_slot(nodes, [w], tmp_path)
    check_rows(slot, nodes, [w], 30)
    assert slot.layout == "gather"
    np.testing.assert_array_equal(slot.array()[[3, 29]], outputs(nodes, [w], np.array([3, 29], "f4")))


@pytest.mark.parametrize(("groups", "kernel"), [(1, (3,)), (2, (3, 3)), (4, (1, 1)), (1, (2, 1, 2))])
def test_convolution_rows_are_output_channels(tmp_path: Path, groups: int, kernel: tuple[int, ...]) -> None:
    """A unit impulse at one input channel reads one column of the rows."""
    w = weight("w", 16, 16 // groups, *kernel)
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], group=groups)]
    slot = only_slot(nodes, [w], tmp_path)
    check_rows(slot, nodes, [w], 16)
    x = np.random.default_rng(1).normal(size=(1, 16, *kernel)).astype("f4")
    found = outputs(nodes, [w], x).reshape(16)
    rows = slot.array().reshape(groups, 16 // groups, -1)
    expected = np.einsum("goi,gi->go", rows, x.reshape(groups, -1)).reshape(16)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_transposed_convolution_rows_are_output_channels(tmp_path: Path, groups: int) -> None:
    """One input pixel: output channel o is the sum over its group of x times row o."""
    w = weight("w", 8, 6, 3, 3)
    nodes = [helper.make_node("ConvTranspose", ["x", "w"], ["y"], group=groups)]
    slot = only_slot(nodes, [w], tmp_path)
    assert slot.shape == (6 * groups, 8 // groups, 3, 3)
    check_rows(slot, nodes, [w], 6 * groups)
    x = np.random.default_rng(1).normal(size=(1, 8, 1, 1)).astype("f4")
    found = open_runtime(tmp_path / "m.onnx").run({"x": x})["y"][0]  # onnx's own evaluator fails with groups
    rows = slot.array().reshape(groups, 6, 8 // groups, 3, 3)
    expected = np.einsum("goikl,gi->gokl", rows, x.reshape(groups, -1)).reshape(6 * groups, 3, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("op", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrent_rows_are_gate_units(tmp_path: Path, op: str, gates: int) -> None:
    """W and R are two slots with one row for each unit of each gate and direction, as stored."""
    hidden, inputs = 8, 10
    w, r = weight("w", 2, gates * hidden, inputs), weight("r", 2, gates * hidden, hidden, seed=1)
    nodes = [helper.make_node(op, ["x", "w", "r"], ["y"], hidden_size=hidden, direction="bidirectional")]
    with open_network(save(model_of(nodes, [w, r]), tmp_path / "m.onnx")) as network:
        first, second = find_slots(network).slots
        assert (first.use, second.use) == (f"{op}.1", f"{op}.2")
        for slot, columns in ((first, inputs), (second, hidden)):
            check_rows(slot, nodes, [w, r], 2 * gates * hidden)
            assert slot.row_size == columns


def test_edits_are_the_inverse_of_values(tmp_path: Path) -> None:
    """For each layout: the bytes that ``edits`` names are those that ``values`` reads."""
    cases = [
        ([helper.make_node("Gemm", ["x", "w"], ["y"], transB=0)], weight("w", 12, 20)),
        ([helper.make_node("Gemm", ["w", "x"], ["y"], transA=1)], weight("w", 12, 20)),
        ([helper.make_node("MatMul", ["x", "w"], ["y"])], weight("w", 3, 12, 20)),
        ([helper.make_node("ConvTranspose", ["x", "w"], ["y"], group=4)], weight("w", 8, 6, 3, 3)),
        ([helper.make_node("Conv", ["x", "w"], ["y"])], weight("w", 8, 8, 3, 3)),
    ]
    for nodes, proto in cases:
        path = save(model_of(nodes, [proto]), tmp_path / "m.onnx")
        with open_network(path, for_writing=True) as network:
            (slot,) = find_slots(network).slots
            positions = np.random.default_rng(0).permutation(slot.size)
            stored, places, content = slot.edits(positions, slot.values(positions))
            whole = path.read_bytes()
            for place, start in zip(places.tolist(), range(0, len(content), 4), strict=True):
                offset = stored.offset + 4 * place
                assert whole[offset : offset + 4] == content[start : start + 4]
            assert sorted(places.tolist()) == list(range(slot.size))


def test_parts_of_one_tensor_are_slots_of_their_own(tmp_path: Path) -> None:
    """Split in three and used by three nodes; a mark in one of them changes nothing else."""
    nodes = [helper.make_node("Split", ["w"], ["a", "b", "c"], axis=1, num_outputs=3)]
    nodes += [helper.make_node("MatMul", ["x", part], [f"y{part}"]) for part in "abc"]
    nodes.append(helper.make_node("Sum", ["ya", "yb", "yc"], ["y"]))
    w = weight("w", 12, 36)
    with open_network(save(model_of(nodes, [w]), tmp_path / "m.onnx"), for_writing=True) as network:
        slots = sorted(find_slots(network).slots, key=lambda slot: int(slot.name[2:-1]))
        assert [slot.name for slot in slots] == ["w[0]", "w[12]", "w[24]"]
        values = np.frombuffer(w.raw_data, "f4").reshape(12, 36)
        places = set()
        for number, slot in enumerate(slots):
            np.testing.assert_array_equal(slot.array(), values[:, 12 * number : 12 * number + 12].T)
            assert not slot.shared
            places |= set(slot.edits(np.arange(slot.size), slot.values(np.arange(slot.size)))[1].tolist())
        assert places == set(range(w.dims[0] * w.dims[1]))


def test_a_part_beside_the_whole_is_no_place_for_a_mark(tmp_path: Path) -> None:
    """Their elements are the same ones."""
    nodes = [
        helper.make_node("Slice", ["w", "zero", "half"], ["part"]),
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("MatMul", ["h", "part"], ["y"]),
    ]
    tensors = [weight("w", 24, 12), tensor("zero", np.array([0])), tensor("half", np.array([12]))]
    with open_network(save(model_of(nodes, tensors), tmp_path / "m.onnx")) as network:
        assert [slot.shared for slot in find_slots(network).slots if slot.size == 288] == [True]


def test_merged_weights_are_one_slot(tmp_path: Path) -> None:
    """Three tensors that are joined before they are used."""
    nodes = [
        helper.make_node("Concat", ["q", "k", "v"], ["w"], axis=1),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    parts = [weight(name, 12, 16, seed=seed) for seed, name in enumerate("qkv")]
    with open_network(save(model_of(nodes, parts), tmp_path / "m.onnx")) as network:
        (slot,) = find_slots(network).slots
        whole = np.concatenate([np.frombuffer(part.raw_data, "f4").reshape(12, 16) for part in parts], axis=1)
        np.testing.assert_array_equal(slot.array(), whole.T)
        assert slot.read_only


def test_tables_that_are_added_are_weights(tmp_path: Path) -> None:
    """Position embeddings, on either side; not biases, masks, or what is as flat as one."""
    mask = np.triu(np.full((16, 16), -1e4, "f4"), 1)
    tensors = [weight("table", 16, 12), weight("left", 1, 16, 12), tensor("mask", mask), weight("bias", 1, 1, 96)]
    nodes = [
        helper.make_node("Add", ["x", "table"], ["a"]), helper.make_node("Add", ["left", "a"], ["b"]),
        helper.make_node("Add", ["b", "mask"], ["c"]), helper.make_node("Add", ["c", "bias"], ["y"]),
    ]  # fmt: skip
    with open_network(save(model_of(nodes, tensors), tmp_path / "m.onnx")) as network:
        view = find_slots(network)
        assert [(slot.name, slot.use) for slot in view.slots] == [("table", "Add.1"), ("left", "Add.0")]
        assert not view.not_understood


def test_gathering_chosen_rows_of_a_constant_is_a_step_on_the_way(tmp_path: Path) -> None:
    """A tool that reorders channels leaves a Gather with constant indices; the weight is what comes out."""
    order = np.random.default_rng(0).permutation(20)
    nodes = [
        helper.make_node("Gather", ["w", "order"], ["turned"], axis=1),
        helper.make_node("MatMul", ["x", "turned"], ["y"]),
    ]
    w = weight("w", 12, 20)
    slot = only_slot(nodes, [w, tensor("order", order)], tmp_path)
    assert slot.use == "MatMul.1"
    np.testing.assert_array_equal(slot.array(), np.frombuffer(w.raw_data, "f4").reshape(12, 20).T[order])


def test_weights_that_are_quantised_on_the_way_are_read_as_they_act(tmp_path: Path) -> None:
    """Quantised and back, as training with quantisation in mind leaves them."""
    w = weight("w", 12, 20)
    nodes = [
        helper.make_node("QuantizeLinear", ["w", "s", "z"], ["q"], axis=1),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], axis=1),
        helper.make_node("MatMul", ["x", "d"], ["y"]),
    ]
    scale = np.linspace(0.01, 0.05, 20).astype("f4")
    slot = only_slot(nodes, [w, tensor("s", scale), tensor("z", np.zeros(20, "i1"))], tmp_path)
    assert slot.name == "w"
    assert slot.read_only
    values = np.frombuffer(w.raw_data, "f4").reshape(12, 20)
    np.testing.assert_allclose(slot.array(), (np.rint(values / scale) * scale).T, rtol=1e-6)


def test_two_constant_factors_are_one_weight(tmp_path: Path) -> None:
    """MatMul of two constants is folded by every runtime: the weight is their product."""
    nodes = [helper.make_node("MatMul", ["a", "b"], ["c"]), helper.make_node("MatMul", ["x", "c"], ["y"])]
    left, right = (np.random.default_rng(seed).normal(size=(12, 12)).astype("f4") for seed in (0, 1))
    with open_network(save(model_of(nodes, [tensor("a", left), tensor("b", right)]), tmp_path / "m")) as network:
        view = find_slots(network)
        (slot,) = view.slots
        assert slot.read_only
        np.testing.assert_allclose(slot.array(), (left @ right).T, rtol=1e-4, atol=1e-5)
    assert not view.not_understood


def test_bias_and_replaceable_weights_are_told(tmp_path: Path) -> None:
    """The name of the bias, and whether a caller may replace the weight."""
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"])]
    with open_network(save(model_of(nodes, [weight("w", 12, 20), weight("b", 20)], ["x", "w"]), tmp_path / "m")) as net:
        (slot,) = find_slots(net).slots
        assert (slot.bias, slot.replaceable) == ("b", True)


def test_small_and_flat_tensors_are_no_slots(tmp_path: Path) -> None:
    """Fewer than 64 elements or fewer than two dimensions."""
    nodes = [helper.make_node("MatMul", ["x", "a"], ["h"]), helper.make_node("MatMul", ["h", "b"], ["y"])]
    with open_network(save(model_of(nodes, [weight("a", 7, 9), weight("b", 9)]), tmp_path / "m")) as network:
        assert find_slots(network).slots == []


def test_weights_without_use_are_listed_as_dead(tmp_path: Path) -> None:
    """So that a tracker learns what was not marked."""
    model = dense()
    model.graph.initializer.append(weight("spare", 32, 32))
    with open_network(save(model, tmp_path / "m.onnx")) as network:
        view = find_slots(network)
    assert [t.name for t in view.dead] == ["spare"]
    assert [slot.name for slot in view.slots] == ["w0", "w1"]


def test_every_operator_of_microsoft_reads_like_its_standard_form(tmp_path: Path) -> None:
    """FusedMatMul with transB is a Gemm; QLinearMatMul is a MatMul behind DequantizeLinear."""
    w = weight("w", 20, 12)
    fused = [helper.make_node("FusedMatMul", ["x", "w"], ["y"], domain="com.microsoft", transB=1)]
    slot = only_slot(fused, [w], tmp_path)
    np.testing.assert_array_equal(slot.array(), np.frombuffer(w.raw_data, "f4").reshape(20, 12))
    integers = np.random.default_rng(0).integers(-9, 9, (12, 20)).astype("i1")
    parts = [
        tensor("q", integers), tensor("s", np.linspace(0.1, 0.2, 20).astype("f4")), tensor("z", np.full(20, 3, "i1")),
        tensor("xs", np.float32(0.1)), tensor("xz", np.int8(0)),
    ]  # fmt: skip
    nodes = [helper.make_node("QLinearMatMul", ["x", "xs", "xz", "q", "s", "z", "xs", "xz"], ["y"])]
    slot = only_slot(nodes, parts, tmp_path)
    expected = (integers.astype("f4") - 3) * np.linspace(0.1, 0.2, 20).astype("f4")
    np.testing.assert_array_equal(slot.array(), expected.T)


def test_what_also_goes_through_a_step_that_is_not_understood_carries_no_mark(tmp_path: Path) -> None:
    """A weight that something else is made of, nobody knows how, may not be changed."""
    w = weight("w", 48, 48)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Det", ["w"], ["d"]),
        helper.make_node("Mul", ["m", "d"], ["y"]),
    ]
    slot = only_slot(nodes, [w], tmp_path)
    assert slot.shared
    assert not only_slot([nodes[0], helper.make_node("Relu", ["m"], ["y"])], [w], tmp_path).shared
