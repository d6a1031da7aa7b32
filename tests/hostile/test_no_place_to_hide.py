"""Weights in places that are each innocent: what is not read is neither explained nor absent, and decides no "identical"."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxnnw.comparison import compare
from onnxnnw.graph.digest import network_digests
from onnxnnw.network_file.file import open_network
from onnxnnw.records.record_file import load_record
from onnxnnw.verification.verify import verify
from tests.hostile.conftest import Victim
from tests.support.networks import model_of, save, subgraph, tensor, weight

WIDTH = 64
Parts = tuple[list[NodeProto], list[TensorProto]]


def node(op: str, inputs: list[str], *outputs: str, **attributes: object) -> NodeProto:
    return helper.make_node(op, inputs, list(outputs), **attributes)


def values_of(victim: Victim) -> dict[str, np.ndarray]:
    """The two marked matrices."""
    return {p.name: numpy_helper.to_array(p) for p in victim.model.graph.initializer if p.name in ("w0", "w1")}


def network(parts: Callable[[str, np.ndarray], Parts], victim: Victim, **more: object) -> ModelProto:
    """The marked network, each of its matrices made by ``parts`` as ``NAME.w`` while it runs."""
    nodes, tensors = [], []
    for name, values in values_of(victim).items():
        made, stored = parts(name, values)
        nodes += made
        tensors += stored
    nodes += [
        node("MatMul", ["x", "w0.w"], "h"),
        node("Relu", ["h"], "r"),
        node("MatMul", ["r", "w1.w"], "y"),
    ]
    return model_of(nodes, tensors, **more)


def nothing(name: str) -> list[NodeProto]:
    """``NAME.none``: a zero that is computed from the input."""
    return [node("ReduceSum", ["x"], f"{name}.s", keepdims=0), node("Sub", [f"{name}.s", f"{name}.s"], f"{name}.none")]


def in_pieces(name: str, values: np.ndarray) -> Parts:
    """Operands of 64 elements, one for each row, joined behind an empty piece that is computed."""
    rows = [tensor(f"{name}.{n}", row) for n, row in enumerate(values)]
    nodes = [
        *nothing(name),
        node("Unsqueeze", [f"{name}.none", f"{name}.a"], f"{name}.z"),
        node("Concat", [f"{name}.z", *(row.name for row in rows)], f"{name}.c", axis=0),
        node("Slice", [f"{name}.c", f"{name}.b", f"{name}.e"], f"{name}.f"),
        node("Reshape", [f"{name}.f", f"{name}.t"], f"{name}.w"),
    ]
    more = {"a": [0], "b": [1], "e": [values.size + 1], "t": values.shape}
    return nodes, [*rows, *(tensor(f"{name}.{key}", np.array(value)) for key, value in more.items())]


def in_attributes(name: str, values: np.ndarray) -> Parts:
    """One number in the attribute of each of many nodes, added to nothing."""
    nodes = [*nothing(name), node("Reshape", [f"{name}.none", f"{name}.o"], f"{name}.p")]
    cells = [f"{name}.{n}" for n in range(values.size)]
    for cell, value in zip(cells, values.reshape(-1).tolist(), strict=True):
        nodes.append(node("Celu", [f"{name}.p"], f"{cell}.i", alpha=1.0))
        nodes.append(node("Gemm", [f"{name}.one", f"{name}.one", f"{cell}.i"], cell, alpha=value))
    nodes += [
        node("Concat", cells, f"{name}.c", axis=0),
        node("Reshape", [f"{name}.c", f"{name}.t"], f"{name}.w"),
    ]
    return nodes, [
        tensor(f"{name}.one", np.ones((1, 1), "f4")),
        tensor(f"{name}.o", np.array([1, 1])),
        tensor(f"{name}.t", np.array(values.shape)),
    ]


def in_words(name: str, values: np.ndarray) -> Parts:
    """Words of vocabularies that are cast to numbers."""
    nodes, cells = [*nothing(name), node("Cast", [f"{name}.none"], f"{name}.k", to=TensorProto.INT64)], []
    nodes.append(node("Add", [f"{name}.n", f"{name}.k"], f"{name}.i"))
    for number, row in enumerate(values):
        words = [repr(float(value)) for value in row]
        cell = f"{name}.{number}"
        mapping = node("CategoryMapper", [f"{name}.i"], f"{cell}.s", domain="ai.onnx.ml", cats_strings=words)
        mapping.attribute.append(helper.make_attribute("cats_int64s", list(range(len(words)))))
        nodes += [mapping, node("Cast", [f"{cell}.s"], cell, to=TensorProto.FLOAT)]
        cells.append(cell)
    nodes += [
        node("Concat", cells, f"{name}.c", axis=0),
        node("Reshape", [f"{name}.c", f"{name}.t"], f"{name}.w"),
    ]
    return nodes, [tensor(f"{name}.n", np.arange(WIDTH)), tensor(f"{name}.t", np.array(values.shape))]


def in_a_table(name: str, values: np.ndarray) -> Parts:
    """A table of another shape, plus nothing."""
    table = tensor(f"{name}.a", values.reshape(32, -1))
    nodes = [
        *nothing(name),
        node("Add", [f"{name}.a", f"{name}.none"], f"{name}.b"),
        node("Reshape", [f"{name}.b", f"{name}.t"], f"{name}.w"),
    ]
    return nodes, [table, tensor(f"{name}.t", np.array(values.shape))]


def behind_a_formula(name: str, values: np.ndarray) -> Parts:
    """A table that follows a formula to a thousandth of its largest value."""
    tail = (1.1 ** np.arange(120)).astype("f4")
    nodes = [
        *nothing(name),
        node("Add", [f"{name}.a", f"{name}.none"], f"{name}.b"),
        node("Slice", [f"{name}.b", f"{name}.s0", f"{name}.e"], f"{name}.c"),
        node("Reshape", [f"{name}.c", f"{name}.t"], f"{name}.w"),
    ]
    table = tensor(f"{name}.a", np.concatenate([values.reshape(-1), tail]))
    more = {"s0": [0], "e": [values.size], "t": values.shape}
    return nodes, [table, *(tensor(f"{name}.{key}", np.array(value)) for key, value in more.items())]


PLACES = {
    "pieces": in_pieces,
    "attributes": in_attributes,
    "words": in_words,
    "a table": in_a_table,
    "a formula": behind_a_formula,
}


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.replace(" ", "-"))
def test_a_network_whose_weights_stand_elsewhere_is_not_called_another(victim, tmp_path, place):
    """Nothing of it is read, so nothing is absent; and no comparison says that it is a stranger."""
    model = network(PLACES[place], victim)
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    path = save(model, tmp_path / "m.onnx")
    for record in victim.records:
        (verdict,) = verify(path, [load_record(record)])
        assert (verdict.decision, verdict.read, verdict.absent) == ("inconclusive", 0, 0)
        assert verdict.explained < 0.01
        assert verdict.not_understood
    assert compare(victim.path, path).relation == "could not tell"


def beside(victim: Victim, parts: Callable[[str, np.ndarray], Parts]) -> ModelProto:
    """The marked network plus a stranger of the same size whose weights stand elsewhere."""
    model = ModelProto.FromString(victim.model.SerializeToString())
    graph = model.graph
    last = graph.node[-1]
    output, last.output[0] = last.output[0], "own"
    for number, source in enumerate(("x", "v1")):
        values = np.random.default_rng(number).standard_normal((WIDTH, WIDTH)).astype("f4")
        nodes, tensors = parts(f"v{number}", values)
        graph.node.extend([*nodes, node("MatMul", [source, f"v{number}.w"], f"v{number + 1}")])
        graph.initializer.extend(tensors)
    graph.node.append(node("Add", ["own", "v2"], output))
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    return model


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.replace(" ", "-"))
def test_a_stranger_beside_the_network_is_not_explained(victim, tmp_path, place):
    """Half of what runs, at least, is none of the record's; nor is it all of the candidate to a comparison."""
    path = save(beside(victim, PLACES[place]), tmp_path / "m.onnx")
    (verdict,) = verify(path, [load_record(victim.watermark)])
    assert verdict.decision == "traced"
    assert verdict.explained < 0.52
    found = compare(victim.path, path)
    assert found.relation == "derived"
    assert found.covered < 0.52


def given(kind: str, victim: Victim) -> ModelProto:
    """The marked network's graph, its weights supplied by the caller."""

    def parts(name: str, values: np.ndarray) -> Parts:
        if kind == "scaled":
            return [node("Mul", [name, f"{name}.s"], f"{name}.w")], [tensor(f"{name}.s", np.array(0.01, "f4"))]
        if kind == "joined":
            return [node("Concat", [f"{name}.a", f"{name}.b"], f"{name}.w", axis=0)], []
        if kind == "selected":
            return [node("Gather", [name, f"{name}.i"], f"{name}.w")], [tensor(f"{name}.i", np.arange(WIDTH))]
        return [node("Cast", [name], f"{name}.c", to=1), node("Neg", [f"{name}.c"], f"{name}.w")], []

    model = network(parts, victim)
    for name in values_of(victim):
        names, height = ((f"{name}.a", f"{name}.b"), WIDTH // 2) if kind == "joined" else ((name,), WIDTH)
        model.graph.input.extend(helper.make_tensor_value_info(one, 1, [height, WIDTH]) for one in names)
    return model


@pytest.mark.parametrize("kind", ["scaled", "joined", "selected", "cast"])
def test_weights_that_a_caller_supplies_are_not_absent(victim, tmp_path, kind):
    """However they are prepared before they are used."""
    path = save(given(kind, victim), tmp_path / "m.onnx")
    (verdict,) = verify(path, [load_record(victim.watermark)])
    assert (verdict.decision, verdict.absent) == ("inconclusive", 0)
    assert any("given at run time" in line for line in verdict.not_understood)


def inexact_conditions() -> Iterator[tuple[str, list[NodeProto], list[TensorProto]]]:
    """Conditions that runtimes need not decide alike."""
    yield (
        "a maximum with NaN",
        [node("ReduceMax", ["v"], "m", keepdims=0), node("Equal", ["m", "k"], "cond")],
        [tensor("v", np.array([1, np.nan, 3], "f4")), tensor("k", np.array(3, "f4"))],
    )
    yield (
        "a long sum",
        [node("ReduceSum", ["v"], "m", keepdims=0), node("Greater", ["m", "k"], "cond")],
        [tensor("v", np.full(5000, 0.1, "f4")), tensor("k", np.array(500, "f4"))],
    )
    yield (
        "an exponential",
        [node("Exp", ["v"], "m"), node("Equal", ["m", "k"], "cond")],
        [tensor("v", np.array(1.2345, "f4")), tensor("k", np.exp(np.array(1.2345, "f4")))],
    )
    yield (
        "a cast out of range",
        [node("Cast", ["v"], "m", to=TensorProto.INT32), node("Cast", ["m"], "cond", to=TensorProto.BOOL)],
        [tensor("v", np.array(1e20, "f4"))],
    )


@pytest.mark.parametrize("condition", list(inexact_conditions()), ids=lambda condition: condition[0].replace(" ", "-"))
@pytest.mark.parametrize("branch", ["then_branch", "else_branch"])
def test_a_branch_is_not_closed_by_what_runtimes_compute_differently(tmp_path, condition, branch):
    """Whichever of the two is another one, the network is another one."""
    _, nodes, tensors = condition

    def model(seed: int) -> ModelProto:
        seeds = {"then_branch": 1, "else_branch": 2} | {branch: seed}
        branches = {
            key: subgraph(
                key, [node("MatMul", ["x", f"{key}.w"], key)], [key], weight(f"{key}.w", WIDTH, WIDTH, seed=n)
            )
            for key, n in seeds.items()
        }
        return model_of([*nodes, node("If", ["cond"], "y", **branches)], tensors)

    found = [digests(model(seed), tmp_path)[0] for seed in (3, 4)]
    assert found[0] != found[1]


def digests(model: ModelProto, tmp_path: Path) -> tuple[str, tuple[str, ...]]:
    with open_network(save(model, tmp_path / "d.onnx")) as network:
        found = network_digests(network)
    return found.network, found.doubts


def test_a_branch_is_not_closed_by_the_shape_of_what_a_caller_may_replace(tmp_path):
    """A caller may supply more elements."""

    def model(seed: int) -> ModelProto:
        branches = {
            key: subgraph(
                key, [node("MatMul", ["x", f"{key}.w"], key)], [key], weight(f"{key}.w", WIDTH, WIDTH, seed=n)
            )
            for key, n in (("then_branch", 1), ("else_branch", seed))
        }
        nodes = [node("Size", ["k"], "n"), node("Equal", ["n", "three"], "cond"), node("If", ["cond"], "y", **branches)]
        out = model_of(nodes, [tensor("k", np.zeros(3, "f4")), tensor("three", np.array(3))])
        out.graph.input.append(helper.make_tensor_value_info("k", TensorProto.FLOAT, ["K"]))
        return out

    assert digests(model(3), tmp_path)[0] != digests(model(4), tmp_path)[0]


def test_a_compiled_network_in_a_file_of_its_own_vouches_for_nothing(victim, tmp_path):
    """What it computes is not in the digest."""
    model = ModelProto.FromString(victim.model.SerializeToString())
    last = model.graph.node[-1]
    output, last.output[0] = last.output[0], "own"
    model.graph.node.append(
        node("EPContext", ["own"], output, domain="com.microsoft", embed_mode=0, ep_cache_context="context.bin")
    )
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert any("a file that only an operator names" in doubt for doubt in digests(model, tmp_path)[1])


def test_initializers_that_are_inputs_too_are_as_they_left(victim, tmp_path):
    """Not a bit of them changed: no finding says that they did."""
    model = ModelProto.FromString(victim.model.SerializeToString())
    for proto in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(proto.name, proto.data_type, list(proto.dims)))
    path = save(model, tmp_path / "inputs.onnx")
    (verdict,) = verify(path, [load_record(victim.watermark)], full=True)
    assert "tensors differ" not in {finding.name for finding in verdict.findings}


def test_parameters_that_are_others_are_not_the_same_network_in_another_form(tmp_path):
    """Every weight is the same, and every number of the normalisation is another one."""

    def model(seed: int) -> ModelProto:
        rng = np.random.default_rng(seed)
        numbers = [tensor(name, rng.standard_normal(WIDTH).astype("f4")) for name in ("gamma", "beta")]
        nodes = [
            node("MatMul", ["x", "a"], "h"),
            node("LayerNormalization", ["h", "gamma", "beta"], "n"),
            node("MatMul", ["n", "b"], "y"),
        ]
        return model_of(nodes, [weight("a", WIDTH, WIDTH, seed=1), weight("b", WIDTH, WIDTH, seed=2), *numbers])

    one, other = (save(model(seed), tmp_path / f"{seed}.onnx") for seed in (1, 2))
    found = compare(one, other)
    assert found.relation == "derived"
    assert any("parameters changed" in finding for finding in found.findings)
