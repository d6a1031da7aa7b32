"""Networks of one's own: several inputs, fixed batches, inputs without an axis for a batch, targets or another network."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from onnxnnw.array_files import array_names
from onnxnnw.errors import MissingData, UnreadableData, UsageError
from onnxnnw.runtime import open_runtime
from onnxnnw.tasks.own_evaluation import OwnData, evaluate_own, own_data
from onnxnnw.tasks.own_metrics import find_own_metric
from onnxnnw.training.networks import measure_own
from tests.support.networks import save

MAE = [find_own_metric("mae")]


def network(tmp_path, inputs: dict[str, list[int | str]], nodes: list, out: list[int | str]):
    """A file with inputs of these shapes and the output y."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return open_runtime(save(model, tmp_path / f"net{len(list(tmp_path.iterdir()))}.onnx"))


def test_several_inputs_are_fed_by_name(tmp_path):
    runtime = network(tmp_path, {"a": ["N", 3], "b": ["N", 3]}, [helper.make_node("Sub", ["a", "b"], ["y"])], ["N", 3])
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 130, 3)).astype(np.float32)
    found = evaluate_own(runtime, OwnData({"a": a, "b": b}, a - b), MAE)
    assert (found.samples, found.values["mae"]) == (130, 0)


@pytest.mark.parametrize("batch", [1, 4, "N"])
def test_a_fixed_batch_gives_what_an_open_one_gives(tmp_path, batch):
    """The last batch is filled up, and what was filled in is not counted."""
    runtime = network(tmp_path, {"x": [batch, 2]}, [helper.make_node("Abs", ["x"], ["y"])], [batch, 2])
    x = np.random.default_rng(1).normal(size=(7, 2)).astype(np.float32)
    assert evaluate_own(runtime, OwnData({"inputs": x}, np.zeros((7, 2))), MAE).values["mae"] == pytest.approx(
        np.abs(x).mean()
    )


def test_samples_go_one_by_one_where_an_input_has_no_axis_for_a_batch(tmp_path):
    """As state and rate have it in audio networks: one more axis counts samples, none is the same for all."""
    nodes = [helper.make_node("Mul", ["x", "s"], ["m"]), helper.make_node("Add", ["m", "k"], ["y"])]
    runtime = network(tmp_path, {"x": [1, "T"], "s": [2, 1, 1], "k": []}, nodes, [2, 1, "T"])
    x, s, k = np.arange(10.0).reshape(5, 2), np.arange(10.0).reshape(5, 2, 1, 1), np.float64(3)
    wanted = x[:, None, None] * s + k
    found = evaluate_own(runtime, OwnData({"x": x, "s": s, "k": np.asarray(k)}, wanted), MAE)
    assert (found.samples, found.values["mae"]) == (5, 0)


def test_another_networks_answers_stand_for_targets(tmp_path):
    """A network agrees with itself, and labelled metrics hold its answers against the other's classes."""
    one = network(tmp_path, {"x": ["N", 4]}, [helper.make_node("Identity", ["x"], ["y"])], ["N", 4])
    other = network(tmp_path, {"x": ["N", 4]}, [helper.make_node("Neg", ["x"], ["y"])], ["N", 4])
    data = OwnData({"inputs": np.random.default_rng(2).normal(size=(30, 4))}, None)
    metrics = [find_own_metric("top1"), find_own_metric("mse")]
    same, changed = (evaluate_own(runtime, data, metrics, reference=one) for runtime in (one, other))
    assert (same.values["top1"], same.values["mse"]) == (100, 0)
    assert changed.values["top1"] < 50


def test_samples_are_cut_evenly(tmp_path):
    runtime = network(tmp_path, {"x": ["N", 1]}, [helper.make_node("Identity", ["x"], ["y"])], ["N", 1])
    data = OwnData({"x": np.arange(100.0)[:, None]}, np.zeros((100, 1)))
    found = evaluate_own(runtime, data, MAE, most=4)
    assert (found.samples, found.values["mae"]) == (4, np.mean([0, 25, 50, 75]))


def test_a_function_sees_all_samples_at_once(tmp_path, monkeypatch):
    (tmp_path / "mine_of_tomorrow.py").write_text("def count(outputs, targets):\n    return len(outputs)\n")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets").mkdir()
    runtime = network(tmp_path / "nets", {"x": ["N", 1]}, [helper.make_node("Neg", ["x"], ["y"])], ["N", 1])
    data = OwnData({"x": np.zeros((200, 1))}, np.zeros((200, 1)))
    assert evaluate_own(runtime, data, [find_own_metric("mine_of_tomorrow:count")]).values == {
        "mine_of_tomorrow:count": 200
    }


def test_what_does_not_fit_is_said(tmp_path):
    runtime = network(tmp_path, {"x": ["N", 3]}, [helper.make_node("Abs", ["x"], ["y"])], ["N", 3])
    good = np.zeros((5, 3))
    with pytest.raises(UsageError, match="wants the inputs x"):
        evaluate_own(runtime, OwnData({"z": good, "w": good}, good), MAE)
    with pytest.raises(UsageError, match="no output z"):
        evaluate_own(runtime, OwnData({"x": good}, good), MAE, output="z")
    with pytest.raises(UnreadableData, match="axes"):
        evaluate_own(runtime, OwnData({"x": np.zeros((5, 3, 2, 2))}, good), MAE)
    with pytest.raises(MissingData, match="targets"):
        evaluate_own(runtime, OwnData({"x": good}, None), MAE)


def test_samples_are_read_from_an_npz(tmp_path):
    np.savez(tmp_path / "s.npz", a=np.zeros((2, 3)), b=np.ones((2, 3)))
    found = own_data(tmp_path / "s.npz")
    assert (sorted(found.inputs), found.targets) == (["a", "b"], None)
    with pytest.raises(MissingData, match="neither"):
        own_data(tmp_path / "none.npz")


def test_an_answer_without_an_axis_for_a_batch_counts_as_a_whole(tmp_path):
    """A tagger of one text at a time answers with one number for each word, and no more axes."""
    squeeze = [helper.make_node("Squeeze", ["x", "first"], ["s"]), helper.make_node("Abs", ["s"], ["y"])]
    graph = helper.make_graph(
        squeeze,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "words"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["words"])],
        [helper.make_tensor("first", TensorProto.INT64, [1], [0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    runtime = open_runtime(save(model, tmp_path / "words.onnx"))
    x = np.random.default_rng(2).normal(size=(5, 7)).astype(np.float32)
    found = evaluate_own(runtime, OwnData({"x": x}, np.zeros((5, 7), np.float32)), MAE)
    assert found.values["mae"] == pytest.approx(np.abs(x).mean())


def test_an_answer_without_an_axis_for_several_is_refused(tmp_path):
    """Nobody knows whose the first numbers are."""
    nodes = [helper.make_node("Flatten", ["x"], ["f"], axis=0), helper.make_node("Transpose", ["f"], ["y"])]
    runtime = network(tmp_path, {"x": [4, 2]}, nodes, [8, 1])
    x = np.zeros((8, 2), np.float32)
    with pytest.raises(UnreadableData, match="no axis for 4 samples"):
        evaluate_own(runtime, OwnData({"x": x}, x), MAE)


def test_one_command_measures_a_network_of_several_inputs(tmp_path):
    """Inputs by name, and any metric that campaigns know."""
    nodes = [helper.make_node("Sub", ["a", "b"], ["y"])]
    network(tmp_path, {"a": ["N", 3], "b": ["N", 3]}, nodes, ["N", 3])
    a, b = np.random.default_rng(3).normal(size=(2, 9, 3)).astype(np.float32)
    np.savez(tmp_path / "own.npz", a=a, b=b, targets=a - b + 1)
    found = measure_own(next(tmp_path.glob("*.onnx")), tmp_path / "own.npz", "rmse")
    assert (found.samples, found.values["rmse"]) == (9, pytest.approx(1))


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04"])
def test_what_is_no_archive_has_no_arrays(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    assert array_names(tmp_path / "a.npz") == array_names(tmp_path / "none.npz") == array_names(tmp_path) == set()
