"""Folding forward: a raw file read with what follows its weights holds what a tool writes when it folds them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxnnw.graph.slot import Slot
from onnxnnw.graph.slots import find_slots
from onnxnnw.matching.row_scale import row_magnitudes
from onnxnnw.network_file.file import open_network
from tests.support.networks import model_of, save, tensor, weight

RNG = np.random.default_rng(0)
OUT, IN = 24, 12
GAIN = (RNG.uniform(0.2, 3, OUT) * RNG.choice([-1, 1], OUT)).astype("f4")
"""Far from 1, and negative in places."""

SHIFT = RNG.normal(size=OUT).astype("f4")


def slots_of(model: ModelProto, folder: Path, name: str = "m.onnx") -> list[Slot]:
    return find_slots(open_network(save(model, folder / name))).slots


def only(nodes: Sequence[NodeProto], tensors: Sequence[TensorProto], folder: Path, *outputs: str) -> Slot:
    """The slot named ``w`` of a small network."""
    model = model_of(nodes, tensors, outputs=("y", *outputs), domains=("com.microsoft",))
    return next(slot for slot in slots_of(model, folder) if slot.name == "w")


def normalisation(source: str, target: str) -> tuple[NodeProto, list[TensorProto], np.ndarray]:
    """A batch normalisation, and what it multiplies each channel by."""
    rng = np.random.default_rng(1)  # of its own: the values must not depend on which tests ran before
    variance = rng.uniform(0.05, 4, OUT).astype("f4")
    names = ["gamma", "beta", "mean", "variance"]
    node = helper.make_node("BatchNormalization", [source, *names], [target], epsilon=1e-3)
    values = [GAIN, SHIFT, rng.normal(size=OUT).astype("f4"), variance]
    return node, [tensor(n, v) for n, v in zip(names, values, strict=True)], GAIN / np.sqrt(variance + 1e-3, dtype="f8")


def with_normalisation(op: str, groups: int) -> ModelProto:
    """A convolution, a transposed one or a Gemm, its normalisation and a ReLU."""
    batch, parameters, _ = normalisation("h", "n")
    if op == "Gemm":
        w, x = weight("w", IN, OUT), [4, IN]
        node = helper.make_node("Gemm", ["x", "w", "b"], ["h"])
    else:
        shape = (OUT, IN // groups, 3, 3) if op == "Conv" else (IN, OUT // groups, 3, 3)
        w, x = weight("w", *shape), [2, IN, 8, 8]
        node = helper.make_node(op, ["x", "w", "b"], ["h"], group=groups)
    model = model_of([node, batch, helper.make_node("Relu", ["n"], ["y"])], [w, weight("b", OUT), *parameters])
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, x))
    return model


CASES = [("Conv", 1), ("Conv", 2), ("Conv", 4), ("ConvTranspose", 1), ("Gemm", 1)]


@pytest.mark.parametrize(("op", "groups"), CASES, ids=lambda part: str(part))
def test_a_raw_file_reads_like_the_one_that_onnxruntime_folds(tmp_path: Path, op: str, groups: int) -> None:
    """To five roundings of each value (sum, root, quotient, two products), and what is folded already stays as it is."""
    raw = with_normalisation(op, groups)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "folded.onnx")
    onnxruntime.InferenceSession(raw.SerializeToString(), options, providers=["CPUExecutionProvider"])
    folded = onnx.load(tmp_path / "folded.onnx")
    if any(node.op_type == "BatchNormalization" for node in folded.graph.node):
        pytest.skip(f"this onnxruntime does not fold into {op}")
    (ours,), (theirs,) = slots_of(raw, tmp_path), slots_of(folded, tmp_path, "own.onnx")
    assert theirs.row_gain is None
    np.testing.assert_array_equal(theirs.folded(), theirs.array())
    assert ours.row_gain is not None
    assert (ours.row_gain < 0).any()
    off = np.abs(ours.folded().astype("f8") - theirs.array()) / row_magnitudes(theirs.array())[:, None]
    assert (np.abs(ours.folded().astype("f8") - theirs.array()) <= 5 * 2.0**-24 * np.abs(theirs.array())).all()
    assert np.sqrt((off**2).mean()) < 1e-7


def test_values_are_read_as_stored(tmp_path: Path) -> None:
    """Only ``folded`` multiplies: marks lie on stored values."""
    model = with_normalisation("Conv", 1)
    (slot,) = slots_of(model, tmp_path)
    stored = np.frombuffer(model.graph.initializer[0].raw_data, "f4").reshape(OUT, -1)
    np.testing.assert_array_equal(slot.array(), stored)
    assert slot.row_gain is not None
    np.testing.assert_array_equal(slot.folded(), stored * slot.row_gain.astype("f4")[:, None])


def chain(*steps: tuple[str, Sequence[str], dict[str, object]]) -> list[NodeProto]:
    """Nodes one after the other; ``@`` stands for what the one before computed."""
    nodes, value = [], "x"
    for number, (op, inputs, attributes) in enumerate(steps):
        target = "y" if number == len(steps) - 1 else f"v{number}"
        nodes.append(helper.make_node(op, [value if name == "@" else name for name in inputs], [target], **attributes))
        value = target
    return nodes


def per_channel(*ones: int) -> list[TensorProto]:
    return [tensor("g", GAIN.reshape(OUT, *ones)), tensor("s", SHIFT.reshape(OUT, *ones)), tensor("two", np.float32(2))]


MATMUL = ("MatMul", ["@", "w"], {})
CONV = ("Conv", ["@", "w"], {})
RELU = ("Relu", ["@"], {})
FOLDED = {
    "product": (chain(MATMUL, ("Mul", ["@", "g"], {}), RELU), per_channel(), GAIN),
    "product from the left": (chain(MATMUL, ("Mul", ["g", "@"], {}), RELU), per_channel(), GAIN),
    "quotient": (chain(MATMUL, ("Div", ["@", "g"], {}), RELU), per_channel(), 1 / GAIN),
    "scalar": (chain(MATMUL, ("Mul", ["@", "two"], {}), RELU), per_channel(), np.full(OUT, 2.0)),
    "after a bias": (chain(MATMUL, ("Add", ["s", "@"], {}), ("Mul", ["@", "g"], {}), RELU), per_channel(), GAIN),
    "taken from a constant": (chain(MATMUL, ("Sub", ["s", "@"], {}), ("Mul", ["@", "g"], {})), per_channel(), -GAIN),
    "negative": (chain(MATMUL, ("Neg", ["@"], {}), RELU), per_channel(), -np.ones(OUT)),
    "through Cast and Identity": (
        chain(MATMUL, ("Cast", ["@"], {"to": 10}), ("Identity", ["@"], {}), ("Cast", ["@"], {"to": 1}), ("Mul", ["@", "g"], {})),
        per_channel(), GAIN,
    ),
    "through quantisation": (
        chain(MATMUL, ("QuantizeLinear", ["@", "two"], {}), ("DequantizeLinear", ["@", "two"], {}), ("Mul", ["@", "g"], {})),
        per_channel(), GAIN,
    ),
    "of a convolution": (chain(CONV, ("Mul", ["@", "g"], {}), RELU), per_channel(1, 1), GAIN),
    "Sub, Mul and Add in NHWC": (
        chain(CONV, ("Transpose", ["@"], {"perm": [0, 2, 3, 1]}), ("Sub", ["@", "s"], {}), ("Mul", ["@", "g"], {}),
              ("Add", ["@", "s"], {}), RELU),
        per_channel(), GAIN,
    ),
    "behind Unsqueeze": (
        chain(CONV, ("Unsqueeze", ["@", "axes"], {}), ("Mul", ["@", "g"], {}), RELU),
        [*per_channel(1, 1, 1), tensor("axes", np.array([2]))], GAIN,
    ),
    "behind Squeeze": (
        chain(CONV, ("Squeeze", ["@", "axes"], {}), ("Mul", ["@", "g"], {}), RELU),
        [*per_channel(), tensor("axes", np.array([-1, 2]))], GAIN,
    ),
    "alpha": (chain(("Gemm", ["@", "w"], {"alpha": 3.0}), RELU), [], np.full(OUT, 3.0)),
    "alpha of FusedMatMul": (
        chain(("FusedMatMul", ["@", "w"], {"alpha": 3.0, "domain": "com.microsoft"}), RELU), [], np.full(OUT, 3.0),
    ),
    "two products": (chain(MATMUL, ("Mul", ["@", "g"], {}), ("Mul", ["@", "two"], {})), per_channel(), GAIN * 2),
}  # fmt: skip


def weights_for(nodes: Sequence[NodeProto]) -> TensorProto:
    return weight("w", OUT, IN, 1, 1) if nodes[0].op_type == "Conv" else weight("w", IN, OUT)


@pytest.mark.parametrize("case", FOLDED, ids=lambda case: case.replace(" ", "-"))
def test_what_multiplies_rows_is_followed(tmp_path: Path, case: str) -> None:
    """Products with constants, through whatever moves or shifts."""
    nodes, tensors, expected = FOLDED[case]
    slot = only(nodes, [weights_for(nodes), *tensors], tmp_path)
    assert slot.row_gain is not None
    np.testing.assert_allclose(slot.row_gain, expected, rtol=1e-7)


STOPPED = {
    "an activation": chain(MATMUL, RELU, ("Mul", ["@", "g"], {})),
    "a product with another axis": chain(CONV, ("Mul", ["@", "g"], {})),
    "a product with activations": chain(MATMUL, ("Mul", ["@", "x"], {})),
    "a sum with activations": chain(MATMUL, ("Add", ["@", "x"], {}), ("Mul", ["@", "g"], {})),
    "a cast to whole numbers": chain(MATMUL, ("Cast", ["@"], {"to": 7}), ("Mul", ["@", "g"], {})),
    "a square": [MATMUL_SQUARED := helper.make_node("MatMul", ["x", "w"], ["v"]), helper.make_node("Mul", ["v", "v"], ["y"])],
    "an activation inside": chain(
        ("FusedGemm", ["@", "w"], {"activation": "Relu", "domain": "com.microsoft"}), ("Mul", ["@", "g"], {})
    ),
    "normalisation in training": [
        *chain(CONV)[:-1], helper.make_node("Conv", ["x", "w"], ["h"]),
        helper.make_node("BatchNormalization", ["h", "g", "s", "s", "g"], ["y"], training_mode=1),
    ],
}  # fmt: skip


@pytest.mark.parametrize("case", STOPPED, ids=lambda case: case.replace(" ", "-"))
def test_what_is_not_linear_stops(tmp_path: Path, case: str) -> None:
    """Nothing behind it is folded."""
    nodes = STOPPED[case]
    assert only(nodes, [weights_for(nodes), *per_channel()], tmp_path).row_gain is None


def test_a_value_that_somebody_else_reads_is_not_folded(tmp_path: Path) -> None:
    """Another node, a graph output, or a branch."""
    nodes = chain(MATMUL, ("Mul", ["@", "g"], {}))
    tensors = [weights_for(nodes), *per_channel()]
    assert only(nodes, tensors, tmp_path).row_gain is not None
    assert only(nodes, tensors, tmp_path, "v0").row_gain is None
    twice = [*nodes, helper.make_node("Relu", ["v0"], ["z"])]
    assert only(twice, tensors, tmp_path).row_gain is not None, "nobody reads z"
    assert only(twice, tensors, tmp_path, "z").row_gain is None


@pytest.mark.parametrize("op", ["MatMulInteger", "ConvInteger"])
def test_the_scale_of_an_integer_product_stands_downstream(tmp_path: Path, op: str) -> None:
    """Mul(scale of activations, scale of weights) behind a Cast: the constant factor is the weight's."""
    scale = np.abs(GAIN).reshape((OUT, 1, 1) if op == "ConvInteger" else (OUT,))
    shape = (OUT, IN, 3, 3) if op == "ConvInteger" else (IN, OUT)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "xs", "xz"]),
        helper.make_node(op, ["q", "w", "xz"], ["p"]),
        helper.make_node("Cast", ["p"], ["f"], to=1),
        helper.make_node("Mul", ["xs", "ws"], ["both"]),
        helper.make_node("Mul", ["f", "both"], ["y"]),
    ]
    integers = RNG.integers(-127, 128, shape).astype("i1")
    slot = only(nodes, [tensor("w", integers), tensor("ws", scale)], tmp_path)
    assert slot.row_gain is not None
    np.testing.assert_allclose(slot.row_gain, np.abs(GAIN), rtol=1e-7)


def test_gains_of_no_finite_number_are_no_gains(tmp_path: Path) -> None:
    """A quotient by zero, a variance below zero."""
    nodes = chain(MATMUL, ("Div", ["@", "g"], {}))
    assert only(nodes, [weights_for(nodes), tensor("g", np.zeros(OUT, "f4"))], tmp_path).row_gain is None
    batch, parameters, _ = normalisation("h", "y")
    parameters[3].CopyFrom(tensor("variance", np.full(OUT, -1, "f4")))
    nodes = [helper.make_node("Conv", ["x", "w"], ["h"]), batch]
    assert only(nodes, [weights_for(nodes), *parameters], tmp_path).row_gain is None


READERS = {
    "DequantizeLinear": ("", ["@", "scale", "zero"]),
    "QLinearAdd": ("com.microsoft", ["@", "scale", "zero", "b", "b_scale", "b_zero", "b_scale", "b_zero"]),
    "QLinearAdd on the right": ("com.microsoft", ["b", "b_scale", "b_zero", "@", "scale", "zero", "b_scale", "b_zero"]),
    "QLinearMatMul": ("", ["@", "scale", "zero", "w", "b_scale", "b_zero", "b_scale", "b_zero"]),
    "QGemm": ("com.microsoft", ["@", "scale", "zero", "w", "b_scale", "b_zero", ""]),
    "QLinearSigmoid": ("com.microsoft", ["@", "scale", "zero", "b_scale", "b_zero"]),
    "QLinearConcat": ("com.microsoft", ["b_scale", "b_zero", "b", "b_scale", "b_zero", "@", "scale", "zero"]),
}
"""What may read the codes of a table that was looked up, each with the scale and the zero point that go with them."""


@pytest.mark.parametrize("moved", [False, True], ids=["at once", "moved"])
@pytest.mark.parametrize("reader", READERS)
def test_a_table_whose_scale_stands_with_its_reader_is_read_as_its_numbers(tmp_path, reader, moved):
    """Gather of uint8, then an operator that is told their scale: what quantisers make of embeddings."""
    rng = np.random.default_rng(5)
    codes = rng.integers(0, 256, (40, 16), dtype=np.uint8)
    arrays = {
        "table": codes, "scale": np.float32(0.02), "zero": np.uint8(131), "b": codes[:1], "b_scale": np.float32(0.5),
        "b_zero": np.uint8(7), "w": codes[:16, :3], "same": np.array([-1, 16]),
    }  # fmt: skip
    domain, inputs = READERS[reader]
    nodes = [
        helper.make_node("Gather", ["table", "input"], ["codes"]),
        *([helper.make_node("Reshape", ["codes", "same"], ["moved"])] if moved else []),
        helper.make_node(
            reader.split()[0],
            [("moved" if moved else "codes") if i == "@" else i for i in inputs],
            ["output"],
            domain=domain,
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "embedding",
        [helper.make_tensor_value_info("input", TensorProto.INT64, ["N"])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(arrays[name]), name) for name in arrays],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "table.onnx")
    with open_network(tmp_path / "table.onnx") as network:
        slot = next(slot for slot in find_slots(network).slots if slot.name == "table")
        np.testing.assert_allclose(slot.array(), (codes.astype(np.float32) - 131) * np.float32(0.02), rtol=1e-6)
