"""The same weights behind other operators: traced, and nearly all of it explained; with other weights, neither."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.records.key import Key
from onnxnnw.records.record_file import load_record
from onnxnnw.verification.verdict import Verdict
from onnxnnw.verification.verify import verify
from tests.support.networks import model_of, save, tensor

Weights = dict[str, NDArray[np.float32]]
node = helper.make_node
IN, HIDDEN = 64, 256


def weights(seed: int) -> Weights:
    """Two layers, as training leaves them."""
    rng = np.random.default_rng(seed)
    return {
        "a": (rng.standard_t(5, (IN, HIDDEN)) * 0.05).astype("f4"),
        "b": (rng.standard_t(5, (HIDDEN, IN)) * 0.05).astype("f4"),
    }


def plain(w: Weights) -> ModelProto:
    """x -> a -> Relu -> b -> y."""
    nodes = [node("MatMul", ["x", "a"], ["h"]), node("Relu", ["h"], ["r"]), node("MatMul", ["r", "b"], ["y"])]
    return model_of(nodes, [tensor(name, values) for name, values in w.items()])


def value(name: str, kind: int = TensorProto.FLOAT, shape: list[int] | None = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


STEPS = [node("MatMul", ["s", "wa"], ["h"]), node("Relu", ["h"], ["r"]), node("MatMul", ["r", "wb"], ["t"])]


def looped(w: Weights) -> ModelProto:
    """Both weights are state that a loop hands on unchanged."""
    body = helper.make_graph(
        [*STEPS, node("Identity", ["go"], ["on"])],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("s"), value("wa"), value("wb")],
        [value("on", TensorProto.BOOL, []), value("t"), value("wa"), value("wb")],
    )
    loop = node("Loop", ["n", "", "x", "p", "q"], ["y", "u", "v"], body=body)
    return model_of([loop], [tensor("p", w["a"]), tensor("q", w["b"]), tensor("n", np.array(1))])


def chosen(w: Weights) -> ModelProto:
    """Both branches of an If hand the same weight on."""
    nodes = [node("ReduceSum", ["x"], ["sum"], keepdims=0), node("Cast", ["sum"], ["condition"], to=TensorProto.BOOL)]
    for name in "pq":
        branches = {
            f"{side}_branch": helper.make_graph(
                [node("Identity", [name], [f"{name}{side}"])], side, [], [value(f"{name}{side}")]
            )
            for side in ("then", "else")
        }
        nodes.append(node("If", ["condition"], [f"w{name}"], **branches))
    nodes += [node("MatMul", ["x", "wp"], ["h"]), node("Relu", ["h"], ["r"]), node("MatMul", ["r", "wq"], ["y"])]
    return model_of(nodes, [tensor("p", w["a"]), tensor("q", w["b"])])


def contracted(w: Weights) -> ModelProto:
    """Heads: the first layer's outputs are made as [heads, width], the second sums over both."""
    nodes = [
        node("Einsum", ["x", "p"], ["h"], equation="bi,ihd->bhd"),
        node("Relu", ["h"], ["r"]),
        node("Einsum", ["q", "r"], ["y"], equation="hdo,bhd->bo"),
    ]
    return model_of(nodes, [tensor("p", w["a"].reshape(IN, 4, -1)), tensor("q", w["b"].reshape(4, -1, IN))])


FORMS: dict[str, Callable[[Weights], ModelProto]] = {"loop": looped, "if": chosen, "einsum": contracted}


def answers(model: ModelProto, x: NDArray[np.float32]) -> NDArray[np.float32]:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("form", FORMS)
def test_the_other_form_answers_alike(form: str) -> None:
    """Each form below computes what the plain network does."""
    x = np.random.default_rng(3).normal(size=(4, IN)).astype("f4")
    np.testing.assert_allclose(answers(FORMS[form](weights(0)), x), answers(plain(weights(0)), x), atol=1e-5)


def judge(candidate: ModelProto, record: Path, path: Path) -> Verdict:
    return verify(save(candidate, path / "candidate.onnx"), [load_record(record)])[0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("insert", [True, False], ids=["mark", "fingerprint"])
def test_another_form_of_the_same_weights_is_traced(form: str, insert: bool, tmp_path: Path) -> None:
    """Enrolled plain, found in the other form; others' weights in that form are not."""
    original, record = save(plain(weights(0)), tmp_path / "m.onnx"), tmp_path / "m.record"
    own = weights(0)
    if insert:
        embed(original, tmp_path / "marked.onnx", record, positions=300, key=Key(b"k" * 32))
        own = {t.name: numpy_helper.to_array(t) for t in onnx.load(tmp_path / "marked.onnx").graph.initializer}
    else:
        fingerprint(original, record, positions=300, key=Key(b"k" * 32))
    verdict = judge(FORMS[form](own), record, tmp_path)
    assert (verdict.decision, verdict.read) == ("traced", 300)
    assert verdict.explained > 0.95
    assert judge(FORMS[form](weights(9)), record, tmp_path).decision == "not traced"


@pytest.mark.parametrize("form", FORMS)
def test_a_network_of_another_form_is_enrolled_and_found_plain(form: str, tmp_path: Path) -> None:
    """The other way round: a mark is written where it acts, and found after the form was undone."""
    original, record = save(FORMS[form](weights(0)), tmp_path / "m.onnx"), tmp_path / "m.record"
    embed(original, tmp_path / "marked.onnx", record, positions=300, key=Key(b"k" * 32))
    stored = {t.name: numpy_helper.to_array(t) for t in onnx.load(tmp_path / "marked.onnx").graph.initializer}
    verdict = judge(plain({"a": stored["p"].reshape(IN, -1), "b": stored["q"].reshape(-1, IN)}), record, tmp_path)
    assert (verdict.decision, verdict.read) == ("traced", 300)
    assert verdict.explained > 0.95
