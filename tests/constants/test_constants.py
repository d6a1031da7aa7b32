"""Constants: what they are is what onnx computes, and reading a few elements is reading all and choosing."""

from pathlib import Path
from tempfile import TemporaryDirectory

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import NodeProto, SparseTensorProto, TensorProto, helper
from onnx.reference import ReferenceEvaluator

from onnxnnw.constants.constants import Constant, Constants
from onnxnnw.flow.tracing import trace_flow
from onnxnnw.network_file.file import open_network
from tests.support.networks import model_of, save, tensor

W = np.random.default_rng(0).normal(size=(6, 4, 8)).astype("f4")
Q = np.random.default_rng(1).integers(-128, 128, (6, 8)).astype("i1")
SCALES = np.random.default_rng(2).uniform(0.1, 1, 48).astype("f4")
WHOLE = np.random.default_rng(3).integers(-50, 50, (6, 4)).astype("i8")


def node(op: str, *inputs: str, **attributes: object) -> NodeProto:
    return helper.make_node(op, list(inputs), ["c"], **attributes)


def of(step: NodeProto, given_tensors: dict[str, np.ndarray]) -> tuple[Constant | None, np.ndarray]:
    """The constant that a node gives, and what onnx's reference evaluator says."""
    tensors = [tensor(name, values) for name, values in given_tensors.items()]
    model = model_of([step], tensors, inputs=[], outputs=["c"])
    expected = np.asarray(ReferenceEvaluator(model).run(None, {})[0])
    with TemporaryDirectory() as folder:
        network = open_network(save(model, Path(folder) / "m.onnx"))
        flow = trace_flow(network)
        return Constants(flow).of(flow.names.index("c")), expected


CASES = {
    "transpose": (node("Transpose", "w", perm=[2, 0, 1]), {"w": W}),
    "transpose by default": (node("Transpose", "w"), {"w": W}),
    "reshape": (node("Reshape", "w", "s"), {"w": W, "s": np.array([0, -1, 2])}),
    "reshape of zeros": (node("Reshape", "w", "s", allowzero=1), {"w": W, "s": np.array([48, 4])}),
    "flatten": (node("Flatten", "w", axis=2), {"w": W}),
    "flatten from the end": (node("Flatten", "w", axis=-1), {"w": W}),
    "squeeze": (node("Squeeze", "w", "a"), {"w": W[:1], "a": np.array([0])}),
    "squeeze all": (node("Squeeze", "w"), {"w": W[:1, :, :1]}),
    "unsqueeze": (node("Unsqueeze", "w", "a"), {"w": W, "a": np.array([0, -1])}),
    "identity": (node("Identity", "w"), {"w": W}),
    "cast to double": (node("Cast", "w", to=TensorProto.DOUBLE), {"w": W}),
    "cast to float16": (node("Cast", "w", to=TensorProto.FLOAT16), {"w": W * 100}),
    "cast to int64": (node("Cast", "w", to=TensorProto.INT64), {"w": W * 100}),
    "cast to int8": (node("Cast", "w", to=TensorProto.INT8), {"w": WHOLE * 10}),
    "cast to bool": (node("Cast", "w", to=TensorProto.BOOL), {"w": np.array([0.0, 0.5, -2.0, -0.0], "f4")}),
    "per tensor": (node("DequantizeLinear", "q", "s", "z"), {"q": Q, "s": SCALES[:1].reshape(()), "z": np.int8(7)}),
    "per row": (node("DequantizeLinear", "q", "s", "z", axis=0), {"q": Q, "s": SCALES[:6], "z": Q[:, 0].copy()}),
    "per column": (node("DequantizeLinear", "q", "s", axis=-1), {"q": Q, "s": SCALES[:8]}),
    "per block of rows": (
        node("DequantizeLinear", "q", "s", "z", axis=0, block_size=2),
        {"q": Q, "s": SCALES[:24].reshape(3, 8), "z": Q[:3].copy()},
    ),
    "per block of columns": (
        node("DequantizeLinear", "q", "s", axis=1, block_size=4), {"q": Q, "s": SCALES[:12].reshape(6, 2)},
    ),
    "product": (node("Mul", "w", "s"), {"w": W, "s": SCALES[:8]}),
    "product across": (node("Mul", "s", "w"), {"w": W, "s": SCALES[:4].reshape(4, 1)}),
    "quotient": (node("Div", "w", "s"), {"w": W, "s": SCALES[:6].reshape(6, 1, 1)}),
    "quotient of whole numbers": (node("Div", "w", "s"), {"w": WHOLE, "s": np.array([3, -7, 2, 5])}),
    "sum": (node("Add", "w", "s"), {"w": W, "s": SCALES[:8]}),
    "difference": (node("Sub", "w", "s"), {"w": W, "s": SCALES[:8]}),
    "negative": (node("Neg", "w"), {"w": W}),
    "root": (node("Sqrt", "w"), {"w": W**2}),
    "reciprocal": (node("Reciprocal", "w"), {"w": W}),
    "power": (node("Pow", "w", "s"), {"w": W, "s": np.float32(2)}),
    "hyperbolic tangent": (node("Tanh", "w"), {"w": W}),
    "joined": (node("Concat", "w", "v", "w", axis=1), {"w": W, "v": W[:, :3] * 2}),
    "joined from the end": (node("Concat", "w", "v", axis=-1), {"w": W, "v": W[:, :, :1]}),
    "sliced": (
        node("Slice", "w", "a", "b", "x", "t"),
        {"w": W, "a": np.array([1, -1]), "b": np.array([-1, -100]), "x": np.array([0, -1]), "t": np.array([2, -3])},
    ),
    "sliced on the first axes": (node("Slice", "w", "a", "b"), {"w": W, "a": np.array([2]), "b": np.array([99])}),
    "chosen": (node("Gather", "w", "i", axis=2), {"w": W, "i": np.array([[7, 0], [-2, 3]])}),
    "chosen once": (node("Gather", "w", "i", axis=1), {"w": W, "i": np.array(2)}),
    "shape": (node("Shape", "w", start=-2), {"w": W}),
    "zeros": (node("ConstantOfShape", "s"), {"s": np.array([2, 3])}),
    "broadcast": (node("Expand", "w", "s"), {"w": W[:, :1], "s": np.array([6, 4, 1])}),
    "norm of rows": (node("ReduceL2", "w", "x", keepdims=1), {"w": W, "x": np.array([1, 2])}),
    "largest": (node("ReduceMax", "w", "x", keepdims=0), {"w": W, "x": np.array([-1])}),
    "sum of all": (node("ReduceSum", "w", keepdims=0), {"w": W}),
    "quantised": (
        node("QuantizeLinear", "w", "s", "z", axis=2),
        {"w": W, "s": SCALES[:8], "z": np.arange(8, dtype="i1")},
    ),
    "quantised to bytes": (node("QuantizeLinear", "w", "s"), {"w": W, "s": np.float32(0.1)}),
    "small floats": (
        node("DequantizeLinear", "q", "s", axis=0),
        {"q": W[:, :, 0].astype(ml_dtypes.float8_e4m3fn), "s": SCALES[:6]},
    ),
    "two bits": (node("DequantizeLinear", "q", "s"), {"q": (Q % 4 - 2).astype(ml_dtypes.int2), "s": np.float32(0.5)}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.replace(" ", "-"))
def test_a_constant_is_what_onnx_computes(case: str) -> None:
    """The same shape and the same numbers as the reference evaluator."""
    constant, expected = of(*CASES[case])
    assert constant is not None
    assert constant.shape == expected.shape
    np.testing.assert_allclose(constant.array().astype("f8"), expected.astype("f8"), rtol=1e-6)


def test_a_cast_to_bfloat16_rounds_to_nearest_even() -> None:
    """The reference evaluator has it as another type, so the bits are compared."""
    constant, expected = of(node("Cast", "w", to=TensorProto.BFLOAT16), {"w": W})
    assert constant is not None
    np.testing.assert_array_equal(constant.array(), expected.astype("f4"))


@settings(max_examples=25, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.replace(" ", "-"))
def test_taking_is_reading_all_and_choosing(case: str, data: st.DataObject) -> None:
    """take(p) = array.flat[p], for positions in any order, repeated, in any shape, or none."""
    constant = _CONSTANTS.setdefault(case, of(*CASES[case])[0])
    assert constant is not None
    count = data.draw(st.integers(0, 20))
    positions = np.array(
        data.draw(st.lists(st.integers(0, constant.size - 1), min_size=count, max_size=count)), np.int64
    )
    digits = 3e-7 if case in ("power", "hyperbolic tangent") else 0  # NumPy's last digit depends on the array's length
    np.testing.assert_allclose(constant.take(positions), constant.array().reshape(-1)[positions], digits)
    square = positions.repeat(2).reshape(-1, 2)
    np.testing.assert_allclose(constant.take(square), constant.array().reshape(-1)[square], digits)


_CONSTANTS: dict[str, Constant | None] = {}


@pytest.mark.parametrize(
    "case",
    ["transpose", "reshape", "flatten", "squeeze", "unsqueeze", "identity", "cast to double", "sliced", "chosen"],
)
def test_what_only_moves_elements_about_can_be_located(case: str) -> None:
    """The located element holds the taken value."""
    constant, _ = of(*CASES[case])
    assert constant is not None
    positions = np.arange(constant.size)
    place = constant.locate(positions)
    assert place is not None
    stored, places = place
    assert len(set(places.tolist())) == constant.size
    assert constant.size < stored.size or case not in ("sliced", "chosen")
    np.testing.assert_array_equal(stored.take(places).astype("f4"), constant.take(positions).astype("f4"))


@pytest.mark.parametrize("case", ["per tensor", "per row", "product", "sum", "negative", "cast to int8", "joined"])
def test_what_is_computed_cannot_be_located(case: str) -> None:
    """There is no one place where it is stored."""
    constant, _ = of(*CASES[case])
    assert constant is not None
    assert constant.locate(np.arange(3)) is None


@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    seed=st.integers(0, 2**32 - 1),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_transposes_compose(shape: list[int], seed: int, data: st.DataObject) -> None:
    """Any permutation of any shape, and the one that undoes it."""
    from onnxnnw.constants.constants import Stored, Transposed
    from onnxnnw.network_file.stored import StoredTensor

    values = np.random.default_rng(seed).normal(size=shape).astype("<f4")
    stored = Stored(StoredTensor("w", TensorProto.FLOAT, tuple(shape), "inline", inline=values.reshape(-1)))
    axes = tuple(data.draw(st.permutations(range(len(shape)))))
    turned = Transposed(stored, axes)
    np.testing.assert_array_equal(turned.array(), values.transpose(axes))
    positions = np.arange(turned.size)
    np.testing.assert_array_equal(turned.take(positions), turned.array().reshape(-1))
    back = Transposed(turned, tuple(np.argsort(axes).tolist()))
    place = back.locate(positions)
    assert place is not None
    np.testing.assert_array_equal(place[1], positions)


def test_four_bit_integers_are_read(tmp_path: Path) -> None:
    """Two to a byte, signed and unsigned, in raw_data and int32_data, an odd number of them."""
    for kind, low, high in ((TensorProto.INT4, -8, 8), (TensorProto.UINT4, 0, 16)):
        values = np.random.default_rng(0).integers(low, high, (5, 13))
        nibbles = np.append(values.reshape(-1) & 0xF, 0)
        packed = (nibbles[::2] | nibbles[1::2] << 4).astype("u1")
        raw = TensorProto(name="w", data_type=kind, dims=[5, 13], raw_data=packed.tobytes())
        typed = TensorProto(name="w", data_type=kind, dims=[5, 13], int32_data=packed.tolist())
        for proto in (raw, typed):
            for for_writing in (False, True):
                path = save(model_of([helper.make_node("Identity", ["w"], ["y"])], [proto]), tmp_path / "m.onnx")
                with open_network(path, for_writing=for_writing) as network:
                    stored = network.tensor(network.model.graph.initializer[0])
                    np.testing.assert_array_equal(stored.array(), values)
                    np.testing.assert_array_equal(stored.take(np.array([64, 0, 3])), values.reshape(-1)[[64, 0, 3]])


def sparse(values: np.ndarray, indices: np.ndarray, dims: list[int]) -> SparseTensorProto:
    return helper.make_sparse_tensor(tensor("w", values), tensor("i", indices), dims)


def sparse_constant(proto: SparseTensorProto, path: Path, as_node: bool) -> Constant | None:
    """A sparse tensor as an initializer, or as the value of a Constant node."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    if as_node:
        nodes.insert(0, helper.make_node("Constant", [], ["w"], sparse_value=proto))
    model = model_of(nodes, [])
    if not as_node:
        model.graph.sparse_initializer.append(proto)
    with open_network(save(model, path / "m.onnx")) as network:
        flow = trace_flow(network)
        constant = Constants(flow).of(flow.names.index("w"))
        if constant is not None:
            constant.array()
        return constant


@pytest.mark.parametrize("as_node", [False, True])
def test_sparse_tensors_are_read(tmp_path: Path, as_node: bool) -> None:
    """With indices of one number or of one for each dimension."""
    dense = np.where(np.random.default_rng(0).random((12, 20)) < 0.3, np.random.default_rng(1).normal(size=(12, 20)), 0)
    values = dense[dense != 0].astype("f4")
    for indices in (np.flatnonzero(dense), np.argwhere(dense)):
        constant = sparse_constant(sparse(values, indices.astype("i8"), [12, 20]), tmp_path, as_node)
        assert constant is not None
        np.testing.assert_array_equal(constant.array(), dense.astype("f4"))
        positions = np.random.default_rng(2).permutation(240).reshape(12, 20)
        np.testing.assert_array_equal(constant.take(positions), constant.array().reshape(-1)[positions])
        assert constant.locate(positions) is None


@pytest.mark.parametrize(
    "indices",
    [
        [0, 5, 5], [5, 0, 7], [0, 1, 240], [-1, 0, 1], [0, 1], [[0, 0], [1, 20], [2, 0]], [[0, 0], [12, 0], [1, 0]],
        [[0, 0, 0], [1, 0, 0], [2, 0, 0]],
    ],
    ids=["twice", "descending", "outside", "negative", "too few", "outside a row", "no such row", "too many dimensions"],
)  # fmt: skip
def test_sparse_tensors_that_contradict_themselves_are_not_read(tmp_path: Path, indices: list[object]) -> None:
    """They are reported as not understood."""
    proto = sparse(np.ones(3, "f4"), np.array(indices, "i8"), [12, 20])
    assert sparse_constant(proto, tmp_path, False) is None
