"""Values that bodies hand on unchanged are what they were; everything else that goes through a body stays unknown."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from onnxnnw.accounting.classing import account_of
from onnxnnw.graph.slot import Slot
from onnxnnw.graph.slot_view import SlotView
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import open_network
from tests.support.networks import model_of, save, tensor, weight

W = 16
node = helper.make_node


def value(name: str, kind: int = TensorProto.FLOAT, shape: Sequence[int] | None = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def loop_body(nodes: Sequence[NodeProto], states: Sequence[str], returned: Sequence[str]) -> GraphProto:
    """The body of a loop whose first state is ``s``, computed by the nodes as ``t``."""
    nodes = [*nodes, node("Identity", ["go"], ["on"])]
    inputs = [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("s"), *map(value, states)]
    outputs = [value("on", TensorProto.BOOL, []), value("t"), *map(value, returned)]
    return helper.make_graph(nodes, "body", inputs, outputs)


def loop(body: GraphProto, states: Sequence[str], outputs: Sequence[str], *more: NodeProto) -> ModelProto:
    """Two weights, ``a`` and ``b``, and a loop of three iterations."""
    first = node("Loop", ["n", "", "x", *states], ["z", *outputs], body=body)
    tensors = [weight("a", W, W, seed=1), weight("b", W, W, seed=2), tensor("n", np.array(3))]
    return model_of([first, *(more or [node("Identity", ["z"], ["y"])])], tensors)


def view_of(model: ModelProto, path: Path) -> SlotView:
    return find_slots(open_network(save(model, path / "m.onnx")))


def run(model: ModelProto, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


STEP = [node("MatMul", ["s", "wa"], ["h"]), node("Relu", ["h"], ["r"]), node("MatMul", ["r", "wb"], ["t"])]
X = np.random.default_rng(0).normal(size=(3, W)).astype("f4")


def twice(x: np.ndarray, slots: Sequence[Slot]) -> np.ndarray:
    a, b = (slot.array() for slot in slots)
    return np.maximum(x @ a.T, 0) @ b.T


@pytest.mark.parametrize(
    "returned", [["wa", "wb"], ["ia", "ib"], ["oa", "ob"]], ids=["itself", "identity", "from-outside"]
)
def test_state_that_a_loop_hands_on_is_the_same_weight_in_every_iteration(returned: list[str], tmp_path: Path) -> None:
    """What the loop computes follows from the slots; and nothing of it is unknown."""
    sources = {"ia": "wa", "ib": "wb", "oa": "a", "ob": "b"}
    moved = [node("Identity", [source], [name]) for name, source in sources.items()]
    model = loop(loop_body([*STEP, *moved], ["wa", "wb"], returned), ["a", "b"], ["u", "v"])
    view = view_of(model, tmp_path)
    assert [(slot.name, slot.conditional, slot.shared) for slot in view.slots] == [
        ("a", True, False),
        ("b", True, False),
    ]
    expected = X
    for _ in range(3):
        expected = twice(expected, view.slots)
    np.testing.assert_allclose(run(model, X), expected, atol=1e-5)
    assert not account_of(open_network(tmp_path / "m.onnx"), view).not_understood


def test_what_comes_out_of_a_loop_unchanged_is_still_the_weight(tmp_path: Path) -> None:
    """After the loop, it is read where the loop's output is."""
    more = [node("MatMul", ["z", "u"], ["m"]), node("MatMul", ["m", "v"], ["y"])]
    keep = [node("Identity", ["s"], ["t"])]
    model = loop(loop_body(keep, ["wa", "wb"], ["wa", "wb"]), ["a", "b"], ["u", "v"], *more)
    view = view_of(model, tmp_path)
    a, b = (slot.array() for slot in view.slots)
    np.testing.assert_allclose(run(model, X), X @ a.T @ b.T, atol=1e-5)


@pytest.mark.parametrize("returned", [["wb", "wa"], ["wb", "wb"], ["ta", "wb"]], ids=["swapped", "replaced", "turned"])
def test_state_that_changes_is_no_weight(returned: list[str], tmp_path: Path) -> None:
    """The first state is not what it was after one iteration, so nobody knows what is used; it is named."""
    turn = [node("Transpose", ["wa"], ["ta"])]
    model = loop(loop_body([*STEP, *turn], ["wa", "wb"], returned), ["a", "b"], ["u", "v"])
    view = view_of(model, tmp_path)
    assert "a" not in {slot.name for slot in view.slots}
    account = account_of(open_network(tmp_path / "m.onnx"), view)
    assert account.not_understood >= 4 * W * W
    assert any(entry.operator.startswith("Loop") for entry in account.unread())


def test_loops_in_loops_hand_on(tmp_path: Path) -> None:
    """The inner loop gets the outer one's state, and the outer returns what the inner gave back."""
    inner = loop_body(STEP, ["wa", "wb"], ["wa", "wb"])
    outer = loop_body([node("Loop", ["n", "", "s", "oa", "ob"], ["t", "p", "q"], body=inner)], ["oa", "ob"], ["p", "q"])
    for inside in outer.input[2:]:
        inside.name = {"s": "s", "oa": "oa", "ob": "ob"}[inside.name]
    for index, name in ((2, "s2"), (0, "i2"), (1, "go2")):
        rename(inner, inner.input[index].name, name)
    model = loop(outer, ["a", "b"], ["u", "v"])
    view = view_of(model, tmp_path)
    expected = X
    for _ in range(9):
        expected = twice(expected, view.slots)
    np.testing.assert_allclose(run(model, X), expected, atol=1e-5)


def rename(graph: GraphProto, old: str, new: str) -> None:
    for item in (*graph.input, *graph.output):
        item.name = new if item.name == old else item.name
    for each in graph.node:
        each.input[:] = [new if name == old else name for name in each.input]


@pytest.mark.parametrize("same", [True, False])
def test_what_both_branches_hand_on_is_chosen_for_sure(same: bool, tmp_path: Path) -> None:
    """One value from both branches is a weight; of two values nobody knows which."""
    branches = {
        f"{name}_branch": helper.make_graph([node("Identity", [given], [f"o{name}"])], name, [], [value(f"o{name}")])
        for name, given in (("then", "a"), ("else", "a" if same else "b"))
    }
    nodes = [
        node("ReduceSum", ["x"], ["sum"], keepdims=0),
        node("Greater", ["sum", "zero"], ["condition"]),
        node("If", ["condition"], ["w"], **branches),
        node("MatMul", ["x", "w"], ["h"]),
        node("MatMul", ["h", "b"], ["y"]),
    ]
    tensors = [weight("a", W, W, seed=1), weight("b", W, W, seed=2), tensor("zero", np.float32(0))]
    model = model_of(nodes, tensors)
    view = view_of(model, tmp_path)
    assert {slot.name for slot in view.slots} == ({"a", "b"} if same else {"b"})
    if same:
        a, b = (slot.array() for slot in view.slots)
        np.testing.assert_allclose(run(model, X), X @ a.T @ b.T, atol=1e-5)
        assert not any(slot.shared for slot in view.slots)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_scans_over_layers_are_a_stack(axis: int, reverse: int, tmp_path: Path) -> None:
    """One slot holds the layers one below the other, in the order in which they are stored."""
    layers = np.random.default_rng(1).normal(0, 0.3, (5, W, W)).astype("f4")
    biases = np.random.default_rng(2).normal(0, 0.3, (5, W)).astype("f4")
    steps = [node("MatMul", ["s", "w"], ["h"]), node("Add", ["h", "c"], ["g"]), node("Tanh", ["g"], ["t"])]
    body = helper.make_graph(steps, "body", [value("s"), value("w"), value("c")], [value("t", shape=[3, W])])
    scan = node("Scan", ["x", "ws", "bs"], ["y"], body=body, num_scan_inputs=2, scan_input_axes=[axis, 0],
                scan_input_directions=[reverse, reverse])  # fmt: skip
    model = model_of([scan], [tensor("ws", np.moveaxis(layers, 0, axis)), tensor("bs", biases)])
    view = view_of(model, tmp_path)
    (slot,) = view.slots
    assert (slot.name, slot.rows, slot.row_size, slot.shared) == ("ws", 5 * W, W, False)
    expected = X
    for matrix, bias in list(zip(slot.array().reshape(5, W, W), biases, strict=True))[:: -1 if reverse else 1]:
        expected = np.tanh(expected @ matrix.T + bias)
    np.testing.assert_allclose(run(model, X), expected, atol=1e-5)
    account = account_of(open_network(tmp_path / "m.onnx"), view)
    assert (account.weight, account.parameter, account.not_understood) == (5 * W * W, 5 * W, 0)
    places = np.arange(slot.size)
    stored, positions, _ = slot.edits(places, slot.values(places))
    np.testing.assert_array_equal(stored.take(positions), slot.values(places).astype("f4"))


def test_a_stack_that_something_else_reads_too_is_no_place_for_a_mark(tmp_path: Path) -> None:
    """The body also adds it up, in a way that nothing is known of."""
    steps = [node("MatMul", ["s", "w"], ["h"]), node("Softsign", ["w"], ["k"]), node("ReduceSum", ["k"], ["e"], keepdims=0),
             node("Add", ["h", "e"], ["t"])]  # fmt: skip
    body = helper.make_graph(steps, "body", [value("s"), value("w")], [value("t")])
    scan = node("Scan", ["x", "ws"], ["y"], body=body, num_scan_inputs=1)
    (slot,) = view_of(model_of([scan], [weight("ws", 5, W, W)]), tmp_path).slots
    assert slot.shared


def test_weights_that_a_caller_may_replace_stay_so_inside_a_loop(tmp_path: Path) -> None:
    """The loop's state is a graph input with a default."""
    model = loop(loop_body(STEP, ["wa", "wb"], ["wa", "wb"]), ["a", "b"], ["u", "v"])
    model.graph.input.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, [W, W]))
    assert {slot.name: slot.replaceable for slot in view_of(model, tmp_path).slots} == {"a": True, "b": False}


def test_a_loop_that_gets_its_own_output_is_not_followed_forever(tmp_path: Path) -> None:
    """A value that depends on itself is refused, or unknown."""
    from onnxnnw.errors import UnreadableNetwork

    model = loop(loop_body(STEP, ["wa", "wb"], ["wa", "wb"]), ["u", "b"], ["u", "v"])
    with pytest.raises(UnreadableNetwork):
        view_of(model, tmp_path)
