"""The hint without a reference: a network in another order is named, never proven; strangers and old records say what they can."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxnnw.alignment.sketch import LEVELS, TOLERANCE, distance, sketch_of
from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.errors import UnreadableRecord
from onnxnnw.modifications import find_modification
from onnxnnw.modifications.base import apply
from onnxnnw.records.key import Key
from onnxnnw.records.record import Record
from onnxnnw.records.record_file import load_record
from onnxnnw.verification.disguised import Disguise, sketches_in
from onnxnnw.verification.verify import verify
from tests.support.networks import dense, save


def findings_of(candidate, record: Record) -> tuple[str, set[str]]:
    """Decision, and the names of what was found."""
    verdict = verify(candidate, [record])[0]
    return verdict.decision, {finding.name for finding in verdict.findings}


def without_sketch(record: Record) -> Record:
    """The same as a version before this one would have kept it."""
    return replace(
        record, arrays={name: array for name, array in record.arrays.items() if not name.startswith("sketch")}
    )


@pytest.mark.parametrize("steps", [("channel-permutation",), ("channel-permutation", "channel-rescaling", "sign-flip")])
@pytest.mark.parametrize("kind", ["record", "fingerprint"])
def test_another_order_of_channels_is_named(kind, steps, enrolled, tmp_path):
    """Inconclusive, with the way out, and no evidence."""
    path = enrolled.marked
    for number, name in enumerate(steps):
        apply(find_modification(name)(), path, tmp_path / f"{number}.onnx", seed=number)
        path = tmp_path / f"{number}.onnx"
    verdict = verify(path, [load_record(getattr(enrolled, kind))])[0]
    (finding,) = (finding for finding in verdict.findings if finding.name == "other channel order")
    assert verdict.decision == "inconclusive"
    assert verdict.evidence.after_the_fact_trials_log10 is None
    assert "give --reference; channels added or removed were not looked through" in finding.sentence
    assert 2 * finding.evidence["agreeing"] >= finding.evidence["sketches"] >= 3


def test_an_old_record_says_that_it_cannot_tell(enrolled, tmp_path):
    """It holds no sketch: the answer is the one of before, and says what was not excluded."""
    apply(find_modification("channel-permutation")(), enrolled.marked, tmp_path / "out.onnx")
    old = without_sketch(load_record(enrolled.fingerprint))
    decision, found = findings_of(tmp_path / "out.onnx", old)
    assert decision == "not traced"
    assert "disguise not excluded" in found


def test_a_record_of_few_weights_says_that_it_cannot_tell(tmp_path):
    """Two layers: where so few agree, it may be luck."""
    fingerprint(save(dense(seed=1), tmp_path / "a.onnx"), tmp_path / "a.record", 200)
    record = load_record(tmp_path / "a.record")
    assert record.arrays["sketch_slots"].size < 3
    decision, found = findings_of(save(dense(seed=2), tmp_path / "b.onnx"), record)
    assert decision == "not traced"
    assert "disguise not excluded" in found


@pytest.mark.parametrize(("insertion", "positions", "told"), [("added", 512, False), ("replaced", 2048, True)])
def test_a_mark_that_moves_the_sketches_excludes_nothing(insertion, positions, told, resnet8, tmp_path):
    """Sketches are of the network before the mark: where that is a large share, they show no disguise of the copy."""
    embed(resnet8, tmp_path / "m.onnx", tmp_path / "m.record", positions, insertion=insertion, key=Key(b"s" * 32))
    record = load_record(tmp_path / "m.record")
    assert record.arrays["sketch_slots"].size >= 3
    stranger, rng = onnx.load(resnet8), np.random.default_rng(0)
    for tensor in stranger.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim > 1:
            tensor.CopyFrom(
                numpy_helper.from_array(rng.permutation(values.reshape(-1)).reshape(values.shape), tensor.name)
            )
    decision, found = findings_of(save(stranger, tmp_path / "stranger.onnx"), record)
    assert (decision, "disguise not excluded" in found) == ("not traced", told)


@pytest.mark.parametrize(
    ("modification", "settings"),
    [
        ("magnitude-pruning", {"percentage": 30}),
        ("gaussian-noise", {"ratio": 0.1}),
        ("quantization", {"bits": 4}),
    ],
)
@pytest.mark.parametrize("kind", ["record", "fingerprint"])
def test_another_order_and_other_values_are_not_excluded(kind, modification, settings, enrolled, tmp_path):
    """A sketch then agrees no longer, but is nearer than chance brings it."""
    apply(find_modification("channel-permutation")(), enrolled.marked, tmp_path / "moved.onnx")
    apply(find_modification(modification)(**settings), tmp_path / "moved.onnx", tmp_path / "out.onnx")
    decision, found = findings_of(tmp_path / "out.onnx", load_record(getattr(enrolled, kind)))
    assert (decision, "disguise not excluded" in found) == ("not traced", True) or "other channel order" in found


@pytest.mark.parametrize("name", ["dummy-channels", "cloned-channels"])
@pytest.mark.parametrize("kind", ["record", "fingerprint"])
def test_channels_that_were_added_are_not_excluded(kind, name, enrolled, tmp_path):
    """Not looked through without a reference: the "no" says so, though sketches exclude another order."""
    apply(find_modification(name)(), enrolled.marked, tmp_path / "more.onnx")
    apply(find_modification("channel-permutation")(), tmp_path / "more.onnx", tmp_path / "out.onnx")
    verdict = verify(tmp_path / "out.onnx", [load_record(getattr(enrolled, kind))])[0]
    (finding,) = (finding for finding in verdict.findings if finding.name == "disguise not excluded")
    assert verdict.decision == "not traced"
    assert "added or removed channels was not excluded" in finding.sentence
    assert "by channel order" not in finding.sentence
    assert "--reference" in finding.sentence


@pytest.mark.parametrize(
    ("kept", "agreeing", "near", "steady", "likely", "excluded"),
    [
        (16, 8, 8, 8, True, False),
        (16, 7, 7, 7, False, False),
        (16, 3, 3, 8, False, True),
        (16, 3, 8, 8, False, False),
        (16, 0, 7, 16, False, True),
        (3, 0, 0, 3, False, True),
        (3, 0, 3, 3, False, False),
        (2, 0, 0, 2, False, False),
    ],
)
def test_an_order_is_excluded_only_where_it_would_have_been_seen(kept, agreeing, near, steady, likely, excluded):
    """Of a permuted copy no more sketches agree than the mark left as they were: fewer than are asked for show nothing."""
    disguise = Disguise(kept, agreeing, near, steady)
    assert (disguise.likely, disguise.excluded) == (likely, excluded)


def test_a_permuted_copy_is_hinted_at_or_not_excluded(tmp_path):
    """Where layers have other scales, a mark of one size moves the sketches of some of them and leaves others."""
    model = onnx.load(Path(__file__).parents[2] / "models" / "pix2pix-small.onnx")
    for tensor in [t for t in model.graph.initializer if len(t.dims) > 1][::3]:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(20), tensor.name))
    save(model, tmp_path / "net.onnx")
    embed(tmp_path / "net.onnx", tmp_path / "m.onnx", tmp_path / "m.record", 512, insertion="replaced", value_std=0.3)
    apply(find_modification("channel-permutation")(), tmp_path / "m.onnx", tmp_path / "out.onnx")
    _, found = findings_of(tmp_path / "out.onnx", load_record(tmp_path / "m.record"))
    assert found & {"other channel order", "disguise not excluded"}


def test_fewer_layers_of_recorded_sizes_are_no_resized_ones(tmp_path):
    """Nothing stands there in another size."""
    fingerprint(save(dense(layers=6, seed=1), tmp_path / "a.onnx"), tmp_path / "a.record", 200)
    verdict = verify(save(dense(layers=5, seed=2), tmp_path / "b.onnx"), [load_record(tmp_path / "a.record")])[0]
    assert not any("in other sizes" in finding.sentence for finding in verdict.findings)


def test_a_network_of_other_weights_is_no_resized_one(enrolled, tmp_path):
    """Two dense layers are not the recorded convolutions with other channels."""
    _, found = findings_of(save(dense(seed=1), tmp_path / "dense.onnx"), load_record(enrolled.record))
    assert "disguise not excluded" not in found


def test_a_traced_network_is_not_looked_at(enrolled):
    """Nothing is said of orders where the mark is found."""
    decision, found = findings_of(enrolled.marked, load_record(enrolled.record))
    assert decision == "traced"
    assert not found & {"other channel order", "disguise not excluded"}


@pytest.mark.parametrize("shape", [(16, 27), (40, 24), (8, 200)])
def test_no_order_no_scale_and_no_sign_changes_a_sketch(shape):
    """The law, for every weight; other numbers have another one."""
    rng = np.random.default_rng(shape[0])
    weight = rng.standard_normal(shape) * rng.gamma(0.3, size=(1, shape[1])) @ np.diag(rng.gamma(1, size=shape[1]))
    weight = weight + rng.standard_normal((shape[0], 1)) * rng.standard_normal((1, shape[1]))
    moved = weight[rng.permutation(shape[0])][:, rng.permutation(shape[1])]
    moved = moved * np.exp(rng.normal(0, 0.8, (shape[0], 1))) * np.exp(rng.normal(0, 0.8, (1, shape[1])))
    moved = moved * rng.choice([-1, 1], (shape[0], 1))
    assert distance(sketch_of(weight, 1), sketch_of(moved, 1)) < TOLERANCE / 10
    assert distance(sketch_of(weight, 1), sketch_of(rng.permutation(weight.reshape(-1)).reshape(shape), 1)) > TOLERANCE


@pytest.mark.parametrize(
    "values", [np.zeros((16, 40)), np.full((16, 40), np.nan), np.full((16, 40), np.inf), np.eye(16, 40) * 1e300]
)
def test_whatever_a_weight_holds_it_has_a_finite_sketch(values):
    """Input is hostile."""
    assert np.isfinite(sketch_of(values, 1)).all()


@pytest.mark.parametrize("slots", [[0, 0], [-1, 1], [0, 10**6]])
def test_sketches_of_slots_that_are_not_there_are_refused(slots, enrolled):
    """A damaged record is no record."""
    record = load_record(enrolled.fingerprint)
    arrays = record.arrays | {"sketch_slots": np.array(slots), "sketch": np.zeros(2 * LEVELS, np.float32)}
    with pytest.raises(UnreadableRecord, match="slots that it does not have"):
        sketches_in(replace(record, arrays=arrays))
