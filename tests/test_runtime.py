"""The only door to onnxruntime: what goes in, what comes out, and what is refused."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxnnw import runtime as runtime_module
from onnxnnw.errors import CannotLook, UnreadableNetwork, UsageError
from onnxnnw.runtime import Port, open_runtime


def network(tmp_path, batch="N", element=TensorProto.FLOAT):
    """y = 2·x for rows of three numbers."""
    two = numpy_helper.from_array(np.array([2], helper.tensor_dtype_to_np_dtype(element)), "two")
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "two"], ["y"])],
        "double",
        [helper.make_tensor_value_info("x", element, [batch, 3])],
        [helper.make_tensor_value_info("y", element, [batch, 3])],
        [two],
    )
    path = tmp_path / "double.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_ports_say_what_the_network_takes(tmp_path):
    """Names, open axes as None, and NumPy's types."""
    opened = open_runtime(network(tmp_path))
    assert opened.inputs == (Port("x", (None, 3), np.dtype(np.float32)),)
    assert opened.outputs == (Port("y", (None, 3), np.dtype(np.float32)),)


def test_run_and_predict_agree(tmp_path):
    """Predicting in batches of any size is running all at once."""
    opened = open_runtime(str(network(tmp_path)), threads=1)
    rows = np.arange(21, dtype=np.float32).reshape(7, 3)
    np.testing.assert_array_equal(opened.run({"x": rows})["y"], 2 * rows)
    for size in (None, 1, 2, 7, 100):
        np.testing.assert_array_equal(opened.predict(rows, size), 2 * rows)


def test_a_fixed_batch_is_filled_up(tmp_path):
    """A network that takes exactly four rows answers seven."""
    rows = np.arange(21, dtype=np.float32).reshape(7, 3)
    np.testing.assert_array_equal(open_runtime(network(tmp_path, batch=4)).predict(rows), 2 * rows)


def test_inputs_are_converted_to_the_networks_type(tmp_path):
    """A float16 network takes what a float32 one takes."""
    opened = open_runtime(network(tmp_path, element=TensorProto.FLOAT16))
    answer = opened.predict(np.ones((2, 3), np.float32))
    assert answer.dtype == np.float16
    assert answer.tolist() == [[2.0] * 3] * 2


def test_batches_shrink_to_memory(tmp_path, monkeypatch):
    """Where a batch does not fit, smaller ones are tried; where one sample does not fit, it is said."""
    opened = open_runtime(network(tmp_path))
    run, sizes = opened.run, []

    def limited(inputs, limit=3):
        sizes.append(len(inputs["x"]))
        if len(inputs["x"]) > limit:
            raise CannotLook("could not be run: Failed to allocate memory for requested buffer of size 1")
        return run(inputs)

    monkeypatch.setattr(opened, "run", limited)
    rows = np.arange(30, dtype=np.float32).reshape(10, 3)
    np.testing.assert_array_equal(opened.predict(rows), 2 * rows)
    assert sizes == [10, 5, 2, 2, 2, 2, 2]
    monkeypatch.setattr(opened, "run", lambda inputs: limited(inputs, limit=0))
    with pytest.raises(CannotLook, match="Failed to allocate"):
        opened.predict(rows)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, r"wants the inputs \['x'\], not \[\]"),
        ({"z": np.ones((1, 3), np.float32)}, r"not \['z'\]"),
        ({"x": np.ones((1, 4), np.float32)}, "does not take these inputs"),
        ({"x": np.ones((1, 3), np.int64)}, "does not take these inputs"),
    ],
    ids=["none", "unknown", "shape", "type"],
)
def test_wrong_inputs_are_wrong_usage(tmp_path, inputs, message):
    """What does not fit is named in one line."""
    with pytest.raises(UsageError, match=message) as caught:
        open_runtime(network(tmp_path)).run(inputs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x08\x0a" * 40, b"not a network"], ids=["empty", "protobuf", "text"])
def test_rejected_files_give_the_reason(tmp_path, content):
    """A file that onnxruntime rejects is an unreadable network, with its words on one line."""
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(UnreadableNetwork, match="onnxruntime rejects") as caught:
        open_runtime(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(UnreadableNetwork, match="is not a file"):
        open_runtime(tmp_path / "absent.onnx")


def test_running_is_silent(tmp_path):
    """Without a GPU nothing is written to stdout or stderr, and onnxruntime is imported only when a file is opened."""
    script = (
        "import sys, numpy, onnxnnw.runtime as r; assert 'onnxruntime' not in sys.modules\n"
        "r.open_runtime(sys.argv[1]).predict(numpy.ones((2, 3), 'f'))"
    )
    done = subprocess.run([sys.executable, "-c", script, network(tmp_path)], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


@pytest.mark.parametrize(("present", "wanted"), [(True, "CUDAExecutionProvider"), (False, "CPUExecutionProvider")])
def test_cuda_is_asked_for_only_where_a_gpu_is(tmp_path, monkeypatch, present, wanted):
    """CUDA comes first where onnxruntime has it and a device is there; else it is not mentioned."""
    import onnxruntime

    asked = []

    def session(path, options, providers):
        asked.extend(providers)
        raise RuntimeError("far enough")

    monkeypatch.setattr(runtime_module, "_gpu_present", lambda: present)
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    with pytest.raises(UnreadableNetwork, match="far enough"):
        open_runtime(network(tmp_path))
    assert asked[0] == wanted
    assert asked[-1] == "CPUExecutionProvider"


def test_a_network_that_loops_for_long_is_given_up(tmp_path):
    """A candidate is hostile input: a loop of 2**60 rounds ends at the limit, with a sentence."""
    model = onnx.parser.parse_model(
        """
        <ir_version: 10, opset_import: ["" : 20]>
        endless (float[N] input) => (float[N] output) {
            rounds = Constant <value = int64 {1152921504606846976}> ()
            go = Constant <value = bool {1}> ()
            output = Loop (rounds, go, input) <body = again (int64 i, bool on, float[N] x) => (bool onward, float[N] y) {
                onward = Identity (on)
                y = Sin (x)
            }>
        }
        """
    )
    onnx.save(model, tmp_path / "endless.onnx")
    network = open_runtime(tmp_path / "endless.onnx", threads=1, limit_s=0.5)
    with pytest.raises(CannotLook, match=r"did not answer within 0\.5 s"):
        network.predict(np.ones((4,), np.float32))
