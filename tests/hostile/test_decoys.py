"""The original weights are in the file, and no output depends on them, or only through (nearly) nothing: never traced."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper

from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import open_network
from onnxnnw.records.record_file import load_record
from onnxnnw.verification.verify import verify
from tests.hostile.conftest import Victim
from tests.support.networks import model_of, save, subgraph, tensor, weight

WIDTH = 64
Parts = tuple[list[NodeProto], list[TensorProto]]


def chain(source: str, target: str, first: str, second: str, prefix: str) -> list[NodeProto]:
    """source -> MatMul, Relu, MatMul -> target."""
    return [
        helper.make_node("MatMul", [source, first], [f"{prefix}1"], name=f"{prefix}a"),
        helper.make_node("Relu", [f"{prefix}1"], [f"{prefix}2"]),
        helper.make_node("MatMul", [f"{prefix}2", second], [target], name=f"{prefix}b"),
    ]


def stolen(victim: Victim) -> list[TensorProto]:
    """The victim's two weights, under their names."""
    return [proto for proto in victim.model.graph.initializer if proto.name in ("w0", "w1")]


def own() -> list[TensorProto]:
    """The weights that really run."""
    return [weight("v0", WIDTH, WIDTH, seed=901), weight("v1", WIDTH, WIDTH, seed=902)]


def decoy(nodes: list[NodeProto], extra: list[TensorProto]) -> Callable[[Victim], ModelProto]:
    """A model with both chains, ``real`` and ``fake``, and the nodes that choose between them."""
    real, fake = chain("x", "real", "v0", "v1", "r"), chain("x", "fake", "w0", "w1", "f")
    return lambda victim: model_of([*real, *fake, *nodes], [*stolen(victim), *own(), *extra])


def branched(
    condition: list[NodeProto], extra: list[TensorProto], taken: str = "else"
) -> Callable[[Victim], ModelProto]:
    """An If whose condition is constant; the stolen weights stand in the branch that never runs."""
    real = subgraph("r", chain("x", "t", "v0", "v1", "r"), ["t"], *own())

    def build(victim: Victim) -> ModelProto:
        fake = subgraph("f", chain("x", "t", "w0", "w1", "f"), ["t"])
        then_branch, else_branch = (fake, real) if taken == "else" else (real, fake)
        node = helper.make_node("If", ["cond"], ["y"], then_branch=then_branch, else_branch=else_branch)
        return model_of([*condition, node], [*stolen(victim), *extra])

    return build


def dead_nodes(victim: Victim) -> ModelProto:
    """The stolen chain computes something that nobody reads."""
    nodes = [*chain("x", "y", "v0", "v1", "r"), *chain("x", "unused", "w0", "w1", "f")]
    return model_of(nodes, [*stolen(victim), *own()])


def dead_initializers(victim: Victim) -> ModelProto:
    """The stolen weights are there under their names, and no node reads them."""
    return model_of(chain("x", "y", "v0", "v1", "r"), [*stolen(victim), *own()])


def never_looped(trips: list[TensorProto], inputs: list[str]) -> Callable[[Victim], ModelProto]:
    """A loop around the stolen chain that runs zero times."""
    ports = [helper.make_tensor_value_info(n, t, None) for n, t in (("i", 7), ("c", 9), ("v", 1))]
    carried = [helper.make_tensor_value_info(n, t, None) for n, t in (("c2", 9), ("v2", 1))]
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), *chain("v", "v2", "w0", "w1", "f")], "l", ports, carried
    )
    nodes = [*chain("x", "real", "v0", "v1", "r"), helper.make_node("Loop", [*inputs, "real"], ["y"], body=body)]
    return lambda victim: model_of(nodes, [*stolen(victim), *own(), *trips])


def scaled(values: np.ndarray, join: str = "Add", operator: str = "Mul") -> Callable[[Victim], ModelProto]:
    """The stolen chain is multiplied by (nearly) nothing before it joins."""
    nodes = [helper.make_node(operator, ["fake", "s"], ["tiny"]), helper.make_node(join, ["real", "tiny"], ["y"])]
    return decoy(nodes, [tensor("s", values)])


def scalar(value: float, dtype: str = "f4") -> np.ndarray:
    return np.array(value, dtype)


FALSE = tensor("cond", np.array(False))
CASES = {
    "initializers that nothing reads": dead_initializers,
    "nodes that nothing reads": dead_nodes,
    "the branch of a constant If": branched([], [FALSE]),
    "the other branch of a constant If": branched([], [tensor("cond", np.array(True))], "then"),
    "If on a Constant node": branched(
        [helper.make_node("Constant", [], ["cond"], value=tensor("", np.array([False])))], []
    ),
    "If on a cast of 0.5, which is true": branched(
        [helper.make_node("Cast", ["h"], ["cond"], to=TensorProto.BOOL)], [tensor("h", scalar(0.5))], "then"
    ),
    "If on a cast of 256 to eight bits, which is false": branched(
        [
            helper.make_node("Cast", ["h"], ["b"], to=TensorProto.UINT8),
            helper.make_node("Cast", ["b"], ["cond"], to=TensorProto.BOOL),
        ],
        [tensor("h", np.array(256))],
    ),
    "If on one half of one, whole numbers": branched(
        [
            helper.make_node("Div", ["one", "two"], ["h"]),
            helper.make_node("Cast", ["h"], ["cond"], to=TensorProto.BOOL),
        ],
        [tensor("one", np.array(1)), tensor("two", np.array(2))],
    ),
    "a constant Where": decoy([helper.make_node("Where", ["cond", "fake", "real"], ["y"])], [FALSE]),
    "a constant Where of many elements": decoy(
        [helper.make_node("Where", ["cond", "fake", "real"], ["y"])], [tensor("cond", np.zeros((300, 64), bool))]
    ),
    "a loop of no trips": never_looped([tensor("trips", np.array(0))], ["trips", ""]),
    "a loop that is not entered": never_looped([tensor("go", np.array(False))], ["", "go"]),
    "a product with 1e-30": scaled(scalar(1e-30)),
    "a product with 0": scaled(scalar(0.0)),
    "a product with 1e-9 for each element": scaled(np.full((300, 64), 1e-9, "f4")),
    "a product with a large tensor of zeros": scaled(np.zeros((300, 64), "f4")),
    "a quotient by 1e30": scaled(scalar(1e30), operator="Div"),
    "a difference": scaled(scalar(1e-12, "f8"), join="Sub"),
    "a sum": scaled(scalar(1e-12), join="Sum"),
    "two small products": decoy(
        [
            helper.make_node("Mul", ["fake", "s"], ["t1"]),
            helper.make_node("Mul", ["s", "t1"], ["t2"]),
            helper.make_node("Add", ["t2", "real"], ["y"]),
        ],
        [tensor("s", scalar(1e-4))],
    ),
}


def joined(nodes: list[NodeProto], *extra: tuple[str, np.ndarray]) -> Callable[[Victim], ModelProto]:
    """The stolen chain gives ``idle``, by an operator that does not look at its values, and that is added."""
    return decoy(
        [*nodes, helper.make_node("Add", ["real", "idle"], ["y"])], [tensor(name, value) for name, value in extra]
    )


def node(op: str, inputs: list[str], target: str = "idle", **attributes: object) -> NodeProto:
    return helper.make_node(op, inputs, [target], **attributes)


CASES |= {
    "its shape alone": decoy([node("Shape", ["fake"], "s"), node("Reshape", ["real", "s"], "y")], []),
    "its shape to expand to": decoy([node("Shape", ["fake"], "s"), node("Expand", ["real", "s"], "y")], []),
    "its type alone": decoy([node("CastLike", ["real", "fake"], "y")], []),
    "less itself": joined([node("Sub", ["fake", "fake"])]),
    "over itself": joined([node("Div", ["fake", "fake"])]),
    "equal to itself": decoy(
        [node("Equal", ["fake", "fake"], "c"), node("Where", ["c", "real", "real"], "y")],
        [],
    ),
    "between zero and zero": joined([node("Clip", ["fake", "n", "n"])], ("n", scalar(0.0))),
    "to the power of nothing": joined([node("Pow", ["fake", "n"])], ("n", scalar(0.0))),
    "times a matrix of zeros": joined([node("MatMul", ["fake", "n"])], ("n", np.zeros((WIDTH, WIDTH), "f4"))),
    "a slope of nothing": joined([node("HardSigmoid", ["fake"], alpha=0.0, beta=0.0)]),
    "a Gemm's summand with beta 0": decoy(
        [node("Gemm", ["real", "e", "fake"], "y", beta=0.0)], [tensor("e", np.eye(WIDTH, dtype="f4"))]
    ),
}


def normalised(gamma: float) -> Callable[[Victim], ModelProto]:
    """The stolen chain is normalised to (nearly) nothing before it joins."""
    names = ("gamma", "beta", "mean", "variance")
    values = (np.full(WIDTH, gamma, "f4"), np.zeros(WIDTH, "f4"), np.zeros(WIDTH, "f4"), np.ones(WIDTH, "f4"))
    nodes = [helper.make_node("BatchNormalization", ["fake", *names], ["tiny"])]
    nodes.append(helper.make_node("Add", ["real", "tiny"], ["y"]))
    return decoy(nodes, [tensor(name, value) for name, value in zip(names, values, strict=True)])


def weakened(victim: Victim) -> ModelProto:
    """The last stolen weight stands in a Gemm whose alpha is next to nothing."""
    real, fake = chain("x", "real", "v0", "v1", "r"), chain("x", "fake", "w0", "w1", "f")
    fake[2] = helper.make_node("Gemm", ["f2", "w1"], ["fake"], alpha=1e-20)
    nodes = [*real, *fake, helper.make_node("Add", ["real", "fake"], ["y"])]
    return model_of(nodes, [*stolen(victim), *own()])


CASES |= {
    "a normalisation with gamma 0": normalised(0.0),
    "a normalisation with gamma 1e-20": normalised(1e-20),
    "a Gemm with alpha 1e-20": weakened,
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.replace(" ", "-"))
def test_weights_that_no_output_depends_on_are_not_traced(victim: Victim, tmp_path: Path, case: str) -> None:
    """Neither by the mark nor by the fingerprint; the weights that run are what is judged."""
    path = save(CASES[case](victim), tmp_path / "m.onnx")
    with open_network(path) as network:
        view = find_slots(network)
    assert {slot.name.rpartition("/")[2] for slot in view.slots} - {"e", "n"} == {"v0", "v1"}
    doubtful = {slot.name for slot in view.doubtful}
    assert doubtful in (set(), {"w0", "w1"})
    for record in victim.records:
        (verdict,) = verify(path, [load_record(record)], full=True)
        assert verdict.decision == ("inconclusive" if doubtful else "not traced")
        assert verdict.explained < (0.6 if doubtful else 0.1)
        assert bool(doubtful) == ("doubtful" in {finding.name for finding in verdict.findings})


def test_the_same_graph_with_the_weights_alive_is_traced(victim: Victim, tmp_path: Path) -> None:
    """The control: it is being dead that hides the weights, not the graph around them."""
    both = decoy([helper.make_node("Add", ["real", "fake"], ["y"])], [])
    taken = branched([], [tensor("cond", np.array(True))])
    for build in (both, taken):
        path = save(build(victim), tmp_path / "m.onnx")
        for record in victim.records:
            (verdict,) = verify(path, [load_record(record)])
            assert verdict.decision == "traced"


def test_a_condition_that_the_caller_gives_keeps_both_branches(victim: Victim, tmp_path: Path) -> None:
    """Then the weights may run: traced, and the finding says under a condition."""
    model = branched([], [])(victim)
    model.graph.input.append(helper.make_tensor_value_info("cond", TensorProto.BOOL, []))
    (verdict,) = verify(save(model, tmp_path / "m.onnx"), [load_record(victim.watermark)])
    assert verdict.decision == "traced"
    assert "conditional" in {finding.name for finding in verdict.findings}
    assert verdict.account.estimate == pytest.approx(0.5)
