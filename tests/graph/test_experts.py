"""Weights of fused operators, read as the operator acts: experts, rotary caches, attention, deformable convolutions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper

from onnxnnw.accounting.account import Account
from onnxnnw.accounting.classing import account_of
from onnxnnw.graph.slot_view import SlotView
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import open_network
from tests.support.networks import model_of, save, tensor

Array = NDArray[np.float32]
node = helper.make_node
EXPERTS, HIDDEN, INNER = 3, 16, 32
MS = "com.microsoft"


def run(
    nodes: Sequence[NodeProto], tensors: dict[str, Array], inputs: dict[str, Array], path: Path
) -> tuple[Array, SlotView, Account]:
    """What the runtime answers, and what is read."""
    import onnxruntime

    model = model_of(nodes, [tensor(name, values) for name, values in tensors.items()], inputs, domains=[MS])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, inputs)
    network = open_network(save(model, path / "m.onnx"))
    view = find_slots(network)
    return answer, view, account_of(network, view)


def mixture(x: Array, routes: Array, view: SlotView, biases: Sequence[Array]) -> Array:
    """Each row through the expert that its route prefers."""
    first, second = (slot.array().reshape(slot.shape) for slot in view.slots)
    chosen = routes.argmax(1)
    hidden = np.maximum(np.einsum("bk,bnk->bn", x, first[chosen]) + biases[0][chosen], 0)
    out: Array = np.einsum("bk,bnk->bn", hidden, second[chosen]) + biases[1][chosen]
    return out


def test_experts_are_stacks_of_matrices(tmp_path: Path) -> None:
    """One matrix for each expert, with its biases as parameters."""
    rng = np.random.default_rng(0)
    x, p = (rng.normal(size=(5, n)).astype("f4") for n in (HIDDEN, EXPERTS))
    own = {
        "w1": (EXPERTS, INNER, HIDDEN),
        "b1": (EXPERTS, INNER),
        "w2": (EXPERTS, HIDDEN, INNER),
        "b2": (EXPERTS, HIDDEN),
    }
    tensors = {name: rng.normal(size=shape).astype("f4") for name, shape in own.items()}
    op = node(
        "MoE",
        ["x", "p", "w1", "b1", "w2", "b2"],
        ["y"],
        domain=MS,
        k=1,
        activation_type="relu",
        normalize_routing_weights=1,
    )
    answer, view, account = run([op], tensors, {"x": x, "p": p}, tmp_path)
    np.testing.assert_allclose(answer, mixture(x, p, view, [tensors["b1"], tensors["b2"]]), atol=1e-4)
    assert [(slot.rows, slot.row_size) for slot in view.slots] == [(EXPERTS * INNER, HIDDEN), (EXPERTS * HIDDEN, INNER)]
    assert (account.parameter, account.not_understood) == (EXPERTS * (INNER + HIDDEN), 0)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("block", [0, 16])
@pytest.mark.parametrize("zeros", [False, True])
def test_experts_of_integers_are_real_numbers(bits: int, block: int, zeros: bool, tmp_path: Path) -> None:
    """Codes minus the middle of their range or a zero point, times a scale per row or block; the runtime may round on the way."""
    rng = np.random.default_rng(bits + block)
    x, p = (rng.normal(size=(5, n)).astype("f4") for n in (HIDDEN, EXPERTS))
    tensors: dict[str, Array] = {}
    for number, (rows, columns) in {1: (INNER, HIDDEN), 2: (HIDDEN, INNER)}.items():
        scales = (EXPERTS, rows, columns // block) if block else (EXPERTS, rows)
        tensors[f"w{number}"] = packed(rng.integers(0, 2**bits, (EXPERTS, rows, columns)), bits)
        tensors[f"s{number}"] = rng.uniform(0.01, 0.02, scales).astype("f4")
        tensors[f"z{number}"] = packed(rng.integers(0, 2**bits, scales), bits)
    given = ["z1", "z2"] if zeros else ["", ""]
    op = node("QMoE", ["x", "p", "w1", "s1", "", "w2", "s2", "", "", "", "", *given], ["y"], domain=MS, k=1, activation_type="relu",
              expert_weight_bits=bits, normalize_routing_weights=1, **({"block_size": block} if block else {}))  # fmt: skip
    answer, view, account = run([op], tensors, {"x": x, "p": p}, tmp_path)
    none = [np.zeros((EXPERTS, n), "f4") for n in (INNER, HIDDEN)]
    tolerance = 0.02 if bits == 8 and block else 1e-5
    np.testing.assert_allclose(answer, mixture(x, p, view, none), atol=tolerance * np.abs(answer).max())
    for slot in view.slots:
        places = np.arange(slot.size)
        np.testing.assert_array_equal(slot.values(places), slot.array().reshape(-1))
    unused = 0 if zeros else sum(tensors[name].size for name in ("z1", "z2"))
    assert (account.not_understood, account.dead) == (0, unused)


def packed(codes: Array, bits: int) -> Array:
    """Codes of four bits two to a byte, the lower first; an odd one out is followed by nothing."""
    if bits == 8:
        return codes.astype("u1")
    codes = np.concatenate([codes, np.zeros((*codes.shape[:-1], codes.shape[-1] % 2), codes.dtype)], -1)
    return (codes[..., ::2] | codes[..., 1::2] << 4).astype("u1")


@pytest.mark.parametrize(
    "attributes", [{"weights_prepacked": 1}, {"weights_prepacked": -1}, {"quant_type": "fp8"}], ids=str
)
def test_experts_that_were_packed_for_a_device_are_named(attributes: dict[str, object], tmp_path: Path) -> None:
    """Nobody but the provider knows how."""
    tensors = [tensor("w1", np.ones((3, 32, 8), "u1")), tensor("s1", np.ones((3, 32), "f4"))]
    op = node("QMoE", ["x", "p", "w1", "s1"], ["y"], domain=MS, **attributes)
    network = open_network(save(model_of([op], tensors, ["x", "p"], domains=[MS]), tmp_path / "m.onnx"))
    view = find_slots(network)
    assert not view.slots
    assert account_of(network, view).not_understood >= 3 * 32 * 8


@pytest.mark.parametrize("formula", [True, False])
def test_rotary_caches_are_known_by_their_formula(formula: bool, tmp_path: Path) -> None:
    """Cosines of positions are no weights; anything else in their place is named."""
    angles = np.arange(128)[:, None] / 10000 ** (np.arange(16) / 16)
    caches = {"c": np.cos(angles).astype("f4"), "s": np.sin(angles).astype("f4")}
    if not formula:
        caches = {name: np.random.default_rng(0).normal(size=(128, 16)).astype("f4") for name in caches}
    grouped = node("GroupQueryAttention", ["q", "k", "v", "", "", "n", "t", "c", "s"], ["y", "a", "b"], domain=MS, num_heads=2,
                   kv_num_heads=2, do_rotary=1)  # fmt: skip
    rotary = node("RotaryEmbedding", ["q", "i", "c", "s"], ["y"], domain=MS)
    standard = node("RotaryEmbedding", ["q", "c", "s", "i"], ["y"])
    for op in (grouped, rotary, standard):
        model = model_of([op], [tensor(name, values) for name, values in caches.items()], list("qkvnti"), domains=[MS])
        network = open_network(save(model, tmp_path / "m.onnx"))
        account = account_of(network, find_slots(network))
        size = 2 * 128 * 16
        assert account.not_understood == (0 if formula else 4 * size), op.op_type
        assert account.structural // size == formula, op.op_type


def test_the_standards_attention_has_learned_tables_and_no_matrix(tmp_path: Path) -> None:
    """Queries that were learned are read, and carry no mark."""
    queries = np.random.default_rng(0).normal(size=(1, 8, 32)).astype("f4")
    op = node("Attention", ["q", "x", "x"], ["y"], q_num_heads=2, kv_num_heads=2)
    model = model_of([op], [tensor("q", queries)])
    model.opset_import[0].version = 23
    (slot,) = find_slots(open_network(save(model, tmp_path / "m.onnx"))).slots
    assert (slot.name, slot.layout) == ("q", "table")


def test_deformable_convolutions_are_convolutions(tmp_path: Path) -> None:
    """Without offsets, one is the other."""
    rng = np.random.default_rng(0)
    x, w, b = (
        rng.normal(size=(1, 4, 8, 8)).astype("f4"),
        rng.normal(size=(6, 4, 3, 3)).astype("f4"),
        rng.normal(size=6).astype("f4"),
    )
    tensors = {"w": w, "b": b, "o": np.zeros((1, 18, 6, 6), "f4")}
    op = node("DeformConv", ["x", "w", "o", "b"], ["y"], kernel_shape=[3, 3])
    answer, view, account = run([op], tensors, {"x": x}, tmp_path)
    slot = view.slots[0]
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))[0]
    expected = np.einsum("cyxuv,ocuv->oyx", windows, slot.array().reshape(6, 4, 3, 3)) + b[:, None, None]
    np.testing.assert_allclose(answer[0], expected, atol=1e-4)
    assert (slot.layout, slot.bias, account.parameter) == ("conv", "b", 6)


@pytest.mark.parametrize(
    ("op", "place"), [("DecoderAttention", 2), ("LongformerAttention", 1), ("GatedRelativePositionBias", 3)]
)
def test_matrices_of_fused_attention_are_read(op: str, place: int, tmp_path: Path) -> None:
    """[in, out] in the file, [out, in] as rows [onnxruntime's schemas]."""
    values = np.random.default_rng(0).normal(size=(16, 48)).astype("f4")
    inputs = ["x"] * place + ["w"]
    path = save(
        model_of([node(op, inputs, ["y"], domain=MS)], [tensor("w", values)], domains=[MS]), tmp_path / "m.onnx"
    )
    (slot,) = find_slots(open_network(path)).slots
    np.testing.assert_array_equal(slot.array(), values.T)


@pytest.mark.parametrize("op", ["EPContext", "Mystery"])
def test_what_was_compiled_for_a_device_is_named_with_advice(op: str, tmp_path: Path) -> None:
    """A context of a compiler, or the attribute of an operator that nobody knows."""
    compiled = node(op, ["x"], ["y"], domain=MS if op == "EPContext" else "vendor", ep_cache_context=b"\1" * 9999)
    network = open_network(save(model_of([compiled], [], domains=[MS, "vendor"]), tmp_path / "m.onnx"))
    (entry,) = account_of(network, find_slots(network)).unread()
    assert entry.amount > 9000
    assert "verify the file before it is compiled for the device" in entry.reason


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_tables_are_looked_up_along_any_axis(axis: int, tmp_path: Path) -> None:
    """Of two dimensions, they are the same table up to a transposition."""
    values = np.random.default_rng(0).normal(size=(24, 16)).astype("f4")
    nodes = [node("Cast", ["x"], ["i"], to=TensorProto.INT64), node("Gather", ["w", "i"], ["y"], axis=axis)]
    path = save(model_of(nodes, [tensor("w", values)]), tmp_path / "m.onnx")
    (slot,) = find_slots(open_network(path)).slots
    np.testing.assert_array_equal(slot.array(), values)
