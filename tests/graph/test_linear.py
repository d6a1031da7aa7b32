"""Weights that act as one: their sum or product is what the network computes, and records find it."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import NodeProto, helper, numpy_helper

from onnxnnw.enrolment.enrol import embed
from onnxnnw.graph.linear import combined_slots
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import open_network
from onnxnnw.records.record_file import load_record
from onnxnnw.verification.verify import verify
from tests.support.networks import model_of, save, tensor

N = helper.make_node
RNG = np.random.default_rng(0)


def numbers(*shape: int) -> np.ndarray:
    return (RNG.standard_t(5, shape) * 0.05).astype("f4")


W, A, B = numbers(64, 96), numbers(64, 8), numbers(8, 96)
K3, K1, K5 = numbers(32, 24, 3, 3), numbers(32, 24, 1, 1), numbers(32, 24, 5, 5)
SQUARE, MIX = numbers(24, 24, 1, 1), numbers(32, 32, 1, 1)
SAME = {"pads": [1, 1, 1, 1]}
GAMMA = RNG.uniform(0.5, 2, 32).astype("f4")

MATRICES: dict[str, tuple[list[NodeProto], dict[str, np.ndarray]]] = {
    "two summands": (
        [N("MatMul", ["x", "a"], ["u"]), N("MatMul", ["x", "b"], ["v"]), N("Add", ["u", "v"], ["y"])],
        {"a": W / 3 + numbers(64, 96), "b": numbers(64, 96)},
    ),
    "an adapter": (
        [N("MatMul", ["x", "w"], ["u"]), N("MatMul", ["x", "a"], ["h"]), N("MatMul", ["h", "b"], ["v"]),
         N("Mul", ["v", "s"], ["t"]), N("Add", ["u", "t"], ["y"])],
        {"w": W, "a": A, "b": B * 9, "s": np.float32(2)},
    ),
    "a difference with a bias": (
        [N("MatMul", ["x", "a"], ["u"]), N("Add", ["u", "bias"], ["p"]), N("MatMul", ["x", "b"], ["v"]),
         N("Sub", ["p", "v"], ["y"])],
        {"a": W, "b": numbers(64, 96), "bias": np.zeros(96, "f4")},
    ),
    "summands of a value and its negative": (
        [N("Neg", ["x"], ["m"]), N("MatMul", ["x", "a"], ["u"]), N("MatMul", ["m", "b"], ["v"]), N("Sum", ["u", "v"], ["y"])],
        {"a": numbers(64, 96), "b": numbers(64, 96)},
    ),
    "summands of a value and half of it": (
        [N("Mul", ["x", "s"], ["m"]), N("MatMul", ["x", "a"], ["u"]), N("MatMul", ["m", "b"], ["v"]), N("Sub", ["u", "v"], ["y"])],
        {"a": numbers(64, 96), "b": numbers(64, 96), "s": np.float32(0.5)},
    ),
    "factors with moves between": (
        [N("MatMul", ["x", "a"], ["u"]), N("Unsqueeze", ["u", "first"], ["p"]), N("Squeeze", ["p", "first"], ["q"]),
         N("Transpose", ["q"], ["r"]), N("Transpose", ["r"], ["s"]), N("MatMul", ["s", "b"], ["y"])],
        {"a": numbers(64, 48), "b": numbers(48, 96), "first": np.array([0])},
    ),
    "two factors": (
        [N("MatMul", ["x", "a"], ["u"]), N("Gemm", ["u", "b"], ["y"], transB=1, alpha=0.5)],
        {"a": numbers(64, 48), "b": numbers(96, 48)},
    ),
    "three factors, scaled between": (
        [N("MatMul", ["x", "a"], ["u"]), N("Mul", ["u", "g"], ["p"]), N("MatMul", ["p", "b"], ["v"]),
         N("MatMul", ["v", "c"], ["y"])],
        {"a": numbers(64, 40), "g": np.linspace(0.5, 2, 40, dtype="f4"), "b": numbers(40, 48), "c": numbers(48, 96)},
    ),
    "a Gemm that adds a product": (
        [N("MatMul", ["x", "a"], ["u"]), N("Gemm", ["x", "b", "u"], ["y"], alpha=2.0, beta=0.5)],
        {"a": numbers(64, 96), "b": numbers(64, 96)},
    ),
}  # fmt: skip
CONVOLUTIONS: dict[str, tuple[list[NodeProto], dict[str, np.ndarray]]] = {
    "3x3 and 1x1 branches": (
        [N("Conv", ["x", "a"], ["u"], **SAME), N("Conv", ["x", "b"], ["v"]), N("Add", ["u", "v"], ["y"])],
        {"a": K3, "b": K1},
    ),
    "branches with batch normalisation": (
        [N("Conv", ["x", "a"], ["u"], **SAME), N("BatchNormalization", ["u", "g", "z", "z", "v1"], ["p"]),
         N("Conv", ["x", "b"], ["v"]), N("Add", ["p", "v"], ["y"])],
        {"a": K3, "b": K1, "g": GAMMA, "z": np.zeros(32, "f4"), "v1": np.ones(32, "f4")},
    ),
    "5x5 and 3x3 with a stride": (
        [N("Conv", ["x", "a"], ["u"], pads=[2, 2, 2, 2], strides=[2, 2]), N("Conv", ["x", "b"], ["v"], strides=[2, 2], **SAME),
         N("Sum", ["u", "v"], ["y"])],
        {"a": K5, "b": K3},
    ),
    "1x1 before 3x3": (
        [N("Conv", ["x", "a"], ["u"]), N("Conv", ["u", "b"], ["y"], **SAME)],
        {"a": SQUARE, "b": K3},
    ),
    "1x1 after 3x3": (
        [N("Conv", ["x", "a"], ["u"], **SAME), N("Conv", ["u", "b"], ["y"])],
        {"a": K3, "b": MIX},
    ),
}  # fmt: skip


def runs(path: Path, x: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def written(folder: Path, nodes: list[NodeProto], arrays: dict[str, np.ndarray], name: str = "m") -> Path:
    return save(model_of(nodes, [tensor(key, value) for key, value in arrays.items()]), folder / f"{name}.onnx")


def stored(path: Path) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


def weight_of(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """The largest combination of a network: all of its weights as one."""
    with open_network(path) as network:
        found = combined_slots(find_slots(network), {shape})
        slot = max(found, key=lambda one: one.covered)
        return slot.array().reshape(slot.shape)


@pytest.mark.parametrize("name", MATRICES)
def test_a_combination_of_matrices_is_what_is_computed(tmp_path: Path, name: str) -> None:
    """x W with the combined W equals what onnxruntime computes, up to a constant that does not depend on x."""
    nodes, arrays = MATRICES[name]
    path = written(tmp_path, nodes, arrays)
    weight = weight_of(path, (96, 64))
    x = np.random.default_rng(1).normal(size=(5, 64)).astype("f4")
    np.testing.assert_allclose(runs(path, x), x @ weight.T, atol=2e-4)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_combination_of_convolutions_is_what_is_computed(tmp_path: Path, name: str) -> None:
    """One convolution with the combined kernel computes what all of them do."""
    nodes, arrays = CONVOLUTIONS[name]
    path = written(tmp_path, nodes, arrays)
    channels, taps = 24, 25 if "5x5" in name else 9
    weight = weight_of(path, (32, channels * taps))
    margin = weight.shape[2] // 2
    strides = [2, 2] if "stride" in name else [1, 1]
    single = written(tmp_path, [N("Conv", ["x", "w"], ["y"], pads=[margin] * 4, strides=strides)], {"w": weight}, "one")
    x = np.random.default_rng(1).normal(size=(2, channels, 9, 9)).astype("f4")
    np.testing.assert_allclose(runs(path, x), runs(single, x), atol=2e-4)


@pytest.mark.parametrize("kind", ["summands", "factors", "adapter", "branches"])
def test_a_record_finds_its_weight_in_parts(tmp_path: Path, kind: str) -> None:
    """A network enrolled with one weight is traced where the weight stands as a sum or a product, and explained."""
    tail = [N("Relu", ["h"], ["r"]), N("MatMul", ["r", "out"], ["y"])]
    arrays = {"w": W, "out": numbers(96, 10)}
    head = [N("MatMul", ["x", "w"], ["h"])]
    if kind == "branches":
        head, tail = [N("Conv", ["x", "w"], ["h"], **SAME)], [N("Relu", ["h"], ["r"]), N("Conv", ["r", "out"], ["y"])]
        arrays = {"w": K3, "out": numbers(16, 32, 1, 1)}
    own = written(tmp_path, [*head, *tail], arrays, "own")
    embed(own, tmp_path / "marked.onnx", tmp_path / "r.record", 512)
    marked = stored(tmp_path / "marked.onnx")
    whole = marked.pop("w")
    if kind == "summands":
        first = numbers(64, 96)
        parts = {"p": first, "q": whole - first}
        nodes = [N("MatMul", ["x", "p"], ["u"]), N("MatMul", ["x", "q"], ["v"]), N("Add", ["u", "v"], ["h"])]
    elif kind == "factors":
        turn = np.linalg.qr(np.random.default_rng(2).normal(size=(64, 64)))[0].astype("f4")
        parts = {"p": turn, "q": turn.T @ whole}
        nodes = [N("MatMul", ["x", "p"], ["u"]), N("MatMul", ["u", "q"], ["h"])]
    elif kind == "adapter":
        parts = {"p": whole - A @ B * 9, "a": A, "b": B * 9}
        nodes = [N("MatMul", ["x", "p"], ["u"]), N("MatMul", ["x", "a"], ["l"]), N("MatMul", ["l", "b"], ["v"]),
                 N("Add", ["u", "v"], ["h"])]  # fmt: skip
    else:
        parts = {"p": whole - np.pad(K1 * 3, [(0, 0), (0, 0), (1, 1), (1, 1)]), "q": K1 * 3}
        nodes = [N("Conv", ["x", "p"], ["u"], **SAME), N("Conv", ["x", "q"], ["v"]), N("Add", ["u", "v"], ["h"])]
    path = written(tmp_path, [*nodes, *tail], {**marked, **parts}, "parts")
    (verdict,) = verify(path, [load_record(tmp_path / "r.record")])
    assert verdict.decision == "traced"
    assert verdict.explained > 0.95


def test_a_sum_that_nothing_depends_on_is_no_mark(tmp_path: Path) -> None:
    """A decoy split into summands stays doubtful: its sum is no slot."""
    own = written(tmp_path, [N("MatMul", ["x", "w"], ["h"]), N("Relu", ["h"], ["y"])], {"w": W}, "own")
    embed(own, tmp_path / "marked.onnx", tmp_path / "r.record", 512)
    whole = stored(tmp_path / "marked.onnx")["w"]
    first = numbers(64, 96)
    nodes = [
        N("MatMul", ["x", "e"], ["s"]), N("MatMul", ["x", "p"], ["u"]), N("MatMul", ["x", "q"], ["v"]),
        N("Add", ["u", "v"], ["t"]), N("Mul", ["t", "zero"], ["n"]), N("Add", ["s", "n"], ["y"]),
    ]  # fmt: skip
    arrays = {"e": numbers(64, 96), "p": first, "q": whole - first, "zero": np.float32(0)}
    (verdict,) = verify(written(tmp_path, nodes, arrays), [load_record(tmp_path / "r.record")])
    assert verdict.decision in ("not traced", "inconclusive")


def test_groups_steps_and_activations_are_not_looked_through(tmp_path: Path) -> None:
    """What is no product of the two weights is offered as none."""
    grouped = [N("Conv", ["x", "a"], ["u"], group=2), N("Conv", ["u", "b"], ["y"])]
    arrays = {"a": numbers(32, 12, 3, 3), "b": MIX}
    between = [N("MatMul", ["x", "a"], ["u"]), N("Relu", ["u"], ["r"]), N("MatMul", ["r", "b"], ["y"])]
    for nodes, weights, shape in (
        (grouped, arrays, (32, 108)),
        (between, {"a": numbers(64, 48), "b": numbers(48, 96)}, (96, 64)),
    ):
        with open_network(written(tmp_path, nodes, weights)) as network:
            assert not combined_slots(find_slots(network), {shape})


@pytest.mark.parametrize("order", [[5, 0], [0], [0, 0], [-1, 0], [1, 0, 2]])
def test_a_transpose_of_axes_that_are_not_there_moves_nothing_back(order, tmp_path):
    """No runtime loads it; a reader gets no product of it, and no error."""
    nodes = [N("MatMul", ["x", "a"], ["u"]), N("Transpose", ["u"], ["p"], perm=[1, 0])]
    nodes += [N("Transpose", ["p"], ["q"], perm=order), N("MatMul", ["q", "b"], ["y"])]
    tensors = [tensor("a", numbers(64, 48)), tensor("b", numbers(48, 96))]
    with open_network(save(model_of(nodes, tensors), tmp_path / "m.onnx")) as network:
        assert combined_slots(find_slots(network), {(96, 64)}) == []
