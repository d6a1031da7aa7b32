"""The opposite of a decoy: weights that run, where a reader might think that they do not. Nothing may be hidden there."""

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from onnxnnw.errors import CannotLook
from onnxnnw.graph.digest import network_digest
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import open_network
from onnxnnw.records.record_file import load_record
from onnxnnw.verification.verify import verify
from tests.hostile.conftest import Victim
from tests.support.networks import model_of, save, subgraph, tensor, weight

WIDTH = 64


def digest(model: ModelProto, tmp_path: Path) -> str:
    with open_network(save(model, tmp_path / "d.onnx")) as network:
        return network_digest(network)


def beside(victim: Victim, seed: int) -> ModelProto:
    """The marked network plus 1e-7 x (x @ huge weights): a factor that looks like nothing, and decides every answer."""
    model = ModelProto.FromString(victim.model.SerializeToString())
    graph = model.graph
    last = graph.node[-1]
    output, last.output[0] = last.output[0], "own"
    graph.initializer.extend([weight("huge", WIDTH, WIDTH, seed=seed, scale=1e6), tensor("s", np.array(1e-7, "f4"))])
    graph.node.extend(
        [
            helper.make_node("MatMul", [graph.input[0].name, "huge"], ["h"]),
            helper.make_node("Mul", ["h", "s"], ["more"]),
            helper.make_node("Add", ["own", "more"], [output]),
        ]
    )
    return model


def test_a_tiny_factor_hides_no_weights(victim: Victim, tmp_path: Path) -> None:
    """They carry no mark, but they count among those that are not explained."""
    (verdict,) = verify(save(beside(victim, 1), tmp_path / "m.onnx"), [load_record(victim.watermark)])
    assert verdict.decision == "traced"
    assert verdict.explained == pytest.approx(2 / 3, abs=0.01)
    assert verdict.account.parts["doubtful"] == WIDTH * WIDTH


def test_a_tiny_factor_hides_nothing_from_the_digest(victim: Victim, tmp_path: Path) -> None:
    """Other weights behind it, another digest."""
    assert digest(beside(victim, 1), tmp_path) != digest(beside(victim, 2), tmp_path)


def chosen(seed: int) -> ModelProto:
    """An If on an initializer that is an input too: the caller may take the other branch."""
    branches = [
        subgraph(name, [helper.make_node("MatMul", ["x", own], [name])], [name], weight(own, WIDTH, WIDTH, seed=number))
        for name, own, number in (("t", "v0", 900), ("e", "v1", seed))
    ]
    node = helper.make_node("If", ["cond"], ["y"], then_branch=branches[0], else_branch=branches[1])
    model = model_of([node], [tensor("cond", np.array(True))])
    model.graph.input.append(helper.make_tensor_value_info("cond", TensorProto.BOOL, []))
    return model


def test_a_branch_that_a_caller_may_take_is_in_the_digest(tmp_path: Path) -> None:
    """The default condition takes the other one; still these are two networks."""
    assert digest(chosen(1), tmp_path) != digest(chosen(2), tmp_path)


def test_a_branch_that_no_caller_can_take_is_not(tmp_path: Path) -> None:
    """The control: without the input the condition is what it is."""
    models = chosen(1), chosen(2)
    for model in models:
        del model.graph.input[-1]
    assert digest(models[0], tmp_path) == digest(models[1], tmp_path)


def test_how_many_outputs_a_node_has_is_in_the_digest(tmp_path: Path) -> None:
    """Split without lengths divides by their number, whoever reads them."""

    def split(parts: int) -> ModelProto:
        names = [f"p{n}" for n in range(parts)]
        nodes = [helper.make_node("Split", ["x"], names, axis=-1), helper.make_node("ReduceSum", ["p0"], ["y"])]
        return model_of(nodes, [])

    assert digest(split(2), tmp_path) != digest(split(4), tmp_path)


def test_residual_branches_that_begin_with_a_factor_of_a_millionth_are_alive(tmp_path: Path) -> None:
    """As LayerScale initialises them, in the precision of float32 and of half precision."""
    for factor in (np.float32(1e-6), np.float16(1e-6)):
        nodes = [
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("Mul", ["h", "gamma"], ["s"]),
            helper.make_node("Add", ["x", "s"], ["y"]),
        ]
        gamma = tensor("gamma", np.full(WIDTH, factor, "f4"))
        with open_network(save(model_of(nodes, [weight("w", WIDTH, WIDTH), gamma]), tmp_path / "m.onnx")) as network:
            assert [slot.name for slot in find_slots(network).slots] == ["w"]


ODD = {
    "a product of nothing": [helper.make_node("Mul", [], ["h"]), helper.make_node("Add", ["x", "h"], ["y"])],
    "a move of nothing": [helper.make_node("Reshape", [], ["h"]), helper.make_node("Mul", ["h", "w"], ["m"]),
                          helper.make_node("Add", ["x", "m"], ["y"])],
    "one axis twice": [helper.make_node("ReduceMean", ["w"], ["h"], axes=[0, 0]), helper.make_node("Mul", ["x", "h"], ["y"])],
    "an axis from both ends": [helper.make_node("ReduceL2", ["w"], ["h"], axes=[1, -1]),
                               helper.make_node("Mul", ["x", "h"], ["y"])],
    "places that are no whole numbers": [helper.make_node("Gather", ["w", "f"], ["h"]),
                                         helper.make_node("Mul", ["x", "h"], ["y"])],
}  # fmt: skip


@pytest.mark.parametrize("case", ODD, ids=lambda case: case.replace(" ", "-"))
@pytest.mark.filterwarnings("error")
def test_nodes_that_contradict_themselves_are_no_crash(victim: Victim, tmp_path: Path, case: str) -> None:
    """An answer or a named error, and no warning."""
    odd = tensor("f", np.array([np.nan, np.inf, 0.5], "f4"))
    model = model_of(ODD[case], [weight("w", WIDTH, WIDTH), odd])
    try:
        (verdict,) = verify(save(model, tmp_path / "m.onnx"), [load_record(victim.watermark)], full=True)
    except CannotLook:
        return
    assert verdict.decision in ("not traced", "inconclusive")
