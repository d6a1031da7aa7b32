"""Weights in packed operators and blocked convolutions, against what onnxruntime computes with them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxnnw.constants.arrays import Literal
from onnxnnw.constants.moved import NCHWC_BLOCKS, as_unblocked, blocked, unblocked
from onnxnnw.enrolment.enrol import fingerprint
from onnxnnw.graph.slot import Slot
from onnxnnw.graph.slots import find_slots
from onnxnnw.matching.match import Wanted, match_slots
from onnxnnw.network_file.file import open_network
from onnxnnw.records.key import Key
from onnxnnw.records.record_file import load_record
from onnxnnw.verification.verify import verify
from tests.support.networks import save, tensor, weight

RNG = np.random.default_rng(0)
MICROSOFT = "com.microsoft"


def around(nodes: Sequence[NodeProto], tensors: Sequence[TensorProto], x: np.ndarray) -> ModelProto:
    """A model whose input has the type and shape of ``x``."""
    ports = [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(list(nodes), "g", ports, outputs, list(tensors))
    imports = [helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def computed(model: ModelProto, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def only_slot(model: ModelProto, folder: Path) -> Slot:
    (slot,) = find_slots(open_network(save(model, folder / "m.onnx"))).slots
    positions = np.random.default_rng(1).permutation(slot.size)
    np.testing.assert_array_equal(slot.values(positions), slot.array().reshape(-1)[positions])
    return slot


def rows_by_operator(model: ModelProto, columns: int) -> np.ndarray:
    """The weight as the operator shows it: one unit vector after the other."""
    return computed(model, np.eye(columns, dtype="f4")).T


def nbits(rows: int, columns: int, bits: int, block: int, zero: str) -> ModelProto:
    """MatMulNBits over random bytes."""
    blocks = -(-columns // block)
    packed = RNG.integers(0, 256, (rows, blocks, block * bits // 8)).astype("u1")
    tensors = [tensor("q", packed), tensor("s", RNG.uniform(0.1, 1, (rows, blocks)).astype("f4"))]
    names = ["x", "q", "s"]
    if zero == "packed":
        tensors.append(tensor("z", RNG.integers(0, 256, (rows, -(-blocks * bits // 8))).astype("u1")))
    elif zero == "float":
        tensors.append(tensor("z", RNG.uniform(0, 2**bits, (rows, blocks)).astype("f4")))
    if zero:
        names.append("z")
    node = helper.make_node(
        "MatMulNBits", names, ["y"], domain=MICROSOFT, N=rows, K=columns, bits=bits, block_size=block
    )
    return around([node], tensors, np.eye(columns, dtype="f4"))


@pytest.mark.parametrize("zero", ["", "packed", "float"])
@pytest.mark.parametrize(("bits", "block", "columns"), [(4, 16, 48), (4, 32, 72), (8, 32, 64), (2, 32, 64)])
def test_matmul_of_few_bits(tmp_path: Path, bits: int, block: int, columns: int, zero: str) -> None:
    """Blocks of 2, 4 and 8 bits, with packed, real and no zero points; the last block is not full."""
    model = nbits(24, columns, bits, block, zero)
    try:
        expected = rows_by_operator(model, columns)
    except Exception as error:  # a combination that this build of onnxruntime has no kernel for
        pytest.skip(str(error)[:100])
    np.testing.assert_allclose(only_slot(model, tmp_path).array(), expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("kind", [0, 1], ids=["FP4", "NF4"])
def test_matmul_of_bitsandbytes(tmp_path: Path, kind: int) -> None:
    """Both tables; blocks run on from row to row."""
    rows, columns, block = 24, 48, 64
    tensors = [
        tensor("q", RNG.integers(0, 256, rows * columns // 2).astype("u1")),
        tensor("s", RNG.uniform(0.1, 1, rows * columns // block).astype("f4")),
    ]
    node = helper.make_node(
        "MatMulBnb4", ["x", "q", "s"], ["y"], domain=MICROSOFT, N=rows, K=columns, block_size=block, quant_type=kind
    )
    model = around([node], tensors, np.eye(columns, dtype="f4"))
    np.testing.assert_allclose(
        only_slot(model, tmp_path).array(), rows_by_operator(model, columns), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("stored", ["INT4", "UINT4", "bytes"])
def test_gather_of_blocks(tmp_path: Path, stored: str, zero: bool) -> None:
    """Tables of four bits, as ONNX's own types and as bytes."""
    rows, columns, block = 40, 64, 32
    data = RNG.integers(0, 256, (rows, columns // 2)).astype("u1")
    points = RNG.integers(0, 256, (rows, columns // block // 2)).astype("u1")
    if stored == "bytes":
        tensors = [tensor("q", data), *([tensor("z", points)] if zero else [])]
    else:
        kind = TensorProto.DataType.Value(stored)
        tensors = [TensorProto(name="q", data_type=kind, dims=[rows, columns], raw_data=data.tobytes())]
        if zero:
            dims = [rows, columns // block]
            tensors.append(TensorProto(name="z", data_type=kind, dims=dims, raw_data=points.tobytes()))
    tensors.append(tensor("s", RNG.uniform(0.1, 1, (rows, columns // block)).astype("f4")))
    given: dict[str, Any] = {"gather_axis": 0, "quantize_axis": 1, "block_size": block, "domain": MICROSOFT}
    node = helper.make_node("GatherBlockQuantized", ["q", "x", "s", *(["z"] if zero else [])], ["y"], **given)
    model = around([node], tensors, np.arange(rows))
    slot = only_slot(model, tmp_path)
    assert slot.layout == "gather"
    np.testing.assert_allclose(slot.array(), computed(model, np.arange(rows)), rtol=1e-6)


def test_contradicting_packed_shapes_are_not_understood(tmp_path: Path) -> None:
    """Too few bytes, scales or zero points, impossible attributes, columns in an order of their own."""
    good = nbits(24, 48, 4, 16, "packed")
    changes = [
        lambda m: m.graph.initializer[0].CopyFrom(tensor("q", np.zeros((24, 3, 7), "u1"))),
        lambda m: m.graph.initializer[0].CopyFrom(tensor("q", np.zeros((24, 3, 8), "i1"))),
        lambda m: m.graph.initializer[1].CopyFrom(tensor("s", np.ones((24, 2), "f4"))),
        lambda m: m.graph.initializer[2].CopyFrom(tensor("z", np.zeros((24, 3), "u1"))),
        lambda m: setattr(next(a for a in m.graph.node[0].attribute if a.name == "N"), "i", 2**40),
        lambda m: setattr(next(a for a in m.graph.node[0].attribute if a.name == "bits"), "i", 3),
        lambda m: setattr(next(a for a in m.graph.node[0].attribute if a.name == "block_size"), "i", 0),
        lambda m: m.graph.node[0].input.append("q"),
        lambda m: m.graph.node[0].input.__setitem__(2, "x"),
    ]
    for change in changes:
        model = ModelProto()
        model.CopyFrom(good)
        change(model)
        view = find_slots(open_network(save(model, tmp_path / "m.onnx")))
        assert view.slots == []
        assert any("MatMulNBits" in problem for problem in view.not_understood)


CONVOLUTIONS = {
    "first layer": (20, 3, 3, 1),
    "padded outputs": (10, 16, 3, 1),
    "padded inputs": (32, 20, 3, 1),
    "pointwise": (24, 48, 1, 1),
    "depthwise": (20, 20, 3, 20),
    "two groups": (64, 64, 3, 2),
    "few inputs": (32, 8, 3, 1),
}


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=lambda case: case.replace(" ", "-"))
def test_blocked_convolutions_are_put_in_order(tmp_path: Path, case: str) -> None:
    """onnxruntime's own file at its highest level holds the same values in blocks of channels; so many as its machine has."""
    out, inputs, kernel, groups = CONVOLUTIONS[case]
    w, b = weight("w", out, inputs // groups, kernel, kernel), weight("b", out)
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["h"], group=groups, pads=[kernel // 2] * 4),
        helper.make_node("Relu", ["h"], ["y"]),
    ]
    model = around(nodes, [w, b], np.zeros((1, inputs, 16, 16), "f4"))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.optimized_model_filepath = str(tmp_path / "all.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (slot,) = find_slots(open_network(tmp_path / "all.onnx")).slots
    if slot.layout != "nchwc":
        pytest.skip("this machine has no blocked convolutions")
    values = numpy_helper.to_array(w)
    positions = np.random.default_rng(0).choice(values.size, 32, replace=False)
    anchors = values.reshape(-1)[positions].astype("f8")
    row_size = values.size // out
    (found,) = match_slots([Wanted("w", "b", out, row_size, positions, anchors, values.shape)], [slot])
    assert found is not None
    np.testing.assert_array_equal(found.slot.array(), values.reshape(out, -1))
    assert found.slot.covered == slot.size


@pytest.mark.parametrize("block", NCHWC_BLOCKS)
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_a_record_of_a_blocked_convolution_finds_the_plain_one(tmp_path: Path, case: str, block: int) -> None:
    """Whatever the length of its blocks, which the file does not say, and whatever scales the plain one's rows downstream."""
    out, inputs, kernel, groups = CONVOLUTIONS[case]
    w, scale = weight("w", out, inputs // groups, kernel, kernel), np.linspace(0.5, 2, out).astype("f4")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], group=groups, pads=[kernel // 2] * 4),
        helper.make_node("Mul", ["h", "s"], ["y"]),
    ]
    scales = numpy_helper.from_array(scale.reshape(out, 1, 1), "s")
    model = around(nodes, [w, scales], np.zeros((1, inputs, 16, 16), "f4"))
    slot = next(s for s in find_slots(open_network(save(model, tmp_path / "plain.onnx"))).slots if s.name == "w")
    folded = numpy_helper.to_array(w) * scale.reshape(-1, 1, 1, 1)
    wide = inputs // groups
    padding = [(0, -out % block), (0, -wide % block if wide > block else 0), (0, 0), (0, 0)]
    stored = blocked(Literal(np.pad(folded, padding)), block)
    reading = as_unblocked(stored)
    assert reading is not None
    values = reading.array()
    live = np.flatnonzero(values)
    positions = np.random.default_rng(0).choice(live, 32, replace=False)
    row_size = values.size // values.shape[0]
    anchors = values.reshape(-1)[positions].astype("f8")
    wanted = Wanted("w", "b", values.shape[0], row_size, positions, anchors, values.shape, layout="nchwc")
    wanted = replace(wanted, folds=np.ones(positions.size))
    (found,) = match_slots([wanted], [slot])
    assert found is not None
    assert found.is_clear
    np.testing.assert_allclose(found.slot.folded(), values.reshape(values.shape[0], -1), rtol=1e-6)
    np.testing.assert_array_equal(unblocked(stored, block).array(), np.pad(folded, padding))


def test_the_plain_network_is_traced_to_a_record_of_the_blocked_one(resnet8: Path, tmp_path: Path) -> None:
    """As a runtime's offline optimiser writes it at its highest level: normalisation folded, channels in blocks."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "all.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(resnet8, options, providers=["CPUExecutionProvider"])
    fingerprint(tmp_path / "all.onnx", tmp_path / "f.record", key=Key(b"f" * 32))
    (verdict,) = verify(resnet8, [load_record(tmp_path / "f.record")])
    assert (verdict.decision, verdict.absent) == ("traced", 0)
    assert verdict.effect > 0.99
