"""What a mark costs: the numbers are those of the outputs, and what cannot be compared is said."""

import math
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxnnw.cli import main
from onnxnnw.enrolment.price import price_of, refuse_samples
from onnxnnw.errors import CannotLook, TraceabilityError, UsageError
from tests.support.networks import model_of, save, tensor

RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=(40, 64)).astype("f4")


def network(folder: Path, name: str, weight: np.ndarray, last: str = "Identity") -> Path:
    """x (1, 40) -> MatMul -> last -> y."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node(last, ["h"], ["y"])]
    model = model_of(nodes, [tensor("w", weight)])
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 40]))
    return save(model, folder / f"{name}.onnx")


def test_the_numbers_are_those_of_the_outputs(tmp_path: Path) -> None:
    """Agreement, PSNR and relative difference as computed from onnxruntime's answers."""
    moved = WEIGHT + 0.1 * RNG.normal(size=WEIGHT.shape).astype("f4")
    one, other = network(tmp_path, "one", WEIGHT), network(tmp_path, "other", moved)
    samples = RNG.normal(size=(50, 40)).astype("f4")
    np.savez(tmp_path / "s.npz", x=samples)
    price = price_of(one, other, tmp_path / "s.npz")
    left, right = (
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        .run(None, {"x": samples})[0]
        .astype(float)
        for path in (one, other)
    )
    assert (price.samples, price.drawn) == (50, False)
    assert price.agreement == pytest.approx((left.argmax(1) == right.argmax(1)).mean())
    assert price.psnr_db == pytest.approx(10 * np.log10(np.ptp(left) ** 2 / np.mean((left - right) ** 2)), rel=1e-4)
    assert price.relative == pytest.approx(np.linalg.norm(left - right) / np.linalg.norm(left), rel=1e-4)
    same = price_of(one, one)
    assert (same.agreement, same.psnr_db, same.relative, same.drawn) == (1.0, math.inf, 0.0, True)
    assert same.to_json()["psnr_db"] is None


@pytest.mark.parametrize(("least", "runs"), [(16, True), (17, True), (224, True), (321, False)])
def test_open_dimensions_are_as_long_as_the_network_needs(tmp_path: Path, least: int, runs: bool) -> None:
    """A window of this length does not fit into a shorter input."""
    weight = RNG.normal(size=(4, 3, least)).astype("f4")
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, "length"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w")],
    )
    path = save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "n.onnx"
    )
    if runs:
        assert price_of(path, path).samples > 0
    else:
        with pytest.raises(CannotLook, match="bring samples"):
            price_of(path, path)


def test_outputs_that_are_no_finite_numbers_are_never_equal(tmp_path: Path) -> None:
    """NaN beside NaN is nothing that could be compared."""
    path = network(tmp_path, "log", WEIGHT, "Log")
    with pytest.raises(CannotLook, match="not finite"):
        price_of(path, path)


@pytest.mark.parametrize(
    ("name", "arrays", "words"),
    [
        ("none", {"x": np.zeros((0, 40), "f4")}, "no samples"),
        ("narrow", {"x": np.zeros((2, 39), "f4")}, "does not take"),
        ("text", {"x": np.array(["a", "b"])}, "is of float32 numbers"),
    ],
)
def test_samples_that_do_not_fit_are_refused(tmp_path: Path, name: str, arrays: dict, words: str) -> None:
    """Before the network is marked."""
    path = network(tmp_path, "n", WEIGHT)
    np.savez(tmp_path / f"{name}.npz", **arrays)
    with pytest.raises(TraceabilityError, match=words):
        refuse_samples(path, tmp_path / f"{name}.npz")


def test_of_several_arrays_the_first_is_taken_for_the_only_input(tmp_path: Path) -> None:
    """As files of samples have labels beside them: it fits, and a narrow one there is refused."""
    path = network(tmp_path, "n", WEIGHT)
    np.savez(tmp_path / "other.npz", a=np.zeros((2, 40), "f4"), b=np.zeros((2, 39), "f4"))
    refuse_samples(path, tmp_path / "other.npz")
    np.savez(tmp_path / "turned.npz", a=np.zeros((2, 39), "f4"), b=np.zeros((2, 40), "f4"))
    with pytest.raises(TraceabilityError, match="does not take"):
        refuse_samples(path, tmp_path / "turned.npz")


@pytest.mark.parametrize(
    ("more", "code"),
    [(["--check", "missing.npz"], 3), (["--check", "s.npz", "--unchecked"], 2), (["--check", "bad.npz"], 3)],
)
def test_nothing_is_written_where_the_check_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], more: list[str], code: int
) -> None:
    """A sentence, the right code, no copy and no record."""
    monkeypatch.chdir(tmp_path)
    network(tmp_path, "n", WEIGHT)
    np.savez("s.npz", x=np.zeros((2, 40), "f4"))
    Path("bad.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(SystemExit) as ended:
        main(["embed", "n.onnx", "-o", "m.onnx", "--record", "r", *more])
    assert ended.value.code == code, capfd.readouterr().err
    assert not Path("m.onnx").exists()
    assert not Path("r").exists()


def test_a_usage_error_names_the_array_that_is_missing(tmp_path: Path) -> None:
    """Of a network with two inputs."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Add", ["h", "z"], ["y"])]
    path = save(model_of(nodes, [tensor("w", WEIGHT)], ["x", "z"]), tmp_path / "two.onnx")
    np.savez(tmp_path / "s.npz", x=np.zeros((2, 40), "f4"))
    with pytest.raises(UsageError, match="'z'"):
        refuse_samples(path, tmp_path / "s.npz")
