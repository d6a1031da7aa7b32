"""What is said of fingerprints whose values agree far beyond chance, and less than is asked for."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper

from onnxnnw.enrolment.enrol import fingerprint
from onnxnnw.methods.effects import LINEAR_EFFECT, MIN_EFFECT
from onnxnnw.verification.verdict import Verdict
from onnxnnw.verification.verify import verify
from tests.support.networks import model_of, save, tensor


def asked(folder: Path, alike: float, hidden: bool) -> Verdict:
    """A fingerprint held against weights that correlate with its own, with a hidden unit or without."""
    first, other, last, another = np.random.default_rng(3).standard_normal((4, 96, 64)).astype("f4") * 0.1
    nodes = [helper.make_node("MatMul", ["x", "a"], ["h"])]
    nodes += [helper.make_node("Relu" if hidden else "Identity", ["h"], ["r"])]
    nodes += [helper.make_node("MatMul", ["r", "b"], ["y"])]

    def network(name: str, a: NDArray[np.float32], b: NDArray[np.float32]) -> Path:
        return save(model_of(nodes, [tensor("a", a), tensor("b", b.T.copy())]), folder / name)

    record = fingerprint(network("own.onnx", first, last), folder / "record", positions=256).record
    assert bool(record.parameters.get("linear")) != hidden
    rest = np.float32(np.sqrt(1 - alike**2))
    candidate = network("near.onnx", alike * first + rest * other, alike * last + rest * another)
    (verdict,) = verify(candidate, [record])
    return verdict


@pytest.mark.parametrize(
    ("alike", "hidden", "decision"),
    [(0.0, False, "not traced"), (0.9, False, "inconclusive"), (0.0, True, "not traced"), (0.9, True, "traced")],
)
def test_alike_linear_models_have_neither_answer(tmp_path: Path, alike: float, hidden: bool, decision: str) -> None:
    """Far beyond chance is no "no"; without hidden units it is no "yes" either, and the finding says why."""
    verdict = asked(tmp_path, alike, hidden)
    assert verdict.decision == decision
    assert ("hidden units" in " ".join(finding.sentence for finding in verdict.findings)) == (
        decision == "inconclusive"
    )
    if decision == "inconclusive":
        assert verdict.log10_p < -6
        assert MIN_EFFECT < verdict.effect < LINEAR_EFFECT
        assert "excludes none" in verdict.evidence.sentence
