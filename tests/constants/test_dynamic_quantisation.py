"""Weights that a tool left to be quantised when the network is run are read through it."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from onnxnnw.constants.constants import Constants
from onnxnnw.enrolment.enrol import fingerprint
from onnxnnw.flow.tracing import trace_flow
from onnxnnw.network_file.file import open_network
from onnxnnw.records.key import Key
from onnxnnw.runtime import quantize_dynamically
from onnxnnw.verification.verify import verify

DRAWS = {
    "both signs": lambda rng: rng.normal(size=(3, 40)),
    "positive": lambda rng: rng.uniform(1, 2, (3, 40)),
    "negative": lambda rng: -rng.uniform(1, 2, 7),
    "small": lambda rng: rng.normal(size=(2, 3, 4)) * 1e-20,
    "one number": lambda rng: rng.normal(size=(1, 1)),
    "zeros": lambda rng: np.zeros((4, 4)),
}


@pytest.mark.parametrize("name", DRAWS)
def test_its_three_outputs_are_what_a_runtime_computes(name: str, tmp_path: Path) -> None:
    """Codes, scale and zero point, of forty arrays each."""
    for seed in range(40):
        values = DRAWS[name](np.random.default_rng(seed)).astype("f4")
        node = helper.make_node("DynamicQuantizeLinear", ["w"], ["y", "s", "z"])
        outputs = [onnx.ValueInfoProto(name=port) for port in "ysz"]
        graph = helper.make_graph([node], "g", [], outputs, [numpy_helper.from_array(values, "w")])
        path = tmp_path / "one.onnx"
        onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]), path)
        expected = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {})
        flow = trace_flow(open_network(path))
        constants = Constants(flow)
        for port, wanted in zip("ysz", expected, strict=True):
            found = constants.of(flow.names.index(port))
            assert found is not None
            assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
            np.testing.assert_array_equal(found.array(), wanted)
            np.testing.assert_array_equal(found.take(np.arange(found.size)), wanted.reshape(-1))


def test_weights_of_constant_nodes_are_traced_after_the_dynamic_quantiser(tmp_path: Path) -> None:
    """onnxruntime's quantiser leaves them in floats, with DynamicQuantizeLinear behind them."""
    rng = np.random.default_rng(0)
    nodes, value = [], "x"
    for number in range(4):
        weight = numpy_helper.from_array(rng.normal(0, 0.1, (16, 16, 3, 3)).astype("f4"), f"w{number}")
        nodes.append(helper.make_node("Constant", [], [f"w{number}"], value=weight))
        nodes.append(helper.make_node("Conv", [value, f"w{number}"], [f"c{number}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{number}"], [f"r{number}"]))
        value = f"r{number}"
    ports = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 16, 8, 8]) for name in ("x", value)]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:])
    own, small = tmp_path / "own.onnx", tmp_path / "small.onnx"
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]), own)
    fingerprint(own, tmp_path / "own.record", key=Key(bytes(32)))
    quantize_dynamically(own, small)
    assert "ConvInteger" in {node.op_type for node in onnx.load(small).graph.node}
    (verdict,) = verify(small, tmp_path / "own.record")
    assert (verdict.decision, verdict.read) == ("traced", verdict.positions)
    assert verdict.explained > 0.9
