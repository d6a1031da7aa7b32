"""Weights that are stored more than once: explained wherever they stand, and marked alike."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxnnw.enrolment.copies import copies_of
from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import open_network
from onnxnnw.records.key import Key
from onnxnnw.records.positions import plan_of
from onnxnnw.records.record_file import load_record
from onnxnnw.verification.verify import verify
from tests.support.networks import model_of, save, tensor

node = helper.make_node
KEY = Key(b"k" * 32)
WIDTH, WORDS = 32, 200


def values(seed: int, *shape: int) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).standard_t(5, shape) * 0.05).astype("f4")


def layer() -> NDArray[np.float32]:
    return values(1, WIDTH, WIDTH)


def chain(*weights: NDArray[np.generic]) -> ModelProto:
    """x -> w0 -> Relu -> w1 -> … -> y."""
    nodes: list[NodeProto] = []
    value = "x"
    for number, each in enumerate(weights):
        wide = each.dtype == np.float32
        if not wide:
            nodes.append(node("Cast", [f"w{number}"], [f"c{number}"], to=TensorProto.FLOAT))
        out = "y" if number == len(weights) - 1 else f"r{number}"
        nodes += [
            node("MatMul", [value, f"w{number}" if wide else f"c{number}"], [f"h{number}"]),
            node("Relu", [f"h{number}"], [out]),
        ]
        value = out
    return model_of(nodes, [tensor(f"w{number}", each) for number, each in enumerate(weights)])


def untied() -> ModelProto:
    """A table of words that is the last matrix too, stored a second time and turned."""
    table = values(3, WORDS, WIDTH)
    nodes = [node("Cast", ["x"], ["i"], to=TensorProto.INT64), node("Gather", ["t", "i"], ["e"]), node("MatMul", ["e", "w"], ["h"]),
             node("Relu", ["h"], ["r"]), node("MatMul", ["r", "u"], ["y"])]  # fmt: skip
    return model_of(nodes, [tensor("t", table), tensor("w", layer()), tensor("u", np.ascontiguousarray(table.T))])


def branches() -> ModelProto:
    """A decoder with and without a cache: each branch has weights of its own, the same ones."""
    graphs = {}
    for side in ("then", "else"):
        inner = [node("MatMul", ["x", f"{side}w"], [f"{side}y"])]
        graphs[f"{side}_branch"] = helper.make_graph(
            inner, side, [], [helper.make_tensor_value_info(f"{side}y", 1, None)], [tensor(f"{side}w", layer())]
        )
    nodes = [node("ReduceSum", ["x"], ["s"], keepdims=0), node("Cast", ["s"], ["c"], to=TensorProto.BOOL),
             node("If", ["c"], ["h"], **graphs), node("MatMul", ["h", "o"], ["y"])]  # fmt: skip
    return model_of(nodes, [tensor("o", values(4, WIDTH, WIDTH))])


COPIED = {
    "three": (lambda: chain(layer(), layer(), layer(), values(2, WIDTH, WIDTH)), 2),
    "turned": (lambda: chain(layer(), np.ascontiguousarray(layer().T)), 1),
    "untied": (untied, 1),
    "branches": (branches, 1),
}


@pytest.mark.parametrize("kind", COPIED)
def test_a_mark_is_written_to_every_copy(kind: str, tmp_path: Path) -> None:
    """They are bit-equal before and after; positions lie in one of them; all of it is explained."""
    build, count = COPIED[kind]
    enrolment = embed(save(build(), tmp_path / "m.onnx"), tmp_path / "o.onnx", tmp_path / "r", positions=400, key=KEY)
    before, after = (find_slots(open_network(tmp_path / name)).slots for name in ("m.onnx", "o.onnx"))
    for slots in (before, after):
        assert [copy.slot.name for copy in copies_of(slots)] == [copy.slot.name for copy in copies_of(before)]
        assert len(copies_of(slots)) == count
    originals = {copy.of.name for copy in copies_of(before)}
    changed = {old.name for old, new in zip(before, after, strict=True) if not np.array_equal(old.array(), new.array())}
    assert originals | {copy.slot.name for copy in copies_of(before)} <= changed
    assert not {copy.slot.name for copy in copies_of(before)} & {entry.name for entry in enrolment.record.slots}
    assert any("the mark was written to both" in warning for warning in enrolment.warnings)
    (verdict,) = verify(tmp_path / "o.onnx", [load_record(tmp_path / "r")], full=True)
    assert (verdict.decision, verdict.read) == ("identical", 400)
    (verdict,) = verify(tmp_path / "o.onnx", [load_record(tmp_path / "r")])
    assert (verdict.decision, verdict.read) == ("traced", 400)
    assert verdict.account.parts["weights"] == 0


@pytest.mark.parametrize("kind", COPIED)
def test_a_fingerprint_counts_a_copy_once_and_explains_it(kind: str, tmp_path: Path) -> None:
    """No position lies in a copy, for the same evidence would count twice."""
    build, count = COPIED[kind]
    path = save(build(), tmp_path / "m.onnx")
    record = fingerprint(path, tmp_path / "r", positions=400, key=KEY).record
    assert len(record.slots) == len(find_slots(open_network(path)).slots) - count
    assert plan_of(record).positions.size == 400
    (verdict,) = verify(path, [load_record(tmp_path / "r")])
    assert verdict.decision == "traced"
    assert verdict.account.parts["weights"] == 0


def test_what_was_rounded_is_no_copy(tmp_path: Path) -> None:
    """The same weight in half precision is another one, marked on its own; one number again and again is no copy either."""
    half = layer().astype("f2")
    ones = np.ones((WIDTH, WIDTH), "f4")
    slots = find_slots(open_network(save(chain(layer(), half, ones, ones), tmp_path / "m.onnx"))).slots
    assert len(slots) == 4
    assert copies_of(slots) == []


def test_one_other_element_is_no_copy(tmp_path: Path) -> None:
    """Wherever it is: the whole is compared, not a sample."""
    other = layer()
    other[7, 9] = np.nextafter(other[7, 9], 1, dtype=np.float32)
    slots = find_slots(open_network(save(chain(layer(), other), tmp_path / "m.onnx"))).slots
    assert copies_of(slots) == []


def test_a_copy_that_something_else_reads_is_left_alone_and_named(tmp_path: Path) -> None:
    """The mark is written once, and the message says what that tells."""
    model = chain(layer(), layer(), values(2, WIDTH, WIDTH))
    model.graph.node[-1].output[0] = "z"
    model.graph.node.extend(
        [
            node("ReduceMax", ["x"], ["s"], keepdims=0),
            node("Mul", ["w0", "s"], ["k"]),
            node("ReduceMax", ["k"], ["m"], keepdims=0),
            node("Add", ["z", "m"], ["y"]),
        ]
    )
    enrolment = embed(save(model, tmp_path / "m.onnx"), tmp_path / "o.onnx", tmp_path / "r", positions=200, key=KEY)
    assert any("w0, where the mark was not written, since something else reads it too" in w for w in enrolment.warnings)
    stored = {t.name: numpy_helper.to_array(t) for t in onnx.load(tmp_path / "o.onnx").graph.initializer}
    np.testing.assert_array_equal(stored["w0"], layer())
    assert not np.array_equal(stored["w1"], layer())


@pytest.mark.parametrize("copies", [2, 3, 5])
def test_candidates_may_hold_a_weight_more_often_than_was_enrolled(copies: int, tmp_path: Path) -> None:
    """Each further copy is explained, in half precision too."""
    original = save(chain(layer(), values(2, WIDTH, WIDTH)), tmp_path / "m.onnx")
    fingerprint(original, tmp_path / "r", positions=400, key=KEY)
    several = [layer() if k % 2 else layer().astype("f2") for k in range(copies)]
    candidate = save(chain(*several, values(2, WIDTH, WIDTH)), tmp_path / "c.onnx")
    (verdict,) = verify(candidate, [load_record(tmp_path / "r")])
    assert verdict.decision == "traced"
    assert verdict.account.estimate > 0.98
