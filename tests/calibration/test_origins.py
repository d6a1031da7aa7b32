"""What a fingerprint claims: values of one origin where there is one, and never that two networks are the same."""

from pathlib import Path

import numpy as np
import pytest

from onnxnnw.enrolment.enrol import embed
from onnxnnw.enrolment.origins import is_near_identity
from tests.support import calibration_networks as networks
from tests.support.origins import KINDS, held

PAIRS = 40
"""Of each kind; ``python -m tests.support.origins 200`` looks at more."""


@pytest.mark.parametrize("name", KINDS)
def test_a_shared_origin_is_claimed_only_where_there_is_one(name: str, tmp_path: Path) -> None:
    """Linear models, identity starts, tables, backbones, equal seeds; what is told at enrolment carries nothing."""
    for number in range(2):
        verdict = held(KINDS[name], number, tmp_path)
        if verdict is not None:
            assert "same network" not in verdict.evidence.sentence
            assert KINDS[name].shared or verdict.decision != "traced"
            assert ("shares an origin" in verdict.evidence.sentence) == (verdict.decision == "traced")


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_many_pairs_of_each_kind(name: str, tmp_path: Path) -> None:
    """The same with enough pairs to see one in a hundred."""
    for number in range(PAIRS):
        verdict = held(KINDS[name], number, tmp_path)
        assert verdict is None or "same network" not in verdict.evidence.sentence
        assert verdict is None or KINDS[name].shared or verdict.decision != "traced"


def test_identity_starts_are_recognised_and_ordinary_matrices_are_not() -> None:
    """In gates, in taps, and after some drift; of a thousand random matrices none is taken for one."""
    rng = np.random.default_rng(0)
    for side in (8, 16, 64):
        identity = np.eye(side) + 0.05 * rng.standard_normal((side, side))
        assert is_near_identity(identity)
        assert is_near_identity(np.concatenate([rng.standard_normal((side, side)) / 8, identity]))
        assert is_near_identity(np.concatenate([rng.standard_normal((side, side)) / 8, identity], 1))
        for _ in range(330):
            assert not is_near_identity(rng.standard_normal((side, side)) + 1.0)


def test_embed_says_what_share_of_a_small_network_it_replaces(tmp_path: Path) -> None:
    """Above one in a hundred eligible weights, and not below."""
    path = networks.save(networks.trained_weights(), tmp_path / "n.onnx")
    for positions, dear in ((1024, True), (512, False)):
        made = embed(path, tmp_path / f"{positions}.onnx", tmp_path / f"{positions}.record", positions)
        assert any("of the 77" in each and "changes" in each for each in made.warnings) == dear
