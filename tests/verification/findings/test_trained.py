"""Findings on networks that were really trained: nobody is accused of what training, rescaling or rounding does."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from benchmarks.findings import Subject, observe, trained_subjects
from benchmarks.findings_trained import CASES
from onnxnnw.verification.verdict import Verdict
from onnxnnw.verification.verify import verify

pytestmark = pytest.mark.slow

ACCUSING = {"other values"}
WATCHED = {
    "noise",
    "fine-tuned",
    "rounded",
    "pruned",
    "lattice",
    "batch norm folded",
    "added",
    "missing",
    "rescaled",
    *ACCUSING,
}
SOME = {
    "Adam, rate 0.001, 1 steps",
    "Adam, rate 0.001, 30 steps",
    "rescaled, 100% of the channels, 1",
    "rescaled, 5% of the channels, 1",
    "some channels drawn anew",
    "random 75% pruned",
    "quantised and back, 8 bits, per axis 0",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Subject, Path]]:
    """A dense network, one of convolutions and one with normalisations, marked and fingerprinted."""
    return list(trained_subjects(tmp_path_factory.mktemp("trained"), 1))


@pytest.mark.parametrize("case", [case for case in CASES if case.name in SOME], ids=lambda case: case.name)
def test_nothing_wrong_is_said_of_networks_that_were_trained(
    case: object, trained: list[tuple[Subject, Path]], tmp_path: Path
) -> None:
    """Dead units, Adam's even steps, rescaled channels, zeros of rounding and of pruning: only what is due or true is said."""
    for subject, _ in trained:
        seen = observe(case, subject, tmp_path / "candidate.onnx", 0)
        assert seen.found.keys() & WATCHED <= case.truth | case.tolerated, (subject.network, subject.kind)


def test_the_original_without_the_mark_carries_no_noise(trained: list[tuple[Subject, Path]]) -> None:
    """What stands where a mark would be says nothing; the anchors are as they were."""
    for subject, original in trained:
        if subject.kind == "watermark":
            names = {finding.name for finding in verify(original, [subject.record])[0].findings}
            assert "same network without this mark" in names
            assert not names & WATCHED


def test_magnitude_pruning_is_not_said_to_go_by_chance(trained: list[tuple[Subject, Path]], tmp_path: Path) -> None:
    """Neither in layers of different tails, and pruning at random is not said to go by size."""
    for share in (50, 75, 90):
        for kind, wrong in (("smallest", "whatever their size"), ("random", "the smallest ones")):
            case = next(case for case in CASES if case.name == f"{kind} {share}% pruned")
            for subject, _ in trained:
                case.change(subject.path, tmp_path / "pruned.onnx", 1)
                findings = verify(tmp_path / "pruned.onnx", [subject.record])[0].findings
                assert not any(wrong in finding.sentence for finding in findings if finding.name == "pruned")


def test_findings_have_an_identity_a_class_and_a_version(trained: list[tuple[Subject, Path]], tmp_path: Path) -> None:
    """For policies to name; only what accuses is classed so."""
    subject = next(subject for subject, _ in trained if subject.kind == "fingerprint")
    model = onnx.load(subject.path)
    rng = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        values = np.array(numpy_helper.to_array(tensor))
        if values.ndim > 1:
            other = values.std() * rng.standard_normal(values.shape)
            values = np.where(rng.random(values.shape) < 0.05, other, values).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, tmp_path / "marked.onnx")
    (verdict,) = verify(tmp_path / "marked.onnx", [subject.record])
    assert isinstance(verdict, Verdict)
    said = {finding["id"]: finding for finding in verdict.to_json()["findings"]}
    assert said["other-values"]["class"] == "accuses"
    assert said["other-values"]["version"] == 2
    assert said["other-values"]["name"] == "other values"
    assert {finding["class"] for name, finding in said.items() if name != "other-values"} == {"describes"}
