"""What is shared between records, read ahead or left out where there are many of them changes no answer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.errors import UnreadableRecord
from onnxnnw.network_file.file import open_network
from onnxnnw.verification import examiner, looking
from onnxnnw.verification.named_records import NamedRecord, load_records, named_record
from onnxnnw.verification.verify import search
from tests.support import calibration_networks as networks

RECORDS = 10
"""Fingerprints of each of two networks; with two marks more than are looked at whole."""

CANDIDATES: dict[str, Callable[[networks.Weights, networks.Weights], networks.Weights]] = {
    "the network": lambda weights, marked: weights,
    "a marked copy": lambda weights, marked: marked,
    "noisy": lambda weights, marked: networks.noisy(weights, 0.3),
    "a stranger": lambda weights, marked: networks.trained_weights(9),
    "one layer of it": lambda weights, marked: {
        **networks.trained_weights(9),
        "block3.conv1.weight": weights["block3.conv1.weight"],
    },
    "with NaN": lambda weights, marked: {**weights, "fc.weight": np.full_like(weights["fc.weight"], np.nan)},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of two networks of one layout and of one without some of its slots, and a damaged one."""
    place = tmp_path_factory.mktemp("many")
    (place / "records").mkdir()
    for number, seed in enumerate((0, 1)):
        path = networks.save(networks.trained_weights(seed), place / f"network{seed}.onnx")
        for k in range(RECORDS):
            fingerprint(path, place / "records" / f"{k:02}-{seed}.json", key=networks.key(100 * number + k))
        embed(path, place / f"marked{seed}.onnx", place / "records" / f"mark{seed}.json", key=networks.key(50 + number))
    whole = (place / "records" / "03-0.json").read_bytes()
    (place / "records" / "damaged.json").write_bytes(whole.replace(b'"eligible":1', b'"eligible":true', 1))
    (place / "records" / "half.json").write_bytes(whole[: len(whole) // 2])
    return place


def slowly(candidate: Path, records: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[dict[str, Any]], list[str]]:
    """The answers without anything that is done for many: each record read by itself, looked at by itself, and whole."""
    named: list[NamedRecord] = []
    bad = []
    for path in sorted(records.iterdir()):
        try:
            named.append(named_record(path))
        except UnreadableRecord as error:
            bad.append(str(error))
    with monkeypatch.context() as patch:
        patch.setattr(looking, "FEW", 10**9)
        patch.setattr(looking, "KEPT", 0)
        patch.setattr(examiner, "COMPLETE", 10**9)
        with open_network(candidate) as network:
            verdicts, failed = examiner.Examiner(network, named, 1e-6, False).verdicts()
    return [verdict.to_json() for verdict in verdicts], [*bad, *failed]


@pytest.mark.slow
@pytest.mark.parametrize(("what", "renamed"), [*((what, False) for what in CANDIDATES), ("noisy", True)])
def test_many_records_are_answered_as_each_by_itself(
    what: str, renamed: bool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decision, p, effect, what was read and the order of all; of the best ones every field."""
    weights = networks.read(folder / "network0.onnx")
    changed = CANDIDATES[what](weights, networks.read(folder / "marked0.onnx"))
    path = networks.save(changed, tmp_path / "candidate.onnx", lambda name: f"onnx::{name[::-1]}" if renamed else name)
    found = search(path, folder / "records")
    expected, unreadable = slowly(path, folder / "records", monkeypatch)
    got = [verdict.to_json() for verdict in found.verdicts]
    assert len(got) == 2 * RECORDS + 2 > looking.FEW
    assert got[: examiner.COMPLETE] == expected[: examiner.COMPLETE]
    kept = ("record", "decision", "log10_p", "effect", "read", "absent", "standard", "path", "payload")
    assert [{name: one[name] for name in kept} for one in got] == [{n: one[n] for n in kept} for one in expected]
    assert list(found.unreadable) == unreadable
    assert len(unreadable) == 2


@pytest.mark.slow
def test_a_record_that_was_changed_is_refused_whatever_was_read_before(folder: Path) -> None:
    """``true`` equals 1 where documents are compared, and is not what was written."""
    _, unreadable = load_records(folder / "records")
    assert any("damaged.json" in one and "no integer" in one for one in unreadable), unreadable


def test_records_of_one_network_share_their_slot_table(folder: Path) -> None:
    """And records of another layout, had they the same length, would not."""
    records, _ = load_records(folder / "records")
    first, *others = records
    assert all(other.record.slots is first.record.slots for other in others)
    assert first.record.slots == named_record(folder / "records" / first.name).record.slots


def test_a_network_comes_before_its_parent_and_its_child(tmp_path: Path) -> None:
    """All four are traced; p-values say nothing of which is nearer, since they hang on where the positions lie."""
    weights = networks.trained_weights(0)
    family = {"parent": weights, "child": networks.noisy(weights, 0.2)}
    for name, own in family.items():
        path = networks.save(own, tmp_path / f"{name}.onnx")
        for k in range(RECORDS):
            (tmp_path / f"{k}").mkdir(exist_ok=True)
            fingerprint(path, tmp_path / f"{k}" / f"{name}.json", key=networks.key(2 * k + (name == "child")))
    for name, own in family.items():
        copy = networks.save(networks.noisy(own, 0.01), tmp_path / "copy.onnx")
        for k in range(RECORDS):
            first, second = search(copy, tmp_path / f"{k}").verdicts
            assert (first.decision, second.decision) == ("traced", "traced")
            assert first.record.startswith(name)
