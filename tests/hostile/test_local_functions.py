"""Local functions: one that a runtime knows as an operator of its own is not read, any other is."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import AttributeProto, FunctionProto, ModelProto, NodeProto, TensorProto, helper

from onnxnnw.errors import UnreadableNetwork
from onnxnnw.flow.unread import contents_of_functions, stored_in_functions
from onnxnnw.graph.digest import leaf_digest
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import open_network
from onnxnnw.records.record_file import load_record
from onnxnnw.verification.verify import verify
from tests.hostile.conftest import Victim
from tests.hostile.test_decoys import WIDTH, chain, stolen
from tests.support.networks import model_of, save, subgraph, tensor, weight

Floats = NDArray[np.float32]
Kernel = Callable[[Floats, Floats], Floats]

DIAGONAL = (1 + np.arange(WIDTH, dtype=np.float32) / WIDTH) * np.eye(WIDTH, dtype=np.float32)
"""The second input of those that take two: symmetric, so that the kernels below need not care about its orientation."""

KERNELS: dict[str, tuple[dict[str, object], Kernel]] = {
    "com.microsoft::FusedMatMul": ({}, lambda x, w: x @ w),
    "com.microsoft::TransposeMatMul": ({}, lambda x, w: x @ w),
    "com.microsoft::Gelu": ({}, lambda x, w: (x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2).astype("f4")),
    "com.microsoft::QuickGelu": ({}, lambda x, w: x / (1 + np.exp(-np.float32(1.702) * x))),
    "ai.onnx.ml::Scaler": ({"offset": [0.5], "scale": [2.0]}, lambda x, w: (x - np.float32(0.5)) * 2),
    "ai.onnx.ml::Normalizer": ({"norm": "L1"}, lambda x, w: x / np.abs(x).sum(1, keepdims=True)),
    "::SimplifiedLayerNormalization": (
        {"epsilon": 1e-5},
        lambda x, w: x / np.sqrt((x * x).mean(1, keepdims=True) + np.float32(1e-5)) * np.diagonal(w),
    ),
}
"""What onnxruntime runs under these names, whatever a local function says; seen with versions 1.23 and 1.31."""

FUNCTIONS = ("com.microsoft::MyOwn", "ai.onnxruntime._fusion::SDPA", "pkg.onnxscript.torch_lib::aten_x")
"""Names that onnxruntime has no operator of, though it knows the domain: it runs the local function."""


def split(name: str) -> tuple[str, str]:
    """Domain and name of ``domain::name``."""
    domain, _, operator = name.rpartition("::")
    return domain, operator


def shown(name: str) -> str:
    """A function as a verdict names it."""
    return ".".join(filter(None, split(name)))


def constants(tensors: list[TensorProto]) -> list[NodeProto]:
    return [helper.make_node("Constant", [], [proto.name], value=proto) for proto in tensors]


def function_of(
    name: str, nodes: list[NodeProto], inputs: int = 1, attributes: list[str] | None = None
) -> FunctionProto:
    """A local function (a, b) -> r."""
    opsets = [helper.make_opsetid("", 21)]
    return helper.make_function(*split(name), ["a", "b"][:inputs], ["r"], nodes, opsets, attributes or [])


def around(name: str, function: FunctionProto, *tensors: TensorProto, **attributes: object) -> ModelProto:
    """A network that calls the function once and does nothing else."""
    domain, operator = split(name)
    call = helper.make_node(operator, ["x", "b"][: len(function.input)], ["y"], domain=domain, **attributes)
    own = [tensor("b", np.diagonal(DIAGONAL) if operator.startswith("Simplified") else DIAGONAL)]
    initializers = [*own[: len(function.input) - 1], *tensors]
    model = model_of([call], initializers, functions=[function], domains=[domain] if domain else [])
    for length in ("rows", WIDTH):
        dimension = model.graph.input[0].type.tensor_type.shape.dim.add()
        if isinstance(length, str):
            dimension.dim_param = length
        else:
            dimension.dim_value = length
    return model


def calling(victim: Victim, name: str) -> ModelProto:
    """A network that is one call of a function whose body holds the victim's weights and runs them."""
    attributes, _ = KERNELS.get(name, ({}, None))
    inputs = 2 if "MatMul" in name or "Simplified" in name else 1
    body = [*constants(stolen(victim)), *chain("a", "r", "w0", "w1", "f")]
    return around(name, function_of(name, body, inputs, list(attributes)), **attributes)


def run(model: ModelProto, values: Floats) -> Floats:
    """What onnxruntime computes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": values})[0])


@pytest.mark.parametrize("name", KERNELS)
def test_weights_in_a_function_that_a_runtime_does_not_run_are_never_traced(
    victim: Victim, tmp_path: Path, name: str
) -> None:
    """The body could hold anything, so the answer is that it could not be read."""
    path = save(calling(victim, name), tmp_path / "m.onnx")
    for record in victim.records:
        (verdict,) = verify(path, [load_record(record)], full=True)
        assert verdict.decision == "inconclusive"
        assert verdict.read == 0
        problem = f"the local function {shown(name)} is named like an operator of runtimes"
        assert any(found.startswith(problem) for found in verdict.not_understood)


@pytest.mark.parametrize("name", KERNELS)
def test_onnxruntime_runs_its_own_kernel(victim: Victim, name: str) -> None:
    """The reason for all this: the body is in the file and does not run."""
    values = np.random.default_rng(5).normal(size=(8, WIDTH)).astype("f4")
    expected = KERNELS[name][1](values, DIAGONAL)
    np.testing.assert_allclose(run(calling(victim, name), values), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_weights_in_any_other_function_are_traced(victim: Victim, tmp_path: Path, name: str) -> None:
    """It runs as the file says, in onnxruntime too; and the verdict says what it rests on."""
    model = calling(victim, name)
    path = save(model, tmp_path / "m.onnx")
    for record in victim.records:
        (verdict,) = verify(path, [load_record(record)])
        assert verdict.decision == "traced"
        assert not verdict.not_understood
        (finding,) = (finding for finding in verdict.findings if finding.name == "local functions")
        assert name in finding.sentence
        assert dict(finding.evidence) == {"functions": 1}
    values = np.random.default_rng(5).normal(size=(8, WIDTH)).astype("f4")
    first, second = (np.frombuffer(proto.raw_data, "f4").reshape(WIDTH, WIDTH) for proto in stolen(victim))
    np.testing.assert_allclose(run(model, values), np.maximum(values @ first, 0) @ second, rtol=1e-4, atol=1e-5)


def test_a_network_without_local_functions_has_no_such_finding(victim: Victim) -> None:
    """Nor has one whose functions nobody calls."""
    (verdict,) = verify(victim.path, [load_record(victim.watermark)])
    assert verdict.decision == "traced"
    assert "local functions" not in {finding.name for finding in verdict.findings}


@pytest.mark.parametrize("name", ["com.microsoft::Gelu", "::MatMulInteger", "ai.onnx::MatMulInteger"])
def test_a_function_that_nobody_calls_is_dead(victim: Victim, tmp_path: Path, name: str) -> None:
    """Its name matters to nobody, in the standard's domain neither."""
    model = ModelProto()
    model.CopyFrom(victim.model)
    model.functions.append(function_of(name, [helper.make_node("Identity", ["a"], ["r"])]))
    (verdict,) = verify(save(model, tmp_path / "m.onnx"), [load_record(victim.watermark)])
    assert verdict.decision == "traced"
    assert not verdict.not_understood


def test_another_overload_is_no_way_around(victim: Victim, tmp_path: Path) -> None:
    """A runtime that looks for its own operator knows no overloads."""
    model = calling(victim, "com.microsoft::Gelu")
    model.functions[0].overload = model.graph.node[0].overload = "mine"
    (verdict,) = verify(save(model, tmp_path / "m.onnx"), [load_record(victim.watermark)])
    assert verdict.decision == "inconclusive"
    assert any("com.microsoft.Gelu" in problem for problem in verdict.not_understood)


def test_a_call_from_inside_another_function_is_not_read_either(victim: Victim, tmp_path: Path) -> None:
    """The outer one is read, the inner one is not."""
    model = calling(victim, "com.microsoft::Gelu")
    call = helper.make_node("Gelu", ["a"], ["r"], domain="com.microsoft")
    outer = function_of("mine::Outer", [call])
    outer.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    model.functions.append(outer)
    model.opset_import.append(helper.make_opsetid("mine", 1))
    model.graph.node[0].op_type, model.graph.node[0].domain = "Outer", "mine"
    (verdict,) = verify(save(model, tmp_path / "m.onnx"), [load_record(victim.watermark)])
    assert verdict.decision == "inconclusive"
    assert any("com.microsoft.Gelu" in problem for problem in verdict.not_understood)


def test_weights_that_are_given_to_such_a_function_are_not_read(victim: Victim, tmp_path: Path) -> None:
    """As inputs that its kernel might use otherwise than the operator of that name is read here."""
    body = [helper.make_node("Identity", ["a"], ["r"])]
    model = around("com.microsoft::FusedMatMul", function_of("com.microsoft::FusedMatMul", body, 2))
    model.graph.node[0].CopyFrom(helper.make_node("FusedMatMul", ["x", "w0"], ["h"], domain="com.microsoft"))
    model.graph.node.append(helper.make_node("FusedMatMul", ["h", "w1"], ["y"], domain="com.microsoft"))
    del model.graph.initializer[:]
    model.graph.initializer.extend(stolen(victim))
    (verdict,) = verify(save(model, tmp_path / "m.onnx"), [load_record(victim.watermark)])
    assert verdict.decision == "inconclusive"
    assert verdict.read == 0


@pytest.mark.parametrize("inputs", [[], ["c"]], ids=["from nothing", "from a constant"])
def test_a_weight_that_such_a_function_computes_is_constant_and_not_understood(
    victim: Victim, tmp_path: Path, inputs: list[str]
) -> None:
    """It is no value that depends on the network's input."""
    (first, _) = stolen(victim)
    opsets = [helper.make_opsetid("", 21)]
    body = [*constants([first]), helper.make_node("Identity", ["w0"], ["r"])]
    function = helper.make_function("com.microsoft", "Gelu", inputs, ["r"], body, opsets)
    nodes = [
        helper.make_node("Gelu", inputs, ["w"], domain="com.microsoft"),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    model = model_of(nodes, [weight("c", WIDTH, WIDTH)], functions=[function], domains=["com.microsoft"])
    with open_network(save(model, tmp_path / "m.onnx")) as network:
        view = find_slots(network)
    assert not view.slots
    assert "w reaches MatMul by constant operations that are not understood" in view.not_understood
    assert any("local function com.microsoft.Gelu" in problem for problem in view.not_understood)


@pytest.mark.parametrize("taken", [True, False])
def test_graphs_that_such_a_function_is_given_are_not_read(victim: Victim, tmp_path: Path, taken: bool) -> None:
    """A local function named If: whether a branch runs, and in which one, is the runtime's to say."""
    function = function_of("::If", [helper.make_node("Identity", ["a"], ["r"])], 1, ["then_branch", "else_branch"])
    graphs = {
        key: subgraph(key, [*constants(tensors), *chain("x", f"{key}y", f"{key}0", f"{key}1", f"{key}h")], [f"{key}y"])
        for key, tensors in (
            ("w", stolen(victim)),
            ("v", [weight("v0", WIDTH, WIDTH, seed=901), weight("v1", WIDTH, WIDTH, seed=902)]),
        )
    }
    branches = {"then_branch": graphs["w" if taken else "v"], "else_branch": graphs["v" if taken else "w"]}
    nodes = [
        helper.make_node("Constant", [], ["truth"], value=tensor("truth", np.array(True))),
        helper.make_node("If", ["truth"], ["y"], **branches),
    ]
    path = save(model_of(nodes, [], functions=[function]), tmp_path / "m.onnx")
    (verdict,) = verify(path, [load_record(victim.watermark)])
    assert verdict.decision == "inconclusive"
    assert verdict.read == 0
    assert any("local function If is" in problem for problem in verdict.not_understood)


def given_a_graph(graph: object) -> ModelProto:
    """A local function that is given a graph and takes it for the branch of an If."""
    branch = helper.make_node(
        "If", ["truth"], ["w"], else_branch=subgraph("e", constants([weight("o", WIDTH, WIDTH)]), ["o"])
    )
    branch.attribute.append(AttributeProto(name="then_branch", ref_attr_name="given", type=AttributeProto.GRAPH))
    body = [
        helper.make_node("Constant", [], ["truth"], value=tensor("truth", np.array(True))),
        branch,
        helper.make_node("MatMul", ["a", "w"], ["r"]),
    ]
    return around("mine::Chosen", function_of("mine::Chosen", body, 1, ["given"]), given=graph)


def test_a_graph_that_a_function_is_given_is_looked_at(victim: Victim, tmp_path: Path) -> None:
    """It runs, so what it holds is not dead."""
    (first, _) = stolen(victim)
    model = given_a_graph(subgraph("g", constants([first]), ["w0"]))
    with open_network(save(model, tmp_path / "m.onnx")) as network:
        view = find_slots(network)
    names = {view.flow.names[value].rpartition("/")[2] for value in view.flow.tensors}
    assert {"w0", "o"} <= names
    assert any("w0" in view.flow.names[v] for node in view.live for body in node.bodies for v in body.outputs)
    values = np.random.default_rng(5).normal(size=(8, WIDTH)).astype("f4")
    stored = np.frombuffer(first.raw_data, "f4").reshape(WIDTH, WIDTH)
    np.testing.assert_allclose(run(model, values), values @ stored, rtol=1e-4, atol=1e-5)


def test_a_given_graph_that_looks_around_is_refused(tmp_path: Path) -> None:
    """At names, or at attributes: those of where it was written, or of where it is used?"""
    outside = subgraph("g", [helper.make_node("Identity", ["truth"], ["t"])], ["t"])
    referring = subgraph("g", constants([weight("t", WIDTH, WIDTH)]), ["t"])
    referring.node[0].attribute.append(AttributeProto(name="value_float", ref_attr_name="s", type=AttributeProto.FLOAT))
    for graph, what in ((outside, "values"), (referring, "attributes")):
        with (
            open_network(save(given_a_graph(graph), tmp_path / "m.onnx")) as network,
            pytest.raises(UnreadableNetwork, match=f"uses {what} from outside"),
        ):
            find_slots(network)


def test_all_that_is_stored_in_a_body_is_counted(tmp_path: Path) -> None:
    """Constants, attributes of any kind, nested graphs, sparse tensors, and the functions that it calls; each once."""
    sparse = helper.make_sparse_tensor(tensor("s", np.ones(3, "f4")), tensor("i", np.arange(3)), [10])
    inner = [
        *constants([weight("deep", 7, 5)]),
        helper.make_node("Constant", [], ["many"], value_floats=[0.5] * 11),
        helper.make_node("Constant", [], ["few"], sparse_value=sparse),
    ]
    branch = subgraph("t", inner, ["deep"], weight("initializer", 40, 30))
    body = [
        *constants([weight("outer", 20, 20)]),
        helper.make_node("If", ["a"], ["r"], then_branch=branch, else_branch=subgraph("e", [], ["outer"])),
        helper.make_node("EPContext", ["a"], ["c"], domain="com.microsoft", ep_cache_context="compiled", kind=3),
        helper.make_node("Called", ["a"], ["d"], domain="mine"),
        helper.make_node("Called", ["a"], ["e"], domain="mine"),
    ]
    function = function_of("com.microsoft::Gelu", body)
    default = function.attribute_proto.add()
    default.CopyFrom(helper.make_attribute("table", weight("default", 9, 2)))
    called = function_of("mine::Called", [*constants([weight("own", 33, 3)]), helper.make_node("Gelu", ["a"], ["r"])])
    called.node[1].domain = "com.microsoft"  # in a circle
    model = around("com.microsoft::Gelu", function)
    model.functions.extend([called, function_of("mine::Idle", constants([weight("r", 999)]))])
    with open_network(save(model, tmp_path / "m.onnx")) as network:
        view = find_slots(network)
        stored = stored_in_functions(network, view.flow.unread_functions)
        found = {one.name.rpartition("/")[2]: one.size for one in stored}
        outer = next(one for one in stored if one.name.endswith("/outer"))
        np.testing.assert_array_equal(
            outer.array(), np.frombuffer(body[0].attribute[0].t.raw_data, "f4").reshape(20, 20)
        )
    assert found == {"outer": 400, "deep": 35, "initializer": 1200, "s": 3, "i": 3, "default": 18, "own": 99,
                     "numbers": 11, "integers": 1, "texts": len("compiled")}  # fmt: skip
    assert len(stored) == len(found)


def test_the_contents_of_a_function_tell_it_from_another(tmp_path: Path) -> None:
    """However its tensors are stored; a changed value or attribute shows, in a function that it calls too."""

    def contents(change: Callable[[ModelProto], object] = lambda model: None) -> list[tuple[bytes, list[bytes]]]:
        deep = helper.make_node("If", ["a"], ["c"], then_branch=subgraph("t", [], ["w"], weight("w", 20, 20, seed=3)))
        called = function_of(
            "mine::Called", [*constants([weight("own", 33, 30)]), helper.make_node("Neg", ["a"], ["r"])]
        )
        body = [*constants([weight("k", 4)]), deep, helper.make_node("Called", ["a"], ["r"], domain="mine", number=1.5)]
        model = around("com.microsoft::Gelu", function_of("com.microsoft::Gelu", body))
        model.functions.append(called)
        change(model)
        with open_network(save(model, tmp_path / "m.onnx")) as network:
            view = find_slots(network)
            found = list(contents_of_functions(network, view.flow.unread_functions))
            return [(bare, [leaf_digest(one) for one in tensors]) for bare, tensors in found]

    def restored(model: ModelProto) -> None:
        for proto in (model.functions[0].node[0].attribute[0].t, model.functions[1].node[0].attribute[0].t):
            proto.float_data[:] = np.frombuffer(proto.raw_data, "f4").tolist()
            proto.ClearField("raw_data")

    def revalued(model: ModelProto) -> None:
        proto = model.functions[1].node[0].attribute[0].t
        proto.raw_data = b"\1" + proto.raw_data[1:]

    expected = contents()
    assert [len(tensors) for _, tensors in expected] == [2, 1]
    assert contents() == expected
    assert contents(restored) == expected
    assert contents(revalued) != expected
    assert contents(lambda model: setattr(model.functions[0].node[2].attribute[0], "f", 2.5)) != expected
    assert contents(lambda model: setattr(model.functions[1].node[1], "op_type", "Abs")) != expected
