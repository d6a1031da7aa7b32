"""Weights in attributes: coefficients and support vectors, against what onnxruntime computes."""

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, helper

from onnxnnw import Key, fingerprint, load_record, verify
from onnxnnw.accounting.classing import account_of
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import open_network
from onnxnnw.runtime import open_runtime
from tests.support.networks import save, weight

RNG = np.random.default_rng(11)
X = RNG.normal(size=(4, 24)).astype("f4")
COEFFICIENTS = RNG.normal(size=(5, 24)).astype("f4")
INTERCEPTS = RNG.normal(size=5).astype("f4")


def model(*nodes: NodeProto, tensors: tuple = (), features: int = 24) -> ModelProto:
    """A network of operators of classical learning behind what is given."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, [None, features])],
        [helper.make_tensor_value_info("y", 1, None)],
        list(tensors),
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def regressor(coefficients: np.ndarray = COEFFICIENTS, source: str = "x") -> NodeProto:
    """A linear regressor."""
    return helper.make_node(
        "LinearRegressor",
        [source],
        ["y"],
        domain="ai.onnx.ml",
        targets=len(coefficients),
        coefficients=coefficients.reshape(-1).tolist(),
        intercepts=INTERCEPTS[: len(coefficients)].tolist(),
    )


def classifier(**attributes: object) -> NodeProto:
    """A linear classifier of five classes whose scores are the answer."""
    return helper.make_node(
        "LinearClassifier",
        ["x"],
        ["", "y"],
        domain="ai.onnx.ml",
        **{
            "coefficients": COEFFICIENTS.reshape(-1).tolist(),
            "intercepts": INTERCEPTS.tolist(),
            "classlabels_ints": list(range(5)),
            **attributes,
        },
    )


@pytest.mark.parametrize("node", [regressor(), classifier()], ids=["regressor", "classifier"])
def test_coefficients_are_rows_of_what_is_computed(node: NodeProto, tmp_path: Path) -> None:
    """Output = input times the slot's rows + intercepts, and all of it is accounted for."""
    if node.op_type == "LinearClassifier":
        node.output[0] = "label"
    path = save(model(node), tmp_path / "m.onnx")
    network = open_network(path)
    view = find_slots(network)
    (slot,) = view.slots
    assert slot.array().shape == (5, 24)
    scores = open_runtime(path).run({"x": X})["y"]
    np.testing.assert_allclose(scores, X @ slot.array().T + INTERCEPTS, rtol=1e-4, atol=1e-5)
    account = account_of(network, view)
    assert account.amounts["weight"] == 120
    assert account.amounts["not understood"] == 0


def test_a_head_is_part_of_the_network(tmp_path: Path) -> None:
    """A regressor behind a hidden layer is traced with it, and shows where it was replaced."""
    hidden = weight("w", 24, 40), helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Relu", ["m"], ["h"])
    wide = RNG.normal(size=(5, 40)).astype("f4")
    own = save(model(*hidden[1:], regressor(wide, "h"), tensors=hidden[:1]), tmp_path / "own.onnx")
    fingerprint(own, tmp_path / "r", positions=256, key=Key(bytes(32)))
    record = load_record(tmp_path / "r")
    assert {entry.use for entry in record.slots} == {"MatMul.1", "LinearRegressor.1"}
    (same,) = verify(own, [record])
    assert same.decision == "traced"
    assert same.explained > 0.99
    other = save(model(*hidden[1:], regressor(-wide[:, ::-1], "h"), tensors=hidden[:1]), tmp_path / "other.onnx")
    (head,) = verify(other, [record])
    assert head.explained < 0.9


def test_a_linear_model_alone_is_traced_from_near_copies_only(tmp_path: Path) -> None:
    """The same data give nearly the same coefficients: only equal ones share an origin."""
    own = save(model(regressor()), tmp_path / "own.onnx")
    fingerprint(own, tmp_path / "r", positions=28, key=Key(bytes(32)))
    record = load_record(tmp_path / "r")
    assert record.parameters["linear"] == 1
    assert verify(own, [record])[0].decision == "traced"
    noise = RNG.normal(size=COEFFICIENTS.shape).astype("f4")
    alike = save(model(regressor(COEFFICIENTS + 0.3 * noise)), tmp_path / "alike.onnx")
    assert verify(alike, [record])[0].decision != "traced"


def test_support_vectors_are_read_and_carry_no_mark(tmp_path: Path) -> None:
    """They are samples of the data, and the coefficients belong to them."""
    vectors, alpha = RNG.normal(size=(40, 24)), RNG.normal(size=(2, 40))
    node = helper.make_node(
        "SVMClassifier",
        ["x"],
        ["label", "y"],
        domain="ai.onnx.ml",
        kernel_type="RBF",
        kernel_params=[0.1, 0.0, 3.0],
        vectors_per_class=[10, 20, 10],
        support_vectors=vectors.reshape(-1).tolist(),
        coefficients=alpha.reshape(-1).tolist(),
        rho=[0.1, 0.2, 0.3],
        classlabels_ints=[0, 1, 2],
    )
    path = save(model(node), tmp_path / "m.onnx")
    assert open_runtime(path).run({"x": X})["y"].shape == (4, 3)
    network = open_network(path)
    shapes = {slot.use: (slot.shape, slot.layout) for slot in find_slots(network).slots}
    assert shapes == {"SVMClassifier.1": ((40, 24), "table"), "SVMClassifier.2": ((2, 40), "table")}
    assert account_of(network, find_slots(network)).amounts["not understood"] == 0


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("LinearRegressor", ["x"], ["y"], domain="ai.onnx.ml"),
        helper.make_node(
            "LinearRegressor", ["x"], ["y"], domain="ai.onnx.ml", targets=7, coefficients=RNG.normal(size=600).tolist()
        ),
        helper.make_node(
            "LinearRegressor", ["x"], ["y"], domain="ai.onnx.ml", targets=-3, coefficients=RNG.normal(size=600).tolist()
        ),
        helper.make_node(
            "SVMRegressor",
            ["x"],
            ["y"],
            domain="ai.onnx.ml",
            n_supports=-1,
            support_vectors=RNG.normal(size=600).tolist(),
        ),
        helper.make_node(
            "LinearRegressor", ["x", "x"], ["y"], domain="ai.onnx.ml", coefficients=RNG.normal(size=600).tolist()
        ),
    ],
    ids=["none", "no multiple", "negative targets", "negative vectors", "two inputs"],
)
def test_numbers_that_do_not_fit_are_named(node: NodeProto, tmp_path: Path) -> None:
    """Whatever they say of themselves, nothing of them is left out of the account."""
    network = open_network(save(model(node), tmp_path / "m.onnx"))
    amounts = account_of(network, find_slots(network)).amounts
    stored = max((len(attribute.floats) for attribute in node.attribute), default=0)
    assert amounts["weight"] == 0
    assert amounts["not understood"] >= 4 * stored
