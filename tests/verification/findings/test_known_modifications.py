"""Findings after every modification of the page on findings, on the network that ships: what is due is said, nothing else."""

from pathlib import Path

import pytest

from benchmarks.findings import Subject, observe, subjects
from benchmarks.findings_cases import CASES, ESTIMATES, Case
from onnxnnw.verification.findings.overwriting import MIN_COUNT

UNCERTAIN = {
    "Gaussian noise, S = 1": {"missing", "added"},  # a layer's anchors no longer agree
    "overwriting, W = 3": {"missing", "added"},
    "overwriting, W = 4": {"missing", "added"},
}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> list[Subject]:
    """The shipped ResNet8, marked and fingerprinted under one key."""
    every = subjects(tmp_path_factory.mktemp("subjects"), 1, drawn=())
    return [next(every), next(every)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_due_is_said_and_nothing_else(case: Case, shipped: list[Subject], tmp_path: Path) -> None:
    """For a mark and for a fingerprint; numbers lie near the truth."""
    for number, subject in enumerate(shipped):
        if not case.applies(subject.path):
            continue
        seen = observe(case, subject, tmp_path / "candidate.onnx", number)
        assert seen.traced
        untouched = "unchanged" in seen.found and "unchanged" in case.tolerated  # no position was hit
        few = "other values" in case.truth and seen.found.get("values changed", {"changed": 0})["changed"] < MIN_COUNT
        if not untouched and not few and case.name != "random-pruning, 1 %":
            assert case.truth <= seen.found.keys(), subject.kind
        watched = {name for other in CASES for name in other.truth}
        allowed = case.truth | case.tolerated | UNCERTAIN.get(case.name, set())
        assert seen.found.keys() & watched <= allowed, subject.kind
        for finding in case.truth & ESTIMATES.keys() & seen.found.keys():
            true, said = case.of(finding, subject.record), seen.found[finding].get(ESTIMATES[finding])
            if true is not None:
                near = {"noise": 0.15 * true, "lattice": 1, "rounded": 1}.get(finding, 0.03 + 0.25 * true)
                assert abs(said - true) <= near, (subject.kind, finding, said, true)


def test_every_finding_speaks_of_slots_where_it_can(shipped: list[Subject], tmp_path: Path) -> None:
    """Noise is named per layer, near the S of each, and the JSON has it."""
    from onnxnnw.verification.verify import verify

    case = next(case for case in CASES if case.name == "Gaussian noise, S = 0.1")
    case.change(shipped[0].path, tmp_path / "noisy.onnx", 0)
    document = verify(tmp_path / "noisy.onnx", [shipped[0].record])[0].to_json()
    noise = next(finding for finding in document["findings"] if finding["name"] == "noise")
    names = {slot.name for slot in shipped[0].record.slots}
    assert len(noise["slots"]) >= 5
    assert noise["slots"].keys() <= names
    for evidence in noise["slots"].values():
        assert evidence["s"] == pytest.approx(0.1, rel=0.6)
