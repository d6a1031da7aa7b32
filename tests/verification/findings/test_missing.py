"""What is missing is named: a replaced layer, whatever few anchors agree with it by luck, and a mark that is not there."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.records.key import Key
from onnxnnw.verification.verify import verify
from tests.support.networks import dense, save


@pytest.mark.parametrize("keys", [range(50, 60), pytest.param(range(400), marks=pytest.mark.slow)])
def test_a_replaced_layer_is_named(keys, tmp_path):
    """The other layers are untouched, so what agrees to z = 2 only is not there: one key in forty used to say nothing (56 does)."""
    own, changed = tmp_path / "own.onnx", tmp_path / "changed.onnx"
    save(dense(layers=4, width=64), own)
    model = onnx.load(own)
    last = model.graph.initializer[6]
    values = np.random.default_rng(5).normal(0, 0.1, (64, 64)).astype("f4")
    last.CopyFrom(numpy_helper.from_array(values, last.name))
    save(model, changed)
    unnamed = []
    for number in keys:
        record = tmp_path / f"{number}.record"
        fingerprint(own, record, key=Key(number.to_bytes(32, "little")))
        found = verify(changed, record)[0]
        assert found.explained < 0.76
        if not {"missing", "added"} & {finding.name for finding in found.findings}:
            unnamed.append(number)
    assert len(unnamed) <= len(keys) // 100


def test_of_a_network_without_its_mark_nothing_is_called_unchanged(tmp_path):
    """What is kept of an added mark are the weights from before it: the original was said to be unchanged at all positions."""
    own, marked = tmp_path / "own.onnx", tmp_path / "marked.onnx"
    save(dense(layers=4, width=64), own)
    embed(own, marked, tmp_path / "mark.record", key=Key(bytes(32)))
    there, absent = verify(marked, tmp_path / "mark.record")[0], verify(own, tmp_path / "mark.record")[0]
    assert "unchanged" in {finding.name for finding in there.findings}
    assert {"same network without this mark", "unchanged"} & {f.name for f in absent.findings} == {
        "same network without this mark"
    }
