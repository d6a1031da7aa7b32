"""Weights behind the constant steps of real tools: what a slot holds is what the runtime multiplies by, and our own are found."""

import time
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxnnw.accounting.classing import account_of
from onnxnnw.constants.constants import Constant, Constants
from onnxnnw.enrolment.enrol import fingerprint
from onnxnnw.flow.tracing import trace_flow
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import open_network
from onnxnnw.records.key import Key
from onnxnnw.records.record_file import load_record
from onnxnnw.verification.verify import verify

Steps = tuple[list[NodeProto], dict[str, np.ndarray]]
RNG = np.random.default_rng(5)


def matrix(*shape: int) -> np.ndarray:
    return (RNG.standard_t(5, shape) * 0.05).astype("f4")


OWN = {"a": matrix(64, 160), "b": matrix(160, 64)}


def node(op: str, inputs: str, output: str, domain: str = "", **attributes: object) -> NodeProto:
    return helper.make_node(
        op, ["" if name == "-" else name for name in inputs.split()], output.split(), domain=domain, **attributes
    )


def network(nodes: list[NodeProto], weights: dict[str, np.ndarray], path: Path) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ascontiguousarray(values), name) for name, values in weights.items()],
    )
    domains = sorted({n.domain for n in nodes if n.domain})
    imports = [helper.make_opsetid("", 21), *(helper.make_opsetid(domain, 1) for domain in domains)]
    path.write_bytes(helper.make_model(graph, opset_imports=imports, ir_version=10).SerializeToString())
    return path


def layers(step: Callable[[str, np.ndarray], Steps] | None, path: Path) -> Path:
    """x -> MatMul a -> Relu -> MatMul b -> y, each weight made by constant steps."""
    nodes: list[NodeProto] = []
    weights: dict[str, np.ndarray] = {}
    for name, values in OWN.items():
        made = step(name, values) if step else ([], {name: values})
        nodes += made[0]
        weights |= made[1]
    nodes += [node("MatMul", "x a", "h"), node("Relu", "h", "r"), node("MatMul", "r b", "y")]
    return network(nodes, weights, path)


def clipped(k: str, v: np.ndarray) -> Steps:
    """Integers that are clipped before they are scaled, as Brevitas exports them."""
    s = np.float32(np.abs(v).max() / 127)
    nodes = [node("Clip", f"{k}q lo hi", f"{k}c"), node("DequantizeLinear", f"{k}c {k}s z", k)]
    return nodes, {
        f"{k}q": np.round(v / s).astype("i1"),
        f"{k}s": s,
        "z": np.int8(0),
        "lo": np.int8(-127),
        "hi": np.int8(127),
    }


def masked(k: str, v: np.ndarray) -> Steps:
    return [node("Where", f"{k}m {k}w zero", k)], {f"{k}w": v, f"{k}m": np.abs(v) > 0.01, "zero": np.float32(0)}


def adapted(k: str, v: np.ndarray) -> Steps:
    """A low-rank adapter: W + scale * A B [LoRA, arXiv:2106.09685]."""
    nodes = [node("MatMul", f"{k}A {k}B", f"{k}d"), node("Mul", f"{k}d two", f"{k}e"), node("Add", f"{k}w {k}e", k)]
    return nodes, {f"{k}w": v, f"{k}A": matrix(v.shape[0], 2), f"{k}B": matrix(2, v.shape[1]), "two": np.float32(2)}


def adapted_by_gemm(k: str, v: np.ndarray) -> Steps:
    nodes = [node("Gemm", f"{k}A {k}B {k}w", k, alpha=2.0, transB=1)]
    return nodes, {f"{k}w": v, f"{k}A": matrix(v.shape[0], 2), f"{k}B": matrix(v.shape[1], 2)}


def spectrally_normalised(k: str, v: np.ndarray) -> Steps:
    """W / (u W v) [spectral normalisation, arXiv:1802.05957]."""
    nodes = [node("MatMul", f"{k}u {k}w", f"{k}1"), node("MatMul", f"{k}1 {k}v", f"{k}2"), node("Div", f"{k}w {k}2", k)]
    return nodes, {f"{k}w": v, f"{k}u": matrix(v.shape[0]), f"{k}v": matrix(v.shape[1])}


def weight_normalised(k: str, v: np.ndarray) -> Steps:
    """g v / |v| [weight normalisation, arXiv:1602.07868]."""
    norm = np.linalg.norm(v, axis=0, keepdims=True)
    nodes = [node("ReduceL2", f"{k}w first", f"{k}n"), node("Div", f"{k}w {k}n", f"{k}u"), node("Mul", f"{k}u {k}g", k)]
    return nodes, {f"{k}w": v, "first": np.array([0]), f"{k}g": (norm * 1.1).astype("f4")}


def standardised(k: str, v: np.ndarray) -> Steps:
    """Weights as a batch that is normalised by its own statistics [weight standardisation, arXiv:1903.10520]."""
    out = v.shape[1]
    nodes = [
        node("Transpose", f"{k}w", f"{k}t", perm=[1, 0]),
        node("Unsqueeze", f"{k}t first", f"{k}3"),
        node("BatchNormalization", f"{k}3 {k}g {k}0 {k}0 {k}1", f"{k}s {k}m {k}v", training_mode=1),
        node("Squeeze", f"{k}s first", f"{k}4"),
        node("Transpose", f"{k}4", k, perm=[1, 0]),
    ]
    given = {f"{k}g": np.full(out, 0.05, "f4"), f"{k}0": np.zeros(out, "f4"), f"{k}1": np.ones(out, "f4")}
    return nodes, {f"{k}w": v, "first": np.array([0]), **given}


def palette(k: str, v: np.ndarray) -> Steps:
    """Numbers of a table of 64, by places as large as the weight."""
    table = np.quantile(v, (np.arange(64) + 0.5) / 64).astype("f4")
    return [node("Gather", f"{k}p {k}i", k)], {f"{k}p": table, f"{k}i": np.abs(v[..., None] - table).argmin(-1)}


def palette_of_bytes(k: str, v: np.ndarray) -> Steps:
    nodes, weights = palette(k, v)
    nodes = [node("Cast", f"{k}b", f"{k}i", to=TensorProto.INT32), *nodes]
    return nodes, {f"{k}b": weights.pop(f"{k}i").astype("u1"), **weights}


def palette_of_vectors(k: str, v: np.ndarray) -> Steps:
    table, places = np.unique(np.round(v.reshape(-1, 2) / 0.02) * 0.02, axis=0, return_inverse=True)
    nodes = [node("Gather", f"{k}p {k}i", f"{k}g"), node("Reshape", f"{k}g {k}s", k)]
    return nodes, {f"{k}p": table.astype("f4"), f"{k}i": places.reshape(v.shape[0], -1), f"{k}s": np.array(v.shape)}


def nibbles(k: str, v: np.ndarray) -> Steps:
    """Two codes in a byte, taken apart by shifts and masks."""
    s = np.float32(np.abs(v).max() / 7)
    q = (np.round(v / s) + 8).astype("u1")
    nodes = [
        node("BitwiseAnd", f"{k}q fifteen", f"{k}l"),
        node("BitShift", f"{k}q four", f"{k}h", direction="RIGHT"),
        node("Unsqueeze", f"{k}l last", f"{k}l1"),
        node("Unsqueeze", f"{k}h last", f"{k}h1"),
        node("Concat", f"{k}l1 {k}h1", f"{k}c", axis=-1),
        node("Reshape", f"{k}c {k}z", f"{k}r"),
        node("Cast", f"{k}r", f"{k}f", to=TensorProto.FLOAT),
        node("Sub", f"{k}f eight", f"{k}g"),
        node("Mul", f"{k}g {k}s", k),
    ]
    constants = {"fifteen": np.uint8(15), "four": np.uint8(4), "last": np.array([-1]), "eight": np.float32(8)}
    return nodes, {f"{k}q": q[:, 0::2] | q[:, 1::2] << 4, f"{k}z": np.array(v.shape), f"{k}s": s, **constants}


def words(k: str, v: np.ndarray) -> Steps:
    """Eight codes of four bits in a word, along the rows [GPTQ, arXiv:2210.17323]."""
    s = np.float32(np.abs(v).max() / 7)
    q = (np.round(v / s) + 8).astype("u4").reshape(v.shape[0] // 8, 8, v.shape[1])
    packed = np.bitwise_or.reduce(q << (np.arange(8, dtype="u4") * 4)[:, None], 1)
    nodes = [
        node("Unsqueeze", f"{k}q second", f"{k}u"),
        node("BitShift", f"{k}u shifts", f"{k}h", direction="RIGHT"),
        node("BitwiseAnd", f"{k}h fifteen4", f"{k}l"),
        node("Reshape", f"{k}l {k}z", f"{k}r"),
        node("Cast", f"{k}r", f"{k}f", to=TensorProto.FLOAT),
        node("Sub", f"{k}f eight", f"{k}g"),
        node("Mul", f"{k}g {k}s", k),
    ]
    constants = {"second": np.array([1]), "shifts": (np.arange(8, dtype="u4") * 4).reshape(8, 1), "fifteen4": np.uint32(15),
                 "eight": np.float32(8)}  # fmt: skip
    return nodes, {f"{k}q": packed, f"{k}z": np.array(v.shape), f"{k}s": s, **constants}


def eight_bits(k: str, v: np.ndarray) -> Steps:
    nodes = [node("QuantizeLinear", f"{k}w {k}s {k}z", f"{k}q"), node("DequantizeLinear", f"{k}q {k}s", k)]
    return nodes, {f"{k}w": v, f"{k}s": np.float32(0.01), f"{k}z": np.zeros((), ml_dtypes.float8_e4m3fn)}


def padded(k: str, v: np.ndarray) -> Steps:
    return [node("Pad", f"{k}w {k}p", k)], {f"{k}w": v[:-1], f"{k}p": np.array([0, 0, 1, 0])}


def scattered(k: str, v: np.ndarray) -> Steps:
    """What is left after pruning, by its places."""
    places = np.argwhere(np.abs(v) > 0.01)
    nodes = [node("ConstantOfShape", f"{k}s", f"{k}0"), node("ScatterND", f"{k}0 {k}i {k}u", k)]
    return nodes, {f"{k}s": np.array(v.shape), f"{k}i": places, f"{k}u": v[tuple(places.T)]}


STEPS = (clipped, masked, adapted, adapted_by_gemm, spectrally_normalised, weight_normalised, standardised, palette,
         palette_of_bytes, palette_of_vectors, nibbles, words, eight_bits, padded, scattered)  # fmt: skip


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__.replace("_", "-"))
def test_weights_behind_constant_steps_are_read_and_found(
    step: Callable[[str, np.ndarray], Steps], tmp_path: Path
) -> None:
    """A slot holds what the runtime computes of the steps; all of it is understood; our own weights are traced, and no decoys."""
    fingerprint(layers(None, tmp_path / "own.onnx"), tmp_path / "own.record", positions=400, key=Key(b"k" * 32))
    path = layers(step, tmp_path / "m.onnx")
    model = onnx.load(path)
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in OWN)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(list(OWN), {"x": np.zeros((3, 64), "f4")})
    with open_network(path) as opened:
        view = find_slots(opened)
        assert len(view.slots) == len(OWN)
        assert not view.not_understood
        assert account_of(opened, view).not_understood == 0
        for slot, values in zip(view.slots, expected, strict=True):
            np.testing.assert_allclose(slot.array(), values.T, 1e-4, 1e-5)
            assert slot.read_only
            positions = np.random.default_rng(0).integers(0, slot.size, 50)
            np.testing.assert_allclose(slot.values(positions), values.T.reshape(-1)[positions], 1e-4, 1e-5)
            with pytest.raises(ValueError, match=r"computed|stand"):
                slot.edits(positions, slot.values(positions))
    (verdict,) = verify(path, [load_record(tmp_path / "own.record")])
    assert verdict.decision == "traced"
    assert "decoys" not in {finding.name for finding in verdict.findings}


@pytest.mark.parametrize("domain", ["qonnx.custom_op.general", "onnx.brevitas"])
@pytest.mark.parametrize("bipolar", [False, True])
def test_weights_on_a_grid_of_qonnx_are_read(tmp_path: Path, domain: str, bipolar: bool) -> None:
    """Quant and BipolarQuant by their definition; no runtime of ONNX has them."""
    values = matrix(64, 64)
    scale = (np.abs(values).max(0, keepdims=True) / 7).astype("f4")
    if bipolar:
        step = node("BipolarQuant", "w s", "q", domain)
        expected = np.where(values >= 0, scale, -scale)
    else:
        step = node("Quant", "w s z n", "q", domain, signed=1, narrow=1, rounding_mode="ROUND")
        expected = np.clip(np.rint(values / scale), -7, 7) * scale
    weights = {"w": values, "s": scale} | ({} if bipolar else {"z": np.float32(0), "n": np.float32(4)})
    with open_network(network([step, node("MatMul", "x q", "y")], weights, tmp_path / "m.onnx")) as opened:
        view = find_slots(opened)
        (slot,) = view.slots
        assert not view.not_understood
        np.testing.assert_allclose(slot.array(), expected.T, 1e-6)


def test_steps_without_a_rule_are_named_and_no_decoys(tmp_path: Path) -> None:
    """Our own weights behind a step that nobody knows: inconclusive, named, and never called decoys."""
    fingerprint(layers(None, tmp_path / "own.onnx"), tmp_path / "own.record", positions=400, key=Key(b"k" * 32))
    path = layers(lambda k, v: ([node("Mystery", f"{k}w", k, "vendor")], {f"{k}w": v}), tmp_path / "m.onnx")
    (verdict,) = verify(path, [load_record(tmp_path / "own.record")])
    assert verdict.decision == "inconclusive"
    assert verdict.not_understood
    assert "decoys" not in {finding.name for finding in verdict.findings}


def test_the_same_weight_with_another_summand_is_another_weight(tmp_path: Path) -> None:
    """What stands beside a stored tensor in its second use is read too: else a whole layer would pass for structure."""
    nodes = [node("MatMul", "x w", "h"), node("Add", "w d", "s"), node("Relu", "x", "r"), node("MatMul", "r s", "g"),
             node("Add", "h g", "y")]  # fmt: skip
    weights = {"w": matrix(64, 64), "d": matrix(64, 64)}
    with open_network(network(nodes, weights, tmp_path / "m.onnx")) as opened:
        view = find_slots(opened)
        assert len(view.slots) == 2
        (both,) = [slot for slot in view.slots if len(slot.constant.stored()) == 2]
        np.testing.assert_allclose(both.array(), (weights["w"] + weights["d"]).T, 1e-6)
        account = account_of(opened, view)
        assert account.structural == 0


def test_values_that_stand_in_several_places_are_not_written(tmp_path: Path) -> None:
    """Rows that are repeated: a value given to one of them would be the other's too."""
    nodes = [node("Gather", "w i", "s"), node("MatMul", "x s", "y")]
    with open_network(network(nodes, {"w": matrix(32, 64), "i": np.arange(64) // 2}, tmp_path / "m.onnx")) as opened:
        (slot,) = find_slots(opened).slots
        assert "several places" in slot.read_only
        with pytest.raises(ValueError, match="several places"):
            slot.edits(np.array([0]), np.array([1.0]))


def test_moved_values_are_still_written(tmp_path: Path) -> None:
    """DepthToSpace only moves elements about: what is written shows where it was asked for."""
    nodes = [node("DepthToSpace", "w", "s", blocksize=2), node("Reshape", "s z", "m"), node("MatMul", "x m", "y")]
    path = network(nodes, {"w": matrix(1, 64, 8, 8), "z": np.array([64, 64])}, tmp_path / "m.onnx")
    with open_network(path) as opened:
        (slot,) = find_slots(opened).slots
        tensor, places, _ = slot.edits(np.array([5, 77, 4000]), np.zeros(3))
        np.testing.assert_array_equal(tensor.take(places), slot.values(np.array([5, 77, 4000])))


# --- bounds


def constant_of(model: ModelProto, path: Path, name: str) -> tuple[Constant | None, Constants]:
    path.write_bytes(model.SerializeToString())
    flow = trace_flow(open_network(path))
    constants = Constants(flow)
    return constants.of(flow.names.index(name)), constants


def chain(nodes: list[NodeProto], weights: dict[str, np.ndarray], outputs: list[str]) -> ModelProto:
    tensors = [numpy_helper.from_array(np.asarray(values), name) for name, values in weights.items()]
    graph = helper.make_graph(nodes, "g", [], [onnx.ValueInfoProto(name=name) for name in outputs], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def test_what_grows_on_the_way_is_not_evaluated(tmp_path: Path) -> None:
    """A number of a matrix of 2**40 elements that is nowhere stored: not understood, at once."""
    huge = np.array([2**20, 2**20])
    for step in (
        node("Expand", "one shape", "m"),
        node("ConstantOfShape", "shape", "m"),
        node("Tile", "one shape", "m"),
    ):
        model = chain(
            [step, node("ReduceSum", "m", "c", keepdims=0)], {"one": np.ones((1, 1), "f4"), "shape": huge}, ["c"]
        )
        assert constant_of(model, tmp_path / "m.onnx", "c")[0] is None
    outer = [node("MatMul", "u v", "m"), node("ReduceSum", "m", "c")]
    model = chain(outer, {"u": np.ones((2**16, 1), "f4"), "v": np.ones((1, 2**16), "f4")}, ["c"])
    assert constant_of(model, tmp_path / "m.onnx", "c")[0] is None
    ramp = [node("Range", "zero end step", "c")]
    model = chain(ramp, {"zero": np.int64(0), "end": np.int64(2**40), "step": np.int64(1)}, ["c"])
    assert constant_of(model, tmp_path / "m.onnx", "c")[0] is None


def test_products_are_bounded_together(tmp_path: Path) -> None:
    """A thousand products of one large matrix with itself: most are not understood, and all of it takes seconds."""
    side, count = 1024, 1000
    nodes = [node("MatMul", f"p{number} w", f"p{number + 1}") for number in range(50)]
    nodes += [node("MatMul", "w w", f"q{number}") for number in range(count)]
    weights = {"p0": np.eye(side, dtype="f4"), "w": np.eye(side, dtype="f4")}
    names = [f"q{number}" for number in range(count)]
    path = tmp_path / "m.onnx"
    path.write_bytes(chain(nodes, weights, ["p50", *names]).SerializeToString())
    flow = trace_flow(open_network(path))
    constants = Constants(flow)
    found = [constants.of(flow.names.index(name)) for name in names]
    read = [constant for constant in found if constant is not None]
    assert 0 < len(read) < 200
    assert sum(constant.work for constant in read) <= 2**37


def test_tables_that_are_made_of_little_are_bounded_together(tmp_path: Path) -> None:
    """A thousand outer products of 2**20 elements: memory for a few dozen at most is ever asked for."""
    nodes = [node("Mul", "u v", f"c{number}") for number in range(1000)]
    weights = {"u": np.ones((1024, 1), "f4"), "v": np.ones((1, 1024), "f4")}
    path = tmp_path / "m.onnx"
    path.write_bytes(chain(nodes, weights, [f"c{number}" for number in range(1000)]).SerializeToString())
    flow = trace_flow(open_network(path))
    constants = Constants(flow)
    read = [constants.of(flow.names.index(f"c{number}")) for number in range(1000)]
    assert 0 < sum(constant.size for constant in read if constant is not None) <= 2**27


@pytest.mark.parametrize(
    ("step", "weights"),
    [
        (node("BitwiseAnd", "w w", "c"), {"w": np.ones((2, 2), "f4")}),
        (node("BitShift", "w w", "c", direction="RIGHT"), {"w": np.ones((2, 2), "i4")}),
        (node("Cast", "w", "c", to=TensorProto.STRING), {"w": np.ones((2, 2), "f4")}),
        (node("MatMul", "w v", "c"), {"w": np.ones((2, 3), "f4"), "v": np.ones((2, 3), "f4")}),
        (node("Clip", "w v", "c"), {"w": np.ones((2, 3), "f4"), "v": np.ones(3, "f4")}),
        (node("Range", "z o z", "c"), {"z": np.int64(0), "o": np.int64(1)}),
        (node("ScatterElements", "w i v", "c"), {"w": np.ones(3, "f4"), "i": np.zeros(2, "i8"), "v": np.ones(3, "f4")}),
        (node("Tile", "w i", "c"), {"w": np.ones(3, "f4"), "i": np.array([-1])}),
        (node("Pad", "w i", "c"), {"w": np.ones(3, "f4"), "i": np.array([-2, -2])}),
        (node("CumSum", "w i", "c"), {"w": np.ones(3, "f4"), "i": np.array(7)}),
        (node("GatherND", "w i", "c"), {"w": np.ones(3, "f4"), "i": np.zeros((2, 2), "i8")}),
    ],
    ids=lambda value: value.op_type if isinstance(value, NodeProto) else "",
)
def test_nodes_that_contradict_themselves_are_no_constants(
    tmp_path: Path, step: NodeProto, weights: dict[str, np.ndarray]
) -> None:
    """Not understood, and no exception."""
    constant, constants = constant_of(chain([step], weights, ["c"]), tmp_path / "m.onnx", "c")
    assert constant is None
    assert constants.is_unreadable(constants.flow.names.index("c"))


@pytest.mark.parametrize(
    ("step", "weights"),
    [
        (node("Gather", "t i", "c"), {"t": np.ones(4, "f4"), "i": np.full((9, 9), 7)}),
        (node("GatherElements", "t i", "c"), {"t": np.ones(4, "f4"), "i": np.full(9, -7)}),
        (node("GatherND", "t i", "c"), {"t": np.ones(4, "f4"), "i": np.full((9, 1), 7)}),
        (node("ScatterND", "t i u", "c"), {"t": np.ones(4, "f4"), "i": np.full((9, 1), 7), "u": np.ones(9, "f4")}),
        (node("ScatterElements", "t i u", "c"), {"t": np.ones(4, "f4"), "i": np.full(2, 9), "u": np.ones(2, "f4")}),
    ],
    ids=lambda value: value.op_type if isinstance(value, NodeProto) else "",
)
def test_places_outside_are_not_numbers(tmp_path: Path, step: NodeProto, weights: dict[str, np.ndarray]) -> None:
    """No runtime computes them, so no value may agree with anything."""
    constant, _ = constant_of(chain([step], weights, ["c"]), tmp_path / "m.onnx", "c")
    assert constant is not None
    assert np.isnan(constant.array()).all()
    assert np.isnan(constant.take(np.arange(2))).all()


def test_whole_numbers_from_outside_a_table_stay_whole(tmp_path: Path) -> None:
    """What follows may need whole numbers: no exception while a weight is read."""
    nodes = [node("Gather", "t i", "g"), node("BitShift", "g s", "c", direction="LEFT")]
    weights = {"t": np.ones(4, "u1"), "i": np.arange(9), "s": np.uint8(3)}
    constant, _ = constant_of(chain(nodes, weights, ["c"]), tmp_path / "m.onnx", "c")
    assert constant is not None
    np.testing.assert_array_equal(constant.array(), [8] * 4 + [0] * 5)
    np.testing.assert_array_equal(constant.take(np.arange(9)), [8] * 4 + [0] * 5)


def test_negative_powers_of_whole_numbers_are_no_error(tmp_path: Path) -> None:
    """NumPy refuses them; C makes zeros of them."""
    model = chain([node("Pow", "w e", "c")], {"w": np.array([2, 5, 1]), "e": np.array([-1, -2, -3])}, ["c"])
    constant, _ = constant_of(model, tmp_path / "m.onnx", "c")
    assert constant is not None
    np.testing.assert_array_equal(constant.array(), [0, 0, 1])


def test_large_weights_with_narrow_products_are_read_quickly(tmp_path: Path) -> None:
    """An adapter's product is larger than what it is made of by far, and is read where it is added to the weight."""
    side = 1500
    nodes = [node("MatMul", "l r", "d"), node("Add", "w d", "c")]
    weights = {"w": matrix(side, side), "l": matrix(side, 4), "r": matrix(4, side)}
    constant, _ = constant_of(chain(nodes, weights, ["c"]), tmp_path / "m.onnx", "c")
    assert constant is not None
    began = time.perf_counter()
    positions = np.random.default_rng(0).integers(0, side * side, 1000)
    expected = (weights["w"] + weights["l"] @ weights["r"]).reshape(-1)[positions]
    np.testing.assert_allclose(constant.take(positions), expected, 1e-5, 1e-6)
    assert time.perf_counter() - began < 20


@pytest.mark.parametrize("axis", [0, 1, None])
def test_operands_before_version_7_are_broadcast_from_their_axis_on(tmp_path: Path, axis: int | None) -> None:
    """[ONNX Mul-6]: ``axis`` says where the second operand begins; without ``broadcast``, shapes are equal or it is no constant."""
    values, by = matrix(4, 4, 3), matrix(4) if axis is not None else matrix(3)
    attributes = {"broadcast": 1} | ({"axis": axis} if axis is not None else {})
    model = chain([node("Mul", "w s", "c", **attributes), node("Mul", "w s", "d")], {"w": values, "s": by}, ["c", "d"])
    model.opset_import[0].version = 6
    constant, constants = constant_of(model, tmp_path / "m.onnx", "c")
    assert constant is not None
    shape = [1, 1, 3] if axis is None else [4 if place == axis else 1 for place in range(3)]
    np.testing.assert_array_equal(constant.array(), values * by.reshape(shape))
    assert constants.is_unreadable(constants.flow.names.index("d"))
