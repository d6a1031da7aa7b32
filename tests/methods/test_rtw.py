"""RTW: what was inserted is read back, and without the key every bit is a fair coin."""

from dataclasses import dataclass, replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxnnw.errors import UnreadableRecord, UsageError
from onnxnnw.graph.slots import find_slots
from onnxnnw.matching.row_scale import row_magnitudes, row_scales
from onnxnnw.methods.base import Candidate, Reads
from onnxnnw.methods.rtw import MATRICES, RTW, RtwInsertion, choose_layer, mark_of, project
from onnxnnw.modifications.base import apply, find_modification
from onnxnnw.network_file.file import open_network
from onnxnnw.records.record_file import load_record, save_record
from onnxnnw.verification.verify import verify
from tests.support import detection_rates as measure
from tests.support import marks
from tests.support.marks import assert_binomial

KEYS = 1000
BITS = 64


@dataclass
class Layer:
    """One layer as a candidate's weights."""

    rows: np.ndarray
    row_scaled: bool = True

    def has(self, slot):
        return True

    def array(self, slot):
        return self.rows

    def row_scales(self, slot):
        return row_scales(row_magnitudes(self.rows)) if self.row_scaled else None

    def candidate(self):
        nothing = np.empty(0, np.int64)
        return Candidate(self, lambda: Reads(nothing, nothing, np.empty(0), np.empty(0)), None)


@pytest.fixture(scope="module")
def layer(resnet8):
    """The default layer of the shipped ResNet8, which was never marked."""
    with open_network(resnet8) as network:
        return find_slots(network).by_name()["block3.conv2.weight"].array()


@pytest.fixture(scope="module")
def marked(resnet8, tmp_path_factory):
    """A marked copy with its record."""
    folder = tmp_path_factory.mktemp("rtw")
    record = marks.drafted(resnet8, RtwInsertion(payload="ACME-1"))
    record = marks.marked_with_rtw(resnet8, folder / "marked.onnx", record)
    save_record(record, folder / "mark.record")
    return folder / "marked.onnx", load_record(folder / "mark.record")


def test_the_default_layer_is_the_first_with_the_longest_rows(resnet8):
    """64 channels of 3×3 in ResNet8."""
    assert choose_layer(marks.subject_of(resnet8)) == "block3.conv2.weight"


def test_what_was_inserted_is_decoded(marked):
    """BER 0, the payload's text, a p-value of one in 2**64, doubled for two views."""
    (verdict,) = verify(marked[0], [marked[1]])
    assert verdict.decision == "traced"
    assert verdict.payload.text == verdict.payload.expected == "ACME-1"
    assert (verdict.payload.errors, verdict.standard.retrieved, verdict.standard.values) == (0, True, {"ber": 0.0})
    assert verdict.log10_p == pytest.approx(-BITS * np.log10(2) + np.log10(2))
    assert (verdict.unit, verdict.positions, verdict.read) == ("bits", BITS, BITS)


def test_the_unmarked_network_is_not_traced(resnet8, marked):
    """64 bits are enough to say that the mark is not there."""
    (verdict,) = verify(resnet8, [marked[1]])
    assert verdict.decision == "not traced"
    assert not verdict.standard.retrieved


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("gaussian-noise", {"ratio": 0.1}),
        ("quantization", {"bits": 4}),
        ("magnitude-pruning", {"percentage": 50.0}),
        ("runtime-optimization", {}),
        ("dynamic-quantization", {}),
    ],
)
def test_marks_survive(name, parameters, marked, tmp_path):
    """Noise, quantisation, pruning, and normalisation folded into renamed layers."""
    apply(find_modification(name)(**parameters), marked[0], tmp_path / "out.onnx")
    (verdict,) = verify(tmp_path / "out.onnx", [marked[1]])
    assert verdict.decision == "traced"


def test_rows_may_be_rescaled(marked, layer):
    """Positive factors per out-row change nothing in the view where rows are compared in their own units."""
    path, record = marked
    with open_network(path) as network:
        rows = find_slots(network).by_name()["block3.conv2.weight"].array()
    factors = np.exp(np.random.default_rng(0).normal(0, 1, (len(rows), 1))).astype(np.float32)
    mark = mark_of(record)
    projected = [project(r, mark, row_scales(row_magnitudes(r))) for r in (rows, rows * factors)]
    np.testing.assert_allclose(projected[0], projected[1], rtol=1e-4, atol=1e-6)


CANDIDATES = ("unmarked", "marked under another key", "pruned 90 %", "constant", "overflowing")


@pytest.mark.parametrize(
    ("matrix", "candidate", "payload", "keys"),
    [
        *((matrix, "unmarked", "", 200) for matrix in MATRICES),
        *(pytest.param(m, c, "", KEYS, marks=pytest.mark.slow) for m in MATRICES for c in CANDIDATES),
        *(pytest.param(m, CANDIDATES[1], "ACME-1", KEYS, marks=pytest.mark.slow) for m in MATRICES),
    ],
)
def test_wrong_keys_toss_coins(matrix, candidate, payload, keys, marked, resnet8):
    """Under 1,000 wrong keys matches are Binomial(64, 1/2), p-values hold their level and none is significant.

    Keys of {0,1}, whose projections all share one sign, and a payload of zeros included: the pad makes it exact.
    """
    rows = measure.layers(marked[0])[candidate]
    record = marks.drafted(resnet8, RtwInsertion(payload=payload, matrix=matrix))
    assert_binomial(measure.rtw_matches(record, rows, keys), BITS, 0.5)
    for number in range(20):
        assert not RTW().judge(replace(record, key=marks.key(1000 + number)), Layer(rows).candidate(), -6.0).significant


def test_a_candidate_of_zeros_has_no_right_bit(marked, layer):
    """A tie is an error."""
    judgement = RTW().judge(marked[1], Layer(np.zeros_like(layer)).candidate(), -6.0)
    assert judgement.association.effect == -1
    assert judgement.association.log10_p == 0


def test_what_aligns_is_not_tested(marked, layer):
    """Values at the anchors do not reach the projection."""
    mark = mark_of(marked[1])
    other = layer.copy()
    other.reshape(-1)[mark.anchors] = 1e3
    np.testing.assert_allclose(project(layer, mark), project(other, mark), atol=1e-9)


def test_projections_are_those_of_the_paper(marked, layer):
    """The mean over out-rows (anchors as zero) times X, by NumPy's own means."""
    mark = mark_of(marked[1])
    held = layer.astype(np.float64).copy()
    held.reshape(-1)[mark.anchors] = 0
    np.testing.assert_allclose(project(layer, mark), held.mean(0) @ mark.matrix, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_forging_gains_nothing(marked, layer):
    """A payload declared to be what the suspect decodes to changes key and pad: p stays uniform (discrete)."""
    record = marked[1]
    p = []
    for attempt in range(300):
        known = replace(record, key=marks.key(attempt))
        mark = mark_of(known)
        read = (project(layer, mark) > 0).astype(np.uint8)
        pad = mark.wanted ^ mark.payload
        forged = replace(known, arrays={**known.arrays, "payload": read ^ pad})
        p.append(RTW().judge(forged, Layer(layer, row_scaled=False).candidate(), -6.0).association.log10_p)
    assert min(p) > -5
    assert np.mean(np.array(p) <= np.log10(0.05)) < 0.1


def test_wrong_use_is_told(resnet8):
    """A layer that does not exist lists the layers; too many bits name the room; payloads must fit."""
    with pytest.raises(UsageError, match=r"no layer named 'conv9' .* there are stem\.weight, block1"):
        marks.drafted(resnet8, RtwInsertion(layer="conv9"))
    with pytest.raises(UsageError, match=r"600 bits do not fit into block3.conv2.weight, whose out-rows have 576"):
        marks.drafted(resnet8, RtwInsertion(bits=600))
    with pytest.raises(UsageError, match="needs 72 bits"):
        marks.drafted(resnet8, RtwInsertion(payload="nine char"))
    with pytest.raises(UsageError, match="no matrix named 'odd'; there are normal, plus-minus, zero-one"):
        RtwInsertion(matrix="odd")
    with pytest.raises(UsageError, match="no form named 'odd'; there are sum-ln, mean-log2"):
        RtwInsertion(form="odd")


@pytest.mark.parametrize(
    "change",
    [
        {"layer": "nowhere"},
        {"matrix": "odd"},
        {"bits": 0},
        {"bits": 10**9},
        {"bits": "64"},
    ],
    ids=str,
)
def test_impossible_records_are_unreadable(change, marked, layer):
    """Records are input."""
    record = replace(marked[1], parameters={**marked[1].parameters, **change})
    with pytest.raises(UnreadableRecord):
        RTW().judge(record, Layer(layer).candidate(), -6.0)


def test_signs_that_normalisation_folds_in_are_undone(tmp_path):
    """BatchNorm with negative factors, folded by onnxruntime into renamed weights: every bit is still read."""
    rng = np.random.default_rng(3)
    weight = rng.normal(0, 0.05, (32, 16, 3, 3)).astype(np.float32)
    scale = (rng.normal(0, 1, 32) + np.where(rng.random(32) < 0.4, -1.5, 1.5)).astype(np.float32)
    path = tmp_path / "net.onnx"
    onnx.save(_normalised(weight, scale, rng), path)
    record = marks.marked_with_rtw(path, tmp_path / "marked.onnx", marks.drafted(path, RtwInsertion(bits=32)))
    apply(find_modification("runtime-optimization")(), tmp_path / "marked.onnx", tmp_path / "folded.onnx")
    (verdict,) = verify(tmp_path / "folded.onnx", [record])
    assert verdict.decision == "traced"
    assert verdict.standard.retrieved
    assert verdict.evidence.after_the_fact_trials_log10 is None  # found by anchors that nothing binds
    (plain,) = verify(tmp_path / "marked.onnx", [record])
    assert plain.evidence.after_the_fact_trials_log10 == pytest.approx(-plain.log10_p)


def _normalised(weight, scale, rng):
    """Conv, BatchNormalization, Relu, Conv."""
    arrays = {
        "weight": weight,
        "scale": scale,
        "shift": rng.normal(0, 1, 32).astype(np.float32),
        "mean": rng.normal(0, 1, 32).astype(np.float32),
        "variance": rng.uniform(0.2, 4, 32).astype(np.float32),
        "last": rng.normal(0, 0.1, (8, 32, 1, 1)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["input", "weight"], ["inner"]),
        helper.make_node("BatchNormalization", ["inner", "scale", "shift", "mean", "variance"], ["normal"]),
        helper.make_node("Relu", ["normal"], ["positive"]),
        helper.make_node("Conv", ["positive", "last"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "normalised",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 16, 8, 8])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", 8, 6, 6])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
