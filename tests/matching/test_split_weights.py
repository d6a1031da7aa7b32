"""Layers that were split, merged, lowered or unrolled: the record's weights in other pieces, traced both ways."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper

from onnxnnw.enrolment.enrol import fingerprint
from onnxnnw.records.key import Key
from onnxnnw.records.record_file import load_record
from onnxnnw.verification.verify import verify
from tests.support.networks import model_of, save, tensor

Array = NDArray[np.float32]
Weights = dict[str, Array]
node = helper.make_node
SHAPES = {
    "dense": {"a": (64, 256), "b": (256, 64)},
    "convolution": {"k": (48, 16, 3, 3), "g": (48, 12, 3, 3)},
    "lstm": {"w": (1, 256, 48), "r": (1, 256, 64), "b": (1, 512)},
    "both directions": {"w": (2, 256, 48), "r": (2, 256, 64), "b": (2, 512)},
    "experts": {"one": (6, 96, 32), "two": (6, 32, 96)},
    "gru": {"w": (1, 192, 48), "r": (1, 192, 64), "b": (1, 384)},
}
INPUTS = {
    "dense": (4, 64),
    "convolution": (1, 16, 9, 9),
    "lstm": (3, 2, 48),
    "both directions": (3, 2, 48),
    "gru": (3, 2, 48),
}


def weights(family: str, seed: int) -> Weights:
    rng = np.random.default_rng(seed)
    return {name: (rng.standard_t(5, shape) * 0.05).astype("f4") for name, shape in SHAPES[family].items()}


def built(nodes: Sequence[NodeProto], **tensors: Array) -> ModelProto:
    return model_of(nodes, [tensor(name, np.asarray(values)) for name, values in tensors.items()])


# --- two layers


def dense(w: Weights) -> ModelProto:
    nodes = [node("MatMul", ["x", "a"], ["h"]), node("Relu", ["h"], ["r"]), node("MatMul", ["r", "b"], ["y"])]
    return built(nodes, a=w["a"], b=w["b"])


def halved(w: Weights) -> ModelProto:
    """The first layer's outputs in three pieces of other sizes, the second's inputs in two halves."""
    pieces = dict(zip(("a2", "a0", "a1"), np.split(w["a"], [64, 160], axis=1), strict=True))
    halves = {f"b{number}": part for number, part in enumerate(np.split(w["b"], 2, axis=0))}
    nodes = [node("MatMul", ["x", name], [f"h{name}"]) for name in pieces]
    nodes += [node("Concat", [f"h{name}" for name in pieces], ["h"], axis=-1), node("Relu", ["h"], ["r"]),
              node("Split", ["r"], ["r0", "r1"], axis=-1, num_outputs=2)]  # fmt: skip
    nodes += [node("MatMul", [f"r{k}", f"b{k}"], [f"y{k}"]) for k in (0, 1)]
    return built([*nodes, node("Add", ["y0", "y1"], ["y"])], **pieces, **halves)


# --- convolutions


def convolution(w: Weights) -> ModelProto:
    nodes = [node("Conv", ["x", "k"], ["h"]), node("Relu", ["h"], ["r"]), node("Conv", ["r", "g"], ["y"], group=4)]
    return built(nodes, **w)


def split_groups(w: Weights) -> ModelProto:
    """A convolution for each group."""
    parts = {f"g{k}": part for k, part in enumerate(np.split(w["g"], 4))}
    nodes = [node("Conv", ["x", "k"], ["h"]), node("Relu", ["h"], ["r"])]
    nodes.append(node("Split", ["r"], [f"r{k}" for k in range(4)], axis=1, num_outputs=4))
    nodes += [node("Conv", [f"r{k}", f"g{k}"], [f"y{k}"]) for k in range(4)]
    return built([*nodes, node("Concat", [f"y{k}" for k in range(4)], ["y"], axis=1)], k=w["k"], **parts)


def made_dense(w: Weights) -> ModelProto:
    """Zeros where other groups would be read."""
    full = np.zeros((48, 48, 3, 3), "f4")
    for k in range(4):
        full[12 * k : 12 * k + 12, 12 * k : 12 * k + 12] = w["g"][12 * k : 12 * k + 12]
    nodes = [node("Conv", ["x", "k"], ["h"]), node("Relu", ["h"], ["r"]), node("Conv", ["r", "f"], ["y"])]
    return built(nodes, k=w["k"], f=full)


def lowered(order: tuple[int, int, int]) -> Callable[[Weights], ModelProto]:
    """Windows are cut out tap by tap and multiplied by a matrix whose columns run in this order."""

    def build(w: Weights) -> ModelProto:
        matrix = w["k"].transpose(0, *(1 + axis for axis in order)).reshape(48, -1)
        limits, nodes = {}, []
        for u, v in np.ndindex(3, 3):
            limits |= {f"from{u}{v}": np.array([u, v]), f"to{u}{v}": np.array([u + 7, v + 7])}
            nodes.append(node("Slice", ["x", f"from{u}{v}", f"to{u}{v}", "axes"], [f"x{u}{v}"]))
        nodes += [
            node("Concat", [f"x{u}{v}" for u, v in np.ndindex(3, 3)], ["c"], axis=1),
            node("Reshape", ["c", "taps"], ["t"]),  # (kh, kw, in, places)
            node("Transpose", ["t"], ["p"], perm=[3, *((axis + 2) % 3 for axis in order)]),
            node("Reshape", ["p", "rows"], ["q"]), node("MatMul", ["q", "k"], ["m"]),
            node("Transpose", ["m"], ["n"]), node("Reshape", ["n", "image"], ["h"]),
            node("Relu", ["h"], ["r"]), node("Conv", ["r", "g"], ["y"], group=4),
        ]  # fmt: skip
        shapes = {"axes": np.array([2, 3]), "taps": np.array([3, 3, 16, 49]), "rows": np.array([49, -1]),
                  "image": np.array([1, 48, 7, 7])}  # fmt: skip
        return built(nodes, k=np.ascontiguousarray(matrix.T), g=w["g"], **limits, **shapes)

    return build


# --- recurrent layers


def recurrent(op: str, directions: int = 1) -> Callable[[Weights], ModelProto]:
    def build(w: Weights) -> ModelProto:
        more = {"direction": "bidirectional"} if directions == 2 else {}
        more |= {"linear_before_reset": 1} if op == "GRU" else {}
        last = [node("Transpose", ["Y"], ["t"], perm=[0, 2, 1, 3]), node("Reshape", ["t", "s"], ["y"])]
        first = node(op, ["x", "w", "r", "b"], ["Y"], hidden_size=64, **more)
        return built([first, *last], s=np.array([3, 2, -1]), **w)

    return build


GATES = {"lstm": [0, 2, 3, 1], "gru": [1, 0, 2]}
"""Where the gates of a cell as PyTorch has it stand in ONNX: i, f, g, o in i, o, f, c; r, z, n in z, r, h."""


def unrolled(family: str, each: bool, turned: bool) -> Callable[[Weights], ModelProto]:
    """A cell's products, with its gates in PyTorch's order: one product for all gates, or one for each.

    What follows the products is left out; only weights are looked at here. Directions follow each other.
    """

    def build(w: Weights) -> ModelProto:
        gates = GATES[family]
        parts: Weights = {}
        for name in "wr":
            for direction, values in enumerate(w[name]):
                cells = values.reshape(len(gates), 64, -1)[gates]
                pieces = [*cells] if each else [cells.reshape(-1, values.shape[-1])]
                parts |= {f"{name}{direction}{k}": piece for k, piece in enumerate(pieces)}
        nodes, ends = [], []
        names = sorted(parts, key=lambda name: (name[2:], name[:2]) if each else name)
        for name in names:
            read = "x" if name[0] == "w" else "z"
            nodes.append(
                node("Gemm" if turned else "MatMul", [read, name], [f"o{name}"], **({"transB": 1} if turned else {}))
            )
            ends.append(f"o{name}")
        tensors = {name: values if turned else np.ascontiguousarray(values.T) for name, values in parts.items()}
        model = built([*nodes, node("Concat", ends, ["y"], axis=-1)], **tensors)
        model.graph.input.append(helper.make_tensor_value_info("z", 1, None))
        return model

    return build


def experts(w: Weights) -> ModelProto:
    op = node("MoE", ["x", "z", "one", "", "two"], ["y"], domain="com.microsoft", k=1, activation_type="relu")
    model = built([op], **w)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    model.graph.input.append(helper.make_tensor_value_info("z", 1, None))
    return model


def experts_apart(w: Weights) -> ModelProto:
    """Two products for each expert, one expert after the other; how they are mixed is left out."""
    nodes, parts = [], {}
    for k in range(6):
        parts |= {f"one{k}": np.ascontiguousarray(w["one"][k].T), f"two{k}": np.ascontiguousarray(w["two"][k].T)}
        nodes += [node("MatMul", ["x", f"one{k}"], [f"h{k}"]), node("Relu", [f"h{k}"], [f"r{k}"]),
                  node("MatMul", [f"r{k}", f"two{k}"], [f"y{k}"])]  # fmt: skip
    return built([*nodes, node("Sum", [f"y{k}" for k in range(6)], ["y"])], **parts)


PAIRS: dict[str, tuple[str, Callable[[Weights], ModelProto], Callable[[Weights], ModelProto]]] = {
    "halves": ("dense", dense, halved),
    "groups apart": ("convolution", convolution, split_groups),
    "groups dense": ("convolution", convolution, made_dense),
    "channels first": ("convolution", convolution, lowered((0, 1, 2))),
    "taps first": ("convolution", convolution, lowered((1, 2, 0))),
    "columns of taps first": ("convolution", convolution, lowered((2, 1, 0))),
    "lstm cell": ("lstm", recurrent("LSTM"), unrolled("lstm", False, True)),
    "lstm cell, turned": ("lstm", recurrent("LSTM"), unrolled("lstm", False, False)),
    "lstm gates": ("lstm", recurrent("LSTM"), unrolled("lstm", True, True)),
    "both directions": ("both directions", recurrent("LSTM", 2), unrolled("lstm", False, True)),
    "gates of both directions": ("both directions", recurrent("LSTM", 2), unrolled("lstm", True, False)),
    "experts apart": ("experts", experts, experts_apart),
    "gru cell": ("gru", recurrent("GRU"), unrolled("gru", False, True)),
    "gru gates": ("gru", recurrent("GRU"), unrolled("gru", True, False)),
}
SAME_FUNCTION = [name for name in PAIRS if PAIRS[name][0] in ("dense", "convolution")]


def answers(model: ModelProto, x: Array) -> Array:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    out: Array = session.run(None, {"x": x})[0]
    return out


@pytest.mark.parametrize("pair", SAME_FUNCTION)
def test_the_pieces_compute_what_the_whole_does(pair: str) -> None:
    """Otherwise this would be about other networks."""
    family, whole, pieces = PAIRS[pair]
    x = np.random.default_rng(3).normal(size=INPUTS[family]).astype("f4")
    own = weights(family, 0)
    np.testing.assert_allclose(answers(pieces(own), x), answers(whole(own), x), atol=1e-5)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("back", [False, True], ids=["there", "back"])
def test_weights_in_other_pieces_are_traced(pair: str, back: bool, tmp_path: Path) -> None:
    """Enrolled whole and found in pieces, or the other way round; others' weights are not found."""
    family, *forms = PAIRS[pair]
    if back and pair == "groups dense":
        pytest.skip("a network is not enrolled with zeros for weights")
    enrolled, other = forms[::-1] if back else forms
    path = save(enrolled(weights(family, 0)), tmp_path / "m.onnx")
    fingerprint(path, tmp_path / "m.record", positions=512, key=Key(b"k" * 32))
    (verdict,) = verify(save(other(weights(family, 0)), tmp_path / "o.onnx"), [load_record(tmp_path / "m.record")])
    assert verdict.decision == "traced"
    assert verdict.read > 500
    assert verdict.account.parts["weights"] <= 0.02 * verdict.account.total
    (stranger,) = verify(save(other(weights(family, 9)), tmp_path / "s.onnx"), [load_record(tmp_path / "m.record")])
    assert stranger.decision != "traced"
