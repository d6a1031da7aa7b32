"""Rules of constants: for random shapes, attributes, element types and versions they give what onnxruntime computes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxnnw.constants.constants import Constant, Constants
from onnxnnw.constants.rulebook import _RULES
from onnxnnw.flow.tracing import trace_flow
from onnxnnw.network_file.file import open_network

Case = tuple[str, list[Any], dict[str, Any], int]
"""Operator, inputs (arrays; None where absent), attributes, opset version."""

DRAWS = 12
_CASES: dict[str, Callable[[np.random.Generator], Case]] = {}


def case(function: Callable[[np.random.Generator], Case]) -> Callable[[np.random.Generator], Case]:
    """Register a drawer of cases by its name."""
    _CASES[function.__name__.replace("_", "-")] = function
    return function


def shape_of(rng: np.random.Generator, rank: int | None = None) -> tuple[int, ...]:
    return tuple(rng.integers(1, 6, rng.integers(1, 5) if rank is None else rank).tolist())


def broadcastable(rng: np.random.Generator, shape: Sequence[int]) -> tuple[int, ...]:
    tail = [n if rng.random() < 0.7 else 1 for n in shape]
    return tuple(tail[rng.integers(0, len(tail) + 1) :])


def reals(rng: np.random.Generator, shape: Sequence[int], scale: float = 2.0, kind: str = "f4") -> np.ndarray:
    return rng.normal(0, scale, tuple(shape)).astype(kind)


def wholes(
    rng: np.random.Generator, shape: Sequence[int], kind: str = "i8", low: int = -9, high: int = 9
) -> np.ndarray:
    return rng.integers(max(low, np.iinfo(kind).min), min(high, np.iinfo(kind).max), tuple(shape)).astype(kind)


def run(
    op: str, inputs: list[Any], attributes: dict[str, Any], version: int, domain: str = ""
) -> tuple[Constant | None, Any]:
    """The constant that a node gives, and what onnxruntime computes, as numbers (of small floats, decoded)."""
    names = [f"i{number}" if value is not None else "" for number, value in enumerate(inputs)]
    tensors = [numpy_helper.from_array(np.asarray(v), n) for n, v in zip(names, inputs, strict=True) if v is not None]
    outputs = ["c"] + ["m", "v"] * bool(attributes.get("training_mode"))
    node = helper.make_node(op, names, outputs, domain=domain, **attributes)
    graph = helper.make_graph([node], "g", [], [onnx.ValueInfoProto(name="c")], tensors)
    imports = [helper.make_opsetid("", version), *([helper.make_opsetid(domain, 1)] if domain else [])]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        path.write_bytes(model.SerializeToString())
        flow = trace_flow(open_network(path))
        constant = Constants(flow).of(flow.names.index("c"))
        array = constant.array() if constant is not None else None
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        value = session.run_with_ort_values(None, {})[0]
        expected = numbers(value)
        if constant is not None:
            assert constant.shape == expected.shape
            positions = np.random.default_rng(0).integers(0, max(1, constant.size), 9 if constant.size else 0)
            np.testing.assert_allclose(
                constant.take(positions).astype("f8"), array.reshape(-1)[positions].astype("f8"), 2e-6, 1e-6
            )
            assert constant.take(np.zeros(0, np.int64)).shape == (0,)
            assert constant.dtype == array.dtype
    return array, expected


_SMALL = {
    TensorProto.FLOAT8E4M3FN: ml_dtypes.float8_e4m3fn,
    TensorProto.FLOAT8E4M3FNUZ: ml_dtypes.float8_e4m3fnuz,
    TensorProto.FLOAT8E5M2: ml_dtypes.float8_e5m2,
    TensorProto.FLOAT8E5M2FNUZ: ml_dtypes.float8_e5m2fnuz,
}


def numbers(value: Any) -> np.ndarray:
    kind = value.element_type()
    if kind in _SMALL:
        import ctypes

        size = int(np.prod(value.shape()))
        raw = ctypes.string_at(value.data_ptr(), size) if size else b""
        return np.frombuffer(raw, _SMALL[kind]).reshape(value.shape()).astype("f4")
    return np.asarray(value.numpy())


# --- element by element


@case
def clip_of_inputs(rng: np.random.Generator) -> Case:
    kind = rng.choice(["f4", "f8", "i1", "u1", "i4", "i8", "u4"])
    values = reals(rng, shape_of(rng), kind=kind) if kind[0] == "f" else wholes(rng, shape_of(rng), kind)
    limits = [
        np.array(limit, kind) if rng.random() < 0.8 else None for limit in (rng.integers(0, 3), rng.integers(2, 6))
    ]
    return "Clip", [values, *limits], {}, int(rng.choice([12, 13, 21]))


@case
def clip_of_attributes(rng: np.random.Generator) -> Case:
    attributes = {n: float(v) for n, v in (("min", rng.normal() - 1), ("max", rng.normal() + 1)) if rng.random() < 0.8}
    return "Clip", [reals(rng, shape_of(rng))], attributes, int(rng.choice([7, 10]))


@case
def unary(rng: np.random.Generator) -> Case:
    op = rng.choice(
        "Round Sign Floor Ceil Sin Cos Tan Atan Sinh Cosh Asinh Erf Sigmoid Softplus Softsign Relu LeakyRelu Elu HardSigmoid Neg "
        "Exp Tanh Abs Reciprocal".split()
    )
    attributes = {"alpha": float(rng.uniform(0.1, 1))} if op in ("LeakyRelu", "Elu", "HardSigmoid") else {}
    values = reals(rng, shape_of(rng))
    return str(op), [np.round(values * 2) / 2 if op == "Round" else values], attributes, 14


@case
def inverse_functions(rng: np.random.Generator) -> Case:
    op = str(rng.choice(["Asin", "Acos", "Atanh", "Acosh"]))
    values = rng.uniform(-0.95, 0.95, shape_of(rng)).astype("f4")
    return op, [values + 2 if op == "Acosh" else values], {}, 14


@case
def signs_of_whole_numbers(rng: np.random.Generator) -> Case:
    return (
        str(rng.choice(["Sign", "Abs", "Neg"])),
        [wholes(rng, shape_of(rng), str(rng.choice(["i1", "i4", "i8"])))],
        {},
        14,
    )


@case
def any_number(rng: np.random.Generator) -> Case:
    shape = shape_of(rng)
    count = int(rng.integers(1, 5))
    return (
        str(rng.choice(["Sum", "Mean", "Max", "Min"])),
        [reals(rng, broadcastable(rng, shape)) for _ in range(count)],
        {},
        13,
    )


@case
def largest_of_whole_numbers(rng: np.random.Generator) -> Case:
    shape, kind = shape_of(rng), str(rng.choice(["i4", "i8", "u4"]))
    return str(rng.choice(["Max", "Min"])), [wholes(rng, broadcastable(rng, shape), kind) for _ in range(3)], {}, 13


@case
def arithmetic(rng: np.random.Generator) -> Case:
    shape, kind = shape_of(rng), str(rng.choice(["f4", "f8", "i4", "i8"]))
    op = str(rng.choice(["Add", "Sub", "Mul", "Div"]))
    if kind[0] == "f":
        return op, [reals(rng, broadcastable(rng, shape), kind=kind) for _ in range(2)], {}, 14
    big = 2**62 if kind == "i8" and op == "Div" else 20
    divisor = wholes(rng, broadcastable(rng, shape), kind)
    return op, [wholes(rng, shape, kind, -big, big), np.where(divisor == 0, 3, divisor).astype(kind)], {}, 14


@case
def powers(rng: np.random.Generator) -> Case:
    shape = shape_of(rng)
    base = str(rng.choice(["f4", "i4", "i8"]))
    exponent = str(rng.choice(["f4", "i4"]))
    values = np.abs(reals(rng, shape)) + 0.1 if base == "f4" else wholes(rng, shape, base, 1, 9)
    return "Pow", [values.astype(base), wholes(rng, broadcastable(rng, shape), "i4", 0, 4).astype(exponent)], {}, 13


@case
def choices(rng: np.random.Generator) -> Case:
    shape, kind = shape_of(rng), str(rng.choice(["f4", "i8", "u1", "i4"]))
    values = [wholes(rng, broadcastable(rng, shape), "i8", 0, 9).astype(kind) for _ in range(2)]
    return "Where", [rng.random(broadcastable(rng, shape)) < 0.5, *values], {}, 16


@case
def comparisons(rng: np.random.Generator) -> Case:
    op = str(rng.choice(["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"]))
    shape, kind = shape_of(rng), str(rng.choice(["f4", "i4", "i8"]))
    return op, [wholes(rng, broadcastable(rng, shape), "i8", -2, 3).astype(kind) for _ in range(2)], {}, 16


@case
def logic(rng: np.random.Generator) -> Case:
    op, shape = str(rng.choice(["And", "Or", "Xor", "Not"])), shape_of(rng)
    return op, [rng.random(broadcastable(rng, shape)) < 0.5 for _ in range(1 if op == "Not" else 2)], {}, 16


@case
def not_numbers(rng: np.random.Generator) -> Case:
    values = reals(rng, shape_of(rng))
    values[rng.random(values.shape) < 0.3], values[rng.random(values.shape) < 0.3] = np.inf, np.nan
    op = str(rng.choice(["IsNaN", "IsInf"]))
    attributes = {"detect_negative": int(rng.integers(0, 2)), "detect_positive": int(rng.integers(0, 2))}
    return (
        op,
        [values * np.where(rng.random(values.shape) < 0.5, -1, 1).astype("f4")],
        attributes if op == "IsInf" else {},
        13,
    )


@case
def shifts(rng: np.random.Generator) -> Case:
    shape, kind = shape_of(rng), str(rng.choice(["u1", "u4", "u8"]))
    values = wholes(rng, shape, kind, 0, 2**31) if kind != "u1" else wholes(rng, shape, kind, 0, 255)
    attributes = {"direction": str(rng.choice(["LEFT", "RIGHT"]))}
    return "BitShift", [values, wholes(rng, broadcastable(rng, shape), kind, 0, 7)], attributes, 11


@case
def bits(rng: np.random.Generator) -> Case:
    op, shape = str(rng.choice(["BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot"])), shape_of(rng)
    kind = str(rng.choice(["u1", "i1", "i4", "u4", "i8"]))
    return (
        op,
        [wholes(rng, broadcastable(rng, shape), kind, -99, 99) for _ in range(1 if op == "BitwiseNot" else 2)],
        {},
        18,
    )


@case
def remainders(rng: np.random.Generator) -> Case:
    shape, fmod = shape_of(rng), int(rng.integers(0, 2))
    kind = str(rng.choice(["i1", "i4", "i8", "u1"] + ["f4"] * fmod))
    if kind == "f4":
        return "Mod", [reals(rng, shape), reals(rng, broadcastable(rng, shape)) + 5], {"fmod": 1}, 13
    divisor = wholes(rng, broadcastable(rng, shape), kind)
    return (
        "Mod",
        [wholes(rng, shape, kind, -99, 99), np.where(divisor == 0, 3, divisor).astype(kind)],
        {"fmod": fmod},
        13,
    )


@case
def slopes(rng: np.random.Generator) -> Case:
    shape = shape_of(rng)
    return "PRelu", [reals(rng, shape), reals(rng, broadcastable(rng, shape))], {}, 16


@case
def casts(rng: np.random.Generator) -> Case:
    target = int(rng.choice([1, 2, 3, 6, 7, 9, 10, 11]))
    return str(rng.choice(["Cast"])), [rng.uniform(0, 100, shape_of(rng)).astype("f4")], {"to": target}, 19


@case
def casts_like(rng: np.random.Generator) -> Case:
    like = np.zeros(2, str(rng.choice(["f4", "f2", "f8", "i1", "i8", "?"])))
    return "CastLike", [rng.uniform(0, 100, shape_of(rng)).astype("f4"), like], {}, 19


# --- structure


@case
def tiles(rng: np.random.Generator) -> Case:
    shape = shape_of(rng)
    return "Tile", [reals(rng, shape), rng.integers(1, 4, len(shape))], {}, 13


@case
def pads(rng: np.random.Generator) -> Case:
    shape = tuple(n + 3 for n in shape_of(rng, int(rng.integers(1, 4))))
    mode = str(rng.choice(["constant", "edge", "reflect", "wrap"]))
    version = 19 if mode == "wrap" else int(rng.choice([11, 13, 18, 21]))
    amounts = rng.integers(-1 if mode == "constant" else 0, 3, 2 * len(shape))
    value = np.float32(rng.normal()) if mode == "constant" and rng.random() < 0.7 else None
    inputs = [reals(rng, shape), amounts, value]
    if version >= 18 and rng.random() < 0.5:
        axes = rng.permutation(len(shape))[: rng.integers(1, len(shape) + 1)]
        inputs = [inputs[0], amounts[: 2 * len(axes)], value, axes - len(shape) * int(rng.integers(0, 2))]
    return "Pad", inputs, {"mode": mode}, version


@case
def pads_of_attributes(rng: np.random.Generator) -> Case:
    shape = tuple(n + 2 for n in shape_of(rng, 3))
    attributes = {"pads": rng.integers(0, 2, 6).tolist(), "mode": str(rng.choice(["constant", "edge", "reflect"]))}
    return "Pad", [reals(rng, shape)], attributes | {"value": 0.5}, int(rng.choice([7, 10]))


@case
def filled(rng: np.random.Generator) -> Case:
    value = rng.choice(
        [np.array([2.5], "f4"), np.array([3], "i8"), np.array([1], "?"), np.array([7], "u1"), np.array([0.1])]
    )
    return (
        "ConstantOfShape",
        [np.array(shape_of(rng))],
        {"value": numpy_helper.from_array(np.asarray(value).reshape(1))},
        20,
    )


@case
def ranges(rng: np.random.Generator) -> Case:
    if rng.random() < 0.5:
        ends = wholes(rng, (2,), "i8", -20, 20)
        step = int(rng.choice([-3, -1, 1, 2]))
        return "Range", [ends[0], ends[1], np.int64(step)], {}, 11
    ends = reals(rng, (2,), 9)
    return "Range", [ends[0], ends[1], np.float32(rng.choice([-0.5, 0.3, 1.7]))], {}, 11


@case
def unit_matrices(rng: np.random.Generator) -> Case:
    attributes = {"k": int(rng.integers(-3, 4))} | (
        {"dtype": int(rng.choice([1, 7, 11]))} if rng.random() < 0.6 else {}
    )
    return "EyeLike", [reals(rng, shape_of(rng, 2))], attributes, 9


@case
def triangles(rng: np.random.Generator) -> Case:
    shape = shape_of(rng, int(rng.integers(2, 5)))
    inputs: list[Any] = [reals(rng, shape)] + ([np.int64(rng.integers(-3, 4))] if rng.random() < 0.7 else [])
    return "Trilu", inputs, {"upper": int(rng.integers(0, 2))}, 14


@case
def running_sums(rng: np.random.Generator) -> Case:
    shape, kind = shape_of(rng), str(rng.choice(["f4", "i4", "i8"]))
    values = reals(rng, shape) if kind == "f4" else wholes(rng, shape, kind)
    axis = np.int64(rng.integers(-len(shape), len(shape)))
    return "CumSum", [values, axis], {"exclusive": int(rng.integers(0, 2)), "reverse": int(rng.integers(0, 2))}, 14


@case
def one_of_many(rng: np.random.Generator) -> Case:
    shape = shape_of(rng, int(rng.integers(1, 4)))
    indices = wholes(rng, shape, "i8", -6, 7)
    return (
        "OneHot",
        [indices, np.int64(5), reals(rng, (2,))],
        {"axis": int(rng.integers(-len(shape) - 1, len(shape) + 1))},
        11,
    )


@case
def elements_gathered(rng: np.random.Generator) -> Case:
    shape = shape_of(rng)
    axis = int(rng.integers(-len(shape), len(shape)))
    places = tuple(int(rng.integers(1, n + 1)) if a != axis % len(shape) else 7 for a, n in enumerate(shape))
    length = shape[axis]
    return "GatherElements", [reals(rng, shape), wholes(rng, places, "i8", -length, length)], {"axis": axis}, 13


@case
def elements_scattered(rng: np.random.Generator) -> Case:
    shape = shape_of(rng)
    axis = int(rng.integers(-len(shape), len(shape)))
    places = tuple(int(rng.integers(1, n + 1)) for n in shape)
    reduction = str(rng.choice(["none", "add", "mul", "max", "min"]))
    order = np.argsort(rng.random((*places[: axis % len(shape)], shape[axis], *places[axis % len(shape) + 1 :])), axis)
    indices = np.take(order, np.arange(places[axis]), axis)
    return (
        "ScatterElements",
        [reals(rng, shape), indices, reals(rng, places)],
        {"axis": axis, "reduction": reduction},
        18,
    )


@case
def rows_gathered(rng: np.random.Generator) -> Case:
    shape = shape_of(rng)
    depth = int(rng.integers(1, len(shape) + 1))
    lead = shape_of(rng, int(rng.integers(0, 3)))
    indices = np.stack([wholes(rng, lead, "i8", -n, n) for n in shape[:depth]], -1)
    return "GatherND", [reals(rng, shape), indices], {}, 13


@case
def rows_scattered(rng: np.random.Generator) -> Case:
    shape = shape_of(rng)
    depth = int(rng.integers(1, len(shape) + 1))
    total = int(np.prod(shape[:depth]))
    chosen = rng.permutation(total)[: rng.integers(1, total + 1)]
    indices = np.stack(np.unravel_index(chosen, shape[:depth]), -1).astype("i8")
    reduction = str(rng.choice(["none", "add", "mul", "max", "min"]))
    return (
        "ScatterND",
        [reals(rng, shape), indices, reals(rng, (len(chosen), *shape[depth:]))],
        {"reduction": reduction},
        18,
    )


@case
def palettes(rng: np.random.Generator) -> Case:
    table = reals(rng, (16,)) if rng.random() < 0.5 else reals(rng, (16, 3))
    kind = str(rng.choice(["i4", "i8"]))
    return "Gather", [table, wholes(rng, (40, 70), kind, -16, 16)], {}, 13


@case
def palettes_along_another_axis(rng: np.random.Generator) -> Case:
    return "Gather", [reals(rng, (2, 5, 3)), wholes(rng, (30, 20), "i8", -5, 5)], {"axis": 1}, 13


@case
def depth_to_space(rng: np.random.Generator) -> Case:
    block = int(rng.integers(1, 4))
    n, c, h, w = shape_of(rng, 4)
    return (
        "DepthToSpace",
        [reals(rng, (n, c * block**2, h, w))],
        {"blocksize": block, "mode": str(rng.choice(["DCR", "CRD"]))},
        13,
    )


@case
def space_to_depth(rng: np.random.Generator) -> Case:
    block = int(rng.integers(1, 4))
    n, c, h, w = shape_of(rng, 4)
    return "SpaceToDepth", [reals(rng, (n, c, h * block, w * block))], {"blocksize": block}, 13


@case
def sizes(rng: np.random.Generator) -> Case:
    return "Size", [reals(rng, shape_of(rng))], {}, 13


# --- matrices, normalisations


@case
def products(rng: np.random.Generator) -> Case:
    lead, (n, k, m) = shape_of(rng, int(rng.integers(0, 3))), shape_of(rng, 3)
    left = (*broadcastable(rng, lead), n, k) if lead else (n, k)
    right = (*lead, k, m)
    if rng.random() < 0.2:
        left = (k,)
    if rng.random() < 0.2:
        right = (k,)
    return "MatMul", [reals(rng, left), reals(rng, right)], {}, 13


@case
def products_of_whole_numbers(rng: np.random.Generator) -> Case:
    n, k, m = shape_of(rng, 3)
    return "MatMul", [wholes(rng, (n, k), "i4"), wholes(rng, (k, m), "i4")], {}, 13


@case
def scaled_products(rng: np.random.Generator) -> Case:
    n, k, m = shape_of(rng, 3)
    turned = rng.integers(0, 2, 2).tolist()
    inputs = [reals(rng, (k, n) if turned[0] else (n, k)), reals(rng, (m, k) if turned[1] else (k, m))]
    if rng.random() < 0.7:
        inputs.append(reals(rng, [(m,), (1, m), (n, 1), (n, m), ()][rng.integers(0, 5)]))
    attributes = {
        "transA": turned[0],
        "transB": turned[1],
        "alpha": float(rng.choice([1, 0.5])),
        "beta": float(rng.choice([1, 2])),
    }
    return "Gemm", inputs, attributes, 13


@case
def batch_normalised(rng: np.random.Generator) -> Case:
    shape = shape_of(rng, int(rng.integers(2, 5)))
    rest = [reals(rng, (shape[1],)) for _ in range(3)] + [rng.uniform(0.5, 2, shape[1]).astype("f4")]
    return "BatchNormalization", [reals(rng, shape), *rest], {"epsilon": 1e-3}, int(rng.choice([9, 14, 15]))


@case
def standardised_by_batch_normalisation(rng: np.random.Generator) -> Case:
    shape = (1, int(rng.integers(1, 5)), int(rng.integers(8, 20)))
    rest = [reals(rng, (shape[1],)) for _ in range(3)] + [rng.uniform(0.5, 2, shape[1]).astype("f4")]
    return "BatchNormalization", [reals(rng, shape), *rest], {"epsilon": 1e-3, "training_mode": 1}, 15


@case
def instance_normalised(rng: np.random.Generator) -> Case:
    n, c = shape_of(rng, 2)
    shape = (n, c, 5, *shape_of(rng, int(rng.integers(0, 2))))
    return "InstanceNormalization", [reals(rng, shape), reals(rng, (c,)), reals(rng, (c,))], {"epsilon": 1e-3}, 13


@case
def layer_normalised(rng: np.random.Generator) -> Case:
    shape = (*shape_of(rng, 2), 5)
    axis = int(rng.integers(0, 3))
    tail = shape[axis:]
    inputs = [reals(rng, shape), reals(rng, tail)] + ([reals(rng, tail)] if rng.random() < 0.6 else [])
    return "LayerNormalization", inputs, {"axis": axis - int(rng.integers(0, 2)) * 3, "epsilon": 1e-3}, 17


@case
def divided_by_a_norm(rng: np.random.Generator) -> Case:
    shape = shape_of(rng)
    return (
        "LpNormalization",
        [reals(rng, shape)],
        {"axis": int(rng.integers(0, len(shape))), "p": int(rng.integers(1, 3))},
        13,
    )


@case
def mean_variance_normalised(rng: np.random.Generator) -> Case:
    return "MeanVarianceNormalization", [reals(rng, (2, 3, 4, 5))], {}, 13


@case
def shares(rng: np.random.Generator) -> Case:
    shape = shape_of(rng)
    op = str(rng.choice(["Softmax", "LogSoftmax"]))
    return op, [reals(rng, shape)], {"axis": int(rng.integers(0, len(shape)))}, int(rng.choice([11, 13]))


@case
def reductions(rng: np.random.Generator) -> Case:
    op = str(
        rng.choice("ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceSumSquare".split())
    )
    shape, kind = shape_of(rng), str(rng.choice(["f4", "i4"]))
    values = reals(rng, shape) if kind == "f4" else wholes(rng, shape, "i4", 1, 5)
    axes = rng.permutation(len(shape))[: rng.integers(1, len(shape) + 1)]
    return op, [values, axes], {"keepdims": int(rng.integers(0, 2))}, 18


@case
def logarithms_of_sums(rng: np.random.Generator) -> Case:
    op = str(rng.choice(["ReduceLogSum", "ReduceLogSumExp"]))
    shape = shape_of(rng)
    return op, [np.abs(reals(rng, shape)) + 0.5, np.array([rng.integers(0, len(shape))])], {}, 18


# --- quantisation

_EIGHT_BITS = list(_SMALL)


def clear_of_the_end(values: np.ndarray, target: int, saturate: int) -> np.ndarray:
    """What is too large is far too large: where the largest number ends and infinity begins, runtimes disagree."""
    largest = float(ml_dtypes.finfo(_SMALL[target]).max)
    beyond = np.abs(values) > largest
    return np.where(beyond & (saturate == 0), np.sign(values) * largest * 8, values).astype("f4")


@case
def casts_to_eight_bits(rng: np.random.Generator) -> Case:
    values = (reals(rng, (4, 60)) * 10.0 ** rng.integers(-4, 6, (4, 60))).astype("f4")
    target, saturate = int(rng.choice(_EIGHT_BITS)), int(rng.integers(0, 2))
    return "Cast", [clear_of_the_end(values, target, saturate)], {"to": target, "saturate": saturate}, 19


@case
def casts_of_what_lies_between_eight_bits(rng: np.random.Generator) -> Case:
    target = int(rng.choice(_EIGHT_BITS))
    grid = np.arange(256, dtype="u1").view(_SMALL[target]).astype("f4")
    grid = np.sort(grid[np.isfinite(grid)])
    values = np.concatenate(
        [(grid[1:] + grid[:-1]) / 2, grid[1:-1] * 1.0001, [grid[-1] * 1.04, grid[-1] * 1.2, np.nan]]
    )
    saturate = int(rng.integers(0, 2))
    return "Cast", [clear_of_the_end(values.astype("f4"), target, saturate)], {"to": target, "saturate": saturate}, 19


@case
def quantised_to_eight_bits(rng: np.random.Generator) -> Case:
    target = int(rng.choice(_EIGHT_BITS))
    zero = np.zeros(4, _SMALL[target])
    values = (reals(rng, (4, 30)) * 10.0 ** rng.integers(-3, 5, (4, 30))).astype("f4")
    saturate = int(rng.integers(0, 2))
    scale = np.float32(rng.choice([0.5, 1, 2]))
    values = clear_of_the_end(values / scale, target, saturate) * scale
    return (
        "QuantizeLinear",
        [values, np.full(4, scale), zero],
        {"axis": 0, "saturate": saturate},
        19,
    )


@case
def quantised_to_whole_numbers(rng: np.random.Generator) -> Case:
    kind = str(rng.choice(["i1", "u1", "i2", "u2"]))
    zero = wholes(rng, (4,), kind)
    return "QuantizeLinear", [reals(rng, (4, 30), 40), rng.uniform(0.1, 2, 4).astype("f4"), zero], {"axis": 0}, 21


@case
def dequantised_from_eight_bits(rng: np.random.Generator) -> Case:
    values = reals(rng, (4, 30)).astype(_SMALL[int(rng.choice(_EIGHT_BITS))])
    return "DequantizeLinear", [values, rng.uniform(0.1, 2, 4).astype("f4")], {"axis": 0}, 19


@pytest.mark.parametrize("name", _CASES)
def test_a_rule_gives_what_a_runtime_computes(name: str) -> None:
    """Equal for whole numbers, to the last digits for real ones; reading some elements is reading all and choosing."""
    for seed in range(DRAWS):
        drawn = _CASES[name](np.random.default_rng(seed))
        array, expected = run(*drawn)
        assert array is not None, drawn
        assert array.dtype.kind == ("u" if expected.dtype == bool else expected.dtype.kind)
        if expected.dtype.kind == "f" and "eight-bits" not in name:
            np.testing.assert_allclose(
                array.astype("f8"), expected.astype("f8"), 2e-5, 2e-6, err_msg=f"{drawn[0]} {drawn[2]} {drawn[3]}"
            )
        else:
            np.testing.assert_array_equal(
                array.astype(expected.dtype), expected, err_msg=f"{drawn[0]} {drawn[2]} {drawn[3]}"
            )


_ATTRIBUTES: dict[str, Callable[[np.random.Generator], Any]] = {
    "axis": lambda rng: int(rng.integers(-3, 4)),
    "to": lambda rng: int(rng.integers(0, 25)),
    "alpha": lambda rng: float(rng.normal()),
    "keepdims": lambda rng: 0,
    "blocksize": lambda rng: int(rng.integers(-1, 4)),
    "direction": lambda rng: "LEFT",
    "mode": lambda rng: str(rng.choice(["constant", "edge", "reflect", "wrap", "x"])),
    "training_mode": lambda rng: 1,
    "reduction": lambda rng: str(rng.choice(["add", "mul", "none"])),
    "min": lambda rng: float("nan"),
    "epsilon": lambda rng: 0.0,
    "transA": lambda rng: 1,
}
_SHAPES = ((), (1,), (2,), (3, 2), (2, 3), (2, 2), (1, 2, 3), (2, 4, 2, 2), (0, 2))


@pytest.mark.slow
def test_chains_of_any_operators_on_anything_are_read_or_not_understood(tmp_path: Path) -> None:
    """Wrong types, shapes, attributes and counts of inputs: no exception, and some elements are those of all."""
    operators = sorted(_RULES)
    domains = sorted({domain for domain, _ in operators if domain})
    read = 0
    for seed in range(600):
        rng = np.random.default_rng(seed)
        values, tensors, nodes = [], [], []
        for number in range(6):
            kind = str(rng.choice(["f4", "f8", "f2", "i1", "u1", "i4", "i8", "u4", "?"]))
            array = rng.normal(size=_SHAPES[rng.integers(0, len(_SHAPES))]) * 3
            if kind[0] == "f" and rng.random() < 0.2:
                array = array * (np.nan if rng.random() < 0.5 else np.inf)
            kept = np.asarray(array).astype("i8").astype(kind) if kind[0] != "f" else np.asarray(array).astype(kind)
            tensors.append(numpy_helper.from_array(kept, f"t{number}"))
            values.append(f"t{number}")
        for number in range(6):
            domain, op = operators[rng.integers(0, len(operators))]
            attributes = {name: draw(rng) for name, draw in _ATTRIBUTES.items() if rng.random() < 0.25}
            inputs = [str(rng.choice(values)) if rng.random() < 0.95 else "" for _ in range(rng.integers(1, 6))]
            inputs[0] = values[-1] if rng.random() < 0.6 else inputs[0]
            nodes.append(helper.make_node(op, inputs, [f"c{number}"], domain=domain, **attributes))
            values.append(f"c{number}")
        graph = helper.make_graph(nodes, "g", [], [onnx.ValueInfoProto(name="c5")], tensors)
        version = int(rng.choice([1, 6, 8, 10, 11, 13, 17, 21, 23]))
        imports = [helper.make_opsetid("", version), *(helper.make_opsetid(domain, 1) for domain in domains)]
        path = tmp_path / "m.onnx"
        path.write_bytes(helper.make_model(graph, opset_imports=imports, ir_version=10).SerializeToString())
        with open_network(path) as network:
            flow = trace_flow(network)
            constants = Constants(flow)
            for number in range(6):
                constant = constants.of(flow.names.index(f"c{number}"))
                if constant is None:
                    continue
                read += 1
                array = constant.array()
                assert (array.shape, array.dtype) == (constant.shape, constant.dtype), (seed, number)
                positions = rng.integers(0, max(1, constant.size), 5 if constant.size else 0)
                assert constant.take(positions).dtype == constant.dtype, (seed, number)
                if all(node.op_type not in ("Cast", "CastLike", "Sign", "Floor", "Ceil", "Pow") for node in nodes):
                    few, all_of_them = constant.take(positions), array.reshape(-1)[positions]
                    np.testing.assert_allclose(
                        few.astype("f8"), all_of_them.astype("f8"), 1e-4, 1e-4, err_msg=f"{seed} {number}"
                    )
    assert read > 300


def test_the_page_of_constant_steps_lists_every_rule() -> None:
    """docs/reference/constant-steps.md names what is evaluated, and nothing else."""
    page = (Path(__file__).parents[2] / "docs" / "reference" / "constant-steps.md").read_text("utf-8")
    named = {
        word.strip("`") for line in page.splitlines() if line.startswith("| ") for word in line.split("|")[2].split()
    }
    assert {op for _, op in _RULES} | {"Split"} == named - {"operators", "---"}
