"""Large tensors are changed in blocks: the bytes are those of the formulas on whole tensors, the memory is bounded."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxnnw.modifications import find_modification
from onnxnnw.modifications.base import apply
from onnxnnw.network_file.stored import round_to

TYPES = ("float", "double", "float16", "bfloat16")
SHAPES = ((311, 77, 3, 3), (77, 1001), (1001, 7))  # several blocks with an odd rest; one block and a bit; less than one
RATIO, PERCENTAGE, BITS = 0.3, 37.0, 5

Weights = list[np.ndarray]


def noise(weights: Weights, rng: np.random.Generator) -> Weights:
    """N(0, S sigma), one draw per tensor."""
    wide = [np.float64 if w.dtype == np.float64 else np.float32 for w in weights]
    return [
        rng.standard_normal(w.shape, dtype=t) * t(RATIO * np.std(w, dtype=np.float64)) + w
        for w, t in zip(weights, wide, strict=True)
    ]


def smallest(weights: Weights, rng: np.random.Generator) -> Weights:
    """The first of a stable sort by magnitude become zero; a NaN is larger than everything."""
    out = []
    for w in weights:
        flat = w.reshape(-1).copy()
        flat[np.argsort(np.abs(flat), kind="stable")[: round(w.size * PERCENTAGE / 100)]] = 0
        out.append(flat.reshape(w.shape))
    return out


def smallest_of_all(weights: Weights, rng: np.random.Generator) -> Weights:
    """The same on all weights, end to end."""
    joined = np.concatenate([w.reshape(-1) for w in weights])
    stops = np.cumsum([w.size for w in weights])[:-1]
    pieces = np.split(smallest([joined], rng)[0], stops)
    return [p.reshape(w.shape) for p, w in zip(pieces, weights, strict=True)]


def random(weights: Weights, rng: np.random.Generator) -> Weights:
    """One draw without replacement per tensor."""
    out = []
    for w in weights:
        flat = w.reshape(-1).copy()
        flat[rng.choice(w.size, round(w.size * PERCENTAGE / 100), replace=False, shuffle=False)] = 0
        out.append(flat.reshape(w.shape))
    return out


def quantised(weights: Weights, rng: np.random.Generator) -> Weights:
    """s = (2^B - 1)/(max - min); q = round((x - min) s); x' = q/s + min, in the weights' own precision."""
    out = []
    for w in weights:
        low, high = w.min(), w.max()
        scale = w.dtype.type((2**BITS - 1) / (float(high) - float(low)))
        out.append(np.clip(np.rint((w - low) * scale), 0, 2**BITS - 1) / scale + low)
    return out


CASES: dict[str, tuple[dict[str, float], Callable[[Weights, np.random.Generator], Weights]]] = {
    "gaussian-noise": ({"ratio": RATIO}, noise),
    "magnitude-pruning": ({"percentage": PERCENTAGE}, smallest),
    "global-magnitude-pruning": ({"percentage": PERCENTAGE}, smallest_of_all),
    "random-pruning": ({"percentage": PERCENTAGE}, random),
    "quantization": ({"bits": BITS}, quantised),
}


def stored(weights: Weights, kind: str, path: Path) -> Path:
    """A network in which each weight is used once; each later layer starts from an input of its own."""
    nodes, inputs, outputs, initializers = [], [], [], []
    data_type = TensorProto.DataType.Value(kind.upper())
    for number, w in enumerate(weights):
        raw = helper.make_tensor(f"w{number}", data_type, w.shape, encoded(w, kind), raw=True)
        op, rank = ("Conv", 4) if w.ndim == 4 else ("MatMul", 2)
        nodes.append(helper.make_node(op, [f"x{number}", raw.name], [f"y{number}"]))
        inputs.append(helper.make_tensor_value_info(f"x{number}", data_type, [None] * rank))
        outputs.append(helper.make_tensor_value_info(f"y{number}", data_type, [None] * rank))
        initializers.append(raw)
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


def encoded(w: np.ndarray, kind: str) -> bytes:
    """Values that the type can hold, as its little-endian bytes."""
    if kind == "bfloat16":
        return (w.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return w.astype({"float": "<f4", "double": "<f8", "float16": "<f2"}[kind]).tobytes()


def drawn(kind: str, ties: bool) -> Weights:
    """Heavy-tailed weights that the type can hold; with ``ties`` on few levels, zeros of both signs included."""
    rng = np.random.default_rng(1)
    wide = np.float64 if kind == "double" else np.float32
    out = [rng.standard_t(3, shape).astype(wide) for shape in SHAPES]
    if ties:
        out = [np.copysign(np.minimum(np.abs(np.trunc(w * 2)), 3), w) for w in out]
    return [round_to(w, kind).reshape(w.shape).copy() for w in out]


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("name", CASES)
def test_blocks_give_the_bytes_of_whole_tensors(name, kind, ties, tmp_path):
    """The random stream, sums, thresholds and ties are those of the formulas on whole tensors, to the bit."""
    parameters, formula = CASES[name]
    weights = drawn(kind, ties)
    apply(find_modification(name)(**parameters), stored(weights, kind, tmp_path / "in.onnx"), tmp_path / "out.onnx", 5)
    expected = [round_to(w, kind) for w in formula(weights, np.random.default_rng(5))]
    found = [t.raw_data for t in onnx.load(tmp_path / "out.onnx").graph.initializer]
    assert [encoded(w, kind) for w in expected] == found


@pytest.mark.parametrize("name", [name for name in CASES if name.endswith("pruning")])
def test_not_even_infinities_change_the_bytes(name, tmp_path):
    """Pruning asks for the order of magnitudes only, which infinities have and NaN is the end of."""
    parameters, formula = CASES[name]
    weights = drawn("float", False)
    weights[0][3, 5, 1, 1], weights[0][300, 70, 2, 2], weights[0][200, 70, 2, 2] = np.inf, -np.inf, np.nan
    apply(find_modification(name)(**parameters), stored(weights, "float", tmp_path / "in.onnx"), tmp_path / "o", 5)
    expected = formula(weights, np.random.default_rng(5))
    found = [numpy_helper.to_array(t) for t in onnx.load(tmp_path / "o").graph.initializer]
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(expected, found, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("name", CASES)
def test_memory_stays_below_four_of_the_largest_tensor(name, kind, tmp_path):
    """NumPy reports what it allocates: at most 4 times the largest tensor in the precision it is computed in."""
    rng = np.random.default_rng(0)
    wide = np.float64 if kind == "double" else np.float32
    weights = [rng.standard_normal((2048, 1024)).astype(wide) for _ in range(3)]
    path = stored(weights, kind, tmp_path / "in.onnx")
    apply(find_modification(name)(**CASES[name][0]), path, tmp_path / "out.onnx")  # imports are not counted
    tracemalloc.start()
    try:
        apply(find_modification(name)(**CASES[name][0]), path, tmp_path / "out.onnx")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 4 * weights[0].nbytes
