"""Golden records of RTW and TBW: what they stand for never changes."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from onnxnnw.graph.digest import network_digest
from onnxnnw.graph.slots import find_slots
from onnxnnw.methods.rtw import mark_of
from onnxnnw.methods.triggers import Triggers
from onnxnnw.network_file.file import open_network
from onnxnnw.records.positions import anchors_of
from onnxnnw.records.record_file import load_record
from onnxnnw.verification.verify import verify

GOLDEN = Path(__file__).parent
WANTED = "00100011100000111111111100000000"
MATRIX = "033a5b5d2506f1ddfeea841a096293ecf17802016408fa76038cd405e4667b32"
LABELS = "1300638451642032025696672396335180155938"
IMAGES = "31fc318b07aa8a6d6058828e5b0e0d502ef53fdb73d77fe9c0b7b4761344367d"


def test_the_golden_rtw_record_verifies_for_ever():
    """Key matrix, pad, text and p-value are those of the day it was made."""
    record = load_record(GOLDEN / "rtw-1.json")
    mark = mark_of(record)
    assert "".join(map(str, mark.wanted)) == WANTED
    assert hashlib.sha256(mark.matrix.tobytes()).hexdigest() == MATRIX
    (verdict,) = verify(GOLDEN / "marked-rtw.onnx", [record], full=True)
    assert verdict.decision == "traced"  # a digest of the first kind does not vouch for a network
    assert verdict.payload.text == "RTW1"
    assert verdict.log10_p == pytest.approx(-9.3319299, abs=1e-6)  # 2 views of 2**-32
    (absent,) = verify(GOLDEN / "network.onnx", [record])
    assert absent.decision == "inconclusive"  # 32 bits are too few to prove absence


def test_the_golden_tbw_record_stands_for_the_same_triggers_for_ever():
    """Labels and the bytes of the images are those of the day it was made."""
    triggers = Triggers(load_record(GOLDEN / "tbw-1.json"))
    assert "".join(map(str, triggers.labels)) == LABELS
    assert hashlib.sha256(triggers.images.tobytes()).hexdigest() == IMAGES


@pytest.mark.parametrize("name", ["rtw-1.json", "tbw-1.json"])
def test_a_digest_written_into_such_a_record_makes_no_network_identical(name, tmp_path):
    """Digest and anchors are not bound: whoever writes those of a stranger into a record has still not got the mark."""
    network = GOLDEN / "network.onnx"
    record = load_record(GOLDEN / name)
    with open_network(network) as opened:
        view = find_slots(opened)
        slots, digest = view.by_name(), network_digest(opened, view)
        places = zip(record.slots, anchors_of(record), strict=True)
        anchors = np.concatenate([slots[entry.name].values(positions) for entry, positions in places]).astype("<f4")
    forged = record.with_derived(digest=digest).with_measured(anchors=anchors)
    (verdict,) = verify(network, [forged], full=True)
    assert verdict.decision in ("not traced", "inconclusive")
    assert not verdict.meets("identical")
